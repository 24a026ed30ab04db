"""``jquanta mechanism``: whether a step against a cluster's mean gradient helps it alone."""

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
    """Is a cluster a mechanism? A small step against its mean gradient, and whom it helps.

    RESULTS is a folder that jquanta qdg made. Each cluster is cut into random halves. The model
    takes a small step against the gradient of one half's mean loss; the table tells how the mean
    loss of the other half changes, and that of held-out samples of other clusters: really, with its
    standard error, and to first order. The separation is how often a sample of the cluster gains
    more than one of the others: 1 for always, 0.5 for a cluster that is no mechanism. Stored as
    mechanism.zarr in RESULTS, in place of an earlier one.

    Example:
      jquanta mechanism runs/stdlib-quanta --count 400 --largest 20

    Then: jquanta figures mechanism --qdg RESULTS. In Python: jquanta.qdg.mechanisms. Exit codes:
    0 done, 2 bad input, 1 failed, 130 interrupted.
    """

    results: Annotated[
        Path | None, tyro.conf.Positional, door.option("folder of a QDG run", "RESULTS")
    ] = None
    count: Annotated[
        int | None, door.option("which clusters (default: the count nearest to 400)", "INT")
    ] = None
    largest: Annotated[
        int, tyro.conf.arg(help="look at so many clusters, the largest", metavar="INT")
    ] = 20
    step: Annotated[
        float,
        tyro.conf.arg(help="length of the step over that of the parameters", metavar="NUMBER"),
    ] = 3e-4
    others: Annotated[
        int, tyro.conf.arg(help="held-out samples of all clusters, too; 0 for all", metavar="INT")
    ] = 500
    seed: Annotated[int, tyro.conf.arg(help="of everything random", metavar="INT")] = 0
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def command(argv: Sequence[str]) -> None:
    """Parse, compute, store and tell."""
    options = door.parse(Options, argv, "jquanta mechanism")
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
    print(told(found), f"{path}{replaced}", sep="\n")


def told(found: "xr.Dataset") -> str:
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


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
