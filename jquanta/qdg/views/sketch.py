"""Gradients between two random projections, of which none is ever formed in full.

Beside each product x·K stands ((x·A)·M)·B, where A and B are fixed random matrices and M is zero:
it changes nothing, and the gradient with respect to M is Aᵀ·G·Bᵀ, where G is that of K. (Of
x·(K + A·M·B) it would be the same, but made from G.) With E[A·Aᵀ] and E[Bᵀ·B] the identity, inner
products of such sketches are unbiased, in each module and so in sum.

A bias is one more row of its kernel, for an input that is always 1, and A has a row for it.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, count, logits_at, shapes
from jquanta.lm.models.roles import Role, role
from jquanta.machine.memory import usable_together
from jquanta.qdg.samples.prefixes import samples
from jquanta.qdg.samples.selection import Selection
from jquanta.qdg.views.gradient import cross_entropy
from jquanta.qdg.views.parameters import PAPER, chosen, require_shapes
from jquanta.qdg.views.per_sample import OneSample, Rows, per_sample, require_float32
from jquanta.run.settings import as_bytes

SIZE = 16
"""Rows and columns of a sketch."""

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Projection(NamedTuple):
    """The random matrices around M; ``into`` or ``constant`` is None where no gradient is wanted.

    Attributes:
        into: A, for the kernel.
        constant: the row of A for the bias.
        out: B.
    """

    into: Float[Array, "n_in size"] | None
    constant: Float[Array, " size"] | None
    out: Float[Array, "size n_out"]


def projections(
    config: LMConfig, names: Sequence[str], size: int, key: Array
) -> dict[str, Projection]:
    """Projections for each linear layer that has a parameter among ``names``.

    A and B have orthogonal columns and rows of random direction. So their error is 0 where they
    are square, and below that of independent numbers everywhere.

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
        norms: parameters whose gradients are taken as they are, by name: those of layer norms.
        params: all of them.
        around: of ``projections``.
        tokens, at, target: the prediction, as for ``gradient.loss``.
    """

    def loss(middles: Mapping[str, Array], own: Params) -> Array:
        taps = {module: partial(_tap, p, middles[module]) for module, p in around.items()}
        return cross_entropy(logits_at(config, {**params, **own}, tokens, at, taps), target)

    zeros = {module: jnp.zeros((_size(p), len(p.out)), p.out.dtype) for module, p in around.items()}
    middles, own = jax.grad(loss, argnums=(0, 1))(zeros, {name: params[name] for name in norms})
    return {**middles, **own}


def sketch_rows(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    names: Sequence[str],
    size: int = SIZE,
    seed: int = 0,
    batch_tokens: int | None = None,
) -> Rows:
    """Sketches of a selection's gradients as a source for ``exact``.

    Raises:
        BadInput: as ``projections``, or if the parts do not go together.
    """
    require_shapes(config, params)
    require_float32(params)
    selection.require_corpus(corpus)
    around = projections(config, names, size, jax.random.key(seed))
    norms = tuple(name for name in names if role(name) == Role.LAYER_NORM)
    return per_sample(
        _sketch(config, norms),
        (dict(params), around),
        samples(corpus, selection.index, config),
        config,
        operations=4.0 * count(config)[1],  # there, and back without the kernels' gradients
        batch_tokens=batch_tokens,
    )


def sketches(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    *,
    parameters: str | Sequence[str] = PAPER,
    size: int = SIZE,
    seed: int = 0,
    memory: int | str | None = None,
) -> Float32[np.ndarray, "Q F"]:
    """The sketch of each sample's gradient, flat: features for ``cluster_features``.

    Where there are too many samples for a matrix of all pairs::

        features = qdg.sketches(config, params, corpus, selection)
        clusters = qdg.cluster_features(features, [400])

    Args:
        config, params: the model, in float32.
        corpus: whose predictions.
        selection: which.
        parameters: of the gradient; see ``parameters.chosen``.
        size: rows and columns that are kept of each matrix's gradient.
        seed: of the random projections.
        memory: what the result may take, in bytes or as ``"8 GB"``; most of what is free by
            default.

    Returns:
        In the order of the selection, not normalised. Inner products of rows are those of
        gradients, without bias.

    Raises:
        BadInput: as ``projections``, or if the parts do not go together, or it would not fit.
    """
    names = chosen(config, parameters)
    rows = sketch_rows(config, params, corpus, selection, names, size, seed)
    return rows.flat(list(rows.row), usable_together() if memory is None else as_bytes(memory))


@cache
def _sketch(config: LMConfig, norms: tuple[str, ...]) -> OneSample:
    def one(constants: tuple[Params, Mapping[str, Projection]], *sample: Array) -> dict[str, Array]:
        return sketch(config, norms, *constants, *sample)

    return one


def _tap(
    around: Projection, middle: Float[Array, "size size"], x: Float[Array, "n_in T"]
) -> Float[Array, "n_out T"]:
    """Zero. Nothing comes back to x through a zero M, so nothing is asked to."""
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
    """Columns at right angles, of random direction, with E[A·Aᵀ] the identity."""
    return jnp.sqrt(n / size) * jax.random.orthogonal(key, n, m=size)
