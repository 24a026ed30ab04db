"""The configuration of a QDG run: which model on which corpus, and the settings of each stage."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter, index
from typing import Any

import tomli_w

from jquanta.errors import BadInput
from jquanta.lm.corpus import CUT, LONG, MAX_LENGTH
from jquanta.lm.losses import DTYPES
from jquanta.lm.models.config import PLACEMENTS
from jquanta.run import settings
from jquanta.run.settings import MAX_SEED, knob, parse_bytes, require, require_count, require_one_of

TRIGRAM, BIGRAM, NONE = INDUCTION = ("trigram", "bigram", "none")
"""What a sample may not be predicted by: an n-gram that occurred before in its document."""

EXACT, FACTORS, SKETCH, ACTIVATIONS, GIVEN = MODES = (
    "exact",
    "factors",
    "sketch",
    "activations",
    "given",
)
"""What stands for a sample: its gradient, the leading directions of it, a sketch of it, the model's
activations, or features that were made elsewhere."""

COMPACT = (SKETCH, ACTIVATIONS, GIVEN)
"""Those that are one short vector a sample."""

ANGULAR, ABSOLUTE, SHIFTED = AFFINITIES = ("angular", "absolute", "shifted")
"""How cosines become affinities, which are not negative (``clusters.affinity``)."""

SPECTRAL, NEIGHBOURS, SPHERICAL = METHODS = ("spectral", "neighbours", "spherical")
"""How samples are clustered: by a matrix of the cosines of all pairs, by the graph of nearest
neighbours, or by k-means of their features on the unit sphere."""

CONSENSUS, LOCAL = GROUPS = ("consensus", "local")
"""How groups are found without a number of clusters (``questions.groups``)."""

KMEANS = ("jax", "scikit-learn")
"""Implementations of k-means."""

MAX_PREDICTIONS = 10**12
"""More than any corpus has."""

COUNTS = (*range(10, 101, 10), *range(125, 301, 25), 350, *range(400, 1201, 100), 1400, 1500)
"""The paper's thirty numbers of clusters."""

SAMPLES_A_CLUSTER = 5
"""Where no counts are asked for, those of ``COUNTS`` above Q / 5 are left out."""

LEARNED_BELOW = 0.5
"""Nats: a cluster whose mean loss is below this is learned. The right token then has 61% of the
probability (geometric mean). Samples are chosen below 0.1 to 0.3 nats, and cost several before they
are learned."""

PARITY_BELOW = 0.01
"""Nats: predictions of sparse parity whose loss is below this are samples. The paper says "about
zero", without a number."""

REPEATS = 5
"""Other seeds, and subsets of the samples, by which the stability of clusters is measured."""

STEP = 3e-4
"""Length of a step against a cluster's mean gradient, over the length of the parameters."""

LARGEST = 20
"""So many clusters, the largest, are looked at by steps against their mean gradients."""

OTHERS = 500
"""Held-out samples of all clusters that such a step is tried on."""


