"""``jquanta emergence``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_run
from jquanta.qdg.config import LEARNED_BELOW
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Options:
    """Find at which checkpoint and size each quantum is learned.

    RESULTS is a folder that jquanta qdg made. For every cluster of every count: its mean loss under
    each model and revision of the losses; the first checkpoint from which it stays below a
    threshold; the smallest model that ends below it, as all larger ones do; and how much of its
    fall is one drop. Stored as emergence.zarr in RESULTS, in place of an earlier one.

    Example:
      jquanta emergence runs/stdlib-quanta --below 0.3

    Next: jquanta figures quanta --qdg RESULTS. In Python: jquanta.qdg.emerged.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    losses: tuple[Path, ...] = knob(
        (), "folders of losses on the corpus (default: that of RESULTS)", "DIR"
    )
    below: float = knob(LEARNED_BELOW, "nats: a cluster whose mean loss is below this is learned")
    count: int | None = knob(
        None, "of which clusters numbers are printed (default: nearest to 400)"
    )


def emergence(options: Options) -> None:
    """Compute, store and print."""
    require_run(options.results)
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
    print(summary(found, count), f"{path}{replaced}", sep="\n")


def summary(found: "xr.Dataset", count: int) -> str:
    """How many clusters of a count each series learns, and when, in lines."""
    here = found.sel(count=count)
    here = here.isel(cluster=(here.samples > 0).to_numpy())
    total, below = here.sizes["cluster"], found.attrs["below_nats"]
    lines = [f"{total} clusters (count {count}); learned: mean loss below {below:g} nats"]
    lines += [f"note: {note}" for note in found.attrs.get("notes", [])]
    for i, (name, size) in enumerate(
        zip(found.series.to_numpy().tolist(), found.series_size.to_numpy().tolist(), strict=True)
    ):
        own = here.isel(series=i)
        steps = own.emergence_step.dropna("cluster")
        first = int((here.emergence_size == size).sum())
        when = f"median step {float(steps.median()):,.0f}" if steps.size else "by no step"
        sharp = own.step_sharpness.median()  # of those that have one
        drop = f", median sharpness {float(sharp):.2f}" if sharp.notnull() else ""
        lines.append(
            f"{name} ({size:,} parameters): {steps.size} learned by a step, {when}{drop}; "
            f"from here on {first} more"
        )
    never = int(here.emergence_size.isnull().sum())
    return "\n".join([*lines, f"learned by none: {never}"])


main = door.command("emergence", Options, emergence)

if __name__ == "__main__":
    sys.exit(main())
