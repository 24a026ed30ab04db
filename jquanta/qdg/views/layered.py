"""Functions of one prediction by parameters that are cut over the devices, block by block.

On the way forward only the input of each block is kept. On the way back a block's parameters are
gathered once more, its forward pass is computed again, and what is wanted of its gradient is taken
before the next block is looked at. So a device never holds the parameters of two blocks, nor more
of the gradient than is wanted, and a sample keeps [L, T, D] numbers in place of all activations; a
third of the work is added (Chen and others, 2016).

Gradients are those of the gathered copy: no derivative goes through the gathering itself, which
would add up the gradients of the devices' different samples.

Loops are those of ``scanned``, and arrays of gradients have the same names. All functions are
called under ``jax.shard_map``; see ``lm.models.cut``.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jquanta.lm.models import cut
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.cut import Shares
from jquanta.lm.models.layout import Layout
from jquanta.lm.models.network import PRECISION, count
from jquanta.lm.models.roles import Role, role
from jquanta.lm.models.rows import Packed, Single, Stream
from jquanta.qdg.views.scanned import Run, cross_entropy, runs
from jquanta.qdg.views.view import OneSample

Taken = dict[tuple[str, str], Any]
"""By how the names of a loop's arrays begin, and the first block's: what was taken of each block,
with an axis of blocks in front where there are several. Under ("", ""): of what is outside of
blocks."""

Take = Callable[[dict[str, Array]], Any]
"""Of the gradient of a block, an array a name (the first block's of its loop), what is wanted."""

Tapped = Mapping[str, Mapping[str, Any]]
"""Taps of linear layers, by how the names of a loop's arrays begin and the layer's name within a
block: a tree of arrays with an axis of blocks in front."""

Tap = Callable[[Any, Array, Stream], Stream]
"""(a block's tree, numbers [m_in, m_out], the layer's input) → what is added to its output."""

NO_TAPS: Tapped = {}


def backward(
    config: LMConfig,
    names: tuple[str, ...],
    shares: Shares,
    sample: tuple[Array, ...],
    take: Take,
    tapped: Tapped = NO_TAPS,
    tap: tuple[Tap, Callable[[Any], Array]] | None = None,
) -> Taken:
    """What is wanted of the gradient of one prediction's loss, block by block.

    Args:
        config: the model's shape.
        names: of the parameters with respect to which the gradient is taken. Of a linear layer that
            is tapped it is taken with respect to the tap's numbers instead.
        shares: this device's share of the parameters.
        sample: the prediction: tokens, at, target.
        take: what is wanted.
        tapped: the taps of each loop.
        tap: what a tap adds, and the numbers of one, [m_in, m_out], at which the gradient is taken.
    """
    tokens, at, target = sample
    *loops, last = runs(config, names)
    outside = [name for name in names if not name.startswith("layers.")]
    start, single = jnp.zeros((1, len(tokens)), jnp.int32), Single(at, config.windows[-1])
    window = cut.windows(config, len(tokens))

    def block(run: Run, layer: Any) -> tuple[Callable[..., Array], dict[str, Array]]:
        """A block as a function of its input, a layout and what the gradient is taken of; and the
        values of that."""
        whole = cut.block(config, shares, layer)
        mine = {
            module: jax.tree.map(lambda x: x[layer - run.first], tree)
            for module, tree in tapped.get(run.prefix, {}).items()
        }
        wanted = {n: whole[n] for n in run.own if n.rpartition(".")[0] not in mine}
        zeros = {module: tap[1](tree) for module, tree in mine.items()} if tap else {}

        def call(x: Array, layout: Layout, values: Mapping[str, Array]) -> Array:
            params = cut.named(whole | {n: v for n, v in values.items() if n in whole})
            taps = {
                cut.BLOCK + module: partial(tap[0], tree, values[module])
                for module, tree in mine.items()
                if tap is not None and module in values
            }
            return cut.part(config, params, taps).layers[0](x, layout)

        return call, wanted | zeros

    def layout(layer: Any) -> Packed:
        return Packed(start, window(layer))

    with jax.default_matmul_precision(PRECISION):
        tables = cut.outer(config, shares, [Role.EMBEDDING])

        def enter(tables: dict[str, Array]) -> Stream:
            return cut.part(config, tables).embedded(tokens[None], single)

        x, back_to_tables = jax.vjp(enter, tables)

        inputs = []
        for run in loops:

            def forward(x: Stream, layer: Array, run: Run = run) -> tuple[Stream, Stream]:
                return block(run, layer)[0](x, layout(layer), {}), x

            x, kept = jax.lax.scan(forward, x, jnp.arange(run.first, run.stop))
            inputs.append(kept)

        # Not gathered before the loops are through.
        place, x = jax.lax.optimization_barrier((jnp.int32(last.first), x))
        finish, values = block(last, place)
        closing = cut.outer(config, shares, cut.closing(config), after=x)
        inner = {name: x for name, x in closing.items() if name in outside}

        def end(x: Array, values: dict[str, Array], inner: dict[str, Array]) -> Array:
            network = cut.part(config, closing | inner)
            x = network.final_norm(finish(x, single, values), single)
            return cross_entropy(x[0, 0] @ network.unembedding, target)

        to_x, to_values, to_outer = jax.grad(end, (0, 1, 2))(x, values, inner)
        found: Taken = {(last.prefix, _first(last)): take(_named(last, to_values))}

        for number in reversed(range(len(loops))):
            run, kept = loops[number], inputs[number]
            if not (any(below.own for below in loops[: number + 1]) or _entry(outside)):
                break  # nothing is wanted of what lies before

            def back(to_x: Stream, own: tuple[Array, Stream], run: Run = run) -> tuple[Stream, Any]:
                layer, x = own
                call, values = block(run, layer)
                _, pull = jax.vjp(lambda x, values: call(x, layout(layer), values), x, values)
                to_x, to_values = pull(to_x)
                return to_x, take(_named(run, to_values)) if to_values else {}

            layers = jnp.arange(run.first, run.stop)
            to_x, made = jax.lax.scan(back, to_x, (layers, kept), reverse=True)
            alone = len(run.layers) == 1
            if run.own:
                found[run.prefix, _first(run)] = (
                    jax.tree.map(lambda x: x[0], made) if alone else made
                )
        if _entry(outside):
            (entered,) = back_to_tables(to_x)
            for name in _entry(outside):
                to_outer[name] = entered[name] + to_outer.get(name, 0)
        if to_outer:
            found["", ""] = take(to_outer)
    return found


@cache
def gradient(config: LMConfig, names: tuple[str, ...]) -> OneSample:
    """The function ((shares, nothing), tokens, at, target) → the gradient as ``scanned.gradient``
    gives it."""

    def one(constants: tuple[Shares, Any], *sample: Array) -> dict[str, Array]:
        return joined(backward(config, names, constants[0], sample, lambda found: found))

    return one


def joined(taken: Taken) -> dict[str, Any]:
    """What was taken of each block by name, under the names of loops."""
    return {
        prefix + name.removeprefix(first): x
        for (prefix, first), found in taken.items()
        for name, x in found.items()
    }


@cache
def activation(config: LMConfig, layer: int) -> OneSample:
    """The function ((shares, nothing), tokens, at, target) → the residual stream [D] after so many
    blocks."""

    def one(
        constants: tuple[Shares, Any], tokens: Array, at: Array, target: Array
    ) -> Float[Array, " D"]:
        start = jnp.zeros((1, len(tokens)), jnp.int32)
        with jax.default_matmul_precision(PRECISION):
            return cut.residual(config, constants[0], tokens[None], start, layer)[0, at]

    return one


def kept(config: LMConfig, length: int) -> float:
    """Bytes of activations that a sample of T tokens keeps of its forward pass: the input of each
    block."""
    return 4.0 * config.layers * length * config.width


def operations(config: LMConfig, copied: float) -> float:
    """What a token costs, where it costs ``copied`` by parameters of which each device has a copy:
    a forward pass more, where there is a backward pass."""
    forward = 2.0 * count(config)[1]
    return copied + forward if copied > forward else copied


def apart(config: LMConfig, names: tuple[str, ...], taken: Taken) -> dict[str, Any]:
    """What was taken of each block by name, those of each block under names of their own."""
    found = dict(taken.get(("", ""), {}))
    for run in runs(config, names):
        for name, x in taken.get((run.prefix, _first(run)), {}).items():
            for i, layer in enumerate(run.layers):
                own = name.removeprefix(_first(run))
                found[f"layers.{layer}.{own}"] = x if len(run.layers) == 1 else x[i]
    return found


def _entry(outside: list[str]) -> list[str]:
    """Those that are looked up before the first block."""
    return [name for name in outside if role(name) == Role.EMBEDDING]


def _first(run: Run) -> str:
    return f"layers.{run.first}."


def _named(run: Run, values: dict[str, Array]) -> dict[str, Array]:
    return {_first(run) + name: x for name, x in values.items()}
