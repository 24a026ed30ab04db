"""The corpus folder: which files it has and what ``meta.json`` says (contract.md)."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jquanta.errors import BadInput

SCHEMA_VERSION = 1

TOKENS = "tokens.npy"
OFFSETS = "offsets.npy"
TOKENIZER = "tokenizer.json"
META = "meta.json"

OFFSET_DTYPE = np.dtype("<i8")


@dataclass(frozen=True)
class Recipe:
    """What a corpus is made from: equal recipes give equal corpora.

    Attributes:
        source: sha256 of the source.
        tokenizer: sha256 of the tokenizer's ``tokenizer.json``.
        max_length: tokens that documents are cut to.
        limit: how many of the source's documents are taken, or None for all.
        long: what becomes of a document beyond ``max_length``: ``cut`` keeps its head, ``split``
            makes several documents of it.
    """

    source: str
    tokenizer: str
    max_length: int
    limit: int | None
    long: str = "cut"

    def differences(self, other: "Recipe") -> str:
        """In which fields two recipes differ, in words."""
        return ", ".join(
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        )


@dataclass(frozen=True)
class Meta:
    """The content of ``meta.json``.

    Attributes:
        schema: version of this layout.
        jquanta: version that built the corpus.
        documents, tokens, predictions: counts.
        vocab_size: one more than the tokenizer's largest token, added tokens included.
        source: name of the source file or folder.
        corpus: sha256 of ``tokens.npy`` followed by ``offsets.npy``: names the corpus downstream.
        recipe: what it was made from.
    """

    schema: int
    jquanta: str
    documents: int
    tokens: int
    predictions: int
    vocab_size: int
    source: str
    corpus: str
    recipe: Recipe

    def to_json(self) -> str:
        """As stored: hashes in a table of their own."""
        values = dataclasses.asdict(self)
        recipe = values.pop("recipe")
        hashes = {
            "source": recipe.pop("source"),
            "tokenizer": recipe.pop("tokenizer"),
            "corpus": values.pop("corpus"),
        }
        return json.dumps(values | recipe | {"sha256": hashes}, indent=2) + "\n"


def read_meta(folder: Path) -> Meta:
    """What a corpus folder says of itself. Raises ``BadInput`` if it is none or damaged."""
    path = folder / META
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA_VERSION:
            raise BadInput(
                f"{path}: schema {values['schema']}, and this jquanta reads {SCHEMA_VERSION}; "
                "build the corpus again"
            )
        hashes = values.pop("sha256")
        recipe = Recipe(
            hashes["source"],
            hashes["tokenizer"],
            values.pop("max_length"),
            values.pop("limit"),
            values.pop("long", "cut"),  # corpora from before there was a choice
        )
        return Meta(**values, corpus=hashes["corpus"], recipe=recipe)
    except OSError:
        within = " or ".join(str(path.parent) for path in sorted(folder.glob(f"corpus/*/{META}")))
        remedy = f"give {within}" if within else "build one: jquanta corpus"
        raise BadInput(f"{folder}: not a corpus (no {META}); {remedy}") from None
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: damaged; delete the folder and build the corpus again") from None


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """What holds a token: two bytes where the vocabulary fits."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def sha256_of(*paths: Path) -> str:
    """The hash of files one after the other, as ``cat FILE … | sha256sum`` gives it."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(2**20):
                digest.update(data)
    return digest.hexdigest()
