"""A suite's configuration: TOML and flags in, frozen dataclasses out that refuse what makes no
sense. They are the single source of every field's name, default, help text and check."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tomli_w

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.run import settings
from jquanta.run.settings import MAX_SEED, knob, require, require_count

STDLIB = "stdlib"

WIDTH = 128
"""The width whose learning rate is ``train.lr``."""


MOST = {"tokens": 10**15, "context": 2**24, "batch": 2**24, "checkpoints": 64}
"""The most that a suite's training may have of each; larger numbers are mistakes."""

MOST_SEEDS = 1000
"""Of a size: each is a model, and its checkpoints, on disk."""


@dataclass(frozen=True)
class CorpusConfig:
    """What the models read, and what they are tested on."""

    source: str = knob(
        STDLIB, "stdlib (the source of Python's own library), or a SOURCE of jquanta corpus"
    )
    pattern: str = knob("*", "which files of a folder, such as '*.py'")
    field: str = knob("text", "the JSON field or parquet column that holds a document")
    tokenizer: str = knob("", "a tokenizer.json, or a model on the hub; empty: one is trained")
    vocab: int = knob(2048, "tokens of the byte-level BPE that is trained")
    test: float = knob(0.05, "share of the files or documents that is held out, about")

    def __post_init__(self) -> None:
        require(bool(self.source), "corpus.source", "''", "give stdlib, a file or a folder")
        require(0 < self.test < 1, "corpus.test", self.test, "give a share above 0 and below 1")
        require_count("corpus.vocab", self.vocab, 2**24, least=257)  # the bytes, and one more


