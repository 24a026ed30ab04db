"""``python -m benchmarks.factors``: what factors and sketches of gradients lose and save."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import command
from benchmarks.command import Head, say
from benchmarks.stopwatch import timed
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from rich.console import Console

    from jquanta.qdg.views.view import View

RANKS, SIZES = (4, 8, 16, 32), (16, 32)


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        samples: of the trained model, at most.
        counts: of clusters that are compared.
        memory: in which the gradients do not fit, for a second comparison.
    """

    samples: int
    counts: tuple[int, ...]
    memory: str


WORKLOADS = {
    "quick": Workload(200, (10, 20), "500 MB"),
    "full": Workload(1000, (50, 200), "1 GB"),
}


@dataclass(frozen=True)
class Options(command.Options):
    """Compare factors and sketches of gradients with whole gradients, float32.

    On samples of a finished run of jquanta qdg: seconds of the whole similarity, compiling
    included; the error of the cosines of all pairs; and the adjusted Rand index of the clusters
    with those of whole gradients. Beside it, that of clusters of whole gradients at another seed of
    k-means.

    Then the same in less memory than whole gradients take: these are made again and again, and
    those that factors stand for once.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(False, "200 samples: five minutes on 2 cores")
    repeats: int | None = knob(None, "not used: everything is computed once")
    out: Path | None = knob(
        None, "JSON file (default: benchmarks/records/factors-DEVICE.json)", "FILE"
    )
    run: Path = knob(Path("runs/stdlib-quanta"), "a run of jquanta qdg", "FOLDER")


@dataclass(frozen=True)
class Entry:
    """The results of one view of the samples.

    Attributes:
        name: exact, factors or sketch.
        size: the rank, or the side of a sketch.
        seconds: of the similarity, compiling included.
        row_bytes: that are kept of a sample.
        rms, largest: errors of the cosines of all pairs.
        lost: median share of the squared length that is lost, and that of one sample in ten.
        whole: gradients that are made again, whole.
        agreement: adjusted Rand index with the clusters of whole gradients, for each count; of
            whole gradients, that with those of another seed of k-means.
    """

    name: str
    size: int | None
    seconds: float
    row_bytes: int
    rms: float
    largest: float
    lost: tuple[float, float] | None
    whole: int
    agreement: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    workload: dict[str, object]
    model: str
    samples: int
    cosines: float  # root mean square of those of whole gradients
    trained: tuple[Entry, ...]
    tight: tuple[Entry, ...]

    def summary(self) -> str:
        words = [f"cosine_error_{e.name}_{e.size}={e.rms:.2g}" for e in self.trained[1:]]
        exact, *others = self.tight
        words += [f"tight_ratio_{e.size}={exact.seconds / e.seconds:.2f}" for e in others]
        return " ".join(words)


def measure(options: Options) -> Record:
    """Compare all views, on a trained model and where memory is short."""
    import numpy as np

    from benchmarks import machine
    from benchmarks.similarity import off_diagonal
    from jquanta.qdg.results import open_run
    from jquanta.qdg.views.factors import Factors
    from jquanta.qdg.views.gradient import Gradients
    from jquanta.qdg.views.sketch import Sketch

    begun = machine.start()
    workload = WORKLOADS[options.mode]
    run = open_run(options.run)
    many = len(run.predictions)
    picked = np.unique(np.linspace(0, many - 1, min(many, workload.samples)).astype(int))
    predictions, model = run.predictions.at(picked), run.model()
    views: list[tuple[str, int | None, View]] = [("exact", None, Gradients())]
    # A tolerance of 1, so that the errors are those of factors alone.
    views += [("factors", rank, Factors(rank=rank, tolerance=1.0)) for rank in RANKS]
    views += [("sketch", size, Sketch(size=size)) for size in SIZES]
    made = []
    for name, size, view in views:
        say(f"{run.predictions.model}: {name} {size or ''}")
        made.append((name, size, *_timed(model, predictions, view)))
    exact = made[0][3].cosine.to_numpy()
    base, other = _labels(exact, workload.counts, (0, 1))
    trained = []
    for number, (name, size, seconds, found, row_bytes) in enumerate(made):
        say(f"clusters of {name} {size or ''}")
        cosine = found.cosine.to_numpy()
        labels = other if number == 0 else _labels(cosine, workload.counts, (0,))[0]
        one = _entry(name, size, seconds, found, row_bytes, exact)
        trained.append(dataclasses.replace(one, agreement=_agreement(base, labels)))
    tight = []
    for name, size, view in (views[0], ("factors", 16, Factors(rank=16))):
        say(f"{run.predictions.model} in {workload.memory}: {name} {size or ''}")
        timing = _timed(model, predictions, view, workload.memory)
        tight.append(_entry(name, size, *timing, exact))
    return Record(
        benchmark="factors",
        mode=options.mode,
        versions=machine.versions(),
        workload=dataclasses.asdict(workload),
        model=run.predictions.model,
        samples=len(predictions),
        cosines=off_diagonal(exact, np.zeros_like(exact)),
        trained=tuple(trained),
        tight=tuple(tight),
        hardware=machine.hardware(begun),
    )


def _timed(
    model: Any, predictions: Any, view: "View", memory: str | None = None
) -> "tuple[float, xr.Dataset, int]":
    """Seconds of a similarity, what it gives, and the bytes that are kept of a sample."""
    import jax
    import numpy as np

    from jquanta.qdg.cosines.similarity import similarity
    from jquanta.qdg.views.per_sample import view_of

    row = jax.tree.leaves(view_of(model, predictions.at(np.array([0])), view).row)
    seconds, found = timed(partial(similarity, model, predictions, view, memory=memory))
    return seconds, found, 4 * sum(x.size for x in row)


def _entry(
    name: str,
    size: int | None,
    seconds: float,
    found: "xr.Dataset",
    row_bytes: int,
    exact: "np.ndarray",
) -> Entry:
    import numpy as np

    from benchmarks.similarity import off_diagonal

    cosine = found.cosine.to_numpy()
    lost = None
    if "lost" in found:
        lost = (float(found.lost.median()), float(found.lost.quantile(0.9)))
    return Entry(
        name,
        size,
        seconds,
        row_bytes,
        off_diagonal(cosine, exact),
        float(np.abs(cosine - exact).max()),
        lost,
        int(found.attrs.get("whole", 0)),
    )


def _labels(cosine: "np.ndarray", counts: Sequence[int], seeds: Sequence[int]) -> Any:
    import numpy as np

    from jquanta.qdg.clusters.cluster import cluster

    return np.stack([cluster(cosine, counts, seed=seed).label.to_numpy() for seed in seeds])


def _agreement(one: "np.ndarray", other: "np.ndarray") -> tuple[float, ...]:
    from jquanta.qdg.clusters.quality import agreement

    return tuple(agreement(one, other).tolist())


def show(record: Record, console: "Console") -> None:
    """Print both tables."""
    from rich.table import Table

    work = record.workload
    for title, entries in (
        (f"{record.model}: {record.samples:,} samples", record.trained),
        (f"the same in {work['memory']}", record.tight),
    ):
        table = Table(title=f"{title}, {record.hardware}")
        for column in (
            *("rows", "error of cosines", "largest", "lost", "bytes a sample", "seconds"),
            "made again",
            "ARI",
        ):
            table.add_column(column, justify="right")
        for e in entries:
            errors = ("", "") if e.name == "exact" else (f"{e.rms:.5f}", f"{e.largest:.4f}")
            table.add_row(
                f"{e.name} {e.size or ''}",
                *errors,
                "" if e.lost is None else f"{e.lost[0]:.2%} ({e.lost[1]:.2%})",
                f"{e.row_bytes:,}",
                f"{e.seconds:.1f}",
                f"{e.whole:,}",
                ", ".join(f"{found:.2f}" for found in e.agreement),
            )
        console.print(table)
    console.print(f"exact cosines: {record.cosines:.3f} (root mean square)")
    console.print(
        f"ARI: with the clusters of whole gradients, of {work['counts']}; in the first row, of "
        "whole gradients at another seed of k-means"
    )
    console.print(record.hardware.busy())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("factors", Options, [], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
