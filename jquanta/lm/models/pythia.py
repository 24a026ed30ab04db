"""The Pythia suite as data: sizes, parameter counts, ids on the hub, and the names before 2023."""

import re
from typing import NamedTuple

from jquanta.lm.models.config import GPTNeoXConfig


class Size(NamedTuple):
    """The shape of a size, and its numbers of parameters (paper, section 3)."""

    layers: int
    width: int
    heads: int
    vocab: int
    total: int
    """All parameters."""
    non_embedding: int
    """All but the embedding and the unembedding."""
    old_name: str | None
    """What the original (-v0) run was called before January 2023."""


PYTHIA = {
    "14m": Size(6, 128, 4, 50304, 14_067_712, 1_189_888, None),
    "31m": Size(6, 256, 8, 50304, 30_494_720, 4_739_072, None),
    "70m": Size(6, 512, 8, 50304, 70_426_624, 18_915_328, "19m"),
    "160m": Size(12, 768, 12, 50304, 162_322_944, 85_056_000, "125m"),
    "410m": Size(24, 1024, 16, 50304, 405_334_016, 302_311_424, "350m"),
    "1b": Size(16, 2048, 8, 50304, 1_011_781_632, 805_736_448, "800m"),
    "1.4b": Size(24, 2048, 16, 50304, 1_414_647_808, 1_208_602_624, "1.3b"),
    "2.8b": Size(32, 2560, 32, 50304, 2_775_208_960, 2_517_652_480, "2.7b"),
    "6.9b": Size(32, 4096, 32, 50432, 6_857_302_016, 6_444_163_072, "6.7b"),
    "12b": Size(36, 5120, 40, 50688, 11_846_072_320, 11_327_027_200, "13b"),
}

OLD_NAMES = {row.old_name: size for size, row in PYTHIA.items() if row.old_name}

STEPS = (0, *(2**i for i in range(10)), *range(1000, 144_000, 1000))
"""Checkpoints: the revision ``step{n}`` for each; -v0 models have those from 1000 on."""

_NAME = re.compile(r"(?:EleutherAI/)?pythia-(?P<size>[\d.]+[mb])(?P<deduped>-deduped)?(?P<v0>-v0)?")


def pythia(size: str) -> GPTNeoXConfig:
    """The shape of a Pythia model, such as ``pythia("70m")``. Raises KeyError for no such size."""
    row = PYTHIA[size]
    return GPTNeoXConfig(layers=row.layers, width=row.width, heads=row.heads, vocab=row.vocab)


def resolve(model_id: str) -> tuple[str, str | None]:
    """The id on the hub that a name stands for today, and a note if the name has changed.

    The suite was renamed in January 2023. Names from before, such as ``pythia-19m``, which the
    paper uses, mean the original runs, which are called ``-v0`` today. The owner ``EleutherAI/``
    may be left out. Other ids are returned as they are.
    """
    name = _NAME.fullmatch(model_id)
    if name is None or name["size"] not in PYTHIA.keys() | OLD_NAMES.keys():
        return model_id, None
    size, v0 = name["size"], name["v0"] or ""
    deduped = name["deduped"] or ""
    if size not in OLD_NAMES:
        return f"EleutherAI/pythia-{size}{deduped}{v0}", None
    today = f"EleutherAI/pythia-{OLD_NAMES[size]}{deduped}-v0"
    return today, f"{model_id} is the old name of {today}, which is loaded"
