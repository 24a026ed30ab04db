"""``jquanta configs``."""

import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.errors import BadInput
from jquanta.run import settings

WIDTH = 76
"""Of the text beside a name."""


@dataclass(frozen=True)
class Options:
    """List the configurations that come with jquanta, or print one.

    Each is given to its command by name, and is the start of one's own: print it into a file,
    change that, and give its path.

    Examples:
      jquanta configs
      jquanta configs fig2-width
      jquanta sweep fig2-width --mini

    In Python: jq.load_config(NAME), jq.run_sweep(NAME), jq.pretrain(NAME), jq.qdg.run(NAME).
    """

    name: str | None = argument("print this one, such as fig2-width", "NAME", default=None)


def configs(options: Options) -> None:
    """List, or print."""
    if options.name is not None:
        print(found(options.name).read_text(encoding="utf-8"), end="")
        return
    for folder, command in settings.COMMANDS.items():
        print(f"jquanta {command} NAME")
        for name, path in settings.shipped(folder).items():
            print(f"  {name:17}{textwrap.shorten(about(path), WIDTH, placeholder=' …')}")


def found(name: str) -> Path:
    """The file of a name, which a folder may stand before: ``qdg/stdlib``. Raises ``BadInput``."""
    every: dict[str, Path] = {}
    for folder in settings.COMMANDS:
        inner = folder.removeprefix("configs/")
        every |= {f"{inner}{one}": path for one, path in settings.shipped(folder).items()}
    fitting = [one for one in every if name in (one, one.rsplit("/")[-1])]
    if len(fitting) > 1 and name not in fitting:
        raise BadInput(f"{name}: there are several; give one of {', '.join(fitting)}")
    if not fitting:
        meant = settings.nearest(name, every)
        remedy = f"did you mean {meant}?" if meant else "all of them: jquanta configs"
        raise BadInput(f"{name}: no such configuration; {remedy}")
    return every[name if name in fitting else fitting[0]]


def about(path: Path) -> str:
    """What a configuration is: the first sentence of the comment above it."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<=[.])\s", " ".join(comment))[0].rstrip(".")


main = door.command("configs", Options, configs, computes=False)

if __name__ == "__main__":
    sys.exit(main())
