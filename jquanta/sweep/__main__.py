"""``python -m jquanta.sweep``: train a sweep of multitask sparse-parity networks."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jquanta.cli import door
from jquanta.parity.config import SECTIONS
from jquanta.run import settings
from jquanta.run.settings import parse_bytes
from jquanta.sweep.config import SweepConfig, load_config

_METAVARS: dict[Any, str] = {
    int: "INT|RANGE",
    float: "NUMBER|RANGE",
    bool: "true|false",
    str: "WORD",
}

_Task: Any = settings.flags_of("task", SECTIONS["task"], _METAVARS)
_Network: Any = settings.flags_of("network", SECTIONS["network"], _METAVARS)
_Train: Any = settings.flags_of("train", SECTIONS["train"], _METAVARS)
_Eval: Any = settings.flags_of("eval", SECTIONS["eval"], _METAVARS)


@dataclass(frozen=True)
class Options:
    """Train a sweep of multitask sparse-parity networks, or continue one.

    Without CONFIG a miniature of the paper's Figure 2 is trained (about one minute on two cores).
    A flag of a configuration field replaces the field everywhere and takes one value or several:
    --network.width "log(10, 500, 30)"  --task.alpha "0.1, 0.4"  --train.seed "0, 1, 2".
    The runs are the product of all several-valued fields. The same command on the same folder
    continues where it stopped. Losses are stored in nats.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    config: Annotated[
        Path | None,
        tyro.conf.Positional,
        door.option("TOML file, such as configs/fig2-width.toml", "[CONFIG]"),
    ] = None
    out: Annotated[
        Path | None, door.option("run folder (default: runs/NAME, after the configuration)", "DIR")
    ] = None
    mini: Annotated[bool, door.option("apply the configuration's [mini] table")] = False
    plan: Annotated[
        bool, door.option("print runs, parameters, memory and time, and train nothing")
    ] = False
    memory: Annotated[
        str | None,
        door.option("memory that a pack may take, such as '4 GB' (default: most of a device)"),
    ] = None
    debug: Annotated[bool, door.option("show the traceback of an error")] = False
    task: _Task = field(default_factory=_Task)
    network: _Network = field(default_factory=_Network)
    train: _Train = field(default_factory=_Train)
    eval: _Eval = field(default_factory=_Eval)

    def resolve(self) -> SweepConfig:
        """The configuration with the flags applied. Raises ``BadInput``."""
        flags = settings.given_flags(self, SECTIONS)
        return load_config(self.config, flags=flags, mini=self.mini)


def command(argv: Sequence[str]) -> None:
    """Parse and do."""
    options = door.parse(Options, argv, "python -m jquanta.sweep")
    config = options.resolve()
    folder = options.out or Path("runs") / config.name
    from jquanta.cli import sweep_report  # late: jax takes its time

    memory = None if options.memory is None else parse_bytes(options.memory)
    if options.plan:
        sweep_report.print_plan(config, memory)
    else:
        sweep_report.train(config, folder, memory)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
