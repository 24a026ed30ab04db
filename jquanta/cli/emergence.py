"""``jquanta emergence``: at which checkpoint and size each quantum is learned."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jquanta.cli import door

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Options:
    """At which checkpoint and size each quantum is learned.

    RESULTS is a folder that jquanta qdg made. The mean loss of every cluster, for every count, at
    every model and revision of the losses; the first checkpoint from which it stays below a
    threshold; the smallest model that ends below it, as all larger ones do; and how much of its
    fall is one drop. Stored as emergence.zarr in RESULTS, in place of an earlier one.

    Then: jquanta figures quanta --qdg RESULTS. In Python: jquanta.qdg.emerged. Exit codes: 0
    done, 2 bad input, 1 failed, 130 interrupted.
    """

    results: Annotated[
        Path | None, tyro.conf.Positional, door.option("folder of a QDG run", "RESULTS")
    ] = None
    losses: Annotated[
        tuple[Path, ...],
        door.option("folders of losses on the corpus (default: that of RESULTS)", "DIR …"),
    ] = ()
    below: Annotated[
        float, tyro.conf.arg(help="nats: a cluster below this is learned", metavar="NUMBER")
    ] = 0.5
    count: Annotated[
        int | None, door.option("whose numbers are printed (default: nearest to 400)", "INT")
    ] = None
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def command(argv: Sequence[str]) -> None:
    """Parse, compute, store and tell."""
    options = door.parse(Options, argv, "jquanta emergence")
    from jquanta.lm.losses.reader import open_losses
    from jquanta.qdg.questions.emergence import STORE, cluster_losses, emerged, save_emergence
    from jquanta.qdg.results import chosen_count, open_run
    from jquanta.run.progress import Bar

    run = open_run(options.results)
    count = chosen_count(run.clusters, options.count)
    losses = open_losses(*(options.losses or [run.config.input.losses]))
    with Bar() as line:
        curves = cluster_losses(run.clusters, losses, run.predictions, monitor=line)
    found = emerged(curves, options.below)
    replaced = ", in place of an earlier one" * (run.path / STORE).exists()
    path = save_emergence(found, run.path)
    print(told(found, count), f"{path}{replaced}", sep="\n")


def told(found: "xr.Dataset", count: int) -> str:
    """How many clusters of a count each series learns, and when, in lines."""
    here = found.sel(count=count)
    here = here.isel(cluster=(here.samples > 0).to_numpy())
    total, below = here.sizes["cluster"], found.attrs["below_nats"]
    lines = [f"{total} clusters (count {count}); learned: mean loss below {below:g} nats"]
    for i, (name, size) in enumerate(
        zip(found.series.to_numpy().tolist(), found.series_size.to_numpy().tolist(), strict=True)
    ):
        own = here.isel(series=i)
        steps = own.emergence_step.dropna("cluster")
        first = int((here.emergence_size == size).sum())
        when = f"median step {float(steps.median()):,.0f}" if steps.size else "by no step"
        sharp = own.step_sharpness.median()  # of those that have one
        told = f", median sharpness {float(sharp):.2f}" if sharp.notnull() else ""
        lines.append(
            f"{name} ({size:,} parameters): {steps.size} learned by a step, {when}{told}; "
            f"from here on {first} more"
        )
    never = int(here.emergence_size.isnull().sum())
    return "\n".join([*lines, f"learned by none: {never}"])


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
