"""Similarity of gradients: ours, exact and by sketch, against two ways of torch."""

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

RIVAL_BATCHES = (1024, 4096)  # tokens of a batch of vmap; the better counts

AGREEMENT = 1e-4
"""Between cosines of the contestants, once torch's norms are divided out; 1e-6 was measured."""

NORM = 1e-3
"""Of a rival's unit rows, beyond which it is no rounding."""


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        size: of the Pythia suite.
        samples: of the similarity matrix.
        block: samples in a block of the reference algorithm.
        part: samples on which the rivals are timed; where fewer, their seconds are multiplied.
        part_block: samples in a block of these.
        repeats: passes of which medians are taken.
    """

    size: str
    samples: int
    block: int
    part: int
    part_block: int
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


def contest(
    model: "Model",
    predictions: "Predictions",
    part: "np.ndarray",
    workload: Workload,
    scratch: Path,
) -> tuple[Entry, Entry, Entry, Entry]:
    """Time reference, vmap, ours and sketch: each a first pass, then in turn."""
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
