"""The computer: its devices, memory and cores, and the cache of compiled programs on its disk."""
