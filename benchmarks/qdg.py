"""``python -m benchmarks.qdg``: similarity of gradients against torch, clusters against sklearn."""

import dataclasses
import importlib.util
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmarks.parity import say
from benchmarks.record import Hardware
from benchmarks.stopwatch import timed
from jquanta import door
from jquanta.errors import BadInput, RunFailed

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.clustering import Clustering
    from jquanta.lm.corpus.reader import Corpus
    from jquanta.lm.models.config import LMConfig
    from jquanta.lm.models.network import Params
    from jquanta.qdg.selection import Selection

TOKENS_A_SAMPLE = 1000  # of the corpus: few samples share a document, as in the paper
RESTARTS = 30  # of k-means, the public code's
RIVAL_BATCHES = (1024, 4096)  # tokens of a batch of vmap; the better counts

AGREEMENT = 1e-4
"""Between cosines of the contestants, once torch's norms are divided out; 1e-6 was measured."""

NORM = 1e-3
"""Of a rival's unit rows, beyond which it is no rounding."""

INERTIA = 1.001
"""Ours over scikit-learn's, above which it is worse and the notes say so."""


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        size: of the Pythia suite.
        samples: of the similarity matrix.
        block: samples in a block of the reference algorithm.
        part: samples on which the rivals are timed; where fewer, their seconds are multiplied.
        part_block: samples in a block of these.
        clustered: samples of the clusters.
        step: every so many-th of the thirty counts.
        repeats: passes of which medians are taken.
    """

    size: str
    samples: int
    block: int
    part: int
    part_block: int
    clustered: int
    step: int
    repeats: int

    @property
    def reference_factor(self) -> float:
        """The reference's gradients over those of the part."""
        from benchmarks.torch_gradients import passes

        return passes(self.samples, self.block) / passes(self.part, self.part_block)

    @property
    def vmap_factor(self) -> float:
        """The same where each gradient is made once."""
        return self.samples / self.part


# The public code's blocks hold 250 samples. Four blocks make each gradient 3.5 times.
CPU_QUICK = Workload("14m", 100, 25, 100, 25, clustered=1000, step=5, repeats=1)
CPU_FULL = Workload("14m", 1000, 250, 1000, 250, clustered=2000, step=1, repeats=3)
GPU_QUICK = Workload("70m", 1000, 250, 100, 25, clustered=5000, step=10, repeats=2)
GPU_FULL = Workload("70m", 10_000, 250, 100, 25, clustered=10_000, step=1, repeats=2)


