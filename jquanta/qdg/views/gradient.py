"""Gradients of single predictions' losses (paper section 4)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from jquanta.lm.models.config import CUT, LMConfig
from jquanta.lm.models.heads import Piece
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import Params, count, logits_at, shapes
from jquanta.machine.memory import usable_together
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.views import layered, scanned
from jquanta.qdg.views.parameters import (
    PAPER,
    as_attribute,
    as_option,
    is_cut,
    numbers_in,
    pieces,
    taken,
)
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.ranks import row_of
from jquanta.qdg.views.view import Cost, Function, OneSample, require_float32
from jquanta.qdg.views.ways import way_here
from jquanta.run.settings import as_bytes


@dataclass(frozen=True)
class Gradients:
    """Whole gradients of the samples' losses, in float32.

    Attributes:
        parameters: with respect to which: ``paper``, ``reference``, patterns of names, or
            attention heads; see ``parameters.pieces``.
    """

    mode: ClassVar[str] = "exact"
    what: ClassVar[str] = "gradients"
    has_absolute: ClassVar[bool] = True

    parameters: str | Sequence[str] = PAPER

    def function(self, model: Model) -> Function:
        """See ``View``: an array for each parameter, by its name, on a CPU. On accelerators those
        of like layers are one array, which ``Function.by_name`` takes apart."""
        require_float32(model)
        config, params = model.config, model.params
        kept = pieces(config, self.parameters)
        names = tuple(dict.fromkeys(piece.name for piece in kept))
        if is_cut(config, kept):
            found = Gradients(tuple(f"^{re.escape(name)}$" for name in names)).function(model)
            scan = model.placement == CUT or way_here().scanned
            one = _restricted(found.one, config, names, kept, scan)
            return found._replace(one=one, by_name=lambda found: found)
        operations = self.cost(config).operations
        by_name = partial(scanned.by_name, config, names)
        if model.placement == CUT:
            one, operations = (
                layered.gradient(config, names),
                layered.operations(config, operations),
            )
            return Function(one, (model.shares, {}), operations, by_name, cut=True)
        if not way_here().scanned:
            return Function(gradient(config, names), dict(params), operations)
        stacked = scanned.stacked(config, params, names)
        return Function(scanned.gradient(config, names), stacked, operations, by_name)

    def cost(self, config: LMConfig) -> Cost:
        """See ``View``."""
        # A multiplication and an addition for each parameter, in the forward pass and twice in the
        # backward pass.
        kept = pieces(config, self.parameters)
        numbers, row = numbers_in(shapes(config), kept), 0
        if not is_cut(config, kept):
            row = row_of(config, [piece.name for piece in kept])
        return Cost(6.0 * count(config)[1], numbers, row)

    def attributes(self, config: LMConfig) -> dict[str, Any]:
        """See ``View``."""
        return {"mode": self.mode, "parameters": as_attribute(self.parameters)}

    @classmethod
    def from_attributes(cls, attributes: Mapping[Any, Any]) -> "Gradients":
        """See ``View``."""
        return cls(as_option(attributes.get("parameters", PAPER)))


def loss(
    config: LMConfig,
    params: Params,
    tokens: Int[Array, " T"],
    at: Int[Array, ""],
    target: Int[Array, ""],
) -> Float[Array, ""]:
    """Cross-entropy of one prediction, in nats: of ``target`` after ``tokens[: at + 1]``."""
    return cross_entropy(logits_at(config, params, tokens, at), target)


def cross_entropy(logits: Float[Array, " V"], target: Int[Array, ""]) -> Float[Array, ""]:
    """-log softmax(logits)[target], in nats."""
    return jax.nn.logsumexp(logits) - logits[target]


@cache
def gradient(
    config: LMConfig, names: tuple[str, ...]
) -> Callable[[Params, Array, Array, Array], dict[str, Array]]:
    """The function (params, tokens, at, target) → gradient of ``loss``, an array a name.

    A kernel's gradient is the product of the layer's inputs [n_in, T] and the cotangents of its
    outputs [T, n_out], a sum over positions. The inner product of two such gradients could be
    computed without forming them, from the inner products of all pairs of positions of the two
    samples. That is less work only for prefixes shorter than √(n_in·n_out / (n_in + n_out)): 10
    tokens at the 14m shape, 20 at 70m, 64 at 12b.
    """

    def one(params: Params, tokens: Array, at: Array, target: Array) -> dict[str, Array]:
        rest = {name: x for name, x in params.items() if name not in names}
        own = {name: params[name] for name in names}
        return jax.grad(lambda own: loss(config, rest | own, tokens, at, target))(own)

    return one


@cache
def _restricted(
    one: OneSample, config: LMConfig, names: tuple[str, ...], kept: tuple[Piece, ...], scan: bool
) -> OneSample:
    """A function that gives gradients with respect to whole parameters, cut to pieces of them."""

    def part(*inputs: Any) -> dict[str, Array]:
        found = one(*inputs)
        if scan:  # layers lie stacked, by names of ranges of them; rows are what is taken apart
            rows = jax.tree.map(lambda x: x[None], found)
            found = jax.tree.map(lambda x: x[0], scanned.by_name(config, names, rows))
        return taken(found, kept)

    return part


def loss_function(model: Model) -> Function:
    """The loss of one sample in nats, from its prefix alone."""
    loops = way_here().scanned
    constants = scanned.stacked(model.config, model.params) if loops else dict(model.params)
    # A multiplication and an addition for each parameter.
    return Function(_loss(model.config, loops), constants, 2.0 * count(model.config)[1])


@cache
def _loss(config: LMConfig, loops: bool) -> Callable[[Params, Array, Array, Array], Array]:
    return partial(scanned.loss, config, ()) if loops else partial(loss, config)


def gradients(
    model: Model,
    predictions: Predictions,
    *,
    parameters: str | Sequence[str] = PAPER,
    memory: int | str | None = None,
) -> Float32[np.ndarray, "Q P"]:
    """The gradient of each sample's loss in nats, flat and not normalised.

    Args:
        model: in float32.
        predictions: the samples.
        parameters: with respect to what; see ``parameters.pieces``, whose order the columns have
            (``parameters.columns`` says where each parameter lies).
        memory: what the result may take, in bytes or as ``"8 GB"``; most of what is free by
            default.

    Raises:
        BadInput: if model and predictions do not go together, or the result would not fit.
    """
    names = dict.fromkeys(piece.name for piece in pieces(model.config, parameters))
    budget = usable_together() if memory is None else as_bytes(memory)
    return view_of(model, predictions, Gradients(parameters)).flat(tuple(names), budget)
