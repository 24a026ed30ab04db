"""``jquanta COMMAND``, also as ``python -m jquanta COMMAND``."""

import sys
from collections.abc import Sequence

from jquanta.cli import door
from jquanta.errors import BadInput
from jquanta.figures.catalogue import FIGURES
from jquanta.run.settings import nearest
from jquanta.version import __version__


def usage() -> str:
    """What ``jquanta`` alone prints."""
    return "\n".join(
        [
            f"jquanta {__version__}: the Quantization Model of Neural Scaling, in JAX",
            "",
            "usage: jquanta COMMAND [FLAGS]",
            "",
            *(f"  {name:11}{door.summary(name)}" for name in door.COMMANDS),
            "",
            "jquanta COMMAND --help lists a command's flags, with examples. Begin with jquanta",
            "sweep, a miniature of the paper's Figure 2 in a minute, or with jquanta tour.",
        ]
    )


def command(argv: Sequence[str]) -> None:
    """Print the usage, or say which command was meant."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(usage())
    elif argv[0] == "--version":
        print(__version__)
    else:
        meant = f"figures {argv[0]}" if argv[0] in FIGURES else nearest(argv[0], door.COMMANDS)
        remedy = f"did you mean {meant}?" if meant else f"give one of {', '.join(door.COMMANDS)}"
        raise BadInput(f"unknown command {argv[0]!r}: {remedy}")


def main(argv: Sequence[str] | None = None) -> int:
    """Pass the arguments on to a command; its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in door.COMMANDS:
        return int(door.module(argv[0]).main(argv[1:]))
    return door.enter(command, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