@dataclass(frozen=True)
class InputConfig:
    """The model, the corpus, and the losses of both."""

    model: str = knob("", "a model on the hub, or a folder in Hugging Face layout")
    revision: str = knob(
        "",
        "of the model; a subfolder where it is a folder (empty: main, as of another --input.model)",
    )
    corpus: str = knob("", "a corpus folder; it is built there if [input] has a source")
    losses: str = knob("", "folder of losses on the corpus; what is missing is computed there")
    samples: str = knob(
        "", "a QDG run whose samples are taken; [select] is then not used (empty: select anew)"
    )
    features: str = knob(
        "", "for similarity.mode given: an array (.npy), a row of numbers for each of those samples"
    )
    also: str = knob(
        "", "further models on the corpus, whose losses the page shows, too", list=True
    )
    source: str = knob("", "what the corpus is built from; see jquanta corpus (empty: it exists)")
    tokenizer: str = knob("", "of the corpus (empty: the model's)")
    documents: int = knob(0, "documents of the source to take; 0 for all")
    max_length: int = knob(MAX_LENGTH, "tokens that documents are cut to")
    long: str = knob(
        CUT, f"what becomes of longer documents, as of jquanta corpus: {', '.join(LONG)}"
    )

    def __post_init__(self) -> None:
        for name in ("model", "corpus", "losses"):
            value = getattr(self, name)
            require(bool(value), f"input.{name}", "''", "is missing; write it under [input]")
        require_count("input.documents", self.documents, MAX_PREDICTIONS, least=0)
        require_count("input.max_length", self.max_length, MAX_PREDICTIONS)
        require_one_of(LONG, "input.long", self.long)

    def at(self, place: Callable[[str], str]) -> "InputConfig":
        """The same inputs, each path of them where ``place`` puts it."""
        names = ("model", "corpus", "losses", "samples", "features", "source", "tokenizer")
        also = (re.sub(r"^[^@]+", lambda path: place(path[0]), word) for word in self.others)
        places: Any = {name: place(getattr(self, name)) for name in names}
        return dataclasses.replace(self, **places, also=", ".join(also))

    @property
    def others(self) -> list[str]:
        """The further models, ``model@revision`` each."""
        return [word.strip() for word in self.also.split(",") if word.strip()]


@dataclass(frozen=True)
class SelectConfig:
    """Which predictions are samples (paper, section 4)."""

    threshold: float = knob(0.1, "nats: the model's loss is below this")
    induction: str = knob(TRIGRAM, f"leave out what induction predicts: {', '.join(INDUCTION)}")
    stride: int = knob(50, "of those that pass, take every so many-th")
    count: int = knob(10_000, "samples at most")
    newly_model: str = knob("", "take only what this column of the losses had not learned")
    newly_above: float = knob(1.0, "nats: its loss is above this")

    def __post_init__(self) -> None:
        for name in ("threshold", "newly_above"):
            value = getattr(self, name)
            require(
                math.isfinite(value) and value > 0, f"select.{name}", value, "give nats above 0"
            )
        for name in ("stride", "count"):
            require_count(f"select.{name}", getattr(self, name), MAX_PREDICTIONS)
        require_one_of(INDUCTION, "select.induction", self.induction)


@dataclass(frozen=True)
class SimilarityConfig:
    """How alike two samples are."""

    mode: str = knob(EXACT, ", ".join(MODES))
    parameters: str = knob("paper", "of which gradients are taken: paper, reference, or a pattern")
    absolute: bool = knob(False, "of absolute values, too, as the public code does")
    rank: int = knob(16, "of factors: directions that are kept of each matrix's gradient")
    tolerance: float = knob(
        0.05, "of factors: a gradient that loses more of its squared length is kept whole"
    )
    sketch_size: int = knob(16, "rows and columns that a sketch keeps of each matrix's gradient")
    memory: str = knob("", "such as '8 GB' (empty: most of what is free)")
    dtype: str = knob(DTYPES[0], f"in which gradients are held: {', '.join(DTYPES)}")
    placement: str = knob(
        "",
        "of the model's parameters, for losses too: copied to each device, or cut into equal "
        "shares (empty: cut where a copy does not fit)",
    )

    def __post_init__(self) -> None:
        require_one_of(MODES, "similarity.mode", self.mode)
        require_one_of(("", *PLACEMENTS), "similarity.placement", self.placement)
        require_one_of(DTYPES, "similarity.dtype", self.dtype)
        size, pattern = self.sketch_size, self.parameters
        require_count("similarity.sketch_size", size, 2**15)
        require_count("similarity.rank", self.rank, 2**15)
        share, remedy = self.tolerance, "give a share from 0 to 1"
        require(0 <= share <= 1, "similarity.tolerance", share, remedy)
        require(bool(pattern), "similarity.parameters", "''", "give paper, reference or a pattern")
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadInput(
                f"similarity.parameters = {pattern!r}: no regular expression ({error})"
            ) from None
        if self.memory:
            parse_bytes(self.memory, "similarity.memory =")
        require(
            not (self.absolute and self.mode in (SKETCH, GIVEN)),
            "similarity.absolute",
            "true",
            f"there are no absolute values in mode {self.mode}; give mode exact",
        )


