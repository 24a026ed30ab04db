"""Gradients kept small: of each kernel's gradient the leading directions only.

A gradient is made as ``Gradients`` makes it, and where it is made each kernel's is put in place of
two thin factors (``lowrank``). They take a tenth of the room or less, and panels of whole gradients
are built from them again by products of 2·r·n_in·n_out operations (``kept``).

Of the last block only the prediction's position goes through queries, the attention's output and
the MLP. The gradients of these kernels are outer products of two vectors: one direction holds all.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jquanta.errors import BadInput
from jquanta.lm.models.config import CUT, LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import shapes
from jquanta.qdg.views import layered
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.lowrank import HIGHEST, LowRank, factored
from jquanta.qdg.views.parameters import PAPER, as_attribute, as_option, chosen, count
from jquanta.qdg.views.ranks import ranks_of
from jquanta.qdg.views.view import Cost, Function, OneSample

RANK = 16
"""Directions that are kept of a kernel's gradient, by default."""

TOLERANCE = 0.05
"""The share of a gradient's squared length that may be lost, by default. The largest errors of
cosines are about as large as this share, typical ones a tenth of it."""


@dataclass(frozen=True)
class Factors:
    """Gradients of which each kernel's r leading directions are kept, so that each is made once,
    however many samples there are. Little is lost: how much is measured for each sample, and those
    that lose too much are kept whole.

    Attributes:
        parameters: of the gradient, as for ``Gradients``.
        rank: r, the directions kept of a kernel's gradient. Kernels for which as many take no less
            room than the gradient itself, and biases, are kept whole.
        seed: of the random numbers by which directions are found.
        tolerance: the largest share of a gradient's squared length that may be lost; gradients that
            lose more are made again, whole.
    """

    mode: ClassVar[str] = "factors"
    what: ClassVar[str] = "gradients"
    has_absolute: ClassVar[bool] = True

    parameters: str | Sequence[str] = PAPER
    rank: int = RANK
    seed: int = 0
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise BadInput(f"rank = {self.rank}: give 1 or more")
        if not 0 <= self.tolerance <= 1:
            raise BadInput(f"tolerance = {self.tolerance}: give a share from 0 to 1")

    @property
    def exact(self) -> Gradients:
        """The gradients that these stand for."""
        return Gradients(self.parameters)

    def function(self, model: Model) -> Function:
        """See ``View``: of each parameter, or of those that a loop stacks, a ``LowRank`` or an
        array."""
        found = self.measured(model)
        return found._replace(one=_rows_only(found.one))

    def measured(self, model: Model) -> Function:
        """``function``, and what is lost: its trees are ``Factored``."""
        config, whole = model.config, self.exact.function(model)
        names = chosen(config, self.parameters)
        ranks = ranks_of(config, names, self.rank)
        probes = probes_for(config, names, self.rank, self.seed)
        if model.placement == CUT:
            return whole._replace(
                one=_layered(config, names, tuple(ranks.items())),
                constants=(model.shares, probes),
                inside=self.cost(config).inside,
            )
        return Function(
            _factored(whole.one, tuple(ranks.items())),
            (whole.constants, probes),
            # A gradient's, without the few tokens' worth that finding directions costs.
            whole.operations,
            whole.by_name,
            self.cost(config).inside,
        )

    def cost(self, config: LMConfig) -> Cost:
        """See ``View``."""
        names, sides, whole = (
            chosen(config, self.parameters),
            shapes(config),
            self.exact.cost(config),
        )
        ranks = ranks_of(config, names, self.rank)
        return Cost(
            whole.operations,
            sum(rank * sum(sides[name]) for name, rank in ranks.items())
            + count(config, [name for name in names if name not in ranks]),
            row=whole.row,
            building=sum(2.0 * r * math.prod(sides[name]) for name, r in ranks.items() if r > 1),
            inside=whole.inside + 8.0 * count(config, names),  # the gradient, and a copy on the way
        )

    def attributes(self, config: LMConfig) -> dict[str, Any]:
        """See ``View``."""
        return {
            "mode": self.mode,
            "parameters": as_attribute(self.parameters),
            "rank": self.rank,
            "seed": self.seed,
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[Any, Any]) -> "Factors":
        """See ``View``."""
        return cls(
            as_option(attributes.get("parameters", PAPER)),
            int(attributes.get("rank", RANK)),
            int(attributes.get("seed", 0)),
            float(attributes.get("tolerance", TOLERANCE)),
        )


class Factored(NamedTuple):
    """A gradient as factors.

    Attributes:
        rows: its parts by name, each a ``LowRank`` or an array.
        lost: the share of its squared length that they lack.
    """

    rows: Any
    lost: Any


