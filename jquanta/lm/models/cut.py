"""Parameters cut over the local devices: for models of which a device cannot hold a copy.

The numbers of each array lie one after another, in as many equal pieces as there are devices, and
each device holds one (as in ZeRO, Rajbhandari and others, 2020, and FSDP, Zhao and others, 2023).
Samples are cut over the same devices, so each device needs all parameters, but only those of one
block at a time: it gathers them from all devices just before it uses them, and lets them go.

What a device computes is what it would compute with a copy of its own, bit for bit. Pieces of equal
size need no axis that the number of devices divides: there is none in GPT-2's 50,257 tokens.

Shapes: of an array of blocks [L, n · piece], of any other [1, n · piece], over n devices and cut
along the second axis. Functions that take ``shares`` see one device's part of that, [L, piece]:
they are called under ``jax.shard_map`` over ``devices.DEVICES``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from jquanta.lm.models.base import Network, Tap
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import Layout
from jquanta.lm.models.network import NO_TAPS, PRECISION, Params, build, count, shapes
from jquanta.lm.models.roles import Role, role
from jquanta.lm.models.rows import Packed, Stream
from jquanta.machine.devices import DEVICES, cut

BLOCK = "layers.0."
"""How the names of the arrays of blocks begin: under the name of the first block's lie all."""

Shares = Mapping[str, Array]
"""A device's part of the parameters: [L, piece] or [1, piece]."""


def shares(config: LMConfig, params: Params, mesh: Mesh) -> dict[str, Array]:
    """Parameters in equal shares on the devices of a mesh.

    Beside ``params`` the host's memory holds no more than one device's piece of one array.

    Args:
        config: the model's shape.
        params: by name, in the host's memory.
        mesh: of ``devices.mesh``.
    """
    found: dict[str, Array] = {}
    for name, like in abstract(config, next(iter(params.values())).dtype, mesh).items():
        arrays = [params[own] for own in _names(config, name)]
        piece = partial(_piece, arrays, like.shape[1])
        found[name] = jax.make_array_from_callback(like.shape, like.sharding, piece)
    return found