@dataclass(frozen=True)
class ClusterConfig:
    """Clustering for each count."""

    counts: str = knob(
        "", "numbers of clusters (empty: the paper's, to a fifth of the samples)", list=True
    )
    method: str = knob(
        SPECTRAL,
        "spectral: the paper's, with a matrix of all pairs, to 20,000 samples; without a matrix, "
        "of sketches or activations: neighbours (spectral clustering of the graph of nearest "
        "neighbours), spherical (k-means of the unit vectors: quick, thousands of clusters)",
    )
    neighbours: int = knob(50, "for method neighbours: nearest others that a sample is joined to")
    affinity: str = knob(ANGULAR, f"of cosines: {', '.join(AFFINITIES)} (angular: the paper's)")
    kmeans: str = knob(KMEANS[0], f"implementation: {', '.join(KMEANS)}")
    n_init: int = knob(30, "restarts of k-means (spherical: 1 or 2 do for 100,000 samples)")
    seed: int = knob(0, "of everything random")

    def __post_init__(self) -> None:
        require_count("cluster.n_init", self.n_init, 10_000)
        require(0 <= self.seed <= MAX_SEED, "cluster.seed", self.seed, f"give 0 to {MAX_SEED}")
        require_one_of(AFFINITIES, "cluster.affinity", self.affinity)
        require_one_of(KMEANS, "cluster.kmeans", self.kmeans)
        require_one_of(METHODS, "cluster.method", self.method)
        require_count("cluster.neighbours", self.neighbours, MAX_PREDICTIONS)
        require(
            self.method == SPECTRAL or self.affinity == ANGULAR,
            "cluster.affinity",
            f"{self.affinity!r}",
            f"is of a matrix of all pairs, and method {self.method} has none; leave it angular",
        )
        require(
            self.method != SPHERICAL or self.kmeans == KMEANS[0],
            "cluster.kmeans",
            f"{self.kmeans!r}",
            f"has no spherical k-means; give {KMEANS[0]}",
        )
        settings.numbers("cluster.counts", self.counts)

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """The counts, or None for the paper's."""
        return settings.numbers("cluster.counts", self.counts) or None

    @property
    def has_matrix(self) -> bool:
        """Whether a matrix of all pairs is made; else features are stored."""
        return self.method == SPECTRAL

    def counts_of(self, samples: int) -> list[int]:
        """The counts into which so many samples are clustered.

        Raises:
            BadInput: for too few samples, or neighbours.
        """
        counts = chosen_counts(self.chosen, samples)
        require(
            self.method != NEIGHBOURS or self.neighbours < samples,
            "cluster.neighbours",
            self.neighbours,
            f"there are {samples:,} samples; give 1 to {samples - 1:,}",
        )
        return counts


@dataclass(frozen=True)
class PageConfig:
    """The page on which a person browses the quanta."""

    before: int = knob(80, "tokens kept before the predicted one")
    after: int = knob(20, "tokens kept after it")

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            require_count(f"page.{name}", getattr(self, name), 100_000, least=0)