@dataclass(frozen=True)
class TrainConfig:
    """The same tokens in the same order for every size."""

    tokens: int = knob(4_000_000, "tokens to train on, repeated ones counted; whole steps of them")
    context: int = knob(256, "tokens of a window, and the most that the models take")
    batch: int = knob(8, "windows a step")
    lr: float = knob(4e-3, f"peak learning rate at width {WIDTH}; others: · √({WIDTH} / width)")
    warmup: float = knob(0.05, "share of the steps in which the learning rate rises")
    weight_decay: float = knob(0.1, "decoupled, of matrices only (AdamW)")
    clip: float = knob(1.0, "most that the gradient's norm may be")
    checkpoints: int = knob(8, "saved models a size, each at twice the steps of the one before")
    seeds: str = knob(
        "0", 'seeds of every size, such as "0, 1, 2", trained side by side', list=True
    )

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            require_count(f"train.{name}", getattr(self, name), most)
        for name in ("lr", "clip"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, f"train.{name}", value, "give more than 0")
        decay = self.weight_decay
        require(math.isfinite(decay) and decay >= 0, "train.weight_decay", decay, "give 0 or more")
        require(0 <= self.warmup < 1, "train.warmup", self.warmup, "give a share below 1")
        require(
            self.steps >= 1,
            "train.tokens",
            self.tokens,
            f"not one step of {self.batch} windows of {self.context}; give more, or lower "
            "train.batch",
        )
        most = self.steps.bit_length()
        require(
            self.checkpoints <= most,
            "train.checkpoints",
            self.checkpoints,
            f"{self.steps} steps hold {most}, each at twice the steps of the one before; give "
            "fewer, or raise train.tokens",
        )
        seeds = self.seed_list
        require(
            0 < len(set(seeds)) == len(seeds) <= MOST_SEEDS
            and all(0 <= seed <= MAX_SEED for seed in seeds),
            "train.seeds",
            repr(self.seeds),
            f"give different whole numbers from 0 to {MAX_SEED}, at most {MOST_SEEDS} of them",
        )

    @property
    def steps(self) -> int:
        """Updates of each model."""
        return self.tokens // (self.batch * self.context)

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """Updates made at each checkpoint, evenly spaced in their logarithm, to the end."""
        return tuple(self.steps >> i for i in reversed(range(self.checkpoints)))

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds as numbers."""
        return settings.numbers("train.seeds", self.seeds)


@dataclass(frozen=True)
class ModelConfig:
    """One size."""

    layers: int
    width: int
    heads: int
    lr: float = 0.0
    """Peak learning rate; 0 for that of the rule."""
    name: str = ""
    """Empty for its parameters."""

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads"):
            GPTNeoXConfig.RANGES[name].require(name, getattr(self, name))
        require(
            math.isfinite(self.lr) and self.lr >= 0, "lr", self.lr, "give more than 0, or leave out"
        )
        require(
            self.name == "" or (self.name.replace("-", "").isalnum() and len(self.name) <= 40),
            "name",
            repr(self.name)[:60],
            "give a word of letters, digits and '-'",
        )

    @property
    def size(self) -> int:
        """Parameters without embeddings: of each block 12 matrices of D², 9 D of their biases
        and 4 D of layer norms; 2 D of the last layer norm."""
        return self.layers * (12 * self.width**2 + 13 * self.width) + 2 * self.width

    @property
    def label(self) -> str:
        """The name, or the size as in ``786k``."""
        if self.name:
            return self.name
        exponent = 2 if self.size >= 999_500 else 1
        return f"{float(f'{self.size / 1000**exponent:.3g}'):g}{'km'[exponent - 1]}"

    def network(self, vocab: int, context: int) -> GPTNeoXConfig:
        """The shape of the network. Raises ``BadInput`` for one that cannot be."""
        return GPTNeoXConfig(self.layers, self.width, self.heads, vocab, context)


SECTIONS: dict[str, type] = {"corpus": CorpusConfig, "train": TrainConfig}
MODEL = "model"
"""The list of tables that holds the sizes."""

SCHEMA = settings.Schema(
    name="suite",
    default=settings.CONFIGS / "lm" / "stdlib.toml",
    folder="configs/lm/",
    tables=SECTIONS,
    blocks=MODEL,
    block_fields={field.name: field for field in dataclasses.fields(ModelConfig)},
)


@dataclass(frozen=True)
class SuiteConfig:
    """Everything that a suite depends on.

    Attributes:
        name: of the suite, and of its default run folder.
        corpus, train: the tables.
        models: the sizes, in the order in which they are trained.
    """

    name: str
    corpus: CorpusConfig
    train: TrainConfig
    models: tuple[ModelConfig, ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise BadInput(
                "no models: write each under its own [[model]], with layers, width, heads"
            )
        labels = [model.label for model in self.models]
        for label in labels:
            if labels.count(label) > 1:
                raise BadInput(f"two models are called {label}: give one of them a name")
        for model in self.models:
            model.network(self.corpus.vocab, self.train.context)

    def lr(self, model: ModelConfig) -> float:
        """A model's peak learning rate."""
        return model.lr or self.train.lr * math.sqrt(WIDTH / model.width)

    def names(self, model: ModelConfig) -> tuple[str, ...]:
        """What the networks of a size are called: one for each seed."""
        seeds = self.train.seed_list
        one = len(seeds) == 1
        return (model.label,) if one else tuple(f"{model.label}-seed{seed}" for seed in seeds)

    def same_as(self, other: "SuiteConfig") -> bool:
        """Whether both train the same, whatever they are called."""
        return dataclasses.replace(self, name=other.name) == other

    def to_toml(self) -> str:
        """As TOML that reads back the same."""
        values = dataclasses.asdict(self)
        return tomli_w.dumps({MODEL if k == "models" else k: v for k, v in values.items()})


def load_suite(
    source: settings.Source = None,
    *,
    flags: Mapping[str, Any] | None = None,
    mini: bool = False,
) -> SuiteConfig:
    """Read and check a configuration.

    Args:
        source: path of a TOML file, its content as a mapping, or None for the embedded default:
            the source of Python's standard library.
        flags: dotted field names to values, as text or as they are.
        mini: apply the configuration's ``[mini]`` table; its ``[[mini.model]]`` blocks take the
            place of the others.

    Raises:
        BadInput: naming the file, key or field, and the remedy.
    """
    found = settings.load(SCHEMA, source, flags=flags, mini=mini)
    models = tuple(map(_model, found.blocks))
    return SuiteConfig(found.name, models=models, **SCHEMA.build(found.values))


def _model(entries: Mapping[str, Any]) -> ModelConfig:
    missing = [name for name in ("layers", "width", "heads") if name not in entries]
    if missing:
        raise BadInput(f"[[{MODEL}]]: has no {', '.join(missing)}")
    known = SCHEMA.block_fields
    return ModelConfig(**{k: settings.typed(k, known[k], value) for k, value in entries.items()})
