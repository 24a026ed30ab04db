"""The command line: one door, one module for each command.

Only here are flags parsed, is text printed for a person, and are heavy libraries imported late, so
that ``--help`` opens at once.
"""