@dataclass(frozen=True)
class Options:
    """Time QDG's two dear steps, ours and those of torch and scikit-learn, in one process.

    Similarity: cosines of the gradients of random predictions under a random Pythia model, in
    float32 with the paper's parameters. reference: as the public code, transformers on torch:
    whole documents, all logits, one backward a sample, gradients anew for each pair of blocks.
    vmap: each gradient once, by torch's vmap(grad) over prefixes in batches of like length. ours:
    jquanta.qdg.similarity, exact. sketch: the same by sketch. That all cosines agree is checked.

    Clusters: one embedding and k-means in JAX, against a fresh SpectralClustering for each count.

    The last line gives the rivals' seconds over ours, compiling apart, and by how much cosines of
    sketches differ from exact ones (root mean square).

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: Annotated[
        bool, door.option("100 samples in blocks of 25, six counts: 3 minutes on 2 cores")
    ] = False
    repeats: Annotated[
        int | None, door.option("passes of which medians are taken (default: 3, quick 1)", "INT")
    ] = None
    out: Annotated[
        Path | None, door.option("JSON file (default: benchmarks/records/qdg-DEVICE.json)", "FILE")
    ] = None
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


@dataclass
class Entry:
    """A contestant for similarity. Making one makes a first pass, which compiles.

    Attributes:
        name: reference, vmap, ours or sketch.
        variant: how it was run, where there was a choice.
        solve: gives the seconds that count, and the cosines.
        factor: by which the seconds are multiplied.
        first: seconds of the first pass.
        cosine: [Q, Q] of the last pass.
        seconds: of each later pass.
    """

    name: str
    variant: str
    solve: "Callable[[], tuple[float, np.ndarray]]" = field(repr=False)
    factor: float = 1.0
    first: float = field(init=False)
    cosine: "np.ndarray" = field(init=False, repr=False)
    seconds: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.first = self.pass_()

    def pass_(self) -> float:
        """How long a pass takes."""
        seconds, self.cosine = self.solve()
        return seconds


@dataclass(frozen=True)
class Timing:
    """One contestant for similarity.

    Attributes:
        name: reference, vmap, ours or sketch.
        variant: how it was run.
        seconds: of the whole matrix: the median of the samples, multiplied by ``factor``.
        samples: seconds of a pass.
        factor: 1 unless only a part was timed.
        first: seconds of the pass before them, compiling included; None where nothing compiles
            and the only pass is the sample.
    """

    name: str
    variant: str
    seconds: float
    samples: tuple[float, ...]
    factor: float
    first: float | None


@dataclass(frozen=True)
class Record:
    """One run of the benchmark."""

    benchmark: str
    mode: str
    notes: tuple[str, ...]
    finished: str
    commit: str | None
    versions: dict[str, str]
    hardware: Hardware
    dtype: str
    workload: dict[str, object]
    similarity: tuple[Timing, ...]
    disagreement: dict[str, float]  # of a rival's cosines with ours, at most
    clustering: "Clustering"
    ratios: dict[str, float]  # a rival's seconds over ours
    sketch_cosine_error: float

    def summary(self) -> str:
        """The line for whoever greps."""
        ratios = " ".join(f"{name}_ratio={ratio:.2f}" for name, ratio in self.ratios.items())
        return f"{ratios} sketch_cosine_error={self.sketch_cosine_error:.4f}"


def command(argv: Sequence[str]) -> None:
    """Parse and do."""
    options = door.parse(Options, argv, "python -m benchmarks.qdg")
    if options.repeats is not None and options.repeats < 1:
        raise BadInput(f"--repeats {options.repeats}: give at least 1")
    for library in ("torch", "transformers"):
        if importlib.util.find_spec(library) is None:
            raise BadInput(f"{library} is not installed and the rivals need it: run make env-test")
    import jax

    from benchmarks.record import check_writable, device_slug

    out = options.out or Path(__file__).with_name("records") / f"qdg-{device_slug()}.json"
    check_writable(out)
    if jax.default_backend() == "cpu":
        workload = CPU_QUICK if options.quick else CPU_FULL
    else:
        workload = GPU_QUICK if options.quick else GPU_FULL
    workload = dataclasses.replace(workload, repeats=options.repeats or workload.repeats)
    record = measure(workload, "quick" if options.quick else "full")
    write(record, out)
    show(record, out)


def measure(workload: Workload, mode: str) -> Record:
    """Time all contestants, and check that they agree."""
    import jax
    import numpy as np

    from benchmarks import clustering, record
    from benchmarks.losses import lengths, synthetic
    from benchmarks.torch_losses import torch_version
    from jquanta.lm.models.network import init
    from jquanta.lm.models.pythia import pythia
    from jquanta.qdg.parameters import chosen, count
    from jquanta.qdg.samples import samples
    from jquanta.qdg.selection import given
    from jquanta.sweep import folder

    begun = record.start()
    config = pythia(workload.size)
    params = init(config, jax.random.key(0))
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        corpus = synthetic(Path(scratch) / "corpus", lengths(workload.samples * TOKENS_A_SAMPLE))
        random = np.random.default_rng(2)
        picked = random.choice(corpus.n_predictions, workload.samples, replace=False)
        selection = given(corpus, picked)
        part = np.sort(random.choice(workload.samples, workload.part, replace=False))
        entries = contest(config, params, corpus, selection, part, workload, Path(scratch))
    reference, vmap, ours, sketch = entries
    differences = {e.name: disagreement(e.cosine, ours.cosine, part) for e in (reference, vmap)}
    clusters = clustering.contest(
        workload.clustered,
        clustering.counts_for(workload.clustered, workload.step),
        RESTARTS,
        say,
    )
    timings = tuple(timing(entry) for entry in entries)
    slow, fair, mine, _ = (t.seconds for t in timings)
    document, _ = corpus.locate(selection.index)
    prefixes = samples(corpus, selection.index, config).lengths
    return Record(
        benchmark="qdg",
        mode=mode,
        notes=notes(workload, clusters),
        finished=folder.now(),
        commit=folder.commit(),
        versions=record.versions() | torch_version() | scikit_learn_version(),
        hardware=record.hardware(begun),
        dtype="float32",
        workload=dataclasses.asdict(workload)
        | {
            "parameters": count(config, chosen(config)),
            "mean_document_tokens": float(np.diff(corpus.offsets)[document].mean()),
            "mean_prefix_tokens": float(prefixes.mean()),
            "prefix_tokens": {
                f"{share}%": float(np.percentile(prefixes, share)) for share in (0, 10, 50, 90, 100)
            },
        },
        similarity=timings,
        disagreement=differences,
        clustering=clusters,
        ratios={"reference": slow / mine, "vmap": fair / mine, "cluster": clusters.ratio},
        sketch_cosine_error=off_diagonal(sketch.cosine, ours.cosine),
    )


def contest(
    config: "LMConfig",
    params: "Params",
    corpus: "Corpus",
    selection: "Selection",
    part: "np.ndarray",
    workload: Workload,
    scratch: Path,
) -> tuple[Entry, Entry, Entry, Entry]:
    """Time reference, vmap, ours and sketch: each a first pass, then in turn."""
    from benchmarks.torch_gradients import Once, PerSample, Reference, blockwise, names
    from benchmarks.torch_losses import Rival
    from jquanta.qdg.matrix import EXACT, SKETCH, similarity
    from jquanta.qdg.samples import samples

    model = Rival(config, params, scratch / "model").model
    wanted, index = names(config), selection.index[part]

    def as_the_public_code() -> "tuple[float, np.ndarray]":
        gradients = Reference(model, corpus, index, wanted)
        gradients(range(1))  # warm
        once = Once(gradients)
        seconds, cosine = timed(partial(blockwise, once, workload.part, workload.part_block))
        return seconds - once.spent + once.asked, cosine.numpy()

    def ours(mode: str) -> "tuple[float, np.ndarray]":
        call = partial(similarity, config, params, corpus, selection, mode=mode)
        return timed(lambda: call().cosine.to_numpy())

    say(f"{workload.size}: the reference, {workload.part} gradients")
    reference = Entry("reference", "", as_the_public_code, workload.reference_factor)
    prefixes = samples(corpus, index, config)
    say(f"{workload.size}: first passes of the others")
    per_sample = PerSample(model, wanted)
    vmap = min(
        (
            Entry(
                "vmap",
                f"{tokens} tokens",
                partial(timed, partial(per_sample.cosines, prefixes, tokens)),
                workload.vmap_factor,
            )
            for tokens in RIVAL_BATCHES
        ),
        key=lambda entry: entry.first,
    )
    others = (
        vmap,
        Entry("ours", "exact", partial(ours, EXACT)),
        Entry("sketch", "", partial(ours, SKETCH)),
    )
    for number in range(workload.repeats):
        say(f"{workload.size}: round {number + 1} of {workload.repeats}")
        for entry in others:
            entry.seconds.append(entry.pass_())
    return reference, *others


def timing(entry: Entry) -> Timing:
    """The median, of the whole matrix."""
    samples = tuple(entry.seconds) or (entry.first,)
    first = entry.first if entry.seconds else None
    seconds = entry.factor * statistics.median(samples)
    return Timing(entry.name, entry.variant, seconds, samples, entry.factor, first)


def disagreement(theirs: "np.ndarray", ours: "np.ndarray", part: "np.ndarray") -> float:
    """The largest difference of cosines. Raises ``RunFailed`` where it is no rounding.

    torch's float32 norms of 10^6 numbers are off by 1e-4, as its self-cosines show: these are
    divided out.
    """
    import numpy as np

    norm = np.sqrt(np.diagonal(theirs))
    found = float(np.abs(theirs / norm / norm[:, None] - ours[np.ix_(part, part)]).max())
    if not (found <= AGREEMENT and np.abs(norm - 1).max() <= NORM):
        raise RunFailed(
            f"a rival's cosines differ from ours by {found:.2g} and its norms from 1 by "
            f"{np.abs(norm - 1).max():.2g}: one of them computes something else"
        )
    return found


def off_diagonal(one: "np.ndarray", other: "np.ndarray") -> float:
    """Root mean square of the differences between different samples."""
    import numpy as np

    difference = (one - other).astype(np.float64)[~np.eye(len(one), dtype=bool)]
    return float(np.sqrt(np.mean(difference**2)))


def notes(workload: Workload, clusters: "Clustering") -> tuple[str, ...]:
    """What a reader of the numbers should know."""
    from benchmarks.torch_gradients import passes

    gradients = passes(workload.samples, workload.block)
    said = [
        f"similarity: {workload.samples:,} samples in blocks of {workload.block}; the reference "
        f"makes {gradients:,} gradients, {gradients / workload.samples:g} of each sample",
        "reference: each block's gradients are made and timed once, and their seconds counted as "
        "often as the reference makes them; products of absolute values, which it makes too, are "
        "left out",
    ]
    if workload.part < workload.samples:
        said += [
            f"reference and vmap are timed on {workload.part} of the samples, and their seconds "
            f"multiplied by {workload.reference_factor:.4g} and {workload.vmap_factor:.4g}, as "
            "gradients are; products of gradients grow faster, which is left out"
        ]
    listed = ", ".join(str(count.count) for count in clusters.counts)
    said += [f"clusters: {clusters.samples:,} samples, counts {listed}"]
    if workload.step > 1:
        said += [
            f"clusters: {len(clusters.counts)} counts spread over the thirty; they bear the one "
            "embedding that all thirty would share"
        ]
    if clusters.worst_inertia > INERTIA:
        worse = [f"{c.count} ({c.inertia:.4f})" for c in clusters.counts if c.inertia > INERTIA]
        said += [f"clusters: inertia over scikit-learn's is above {INERTIA} at {', '.join(worse)}"]
    return tuple(said)


def scikit_learn_version() -> dict[str, str]:
    """Of what is compared besides torch."""
    import sklearn

    return {"scikit-learn": sklearn.__version__}


def write(record: Record, path: Path) -> None:
    """As JSON. Raises ``BadInput`` where it cannot be written."""
    from benchmarks.record import unwritable
    from jquanta.sweep import folder

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.write_whole(path, json.dumps(dataclasses.asdict(record), indent=2) + "\n")
    except OSError as error:
        raise unwritable(path, error.strerror) from None


def show(record: Record, out: Path) -> None:
    """Print the tables, the notes, and the summary last."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = record.hardware.gpu or f"{record.hardware.cpu}, {record.hardware.cores} cores"
    workload, clusters = record.workload, record.clustering
    mine = next(t.seconds for t in record.similarity if t.name == "ours")
    table = Table(
        title=f"similarity of {workload['samples']:,} samples, {workload['size']}, float32, "
        f"{machine}"
    )
    table.add_column("contestant")
    for column in ("seconds", "over ours", "first call, s"):
        table.add_column(column, justify="right")
    for t in record.similarity:
        table.add_row(
            f"{t.name} {t.variant}".strip(),
            f"{t.seconds:,.2f}",
            f"{t.seconds / mine:.2f}×" if t.name != "ours" else "",
            "" if t.first is None else f"{t.first:.1f}",
        )
    console.print(table)
    table = Table(title=f"clusters of {clusters.samples:,} samples, {machine}")
    table.add_column("clusters")
    for column in ("ours, s", "scikit-learn, s", "over ours", "inertia over its", "ARI with it"):
        table.add_column(column, justify="right")
    table.add_row("embedding of all", f"{clusters.embedding:.2f}", "", "", "", "")
    for c in clusters.counts:
        table.add_row(
            str(c.count),
            f"{c.ours:.2f}",
            f"{c.theirs:.2f}",
            f"{c.theirs / c.ours:.2f}×",
            f"{c.inertia:.4f}",
            f"{c.agreement:.2f}",
        )
    table.add_section()
    table.add_row(
        "all",
        f"{clusters.ours:.2f}",
        f"{clusters.theirs:.2f}",
        f"{clusters.ratio:.2f}×",
        f"{clusters.worst_inertia:.4f}",
        "",
    )
    console.print(table)
    console.print(f"first calls of clusters took {clusters.first:.1f} s more", highlight=False)
    for note in record.notes:
        console.print(note, highlight=False)
    console.print(record.hardware.busy(), highlight=False)
    console.print(f"record: {out}", highlight=False)
    print(record.summary(), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
