"""Sketches of gradients: Aᵀ·G·Bᵀ of each layer's gradient G, which is never formed itself.

To each product x·K of inputs x and a kernel K is added ((x·A)·M)·B, where A and B are fixed random
matrices and M is zero. That changes no output, and the gradient of the loss with respect to M is
Aᵀ·G·Bᵀ, where G is the gradient with respect to K. (It would be the same for x·(K + A·M·B), but
automatic differentiation would then compute it from G.) Since E[A·Aᵀ] and E[Bᵀ·B] are identities,
inner products of sketches estimate those of gradients without bias, layer by layer and so in sum.

A bias is treated as one more row of its kernel, for an input that is always 1; A has a row for it.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import CUT, LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import Params, count, logits_at, shapes
from jquanta.lm.models.roles import Role, role
from jquanta.machine.memory import usable_together
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.views import layered
from jquanta.qdg.views.gradient import cross_entropy
from jquanta.qdg.views.parameters import PAPER, as_attribute, as_option, chosen
from jquanta.qdg.views.parameters import count as numbers_in
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.scanned import Run, runs
from jquanta.qdg.views.view import Cost, Function, OneSample, require_float32
from jquanta.run.settings import as_bytes

SIZE = 16
"""Rows and columns of a sketch, by default."""

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@dataclass(frozen=True)
class Sketch:
    """Gradients between random projections: their inner products have an error, and memory and
    products hardly grow with the model.

    Attributes:
        parameters: of the gradient: ``paper``, ``reference``, or patterns of names; see
            ``parameters.chosen``. Embeddings have no sketch.
        size: rows and columns that are kept of each matrix's gradient, at most.
        seed: of the random projections.
    """

    mode: ClassVar[str] = "sketch"
    what: ClassVar[str] = "gradients"
    has_absolute: ClassVar[bool] = False

    parameters: str | Sequence[str] = PAPER
    size: int = SIZE
    seed: int = 0

    def function(self, model: Model) -> Function:
        """See ``View``: an array [size, size] for each linear layer. Raises ``BadInput`` as
        ``projections``."""
        require_float32(model)
        config = model.config
        names = chosen(config, self.parameters)
        around = projections(config, names, self.size, jax.random.key(self.seed))
        norms = tuple(name for name in names if role(name) == Role.LAYER_NORM)
        operations = self.cost(config).operations
        if model.placement == CUT:
            one, operations = _layered(config, names), layered.operations(config, operations)
            return Function(
                one, (model.shares, _stacked(config, names, around)), operations, cut=True
            )
        return Function(_sketch(config, norms), (dict(model.params), around), operations)

    def cost(self, config: LMConfig) -> Cost:
        """See ``View``."""
        names = chosen(config, self.parameters)
        draw = partial(projections, config, names, self.size)
        around = jax.eval_shape(draw, jax.random.key(self.seed))
        middles = sum(_size(p) * p.out.shape[0] for p in around.values())
        norms = [name for name in names if role(name) == Role.LAYER_NORM]
        # A multiplication and an addition for each parameter, in the forward pass and once in the
        # backward pass: gradients of kernels are not computed.
        return Cost(4.0 * count(config)[1], middles + numbers_in(config, norms))

    def attributes(self, config: LMConfig) -> dict[str, Any]:
        """See ``View``."""
        return {
            "mode": self.mode,
            "parameters": as_attribute(self.parameters),
            "sketch_size": self.size,
            "seed": self.seed,
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[Any, Any]) -> "Sketch":
        """See ``View``."""
        found = attributes.get
        parameters = as_option(found("parameters", PAPER))
        return cls(parameters, found("sketch_size", SIZE), found("seed", 0))


class Projection(NamedTuple):
    """The random matrices A and B of one linear layer. ``into`` or ``constant`` is None where the
    gradient of the kernel or of the bias is not asked for.

    Attributes:
        into: A, for the kernel.
        constant: the row of A for the bias.
        out: B.
    """

    into: Float[Array, "n_in m_in"] | None
    constant: Float[Array, " m_in"] | None
    out: Float[Array, "m_out n_out"]


def projections(
    config: LMConfig, names: Sequence[str], size: int, key: Array
) -> dict[str, Projection]:
    """Projections for each linear layer that has a parameter among ``names``.

    A has orthogonal columns and B orthogonal rows, of random direction. The error is then 0 where
    they are square, and smaller than with independent entries everywhere.

    Args:
        config: the model's shape.
        names: of parameters; those of layer norms take no projection.
        size: of M, at most; no more than the layer's own sides.
        key: a JAX key. A layer's matrices depend on it, their shape and the layer's name only.

    Raises:
        BadInput: if a parameter is neither of attention, of an MLP nor of a layer norm.
    """
    if size < 1:
        raise BadInput(f"sketch_size = {size}: give 1 or more")
    sides, modules = shapes(config), dict[str, set[str]]()
    for name in names:
        if role(name) in (Role.EMBEDDING, Role.UNEMBEDDING):
            raise BadInput(f"{name}: no sketch of embeddings; choose others, or use mode exact")
        module, _, part = name.rpartition(".")
        if role(name) != Role.LAYER_NORM:
            modules.setdefault(module, set()).add(part)

    def projection(module: str, parts: set[str]) -> Projection:
        n_in, n_out = sides[f"{module}.kernel"]
        first, second = jax.random.split(jax.random.fold_in(key, zlib.crc32(module.encode())))
        rows = n_in * ("kernel" in parts) + ("bias" in parts)
        into = _orthogonal(first, rows, min(size, rows))
        return Projection(
            into[:n_in] if "kernel" in parts else None,
            into[-1] if "bias" in parts else None,
            _orthogonal(second, n_out, min(size, n_out)).T,
        )

    return {module: projection(module, parts) for module, parts in modules.items()}


def sketch(
    config: LMConfig,
    norms: Sequence[str],
    params: Params,
    around: Mapping[str, Projection],
    tokens: Int[Array, " T"],
    at: Int[Array, ""],
    target: Int[Array, ""],
) -> dict[str, Array]:
    """The sketch of one prediction's gradient: [size, size] for each linear layer by its name.

    Args:
        config: the model's shape.
        norms: names of parameters whose gradients are taken as they are: those of layer norms.
        params: all parameters of the model.
        around: the projections of each linear layer: see ``projections``.
        tokens, at, target: the prediction, as for ``gradient.loss``.
    """

    def loss(middles: Mapping[str, Array], own: Params) -> Array:
        taps = {module: partial(_tap, p, middles[module]) for module, p in around.items()}
        return cross_entropy(logits_at(config, {**params, **own}, tokens, at, taps), target)

    zeros = {module: _nothing(p) for module, p in around.items()}
    middles, own = jax.grad(loss, argnums=(0, 1))(zeros, {name: params[name] for name in norms})
    return {**middles, **own}


def sketches(
    model: Model,
    predictions: Predictions,
    *,
    parameters: str | Sequence[str] = PAPER,
    size: int = SIZE,
    seed: int = 0,
    memory: int | str | None = None,
) -> Float32[np.ndarray, "Q F"]:
    """The sketch of each sample's gradient, flat: features for ``cluster_features``.

    Where there are too many samples for a matrix of all pairs::

        features = qdg.sketches(model, predictions)
        clusters = qdg.cluster_features(features, [400])

    Args:
        model: in float32.
        predictions: the samples.
        parameters, size, seed: see ``Sketch``.
        memory: what the result may take, in bytes or as ``"8 GB"``; most of what is free by
            default.

    Returns:
        F numbers of each sample, not normalised. Inner products of rows are estimates of those of
        the gradients, without bias.

    Raises:
        BadInput: as ``projections``, or if model and predictions do not go together, or the result
            would not fit.
    """
    found = view_of(model, predictions, Sketch(parameters, size, seed))
    budget = usable_together() if memory is None else as_bytes(memory)
    return found.flat(list(found.row), budget)


@cache
def _sketch(config: LMConfig, norms: tuple[str, ...]) -> OneSample:
    def one(constants: tuple[Params, Mapping[str, Projection]], *sample: Array) -> dict[str, Array]:
        return sketch(config, norms, *constants, *sample)

    return one


@cache
def _layered(config: LMConfig, names: tuple[str, ...]) -> OneSample:
    """``_sketch`` block by block."""

    def tap(around: Projection, middle: Array, x: Float[Array, "1 T n_in"]) -> Array:
        return _tap(around, middle, x[0].T).T[None]

    def one(constants: tuple[Any, layered.Tapped], *sample: Array) -> dict[str, Array]:
        shares, around = constants
        taken = layered.backward(
            config,
            names,
            shares,
            sample,
            lambda found: found,
            around,
            (tap, _nothing),
        )
        return layered.apart(config, names, taken)

    return one


def _stacked(
    config: LMConfig, names: tuple[str, ...], around: Mapping[str, Projection]
) -> layered.Tapped:
    """Projections by loops: those of all blocks of a loop under the name within a block."""

    def of(run: Run) -> dict[str, Projection]:
        modules = {name.rpartition(".")[0] for name in run.own}
        first = {m for m in modules if f"layers.{run.first}.{m}" in around}
        return {
            module: jax.tree.map(
                lambda *x: jnp.stack(x), *(around[f"layers.{i}.{module}"] for i in run.layers)
            )
            for module in sorted(first)
        }

    return {run.prefix: of(run) for run in runs(config, names)}


def _nothing(around: Projection) -> Float[Array, "m_in m_out"]:
    """The numbers of a tap that adds nothing."""
    return jnp.zeros((_size(around), len(around.out)), around.out.dtype)


def _tap(
    around: Projection, middle: Float[Array, "m_in m_out"], x: Float[Array, "n_in T"]
) -> Float[Array, "n_out T"]:
    """((x·A)·M)·B, which is zero. Its derivative with respect to x is zero as well, so the backward
    pass is told to leave it out."""
    narrow = jnp.zeros((), x.dtype)
    if around.into is not None:
        narrow = _matmul(around.into.T, jax.lax.stop_gradient(x))
    if around.constant is not None:
        constant = around.constant[:, None]
        narrow = jnp.broadcast_to(narrow + constant, (len(constant), x.shape[1]))
    return _matmul(around.out.T, _matmul(middle.T, narrow))


def _size(around: Projection) -> int:
    side = around.into if around.into is not None else around.constant
    assert side is not None
    return side.shape[-1]


def _orthogonal(key: Array, n: int, size: int) -> Float[Array, "n size"]:
    """A matrix with orthogonal columns of random direction, scaled so that E[A·Aᵀ] is the
    identity."""
    return jnp.sqrt(n / size) * jax.random.orthogonal(key, n, m=size)
