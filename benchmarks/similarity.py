"""Similarity of gradients: ours, exact and by sketches, and two implementations in torch."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import say
from benchmarks.stopwatch import timed
from jquanta.errors import RunFailed

if TYPE_CHECKING:
    import numpy as np

    from jquanta.lm.models.model import Model
    from jquanta.qdg.samples.predictions import Predictions
    from jquanta.qdg.views.view import View

RIVAL_BATCHES = (1024, 4096)  # tokens in a batch of vmap; the faster of the two counts

AGREEMENT = 1e-4
"""Largest accepted difference between the cosines of contestants, after correcting torch's norms;
the largest that was measured is 1e-6."""

NORM = 1e-3
"""Largest accepted deviation from 1 of the norms of a rival's unit vectors, for rounding."""


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        size: of the Pythia suite.
        samples: Q, number of samples of the similarity matrix.
        block: samples in a block of the reference algorithm.
        part: samples on which the rivals are timed. If these are fewer than ``samples``, their
            seconds are extrapolated by a factor.
        part_block: samples in a block when the reference is timed on the part.
        repeats: passes of which the median is taken.
    """

    size: str
    samples: int
    block: int
    part: int
    part_block: int
    repeats: int

    @property
    def reference_factor(self) -> float:
        """Gradients that the reference computes for all samples, divided by those for the part."""
        from benchmarks.torch_gradients import passes

        return passes(self.samples, self.block) / passes(self.part, self.part_block)

    @property
    def vmap_factor(self) -> float:
        """The same for an algorithm that computes each gradient once."""
        return self.samples / self.part


@dataclass
class Entry:
    """A contestant for similarity. The constructor makes a first pass, which compiles.

    Attributes:
        name: reference, vmap, ours or sketch.
        variant: how it was run, where there was a choice.
        solve: makes a pass; returns the seconds that count, and the cosines.
        factor: by which the seconds are multiplied to get those of the whole matrix.
        first: seconds of the first pass.
        cosine: [Q, Q] cosines of the last pass.
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
        """Seconds of one pass."""
        seconds, self.cosine = self.solve()
        return seconds


@dataclass(frozen=True)
class Timing:
    """The result of one contestant for similarity.

    Attributes:
        name: reference, vmap, ours or sketch.
        variant: how it was run.
        seconds: for the whole matrix: the median of the samples times ``factor``.
        samples: seconds of each pass.
        factor: 1 unless only a part was timed.
        first: seconds of the pass before them, which includes compiling; None where nothing is
            compiled and the only pass is the sample.
    """

    name: str
    variant: str
    seconds: float
    samples: tuple[float, ...]
    factor: float
    first: float | None


def contest(
    model: "Model",
    predictions: "Predictions",
    part: "np.ndarray",
    workload: Workload,
    scratch: Path,
) -> tuple[Entry, Entry, Entry, Entry]:
    """Time reference, vmap, ours and sketch: a first pass of each, then in turn.

    The reference, which compiles nothing and takes longest, makes a single pass.

    Args:
        config, params: the model.
        corpus, selection: the predictions whose gradients are taken.
        part: numbers of the samples on which the rivals are timed.
        workload: how much is computed.
        scratch: a folder for the rivals' model.
    """
    from benchmarks.torch_gradients import Once, PerSample, Reference, blockwise, names
    from benchmarks.torch_losses import Rival
    from jquanta.qdg.cosines.similarity import similarity
    from jquanta.qdg.samples.prefixes import prefixes
    from jquanta.qdg.views.gradient import Gradients
    from jquanta.qdg.views.sketch import Sketch

    theirs = Rival(model.config, model.params, scratch / "model").model
    wanted, few = names(model.config), predictions.at(part)

    def as_the_public_code() -> "tuple[float, np.ndarray]":
        gradients = Reference(theirs, few.corpus, few.index, wanted)
        gradients(range(1))  # warm
        once = Once(gradients)
        seconds, cosine = timed(partial(blockwise, once, workload.part, workload.part_block))
        # Each block's gradients were computed once, but the algorithm computes them again for every
        # pair of blocks: that time is added.
        return seconds - once.spent + once.asked, cosine.numpy()

    def ours(view: "View") -> "tuple[float, np.ndarray]":
        call = partial(similarity, model, predictions, view)
        return timed(lambda: call().cosine.to_numpy())

    say(f"{workload.size}: the reference, {workload.part} gradients")
    reference = Entry("reference", "", as_the_public_code, workload.reference_factor)
    own = prefixes(few, model.config)
    say(f"{workload.size}: first passes of the others")
    per_sample = PerSample(theirs, wanted)
    vmap = min(
        (
            Entry(
                "vmap",
                f"{tokens} tokens",
                partial(timed, partial(per_sample.cosines, own, tokens)),
                workload.vmap_factor,
            )
            for tokens in RIVAL_BATCHES
        ),
        key=lambda entry: entry.first,
    )
    others = (
        vmap,
        Entry("ours", "exact", partial(ours, Gradients())),
        Entry("sketch", "", partial(ours, Sketch())),
    )
    for number in range(workload.repeats):
        say(f"{workload.size}: round {number + 1} of {workload.repeats}")
        for entry in others:
            entry.seconds.append(entry.pass_())
    return reference, *others


def timing(entry: Entry) -> Timing:
    """The result of a contestant, extrapolated to the whole matrix."""
    samples = tuple(entry.seconds) or (entry.first,)
    first = entry.first if entry.seconds else None
    seconds = entry.factor * statistics.median(samples)
    return Timing(entry.name, entry.variant, seconds, samples, entry.factor, first)


def disagreement(theirs: "np.ndarray", ours: "np.ndarray", part: "np.ndarray") -> float:
    """The largest difference between a rival's cosines and ours.

    torch sums the squares of 10^6 float32 numbers with a relative error of 1e-4, so the cosine of a
    sample with itself is not exactly 1. The rival's cosines are divided by these norms first.

    Args:
        theirs: [q, q] cosines of the part.
        ours: [Q, Q] cosines of all samples.
        part: [q] numbers of the samples of the part.

    Raises:
        RunFailed: if the difference is larger than rounding can explain.
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
    """Root mean square difference of two matrices [Q, Q], without their diagonals."""
    import numpy as np

    difference = (one - other).astype(np.float64)[~np.eye(len(one), dtype=bool)]
    return float(np.sqrt(np.mean(difference**2)))
