"""``python -m jquanta COMMAND`` and the console script ``jquanta``."""

import importlib
import sys
from collections.abc import Sequence

from jquanta.cli import door
from jquanta.errors import BadInput
from jquanta.version import __version__

COMMANDS = {
    "sweep": ("jquanta.sweep.__main__", "train a sweep of multitask sparse-parity networks"),
    "corpus": ("jquanta.cli.corpus", "tokenise documents into a corpus"),
    "pretrain": ("jquanta.cli.pretrain", "pretrain a small suite of language models"),
    "losses": ("jquanta.cli.losses", "per-token losses of language models"),
    "qdg": ("jquanta.cli.qdg", "discover a language model's quanta from its gradients"),
    "explore": ("jquanta.cli.explore", "browse the clusters of a QDG run, or as LaTeX"),
    "emergence": ("jquanta.cli.emergence", "when each quantum of a QDG run is learned"),
    "assign": ("jquanta.cli.assign", "to which quantum the tokens of a text belong"),
    "mechanism": ("jquanta.cli.mechanism", "whether quanta are separate mechanisms"),
    "stability": ("jquanta.cli.stability", "how stable the quanta are, beside chance"),
    "known": ("jquanta.cli.known", "QDG where the quanta are known: sparse parity, a toy model"),
    "figures": ("jquanta.cli.figures", "draw the paper's figures from stored results"),
}

USAGE = "\n".join(
    [
        f"jquanta {__version__}: the Quantization Model of Neural Scaling, in JAX",
        "",
        "usage: jquanta COMMAND …",
        "",
        *(f"  {name:10}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "jquanta COMMAND --help tells more.",
    ]
)


def command(argv: Sequence[str]) -> None:
    """Print the usage, or refuse."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(USAGE)
    elif argv[0] == "--version":
        print(__version__)
    else:
        raise BadInput(f"unknown command {argv[0]!r}; give one of {', '.join(COMMANDS)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Pass the arguments on to a command; its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    return door.enter(command, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
