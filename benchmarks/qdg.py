"""``python -m benchmarks.qdg``: gradient similarity compared with torch, clusters with sklearn."""

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import command, similarity
from benchmarks.command import Head
from benchmarks.similarity import Timing
from jquanta.run.settings import knob

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.clustering import Clustering

TOKENS_A_SAMPLE = 1000  # tokens of the corpus per sample: few samples share a document
RESTARTS = 30  # of k-means, as in the paper's public code
INERTIA = 1.001
"""Our inertia over scikit-learn's: above this, our clusters are worse and the notes say so."""


@dataclass(frozen=True)
class Workload(similarity.Workload):
    """How much is computed.

    Attributes:
        clustered: number of samples that are clustered.
        step: only every ``step``-th of the thirty numbers of clusters is computed.
    """

    clustered: int
    step: int


# The public code uses blocks of 250 samples. With four blocks it computes each gradient 3.5 times.
WORKLOADS = {
    ("cpu", "quick"): Workload("14m", 100, 25, 100, 25, 1, clustered=1000, step=5),
    ("cpu", "full"): Workload("14m", 1000, 250, 1000, 250, 3, clustered=2000, step=1),
    ("cuda", "quick"): Workload("70m", 1000, 250, 100, 25, 2, clustered=5000, step=10),
    ("cuda", "full"): Workload("70m", 10_000, 250, 100, 25, 2, clustered=10_000, step=1),
}


@dataclass(frozen=True)
class Options(command.Options):
    """Time the two expensive steps of QDG: ours, torch's and scikit-learn's, in one process.

    Similarity: cosines of the gradients of random predictions under a random Pythia model, in
    float32, with respect to the paper's parameters. reference: as in the paper's public code, with
    transformers on torch: whole documents, all logits, one backward pass for each sample, and all
    gradients computed again for each pair of blocks. vmap: each gradient once, by torch's
    vmap(grad) over prefixes in batches of similar length. ours: jquanta.qdg.similarity, exact.
    sketch: the same by sketches. It is checked that all cosines agree.

    Clusters: one embedding and k-means in JAX, compared with a SpectralClustering for each count.

    The last line gives the rivals' seconds divided by ours, without compiling, and by how much the
    cosines of sketches differ from exact ones (root mean square).

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(False, "100 samples in blocks of 25, six counts: 2 to 3 minutes on 2 cores")
    repeats: int | None = knob(None, "passes of which medians are taken (default: 3, quick 1)")
    out: Path | None = knob(None, "JSON file (default: benchmarks/records/qdg-DEVICE.json)", "FILE")


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    notes: tuple[str, ...]
    dtype: str
    workload: dict[str, object]
    similarity: tuple[Timing, ...]
    disagreement: dict[str, float]  # largest difference of each rival's cosines from ours
    clustering: "Clustering"
    ratios: dict[str, float]  # each rival's seconds divided by ours
    sketch_cosine_error: float

    def summary(self) -> str:
        ratios = " ".join(f"{name}_ratio={ratio:.2f}" for name, ratio in self.ratios.items())
        return f"{ratios} sketch_cosine_error={self.sketch_cosine_error:.4f}"


def measure(options: Options) -> Record:
    """Time all contestants, and check that they agree."""
    import jax
    import numpy as np

    from benchmarks import clustering, machine, texts
    from jquanta.lm.models.model import Model
    from jquanta.lm.models.network import init
    from jquanta.lm.models.pythia import pythia
    from jquanta.qdg.samples.predictions import given
    from jquanta.qdg.samples.prefixes import prefixes
    from jquanta.qdg.views.parameters import chosen, count

    begun = machine.start()
    usual = WORKLOADS[machine.torch_device().type, options.mode]
    workload = dataclasses.replace(usual, repeats=options.repeats or usual.repeats)
    config = pythia(workload.size)
    model = Model(config, init(config, jax.random.key(0)))
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        lengths = texts.lengths(workload.samples * TOKENS_A_SAMPLE)
        corpus = texts.synthetic(Path(scratch) / "corpus", lengths)
        random = np.random.default_rng(2)
        picked = random.choice(corpus.n_predictions, workload.samples, replace=False)
        predictions = given(corpus, picked)
        part = np.sort(random.choice(workload.samples, workload.part, replace=False))
        entries = similarity.contest(model, predictions, part, workload, Path(scratch))
    reference, vmap, ours, sketch = entries
    differences = {
        e.name: similarity.disagreement(e.cosine, ours.cosine, part) for e in (reference, vmap)
    }
    counts = clustering.counts_for(workload.clustered, workload.step)
    clusters = clustering.contest(workload.clustered, counts, RESTARTS)
    timings = tuple(similarity.timing(entry) for entry in entries)
    slow, fair, mine, _ = (t.seconds for t in timings)
    document, _ = corpus.locate(predictions.index)
    lengths = prefixes(predictions, config).lengths
    return Record(
        benchmark="qdg",
        mode=options.mode,
        notes=notes(workload, clusters),
        versions=machine.versions("transformers", "scikit-learn"),
        hardware=machine.hardware(begun),
        dtype="float32",
        workload=dataclasses.asdict(workload)
        | {
            "parameters": count(config, chosen(config)),
            "mean_document_tokens": float(np.diff(corpus.offsets)[document].mean()),
            "mean_prefix_tokens": float(lengths.mean()),
            "prefix_tokens": {
                f"{share}%": float(np.percentile(lengths, share)) for share in (0, 10, 50, 90, 100)
            },
        },
        similarity=timings,
        disagreement=differences,
        clustering=clusters,
        ratios={"reference": slow / mine, "vmap": fair / mine, "cluster": clusters.ratio},
        sketch_cosine_error=similarity.off_diagonal(sketch.cosine, ours.cosine),
    )


def notes(workload: Workload, clusters: "Clustering") -> tuple[str, ...]:
    """Remarks that a reader needs to understand the numbers."""
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


def show(record: Record, console: "Console") -> None:
    """Print the tables and the notes."""
    from rich.table import Table

    workload, clusters = record.workload, record.clustering
    mine = next(t.seconds for t in record.similarity if t.name == "ours")
    table = Table(
        title=f"similarity of {workload['samples']:,} samples, {workload['size']}, float32, "
        f"{record.hardware}"
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
    table = Table(title=f"clusters of {clusters.samples:,} samples, {record.hardware}")
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
    console.print(f"first calls of clusters took {clusters.first:.1f} s more")
    for note in record.notes:
        console.print(note)
    console.print(record.hardware.busy())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("qdg", Options, ["torch", "transformers"], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
