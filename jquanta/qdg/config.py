"""The configuration of a QDG run: which model on which corpus, and the settings of each stage."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import AFFINITIES
from jquanta.qdg.clusters.cluster import KMEANS, chosen_counts
from jquanta.qdg.samples.induction import order_of
from jquanta.run import settings
from jquanta.run.settings import MAX_SEED, knob, parse_bytes, require

DEFAULT = Path(__file__).with_name("default.toml")
"""The embedded configuration; configs/qdg/stdlib.toml is the same file."""

EXACT, SKETCH, ACTIVATIONS = MODES = ("exact", "sketch", "activations")

DTYPES = ("float32", "bfloat16")
"""In which rows of unit length are held."""


def require_one_of(choices: Iterable[str], name: str, value: str) -> None:
    """Raise ``BadInput`` unless the value is one of the choices."""
    require(value in choices, name, repr(value), f"give one of {', '.join(choices)}")


@dataclass(frozen=True)
class InputConfig:
    """The model, the corpus, and the losses of both."""

    model: str = knob("", "a model on the hub, or a folder in Hugging Face layout")
    revision: str = knob("", "of the model; a subfolder where it is a folder (empty: main)")
    corpus: str = knob("", "a corpus folder; it is built there if [input] has a source")
    losses: str = knob("", "folder of losses on the corpus; what is missing is computed there")
    also: str = settings.listed(
        "", "further models on the corpus, whose losses the page shows, too"
    )
    source: str = knob("", "what the corpus is built from; see jquanta corpus (empty: it exists)")
    tokenizer: str = knob("", "of the corpus (empty: the model's)")
    documents: int = knob(0, "documents of the source to take; 0 for all")
    max_length: int = knob(1024, "tokens that documents are cut to")

    def __post_init__(self) -> None:
        for name in ("model", "corpus", "losses"):
            value = getattr(self, name)
            require(bool(value), f"input.{name}", "''", "is missing; write it under [input]")
        require(self.documents >= 0, "input.documents", self.documents, "give 0 or more")
        require(self.max_length >= 1, "input.max_length", self.max_length, "give 1 or more")

    def at(self, place: Callable[[str], str]) -> "InputConfig":
        """The same inputs, each path of them where ``place`` puts it."""
        names = ("model", "corpus", "losses", "source", "tokenizer")
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
    induction: str = knob("trigram", "leave out what induction predicts: trigram, bigram or none")
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
            value = getattr(self, name)
            require(value >= 1, f"select.{name}", value, "give 1 or more")
        order_of(self.induction)


@dataclass(frozen=True)
class SimilarityConfig:
    """How alike two samples are."""

    mode: str = knob("exact", "exact, sketch or activations")
    parameters: str = knob("paper", "of which gradients are taken: paper, reference, or a pattern")
    absolute: bool = knob(False, "of absolute values, too, as the public code does")
    sketch_size: int = knob(16, "rows and columns that a sketch keeps of each matrix's gradient")
    memory: str = knob("", "such as '8 GB' (empty: most of what is free)")
    dtype: str = knob("float32", "in which gradients are held: float32 or bfloat16")

    def __post_init__(self) -> None:
        require_one_of(MODES, "similarity.mode", self.mode)
        require_one_of(DTYPES, "similarity.dtype", self.dtype)
        size, pattern = self.sketch_size, self.parameters
        require(size >= 1, "similarity.sketch_size", size, "give 1 or more")
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
            not (self.absolute and self.mode == SKETCH),
            "similarity.absolute",
            "true",
            "a sketch keeps no absolute values; give mode exact",
        )


@dataclass(frozen=True)
class ClusterConfig:
    """Spectral clustering for each count."""

    counts: str = settings.listed(
        "", "numbers of clusters (empty: the paper's, to a fifth of the samples)"
    )
    affinity: str = knob("angular", "angular (the paper), absolute or shifted")
    kmeans: str = knob("jax", "jax or scikit-learn")
    n_init: int = knob(30, "restarts of k-means")
    seed: int = knob(0, "of everything random")

    def __post_init__(self) -> None:
        require(self.n_init >= 1, "cluster.n_init", self.n_init, "give 1 or more")
        require(0 <= self.seed <= MAX_SEED, "cluster.seed", self.seed, f"give 0 to {MAX_SEED}")
        require_one_of(AFFINITIES, "cluster.affinity", self.affinity)
        require_one_of(KMEANS, "cluster.kmeans", self.kmeans)
        settings.numbers("cluster.counts", self.counts)

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """The counts, or None for the paper's."""
        return settings.numbers("cluster.counts", self.counts) or None


@dataclass(frozen=True)
class PageConfig:
    """The page on which a person browses the quanta."""

    before: int = knob(80, "tokens kept before the predicted one")
    after: int = knob(20, "tokens kept after it")

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            require(getattr(self, name) >= 0, f"page.{name}", getattr(self, name), "give 0 or more")


SECTIONS: dict[str, type] = {
    "input": InputConfig,
    "select": SelectConfig,
    "similarity": SimilarityConfig,
    "cluster": ClusterConfig,
    "page": PageConfig,
}
FIELDS = settings.fields_of(SECTIONS)

DEAR = [
    *(f"input.{name}" for name in ("model", "revision", "corpus", "losses")),
    *(name for name in FIELDS if name.startswith(("select.", "similarity."))),
]
DEAR.remove("similarity.memory")
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
        chosen_counts(self.cluster.chosen, self.select.count)
        require(
            self.cluster.affinity != "absolute" or self.similarity.absolute,
            "cluster.affinity",
            "'absolute'",
            "is of absolute values, which similarity.absolute = true makes; give both",
        )

    def differences(self, other: "QDGConfig") -> list[str]:
        """The fields by which both look at other samples, or in another way: what is dear to
        compute again."""
        return [name for name in DEAR if attrgetter(name)(self) != attrgetter(name)(other)]

    def to_toml(self) -> str:
        """As TOML that reads back the same."""
        import tomli_w

        return tomli_w.dumps(dataclasses.asdict(self))


def load_qdg(
    source: Path | str | Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
) -> QDGConfig:
    """Read and check a configuration.

    Args:
        source: path of a TOML file, its content as a mapping, or None for the embedded default:
            the largest model of the suite that ``jquanta pretrain`` makes.
        flags: dotted field names to values, as text or as they are.

    Raises:
        BadInput: naming the file, key or field, and the remedy.
    """
    if isinstance(source, Mapping):
        content, where = dict(source), "the configuration"
    else:
        path = Path(DEFAULT if source is None else source)
        content, where = settings.read_toml(path, "configs/qdg/"), str(path)
    name = settings.take_name(content, "quanta")
    values = settings.flatten(content, SECTIONS, FIELDS, where)
    for field, value in (flags or {}).items():
        if field not in FIELDS:
            raise settings.unknown(field, "a flag", FIELDS)
        values[field] = settings.from_text(FIELDS[field], value)
    return QDGConfig(
        name, **{part: settings.build(part, cls, values, FIELDS) for part, cls in SECTIONS.items()}
    )
