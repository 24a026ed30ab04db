"""The loss of one prediction with the layers in a loop over stacked parameters: for accelerators.

A program in which each layer is written out takes minutes to compile for a GPU, since XLA times
several kernels for every matrix product and keeps the fastest. Here all blocks but the last are one
block in a loop. The last block stands apart, since only one position goes through its MLP, that of
the prediction; this saves an eighth of the work of a model of 6 layers.

Parameters are stacked, and so are gradients: those of the blocks of a loop are one array, whose
name has a range of layers in it, such as ``layers.0-4.mlp.up.kernel``. Inner products of gradients
are the same either way; ``by_name`` takes the arrays apart where names are needed.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jquanta.lm.models.base import Network
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import PRECISION, Params, build, shapes
from jquanta.lm.models.rows import Packed, Single

BLOCK = "layers.0."
"""How the names of the parameters of a model of one block begin."""


class Run(NamedTuple):
    """Consecutive blocks that make up a loop, or a single block.

    Attributes:
        first, stop: the blocks ``first`` to ``stop - 1``.
        own: with respect to which of their parameters the gradient is taken, such as
            ``mlp.up.kernel``.
    """

    first: int
    stop: int
    own: tuple[str, ...] = ()

    @property
    def layers(self) -> range:
        """The numbers of the blocks."""
        return range(self.first, self.stop)

    @property
    def prefix(self) -> str:
        """How the names of its stacked arrays begin."""
        last = self.stop - 1
        return f"layers.{self.first}." if self.first == last else f"layers.{self.first}-{last}."


@cache
def runs(config: LMConfig, names: tuple[str, ...] = ()) -> tuple[Run, ...]:
    """The loops of a model. The gradient is taken with respect to the same parameters in all blocks
    of a loop: where these change from one block to the next, another loop begins."""

    def own(layer: int) -> tuple[bool, tuple[str, ...]]:
        prefix = f"layers.{layer}."
        found = tuple(n.removeprefix(prefix) for n in names if n.startswith(prefix))
        return layer == config.layers - 1, found

    found = []
    for (_, wanted), layers in groupby(range(config.layers), own):
        first, *more = layers
        found.append(Run(first, first + 1 + len(more), wanted))
    return tuple(found)


def stacked(config: LMConfig, params: Params, names: tuple[str, ...] = ()) -> dict[str, Array]:
    """Parameters as ``gradient`` and ``loss`` for the same names take them.

    They are stacked in the host's memory, one array at a time, so that a device never holds two
    copies.
    """
    inner = [n.removeprefix(BLOCK) for n in shapes(config.of_one_block()) if n.startswith(BLOCK)]
    found = {name: jnp.asarray(x) for name, x in params.items() if not name.startswith("layers.")}
    for run in runs(config, names):
        for name in inner:
            parts = [params[f"layers.{i}.{name}"] for i in run.layers]
            found[run.prefix + name] = jnp.asarray(
                parts[0] if len(run.layers) == 1 else np.stack([np.asarray(x) for x in parts])
            )
    return found


def by_name(config: LMConfig, names: tuple[str, ...], found: Mapping[str, Any]) -> dict[str, Any]:
    """Gradients [rows, …] by the names of parameters: the arrays of loops are taken apart."""
    apart = {}
    for run in runs(config, names):
        for own in run.own:
            x = found[run.prefix + own]
            for i, layer in enumerate(run.layers):
                apart[f"layers.{layer}.{own}"] = x if len(run.layers) == 1 else x[:, i]
    return {name: apart[name] if name in apart else found[name] for name in names}


def loss(
    config: LMConfig,
    names: tuple[str, ...],
    params: Params,
    tokens: Int[Array, " T"],
    at: Int[Array, ""],
    target: Int[Array, ""],
) -> Float[Array, ""]:
    """Cross-entropy of ``target`` after ``tokens[: at + 1]``, in nats: as ``qdg.gradient.loss``.

    Args:
        config: the model's shape.
        names: with respect to which the gradient will be taken: they decide on the loops; see
            ``runs``.
        params: of ``stacked`` for the same names.
        tokens, at, target: the prediction.
    """
    outer = {name: x for name, x in params.items() if not name.startswith("layers.")}
    one_block, start = config.of_one_block(), jnp.zeros((1, len(tokens)), jnp.int32)

    def network(run: Run) -> Network:
        inner = {n: x for n, x in params.items() if n.startswith(run.prefix)}
        return build(
            one_block, outer | {BLOCK + n.removeprefix(run.prefix): x for n, x in inner.items()}
        )

    *loops, last = runs(config, names)
    end = network(last)
    single = Single(at, config.windows[-1])
    with jax.default_matmul_precision(PRECISION):
        x = end.embedded(tokens[None], single)
        for run in loops:
            # A window as long as the prefix hides nothing: it stands for no window where some
            # blocks of the model have one. Where none has one, no mask for it is computed.
            reach = [config.windows[i] or len(tokens) for i in run.layers]
            windows = jnp.array(reach) if any(config.windows) else None
            if len(run.layers) > 1:
                x = network(run).looped(x, start, windows)
            else:
                window = None if windows is None else windows[0]
                x = network(run).layers[0](x, Packed(start, window))
        x = end.final_norm(end.layers[0](x, single), single)
        logits = x[0, 0] @ end.unembedding
    return cross_entropy(logits, target)


def cross_entropy(logits: Float[Array, " V"], target: Int[Array, ""]) -> Float[Array, ""]:
    """-log softmax(logits)[target], in nats, without a scatter in the derivative."""
    # The target's logit as a sum in which all others are zero, since the derivative of indexing is
    # a scatter, and scatters are slow and not deterministic on a GPU.
    own = jnp.where(jnp.arange(len(logits)) == target, logits, 0).sum()
    return jax.nn.logsumexp(logits) - own


@cache
def gradient(
    config: LMConfig, names: tuple[str, ...]
) -> Callable[[Params, Array, Array, Array], dict[str, Array]]:
    """The function (stacked parameters, tokens, at, target) → gradient of ``loss``, stacked."""
    inside = {run.prefix + own for run in runs(config, names) for own in run.own}
    wanted = inside | {name for name in names if not name.startswith("layers.")}

    def one(params: Params, tokens: Array, at: Array, target: Array) -> dict[str, Array]:
        rest = {name: x for name, x in params.items() if name not in wanted}
        own = {name: params[name] for name in wanted}
        return jax.grad(lambda own: loss(config, names, rest | own, tokens, at, target))(own)

    return one