def probes_for(config: LMConfig, names: Sequence[str], rank: int, seed: int) -> dict[int, Array]:
    """Normal random numbers [rank, n] for each of the sides n of kernels."""
    sides = sorted({shapes(config)[name][0] for name in names if len(shapes(config)[name]) == 2})
    key = jax.random.key(seed)
    return {n: jax.random.normal(jax.random.fold_in(key, n), (rank, n)) for n in sides}


def narrowed(
    found: Mapping[str, Array], ranks: Mapping[str, int], probes: Mapping[int, Array]
) -> Factored:
    """A gradient as factors.

    Args:
        found: its arrays by name; those of like layers may be stacked (``scanned``).
        ranks: by the names of parameters; of layers in one array all have the same.
        probes: of ``probes_for``.
    """
    part = narrowed_part(found, ranks, probes)
    return Factored(part.rows, part.lost / jnp.where(part.whole == 0, 1, part.whole))


class Part(NamedTuple):
    """A part of a gradient as factors.

    Attributes:
        rows: see ``Factored``.
        scale: by which numbers were divided before they were squared.
        lost, whole: squared lengths of what ``rows`` lack, and of the part, of numbers so divided.
    """

    rows: Any
    scale: Any
    lost: Any
    whole: Any


def narrowed_part(
    found: Mapping[str, Array], ranks: Mapping[str, int], probes: Mapping[int, Array]
) -> Part:
    """``narrowed``, of a part of the arrays of a gradient."""
    largest = jnp.stack([jnp.abs(x).max() for x in found.values()]).max()
    scale = jnp.where(largest == 0, 1, largest)  # so that squares stay in the range of floats
    scaled = {name: x / scale for name, x in found.items()}
    # Along the rows first: a single sum of a million float32 numbers is less exact.
    squares = [jnp.einsum("...n,...n->...", x, x, precision=HIGHEST) for x in scaled.values()]
    rows, rest, whole = dict[str, Any](found), jnp.zeros(()), sum(x.sum() for x in squares)
    alike: dict[tuple[tuple[int, ...], int], list[str]] = {}
    for name, x in scaled.items():
        if rank := ranks.get(_first_of(name), 0):
            alike.setdefault((x.shape, rank), []).append(name)
    for (shape, rank), names in alike.items():
        find: Any = partial(_factored_by, probes[shape[-2]][:rank])
        for _ in shape[:-2]:  # layers in one array
            find = jax.vmap(find)
        # One program for all kernels of a shape: it compiles in a fraction of the time.
        low, left_over = jax.lax.map(find, jnp.stack([scaled[name] for name in names]))
        rest += left_over.sum()
        for number, name in enumerate(names):
            rows[name] = LowRank(low.left[number], scale * low.right[number])
    return Part(rows, scale, rest, whole)


def _factored_by(probe: Array, matrix: Array) -> tuple[LowRank, Array]:
    return factored(matrix, probe.astype(matrix.dtype))


def _first_of(name: str) -> str:
    """The name of a parameter, or of the first of those that are stacked in one array."""
    return re.sub(r"^layers\.(\d+)-\d+\.", r"layers.\1.", name)


@cache
def _factored(one: OneSample, ranks: tuple[tuple[str, int], ...]) -> OneSample:
    def made(constants: tuple[Any, Mapping[int, Array]], *sample: Array) -> Factored:
        return narrowed(one(constants[0], *sample), dict(ranks), constants[1])

    return made


@cache
def _layered(
    config: LMConfig, names: tuple[str, ...], ranks: tuple[tuple[str, int], ...]
) -> OneSample:
    """``_factored`` block by block."""
    own = dict(ranks)

    def made(constants: tuple[Any, Mapping[int, Array]], *sample: Array) -> Factored:
        shares, probes = constants
        taken = layered.backward(
            config, names, shares, sample, lambda found: narrowed_part(found, own, probes)
        )
        parts = taken.values()
        # Squared lengths over the square of the largest of all numbers.
        scale = jnp.stack([part.scale.max() for part in parts]).max()
        lost, whole = (
            jnp.stack([(x * jnp.square(p.scale / scale)).sum() for x, p in pairs]).sum()
            for pairs in ([(p.lost, p) for p in parts], [(p.whole, p) for p in parts])
        )
        rows = layered.joined({key: part.rows for key, part in taken.items()})
        return Factored(rows, lost / jnp.where(whole == 0, 1, whole))

    return made


@cache
def _rows_only(one: Callable[..., Factored]) -> OneSample:
    def rows(*sample: Any) -> Any:
        return one(*sample).rows

    return rows
