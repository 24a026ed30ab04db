"""``jquanta mechanism``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_run
from jquanta.qdg.config import LARGEST, OTHERS, STEP
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Options:
    """Test whether quanta are separate mechanisms: whom a step against one's gradient helps.

    RESULTS is a folder that jquanta qdg made. Each cluster is cut into random halves. The model
    takes a small step against the gradient of one half's mean loss. The table shows how the mean
    loss of the other half changes, and that of held-out samples of other clusters: as measured,
    with its standard error, and to first order. The separation is how often a sample of the cluster
    gains more than one of the others: 1 for always, 0.5 for a cluster that is no mechanism. Stored
    as mechanism.zarr in RESULTS, in place of an earlier one.

    Example:
      jquanta mechanism runs/stdlib-quanta --count 400 --largest 10

    Next: jquanta figures mechanism --qdg RESULTS. In Python: jquanta.qdg.mechanisms.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    count: int | None = knob(None, "which clusters (default: the count nearest to 400)")
    largest: int = knob(LARGEST, "look at so many clusters, the largest")
    step: float = knob(STEP, "length of the step over that of the parameters")
    others: int = knob(OTHERS, "held-out samples of all clusters that are tried, too; 0 for all")
    seed: int = knob(0, "of everything random")


def mechanism(options: Options) -> None:
    """Compute, store and print."""
    require_run(options.results)
    from jquanta.qdg.questions.mechanism import STORE, mechanisms, save_mechanisms
    from jquanta.qdg.results import open_run
    from jquanta.run.progress import Bar

    run = open_run(options.results)
    with Bar() as line:
        found = mechanisms(
            run.model(),
            run.predictions,
            run.clusters,
            parameters=run.config.similarity.parameters,
            count=options.count,
            largest=options.largest,
            step=options.step,
            others=options.others,
            seed=options.seed,
            monitor=line,
        )
    replaced = ", in place of an earlier one" * (run.path / STORE).exists()
    path = save_mechanisms(found, run.path)
    print(table(found), f"{path}{replaced}", sep="\n")


def table(found: "xr.Dataset") -> str:
    """What ``mechanisms`` gives, as a table."""
    from jquanta.qdg.questions.mechanism import summary

    short = summary(found)
    lines = [
        f"a step of {found.attrs['step']:g} of the parameters' length against each cluster's mean "
        "gradient; changes of mean loss in 0.001 nats, held-out samples",
        "cluster  samples        own (1st order)      others (1st order)  separation",
    ]
    for i in range(found.sizes["cluster"]):
        row = {str(name): float(values) for name, values in short.isel(cluster=i).items()}
        lines.append(
            f"{int(found.cluster[i]):7}  {int(found.samples[i]):7}  "
            + "  ".join(
                f"{1e3 * row[who]:+7.2f} ± {1e3 * row[f'{who}_error']:<4.2f} "
                f"({1e3 * row[f'{who}_first_order']:+.2f})".ljust(25)
                for who in ("own", "others")
            )
            + f"{row['separation']:.3f}"
        )
    more = int((short.own < short.others).sum())
    return "\n".join([*lines, f"own samples gain more: {more} of {found.sizes['cluster']}"])


main = door.command("mechanism", Options, mechanism)

if __name__ == "__main__":
    sys.exit(main())
