"""``jquanta sweep``, also as ``python -m jquanta.sweep``."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from jquanta.cli import door, several
from jquanta.cli.flags import argument, configured
from jquanta.errors import BadInput
from jquanta.run.settings import knob, parse_bytes
from jquanta.sweep.config import SCHEMA, SweepConfig, load_config

if TYPE_CHECKING:
    from jquanta.run.shard import Shard

METAVARS = {int: "INT|RANGE", float: "NUMBER|RANGE", bool: "true|false", str: "WORD"}


@dataclass(frozen=True)
class Options:
    """Train a sweep of multitask sparse-parity networks, or continue one.

    Without CONFIG a miniature of the paper's Figure 2 is trained: about one minute on two cores.
    A flag of a configuration field replaces the field everywhere, and takes one value or several.
    The runs are the product of all fields with several values. Losses are stored in nats.

    Examples:
      jquanta sweep
      jquanta sweep fig2-width --plan
      jquanta sweep fig2-width --mini --task.alpha "0.1, 0.4" --train.seed "0, 1, 2"
      jquanta sweep --network.width "log(10, 500, 30)" --out runs/widths
      jquanta sweep fig10-width --shard 2/5 --out runs/fig10; jquanta gather runs/fig10

    The same command on the same folder continues where it stopped. Figure 2 is drawn in the run
    folder; next, jquanta figures --help lists what else can be drawn from it. In Python:
    jq.run_sweep(CONFIG, "runs/NAME"), jq.open_results("runs/NAME").
    """

    config: Path | None = argument(
        "TOML file, or a name such as fig2-width; jquanta configs lists them",
        "CONFIG",
        default=None,
    )
    out: Path | None = knob(None, "run folder (default: runs/NAME, after the configuration)", "DIR")
    mini: bool = knob(False, "apply the configuration's [mini] table: a small variant")
    plan: bool = knob(False, "print runs, parameters, memory and time, and train nothing")
    shard: str | None = knob(
        None, "train this part of the runs only, such as 2/5; jquanta gather joins them", "I/N"
    )
    memory: str | None = knob(
        None,
        "memory for the networks trained together, such as '4 GB' (default: most of a device)",
        "SIZE",
    )
    process: str | None = several.flag()
    fields: Mapping[str, str] = configured(SCHEMA, METAVARS)


def sweep(options: Options) -> None:
    """Print the plan, or train."""
    config = load_config(options.config, flags=options.fields, mini=options.mini)
    memory = None if options.memory is None else parse_bytes(options.memory)
    from jquanta.run.shard import parse

    shard = None if options.shard is None else parse(options.shard)
    out = options.out or Path("runs") / config.name
    if options.plan:
        if options.out is not None or shard is not None:
            from jquanta.sweep.drive import place_of

            place_of(config, out, shard)
        from jquanta.cli import sweep_plan

        sweep_plan.print_plan(config, memory, shard)
        return
    with several.together(options.process, options.shard) as first:
        train(config, out, memory, shard, shown=first)


def train(
    config: SweepConfig,
    out: Path,
    memory: int | None = None,
    shard: "Shard | None" = None,
    *,
    shown: bool = True,
) -> None:
    """Train or continue a sweep, or a part of one, in the run folder ``out``; print its results.

    Of several processes only the first, where ``shown`` is true, shows its progress and draws.
    """
    from jquanta import draw
    from jquanta.cli.sweep_plan import describe
    from jquanta.cli.sweep_result import summarise
    from jquanta.run.progress import Bar, duration
    from jquanta.sweep.drive import place_of, run_sweep
    from jquanta.sweep.plan import members, use_cores

    def draw_figures() -> list[Path]:
        try:
            return draw("fig2", [folder.path]).paths
        except BadInput:  # the sweep does not hold what Figure 2 shows
            return []

    folder = place_of(config, out, shard)
    describe(config)
    runs = config.runs()
    own = members(runs, shard)
    if shard is not None:
        print(f"shard     {shard}: {len(own)} of the {len(runs)} networks")
    if folder.done:
        print(f"{folder.path}: already trained; nothing to do")
        results = run_sweep(config, out, shard=shard)
    else:
        if folder.checkpoints.exists():
            print(f"{folder.path}: continuing from its checkpoints")
        use_cores([runs[i] for i in own], memory)
        began = time.monotonic()
        with Bar("training", "compiling", shown=shown) as line:
            results = run_sweep(config, out, shard=shard, memory=memory, monitor=line)
        print(f"trained   {results.sizes['run']} networks in {duration(time.monotonic() - began)}")
    if shard is not None:
        print(f"results   {folder.results}")
        print(f"next      jquanta gather {quote(str(out))}, when all shards are done")
        return
    summarise(results)
    print(f"results   {folder.results}")
    # Figures that a finished folder holds are left alone; they are drawn where there are none.
    for path in sorted(folder.figures.glob("*.p*")) or (draw_figures() if shown else ()):
        print(f"figure    {path}")


main = door.command("sweep", Options, sweep)

if __name__ == "__main__":
    sys.exit(main())
