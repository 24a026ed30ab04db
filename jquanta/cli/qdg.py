"""``jquanta qdg``: discover the quanta of a language model from its gradients."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jquanta.cli import door
from jquanta.qdg.config import SECTIONS, QDGConfig, load_qdg
from jquanta.run import settings

_Input: Any = settings.flags_of("input", SECTIONS["input"])
_Select: Any = settings.flags_of("select", SECTIONS["select"])
_Similarity: Any = settings.flags_of("similarity", SECTIONS["similarity"])
_Cluster: Any = settings.flags_of("cluster", SECTIONS["cluster"])
_Page: Any = settings.flags_of("page", SECTIONS["page"])


@dataclass(frozen=True)
class Options:
    """Discover the quanta of a language model from its gradients (QDG), or continue.

    Takes predictions that the model makes well, the gradient of each one's loss, the cosines of
    all pairs, clusters these for a list of counts, and writes a page, quanta.html, on which to
    browse them. Losses that are missing are computed first. The same command on the same folder
    continues where it stopped; with other --cluster or --page settings, only these are made anew.

    Without CONFIG: the largest model of the suite that jquanta pretrain makes (in runs/stdlib).

    Then: jquanta figures fig5 --qdg DIR. In Python: jq.qdg.run(CONFIG), and each stage by itself:
    jq.qdg.select, gradients, similarity, cluster.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    config: Annotated[
        Path | None,
        tyro.conf.Positional,
        door.option("TOML file, such as configs/qdg/stdlib.toml", "[CONFIG]"),
    ] = None
    out: Annotated[
        Path | None, door.option("run folder (default: runs/NAME, after the configuration)", "DIR")
    ] = None
    debug: Annotated[bool, door.option("show the traceback of an error")] = False
    input: _Input = field(default_factory=_Input)
    select: _Select = field(default_factory=_Select)
    similarity: _Similarity = field(default_factory=_Similarity)
    cluster: _Cluster = field(default_factory=_Cluster)
    page: _Page = field(default_factory=_Page)

    def resolve(self) -> QDGConfig:
        """The configuration with the flags applied. Raises ``BadInput``."""
        return load_qdg(self.config, flags=settings.given_flags(self, SECTIONS))


def command(argv: Sequence[str]) -> None:
    """Parse and do."""
    options = door.parse(Options, argv, "python -m jquanta.qdg")
    config = options.resolve()
    from jquanta.cli.qdg_report import told
    from jquanta.qdg.pipeline import PAGE, run
    from jquanta.run.progress import Bar

    out = options.out or Path("runs") / config.name
    with Bar() as line:
        clusters = run(config, out, monitor=line)
    print(told(clusters))
    print(f"page      {out / PAGE}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
