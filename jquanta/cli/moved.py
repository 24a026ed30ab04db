"""Old spellings of commands, such as ``python -m jquanta.figures``."""

import shlex
import sys


def say(*command: str) -> int:
    """Print how a command is called now, with the words that were given. Exit code 2."""
    typed = shlex.join(["jquanta", *command, *sys.argv[1:]])
    print(f"jquanta: this command has moved; type: {typed}", file=sys.stderr)
    return 2
