"""What the computer is: its devices, its memory, its cores, and its cache of compiled programs."""
