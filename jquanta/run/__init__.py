"""What every long command shares and no experiment owns.

Run folders and files that appear whole, settings from TOML and flags, progress, checkpoints,
interrupts, and arrays on disk.
"""
