"""What a QDG run would do, before it does it: stage by stage, here and on a card.

Needs the shape of the model only, its ``config.json``. Corpus, losses and samples are taken as they
are where they are there; else they are assumed as the configuration has them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.column import read_column
from jquanta.lm.losses.job import Job, open_checkpoint
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.models import cut
from jquanta.lm.models.config import COPIED, CUT, LMConfig
from jquanta.lm.models.network import count
from jquanta.lm.weights.load import read_config
from jquanta.lm.weights.sources import open_source
from jquanta.machine.computer import H200, Computer, here
from jquanta.qdg import estimate
from jquanta.qdg.clusters.cluster import STORE
from jquanta.qdg.config import GIVEN, SPHERICAL, QDGConfig, load_qdg
from jquanta.qdg.cosines.features import FEATURES
from jquanta.qdg.cosines.given import read_rows
from jquanta.qdg.cosines.similarity import SIMILARITY
from jquanta.qdg.estimate import Stage
from jquanta.qdg.pipeline import anchored, named, selected
from jquanta.qdg.results import PAGE
from jquanta.qdg.samples.predictions import SELECTION, Predictions, open_selection
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.stored import configured
from jquanta.run.files import as_path
from jquanta.run.progress import duration
from jquanta.run.settings import parse_bytes

TOKENS_A_SECOND = 5e5
"""That a corpus is built with: a tokenizer on two cores."""

SELECTED_A_SECOND = 5e6
"""Predictions that are looked at a second, induction included."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is known before a run begins.

    Attributes:
        config: of the run.
        shape: of the model whose quanta are looked for.
        predictions: [documents] of each document.
        missing: the shapes of the models whose losses are to be computed.
        lengths: [Q] tokens of each sample's prefix.
        notes: what is assumed, in lines.
        there: names of stages that are finished.
    """

    config: QDGConfig
    shape: LMConfig
    predictions: NDArray[np.int64]
    missing: Sequence[LMConfig]
    lengths: NDArray[np.int64]
    notes: Sequence[str]
    there: frozenset[str]


@dataclass(frozen=True, eq=False)
class Plan:
    """The stages of a run on some computers.

    Attributes:
        inputs: what they follow from.
        stages: for each computer, or why the run does not fit there.
    """

    inputs: Inputs
    stages: Sequence[tuple[Computer, Sequence[Stage] | str]]

    def __str__(self) -> str:
        inputs = self.inputs
        size = count(inputs.shape)[1]
        lines = [
            f"{inputs.config.name}: {len(inputs.lengths):,} samples of {inputs.config.input.model} "
            f"({size:,} parameters without embeddings)",
            *(f"  {note}" for note in inputs.notes),
        ]
        for computer, stages in self.stages:
            lines += ["", _title(computer)]
            if computer.devices > 1 and _placed(inputs, computer) == CUT:
                held = "float32", computer.memory, computer.devices
                lines.append(f"  {cut.described(inputs.shape, *held)}")
            lines += [f"  {stages}"] if isinstance(stages, str) else _table(stages, inputs.there)
        return "\n".join(lines)


def plan(
    config: QDGConfig | Mapping[str, Any] | Path | str | None = None,
    out: Path | str | None = None,
    *,
    mini: bool = False,
    computers: Sequence[Computer] | None = None,
) -> Plan:
    """What ``run`` with the same arguments would do, and what that would take. Writes nothing.

    Args:
        config, out, mini: as for ``run``.
        computers: for which; the local devices, whose rates are measured now, and an H200 by
            default.

    Raises:
        BadInput: for a wrong configuration, or parts that do not go together.
        RunFailed: if the model's shape is on the hub, which cannot be reached.
    """
    if not isinstance(config, QDGConfig):
        config = load_qdg(config, mini=mini)
    config = dataclasses.replace(config, input=anchored(config.input))
    inputs = found(config, Path("runs") / config.name if out is None else as_path(out))
    computers = (here(), H200) if computers is None else computers
    return Plan(inputs, [(computer, _stages(inputs, computer)) for computer in computers])


def found(config: QDGConfig, out: Path) -> Inputs:
    """What is known before the run begins."""
    wanted = config.input
    shapes = [
        read_config(open_source(model, revision or None))
        for model, revision in ((wanted.model, wanted.revision), *map(named, wanted.others))
    ]
    path, notes, there = Path(wanted.corpus), [], set[str]()
    corpus = open_corpus(path) if path.exists() else None
    if corpus is None:
        predictions = _assumed(config)
        notes.append(
            f"no corpus yet: {len(predictions):,} documents of {wanted.max_length:,} tokens assumed"
        )
        missing: Sequence[LMConfig] = shapes
    else:
        there.add("corpus")
        predictions = np.diff(corpus.starts)
        missing = _missing(config, corpus, shapes)
    if not missing:
        there.add("losses")
    if (out / SELECTION).exists():
        there.add("selection")
    likeness = SIMILARITY if config.cluster.has_matrix else FEATURES
    names = {"similarity": likeness, "clusters": STORE, "page": PAGE}
    there |= {name for name, file in names.items() if (out / file).exists()}
    lengths, note = _samples(config, out, corpus, shapes[0], predictions, bool(missing))
    return Inputs(
        config, shapes[0], predictions, missing, lengths, [*notes, note], frozenset(there)
    )


def _assumed(config: QDGConfig) -> NDArray[np.int64]:
    """Predictions of each document of a corpus that is not there."""
    each = max(1, config.input.max_length - 1)
    enough = -(-config.select.count * config.select.stride // each)
    return np.full(config.input.documents or enough, each, np.int64)


def _missing(config: QDGConfig, corpus: Corpus, shapes: Sequence[LMConfig]) -> list[LMConfig]:
    """The shapes of the models whose losses are not finished."""
    wanted = config.input
    models = ((wanted.model, wanted.revision), *map(named, wanted.others))
    checkpoints = [open_checkpoint(model, revision or None, corpus) for model, revision in models]
    job = Job(corpus, tuple(checkpoints), Path(wanted.losses), "float32")
    return [
        shape
        for checkpoint, shape in zip(checkpoints, shapes, strict=True)
        if "finished" not in (read_column(job.column(checkpoint)) or {})
    ]


def _samples(
    config: QDGConfig,
    out: Path,
    corpus: Corpus | None,
    shape: LMConfig,
    predictions: NDArray[np.int64],
    missing: bool,
) -> tuple[NDArray[np.int64], str]:
    """Tokens of the samples' prefixes, and how they are known."""
    chosen: Predictions | None = None
    if corpus is not None and (out / SELECTION).exists():
        chosen, how = open_selection(out, corpus), "as they were selected"
    elif corpus is not None and config.input.samples:
        chosen, how = open_selection(config.input.samples, corpus), "as in input.samples"
    elif corpus is not None and not missing:
        wanted = config.input
        label = open_checkpoint(wanted.model, wanted.revision or None, corpus).label
        chosen = selected(config, corpus, open_losses(Path(wanted.losses)), label)
        how = "as the losses that are there select them"
    if chosen is not None:
        lengths = prefixes(chosen, shape).lengths
    else:
        # Predictions at equal distances: the prefixes are as long as those of any predictions.
        ends = np.cumsum(predictions)
        samples = min(config.select.count, -(-int(ends[-1]) // config.select.stride))
        index = np.linspace(0, ends[-1] - 1, samples).astype(np.int64)
        document = np.searchsorted(ends, index, side="right")
        lengths = index - (ends - predictions)[document] + 1
        how = "as many as there may be at most, at equal distances in the corpus: no losses yet"
    return lengths, (
        f"prefixes of {lengths.min():,} to {lengths.max():,} tokens, {lengths.mean():,.0f} in the "
        f"mean, {how}"
    )


def _stages(inputs: Inputs, computer: Computer) -> Sequence[Stage] | str:
    """All stages on a computer, those that are finished included; or why it does not work."""
    config, similar = inputs.config, inputs.config.similarity
    samples, total = len(inputs.lengths), int(inputs.predictions.sum())
    stages = [
        Stage(
            "corpus",
            f"{len(inputs.predictions):,} documents of {total:,} predictions",
            seconds=total / TOKENS_A_SECOND,
            disk=4.0 * total,
        ),
        estimate.losses(inputs.missing, inputs.predictions, computer, similar.placement or None),
        Stage("selection", f"{samples:,} of them", seconds=total / SELECTED_A_SECOND),
    ]
    memory = parse_bytes(similar.memory, "similarity.memory =") if similar.memory else None
    counts, wanted = config.cluster.counts_of(samples), config.cluster
    if similar.mode == GIVEN:
        numbers = read_rows(Path(config.input.features)).shape[1]
        stages.append(estimate.given(samples, numbers, wanted.has_matrix, computer))
        stages += _clusters(config, samples, numbers, counts, computer)
        return [*stages, _page(config, samples, computer)]
    view = configured(similar)
    placement = _placed(inputs, computer)
    if wanted.has_matrix:
        try:
            stages += estimate.similarity(
                view,
                inputs.lengths,
                inputs.shape,
                computer,
                dtype=similar.dtype,
                absolute=similar.absolute,
                memory=memory,
                placement=placement,
            )
        except BadInput as error:
            return f"does not fit: {error}"
    else:
        stages.append(estimate.features(view, inputs.lengths, inputs.shape, computer, placement))
    numbers = view.cost(inputs.shape).numbers
    stages += _clusters(config, samples, numbers, counts, computer)
    return [*stages, _page(config, samples, computer)]


def _clusters(
    config: QDGConfig, samples: int, numbers: int, counts: Sequence[int], computer: Computer
) -> Sequence[Stage]:
    """Clustering by the method that is wanted, of vectors of so many numbers or of a matrix."""
    wanted = config.cluster
    if wanted.has_matrix:
        return estimate.clusters(samples, counts, wanted.n_init, computer)
    if wanted.method == SPHERICAL:
        return [estimate.spherical(samples, numbers, counts, wanted.n_init, computer)]
    near = wanted.neighbours
    return estimate.neighbours(samples, numbers, counts, wanted.n_init, near, computer)


def _page(config: QDGConfig, samples: int, computer: Computer) -> Stage:
    tokens = config.page.before + config.page.after
    return estimate.page(samples, tokens, config.cluster.has_matrix, computer)


def _placed(inputs: Inputs, computer: Computer) -> str:
    """Where the model's parameters lie on a computer."""
    similar = inputs.config.similarity
    if similar.mode == GIVEN:  # no gradient is made
        return similar.placement or COPIED
    view = configured(similar)
    return similar.placement or estimate.placement_on(view, inputs.lengths, inputs.shape, computer)


PARTS = {"gradients": "similarity", "activations": "similarity", "products": "similarity"}
PARTS |= dict.fromkeys(("neighbours", "embedding", "k-means"), "clusters")
"""Of which stored stage a row of the table is a part."""


def _title(computer: Computer) -> str:
    """A computer in a line."""
    return (
        f"{computer.name}: {_rate(computer.single)} in float32, {_bytes(computer.memory)} to use"
        f"{' on each' * (computer.devices > 1)}; {computer.measured}"
    )


def _table(stages: Sequence[Stage], there: frozenset[str]) -> list[str]:
    """Stages in lines, and their sum."""
    lines, left = [_line("stage", f"{'time':>7} {'memory':>9} {'disk':>8}", "what is done")], []
    for stage in stages:
        done = PARTS.get(stage.name, stage.name) in there
        if not done:
            left.append(stage)
        lines.append(_line(stage.name, f"{'there':>7}" if done else _took(stage), stage.work))
    seconds = sum(stage.seconds for stage in left)
    compiling = sum(stage.compiling for stage in left)
    programs = sum(stage.programs for stage in left)
    memory, disk = max((s.memory for s in left), default=0.0), sum(s.disk for s in left)
    words = f"and {duration(compiling)} to compile {programs} programs, once" if programs else ""
    return [*lines, _line("all", _took(Stage("", "", seconds, memory=memory, disk=disk)), words)]


def _line(name: str, took: str, words: str) -> str:
    return f"  {name:11} {took:26}  {words}"


def _took(stage: Stage) -> str:
    """Time, memory and disk."""
    memory = _bytes(stage.memory) if stage.memory else "-"
    disk = _bytes(stage.disk) if stage.disk else "-"
    return f"{duration(max(stage.seconds, 1)):>7} {memory:>9} {disk:>8}"


def _rate(operations: float) -> str:
    return (
        f"{operations / 1e12:,.0f} Tflop/s"
        if operations >= 1e13
        else f"{operations / 1e9:,.0f} Gflop/s"
    )


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"
