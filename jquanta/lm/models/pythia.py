"""The Pythia suite as data: sizes, parameter counts, ids on the hub, the names before 2023, and the
seeds of PolyPythias (van der Wal et al., 2025, arXiv 2503.09543)."""

import re
from typing import NamedTuple

from jquanta.errors import BadInput
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

HALVED = ("160m-v0", "410m-v0", "1.4b-v0")
"""Models whose number of updates is half the step in the name of the revision."""

STEPS = (0, *(2**i for i in range(10)), *range(1000, 144_000, 1000))
"""Checkpoints: the revision ``step{n}`` for each; -v0 models have those from 1000 on."""

POLY_SIZES = ("14m", "31m", "70m", "160m", "410m")
"""Sizes that PolyPythias trained again, with nine further seeds each."""

POLY_SEEDS = {"seed": (POLY_SIZES, 9), "data-seed": (("160m",), 3), "weight-seed": (("160m",), 3)}
"""What a seed sets (the order of the data and the initial weights, or one of them), as in the
names: the sizes that were trained so, and how many times, numbered from 1."""

FIRST_SEED = "1234"
"""The seed of the Pythia models themselves, whose names have none (PolyPythias' model cards)."""

_NAME = re.compile(
    r"(?:EleutherAI/)?pythia-(?P<size>[\d.]+[mb])(?P<deduped>-deduped)?(?P<v0>-v0)?"
    r"(?:-(?P<kind>(?:data-|weight-)?seed)(?P<seed>\d+))?"
)


def pythia(size: str) -> GPTNeoXConfig:
    """The shape of a Pythia model, such as ``pythia("70m")``. Raises KeyError for no such size."""
    row = PYTHIA[size]
    return GPTNeoXConfig(layers=row.layers, width=row.width, heads=row.heads, vocab=row.vocab)


def resolve(model_id: str) -> tuple[str, str | None]:
    """The id on the hub that a name stands for today, and a note if the name has changed.

    The suite was renamed in January 2023. Names from before, such as ``pythia-19m``, which the
    paper uses, mean the original runs, which are called ``-v0`` today. The owner ``EleutherAI/``
    may be left out. Other ids are returned as they are.

    Raises:
        BadInput: for a seed that PolyPythias does not have, such as ``pythia-14m-seed10``.
    """
    name = _NAME.fullmatch(model_id)
    if name is None or name["size"] not in PYTHIA.keys() | OLD_NAMES.keys():
        return model_id, None
    if name["seed"] is not None and not _is_poly(name):
        raise BadInput(f"{model_id}: there is no such model; {SEEDS_THERE}")
    size, v0 = name["size"], name["v0"] or ""
    deduped = name["deduped"] or ""
    seed = f"-{name['kind']}{name['seed']}" if name["seed"] else ""
    if size not in OLD_NAMES:
        return f"EleutherAI/pythia-{size}{deduped}{v0}{seed}", None
    today = f"EleutherAI/pythia-{OLD_NAMES[size]}{deduped}-v0"
    return today, f"{model_id} is the old name of {today}, which is loaded"


SEEDS_THERE = (
    f"PolyPythias has pythia-SIZE-seed1 to -seed9 of {', '.join(POLY_SIZES)}, and -data-seed1 to "
    f"-data-seed3 and -weight-seed1 to -weight-seed3 of 160m; the run of seed {FIRST_SEED} is "
    "pythia-SIZE"
)
"""Which seeds there are, for whoever asked for another."""


def first_seed(name: str) -> str:
    """The seed of a model whose name tells none: that of the Pythia models which PolyPythias
    trained again with other seeds; empty for others, where it is not known."""
    poly = {f"{owner}pythia-{size}" for size in POLY_SIZES for owner in ("", "EleutherAI/")}
    return FIRST_SEED if name in poly else ""


def is_pythia(name: str) -> bool:
    """Whether a name (an id on the hub, or that of a folder) is that of a Pythia model."""
    return _canonical(name) is not None


def is_halved(name: str) -> bool:
    """Whether a model's number of updates is half the step in the names of its revisions."""
    return _canonical(name) in HALVED


def _canonical(name: str) -> str | None:
    """A Pythia model's name of today, without ``EleutherAI/pythia-``; None for other names."""
    try:
        found = resolve(name)[0]
    except BadInput:
        return None
    owner = "EleutherAI/pythia-"
    return found.removeprefix(owner) if found.startswith(owner) else None


def _is_poly(name: re.Match[str]) -> bool:
    """Whether PolyPythias has this seed."""
    sizes, count = POLY_SEEDS[name["kind"]]
    seeds = {str(seed) for seed in range(1, count + 1)}
    plain = not (name["deduped"] or name["v0"])
    return plain and name["size"] in sizes and name["seed"] in seeds