def _piece(arrays: Sequence[Array], padded: int, index: Any) -> NDArray[Any]:
    """[arrays, piece] the numbers of each array that are in a range of its padded numbers."""
    begin, end, _ = index[1].indices(padded)
    out = np.zeros((len(arrays), end - begin), arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        own = np.asarray(array).reshape(-1)[begin:end]
        row[: len(own)] = own
    return out


def abstract(config: LMConfig, dtype: DTypeLike, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes and shardings of what ``shares`` gives; no array is made."""
    return {
        name: jax.ShapeDtypeStruct(
            (len(_names(config, name)), math.ceil(math.prod(shape) / mesh.size) * mesh.size),
            dtype,
            sharding=cut(mesh, 1),
        )
        for name, shape in shapes(config.of_one_block()).items()
    }


def bytes_of_share(config: LMConfig, dtype: DTypeLike, devices: int) -> int:
    """Bytes of the parameters that each of so many devices holds."""
    sizes = shapes(config.of_one_block()).items()
    numbers = sum(len(_names(config, n)) * math.ceil(math.prod(s) / devices) for n, s in sizes)
    return jnp.dtype(dtype).itemsize * numbers


def bytes_gathered(config: LMConfig, dtype: DTypeLike) -> int:
    """Bytes of the parameters that are gathered at once, at most: those of a block, and the matrix
    of embeddings, which is gathered for the last block's output."""
    sizes = {name: math.prod(shape) for name, shape in shapes(config.of_one_block()).items()}
    block = sum(n for name, n in sizes.items() if name.startswith(BLOCK))
    return jnp.dtype(dtype).itemsize * (block + config.vocab * config.width)


def needed(config: LMConfig, dtype: DTypeLike, beside: float, memory: int, devices: int) -> bool:
    """Whether parameters have to be cut: a copy on each device would not fit, and there are several
    devices.

    Args:
        config: the model's shape.
        dtype: of the parameters.
        beside: bytes that a device needs for the least that it can compute at once.
        memory: bytes that may be used on each device.
        devices: how many.
    """
    return devices > 1 and jnp.dtype(dtype).itemsize * count(config)[0] + beside > memory


def described(config: LMConfig, dtype: DTypeLike, memory: int, devices: int) -> str:
    """That parameters are cut, for a person: with bytes of a copy, and of what a device holds."""
    copy = jnp.dtype(dtype).itemsize * count(config)[0]
    share, block = bytes_of_share(config, dtype, devices), bytes_gathered(config, dtype)
    return (
        f"parameters are cut over {devices} devices: {1e-9 * share:,.3g} GB on each and "
        f"{1e-9 * block:,.3g} GB gathered at a time; a copy takes {1e-9 * copy:,.3g} GB, and a "
        f"device has {1e-9 * memory:,.3g} GB to use"
    )


def block(config: LMConfig, shares: Shares, layer: int | Int[Array, ""]) -> dict[str, Array]:
    """The whole parameters of one block, by their names within it, such as ``mlp.up.kernel``.

    Args:
        config: the model's shape.
        shares: this device's.
        layer: which block; it may be traced.
    """
    found = {}
    for name, shape in shapes(config.of_one_block()).items():
        if name.startswith(BLOCK):
            # By its number, not as an input of the loop: a part of the loop's input is a copy.
            own = jax.lax.dynamic_index_in_dim(shares[name], layer, keepdims=False)
            found[name.removeprefix(BLOCK)] = _gathered(own, shape)
    return found


def outer(
    config: LMConfig, shares: Shares, roles: Iterable[Role], after: Stream | None = None
) -> dict[str, Array]:
    """The whole parameters outside of blocks that have one of these roles, by name.

    Args:
        config: the model's shape.
        shares: this device's.
        roles: of ``roles.Role``.
        after: what has to be there before they are gathered, so that they do not lie in memory
            earlier than they are used.
    """
    wanted = set(roles)
    own = {
        name: shares[name][0]
        for name in shapes(config.of_one_block())
        if not name.startswith(BLOCK) and role(name) in wanted
    }
    if after is not None:
        own = jax.lax.optimization_barrier((own, after))[0]
    sizes = shapes(config)
    return {name: _gathered(x, sizes[name]) for name, x in own.items()}


def closing(config: LMConfig) -> set[Role]:
    """The roles of what comes after the blocks: the last norm, and the unembedding, which may be
    the embedding."""
    tied = "unembed.kernel" not in shapes(config)
    return {Role.LAYER_NORM, Role.EMBEDDING if tied else Role.UNEMBEDDING}


def part(
    config: LMConfig, params: Mapping[str, Array], taps: Mapping[str, Tap] = NO_TAPS
) -> Network:
    """A network of one block of which only these parameters are there, and only what they belong to
    may be called.

    Args:
        config: the model's shape.
        params: whole, by name; those of the block as of the first one.
        taps: as for ``network.logits_at``.
    """
    one, nothing = config.of_one_block(), jnp.zeros(())
    return build(one, dict.fromkeys(shapes(one), nothing) | dict(params), taps)


def named(own: Mapping[str, Array]) -> dict[str, Array]:
    """The parameters of a block as ``part`` names them."""
    return {BLOCK + name: x for name, x in own.items()}


def embedded(config: LMConfig, shares: Shares, tokens: Int[Array, "B T"], layout: Layout) -> Stream:
    """The residual stream before the first block."""
    return part(config, outer(config, shares, [Role.EMBEDDING])).embedded(tokens, layout)


def windows(config: LMConfig, length: int) -> Callable[[Any], Any]:
    """The attention window of each block of a loop, by its number: one as long as the row hides
    nothing, and stands for none where some blocks of the model have one."""
    if not any(config.windows):
        return lambda layer: None
    found = jnp.array([window or length for window in config.windows])
    return lambda layer: found[layer]


def residual(
    config: LMConfig,
    shares: Shares,
    tokens: Int[Array, "B T"],
    start: Int[Array, "B T"],
    layers: int | None = None,
) -> Stream:
    """The residual stream of packed documents after the first ``layers`` blocks; all by default."""
    window = windows(config, tokens.shape[1])

    def after(x: Stream, layer: Int[Array, ""]) -> tuple[Stream, None]:
        layout = Packed(start, window(layer))
        return part(config, named(block(config, shares, layer))).layers[0](x, layout), None

    x = embedded(config, shares, tokens, Packed(start))
    return jax.lax.scan(after, x, jnp.arange(config.layers if layers is None else layers))[0]


def features(
    config: LMConfig,
    shares: Shares,
    tokens: Int[Array, "B T"],
    start: Int[Array, "B T"],
    *,
    precision: str = PRECISION,
) -> tuple[Stream, Float[Array, "D V"]]:
    """``network.packed_features`` by this device's share of the parameters, and the unembedding.

    Args:
        config, tokens, start, precision: as there.
        shares: this device's.
    """
    with jax.default_matmul_precision(precision):
        x = residual(config, shares, tokens, start)
        end = part(config, outer(config, shares, closing(config), after=x))
        return end.final_norm(x, Packed(start)), end.unembedding


def _gathered(piece: Float[Array, " piece"], shape: tuple[int, ...]) -> Array:
    """The whole array, of everybody's pieces."""
    flat = jax.lax.all_gather(piece, DEVICES, tiled=True)
    return flat[: math.prod(shape)].reshape(shape)


@cache
def _names(config: LMConfig, name: str) -> list[str]:
    """The names of the parameters that lie in the array of this name."""
    if not name.startswith(BLOCK):
        return [name]
    return [f"layers.{i}.{name.removeprefix(BLOCK)}" for i in range(config.layers)]
