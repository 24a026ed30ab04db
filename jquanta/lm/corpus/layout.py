"""The corpus folder: its files and the content of ``meta.json``.

``tokens.npy`` holds the tokens of all documents one after another, ``offsets.npy`` where each
document begins, ``tokenizer.json`` the tokenizer, and ``meta.json`` counts, hashes and the recipe.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jquanta.errors import BadInput
from jquanta.run import kinds, parse

SCHEMA_VERSION = 1

TOKENS = "tokens.npy"
OFFSETS = "offsets.npy"
TOKENIZER = "tokenizer.json"
META = "meta.json"

OFFSET_DTYPE = np.dtype("<i8")
"""How an offset is stored: little-endian int64."""


@dataclass(frozen=True)
class Recipe:
    """The inputs of a corpus: equal recipes give corpora with equal bytes.

    Attributes:
        source: sha256 of the source.
        tokenizer: sha256 of the tokenizer's ``tokenizer.json``.
        max_length: largest number of tokens of a document.
        limit: how many documents of the source are used, or None for all.
        long: what is done with a document of more than ``max_length`` tokens: ``cut`` keeps its
            first tokens, ``split`` makes several documents of it.
        field: the JSON field or parquet column that holds a document.
    """

    source: str
    tokenizer: str
    max_length: int
    limit: int | None
    long: str = "cut"
    field: str = "text"

    def differences(self, other: "Recipe") -> str:
        """The names of the fields in which two recipes differ, separated by commas."""
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
        jquanta: version of the package that built the corpus.
        documents, tokens, predictions: how many the corpus has.
        vocab_size: one more than the tokenizer's largest token id, added tokens included.
        source: name of the source file or folder, or its URL on the hub, with the commit.
        corpus: sha256 of ``tokens.npy`` followed by ``offsets.npy``. It identifies the corpus:
            losses, gradients and clusters store it beside their results.
        recipe: what the corpus was built from.
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
        """The content of the file: the fields, with the three hashes in a table ``sha256``."""
        values = dataclasses.asdict(self)
        recipe = values.pop("recipe")
        hashes = {
            "source": recipe.pop("source"),
            "tokenizer": recipe.pop("tokenizer"),
            "corpus": values.pop("corpus"),
        }
        return json.dumps(values | recipe | {"sha256": hashes}, indent=2) + "\n"


def read_meta(folder: Path) -> Meta:
    """Read ``meta.json``. Raises ``BadInput`` if the folder is not a corpus, or is damaged."""
    path = folder / META
    remedy = "build one: jquanta corpus"
    kinds.require(folder, "corpus", remedy=remedy)
    try:
        values: dict[str, Any] = parse.read_json(path, f"{path}: damaged", "build the corpus again")
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
            values.pop("long", "cut"),  # absent in corpora that were built before ``split`` existed
            values.pop("field", "text"),  # and before a field could be named
        )
        return Meta(**values, corpus=hashes["corpus"], recipe=recipe)
    except OSError:
        if better := kinds.near(folder, "corpus"):
            remedy = f"give {better}"
        raise BadInput(f"{folder}: not a corpus (no {META}); {remedy}") from None
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: damaged; delete the folder and build the corpus again") from None


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The dtype of stored tokens: 16 bits if the vocabulary fits into them, otherwise 32."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