def chosen_counts(counts: Any, samples: int) -> list[int]:
    """The counts into which so many samples are clustered. For None: those of ``COUNTS`` with at
    least ``SAMPLES_A_CLUSTER`` samples a cluster on average.

    Raises:
        BadInput: for counts that are not positive, ascending and below ``samples``, or for too few
            samples.
    """
    if counts is None:
        fitting = [count for count in COUNTS if count <= samples // SAMPLES_A_CLUSTER]
        if not fitting:
            raise BadInput(
                f"{samples} samples are too few for the paper's counts, {COUNTS[0]} to "
                f"{COUNTS[-1]}, of at least {SAMPLES_A_CLUSTER} samples a cluster; give counts, or "
                "more samples"
            )
        return fitting
    try:
        chosen = [index(one) for one in (counts if isinstance(counts, Iterable) else [counts])]
    except TypeError:
        raise BadInput(f"counts = {counts!r}: give whole numbers, such as [10, 400]") from None
    if not chosen or chosen != sorted(set(chosen)) or chosen[0] < 1:
        raise BadInput("counts: give one or more, positive, ascending and different")
    if chosen[-1] >= samples:
        raise BadInput(
            f"counts: {chosen[-1]} clusters of {samples} samples; give counts below {samples}"
        )
    return chosen


SECTIONS: dict[str, type] = {
    "input": InputConfig,
    "select": SelectConfig,
    "similarity": SimilarityConfig,
    "cluster": ClusterConfig,
    "page": PageConfig,
}
SCHEMA = settings.Schema(
    name="quanta",
    default=settings.CONFIGS / "qdg" / "stdlib.toml",
    folder="configs/qdg/",
    tables=SECTIONS,
)

EXPENSIVE = [
    *(f"input.{name}" for name in ("model", "revision", "corpus", "losses", "samples", "features")),
    *(name for name in SCHEMA.fields if name.startswith(("select.", "similarity."))),
]
for _name in ("similarity.memory", "similarity.placement"):
    EXPENSIVE.remove(_name)
"""What samples and their similarity depend on; the rest of [input] is seen by the corpus' hash."""


@dataclass(frozen=True)
class QDGConfig:
    """Everything that a QDG run depends on."""

    name: str
    input: InputConfig
    select: SelectConfig
    similarity: SimilarityConfig
    cluster: ClusterConfig
    page: PageConfig

    def __post_init__(self) -> None:
        self.cluster.counts_of(self.select.count)
        require(
            self.cluster.affinity != "absolute" or self.similarity.absolute,
            "cluster.affinity",
            "'absolute'",
            "is of absolute values, which similarity.absolute = true makes; give both",
        )
        has_matrix, mode = self.cluster.has_matrix, self.similarity.mode
        require(
            has_matrix or mode in COMPACT,
            "cluster.method",
            f"{self.cluster.method!r}",
            f"takes one short vector a sample, and those of mode {mode} are as long as gradients; "
            "give similarity.mode = 'sketch' (or 'activations')",
        )
        features, samples = self.input.features, self.input.samples
        require(
            (mode == GIVEN) == bool(features),
            "input.features",
            f"{features!r}",
            "an array goes with similarity.mode = 'given', and that mode with an array; give both",
        )
        require(
            mode != GIVEN or bool(samples),
            "input.samples",
            "''",
            "says of which samples the rows of input.features are; give the folder of a QDG run",
        )
        require(
            has_matrix or not self.similarity.absolute,
            "similarity.absolute",
            "true",
            f"is of a matrix of all pairs, and method {self.cluster.method} has none; leave it out",
        )

    def differences(self, other: "QDGConfig") -> list[str]:
        """The fields that differ, of those after which gradients would have to be computed anew,
        which is expensive."""
        names = [name for name in EXPENSIVE if attrgetter(name)(self) != attrgetter(name)(other)]
        stage = self.cluster.has_matrix != other.cluster.has_matrix
        return [*names, *["cluster.method"] * stage]

    def to_toml(self) -> str:
        """As TOML that reads back the same."""
        return tomli_w.dumps(dataclasses.asdict(self))


def load_qdg(
    source: settings.Source = None,
    *,
    flags: Mapping[str, Any] | None = None,
    mini: bool = False,
) -> QDGConfig:
    """Read and check a configuration.

    Args:
        source: path of a TOML file, its content as a mapping, or None for the embedded default:
            the largest model of the suite that ``jquanta pretrain`` makes.
        flags: dotted field names to values, as text or as they are. With another model the revision
            is its main one, unless that is given, too.
        mini: apply the configuration's ``[mini]`` table.

    Raises:
        BadInput: naming the file, key or field, and the remedy.
    """
    flags = dict(flags or {})
    if "input.model" in flags:  # the configuration's revision is one of its own model
        flags.setdefault("input.revision", "")
    found = settings.load(SCHEMA, source, flags=flags, mini=mini)
    return QDGConfig(found.name, **SCHEMA.build(found.values))
