"""``python -m jquanta.lm.pretrain``: pretrain a small suite of language models."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jquanta.cli import door
from jquanta.lm.pretrain.config import SECTIONS, SuiteConfig, load_suite
from jquanta.run import settings

_Corpus: Any = settings.flags_of("corpus", SECTIONS["corpus"])
_Train: Any = settings.flags_of("train", SECTIONS["train"])


@dataclass(frozen=True)
class Options:
    """Pretrain a small suite of Pythia-shaped language models, or continue one.

    Models of several sizes are trained on the same tokens in the same order and saved, in Hugging
    Face layout, after a number of steps that doubles; the loss of each of them on every token of
    held-out text is stored, in nats. Without CONFIG: four sizes on the source of Python's standard
    library (about 15 minutes on two cores; with --smoke, less than one).

    A CONFIG holds the tables [corpus] and [train], whose fields are the flags below, and a
    [[model]] with layers, width and heads for each size; see configs/lm/stdlib.toml.
    The same command on the same folder continues where it stopped.

    In Python: jq.pretrain(CONFIG), jq.load_model("DIR/models/SIZE", "stepN"),
    jq.open_losses("DIR/losses"), jq.open_corpus("DIR/corpus/test").

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    config: Annotated[
        Path | None,
        tyro.conf.Positional,
        door.option("TOML file, such as configs/lm/stdlib.toml", "[CONFIG]"),
    ] = None
    out: Annotated[
        Path | None, door.option("run folder (default: runs/NAME, after the configuration)", "DIR")
    ] = None
    smoke: Annotated[bool, door.option("apply the configuration's [smoke] table")] = False
    plan: Annotated[
        bool, door.option("print sizes and steps, time a few of them, and train nothing")
    ] = False
    debug: Annotated[bool, door.option("show the traceback of an error")] = False
    corpus: _Corpus = field(default_factory=_Corpus)
    train: _Train = field(default_factory=_Train)

    def resolve(self) -> SuiteConfig:
        """The configuration with the flags applied. Raises ``BadInput``."""
        return load_suite(self.config, flags=settings.given_flags(self, SECTIONS), smoke=self.smoke)


def command(argv: Sequence[str]) -> None:
    """Parse and do."""
    options = door.parse(Options, argv, "python -m jquanta.lm.pretrain")
    config = options.resolve()
    from jquanta.cli import pretrain_report

    if options.plan:
        pretrain_report.print_plan(config)
    else:
        pretrain_report.train(config, options.out or Path("runs") / config.name)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
