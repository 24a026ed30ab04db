"""Rows of unit length, a panel of them at a time: what similarity's products multiply."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float
from numpy.typing import NDArray

from jquanta.lm.models.network import PRECISION
from jquanta.qdg.views.per_sample import SAMPLES, Source, in_order, mesh


@dataclass(frozen=True)
class Cut:
    """Some batches, one after the other, that fill a panel.

    Attributes:
        batches: where each starts and stops.
    """

    batches: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        """The first row."""
        return self.batches[0][0]

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.batches[-1][1]


class Panel(NamedTuple):
    """Rows divided by their norms.

    Attributes:
        rows: a tree of [panel, …], cut over the devices; zeros where there is no row.
        places: [stop - start] where in it each row of the cut lies.
        norms: of the rows: for each batch an array on the devices.
    """

    rows: Any
    places: NDArray[np.int64]
    norms: list[Array]


def cut(stops: Sequence[int], panel: int, devices: int) -> list[Cut]:
    """Batches in order, as many to a panel as fit; a batch takes up a multiple of the devices."""
    cuts: list[list[tuple[int, int]]] = []
    room, start = 0, 0
    for stop in stops:
        rows = padded(stop - start, devices)
        if rows > room:
            cuts.append([])
            room = panel
        cuts[-1].append((start, stop))
        room, start = room - rows, stop
    return [Cut(tuple(batches)) for batches in cuts]


def padded(rows: int, devices: int) -> int:
    """The least multiple of the devices that takes so many rows."""
    return -(-rows // devices) * devices


def assemble(
    source: Source,
    cut: Cut,
    panel: int,
    dtype: str,
    report: Callable[[int], None],
) -> Panel:
    """Compute the rows of a panel.

    Args:
        source: of the rows.
        cut: which.
        panel: rows that it has room for: a multiple of the devices.
        dtype: in which unit rows are held.
        report: is told of the rows of each batch.
    """
    devices = mesh()
    count, place = len(devices.devices), _place(mesh())
    slots = np.arange(panel).reshape(count, -1)  # a device's rows lie one after the other
    rows, norms, places, used = None, [], [], 0
    for (start, stop), made in zip(cut.batches, in_order(source, cut.batches), strict=True):
        found = _spread(made, stop - start, devices)
        if rows is None:
            rows = _nothing(found, panel, dtype, devices)
        rows, norm = place(rows, found, np.int32(used))
        own = padded(stop - start, count) // count
        places.append(slots[:, used : used + own].reshape(-1)[: stop - start])
        norms.append(norm[: stop - start])
        used += own
        report(stop - start)
    return Panel(rows, np.concatenate(places), norms)


def products(one: Panel, other: Panel, absolute: bool) -> tuple[Float[Array, "panel panel"], ...]:
    """Inner products of the rows of two panels in float32, and of their absolute values if asked.

    By place in the panels, not by row: ``Panel.places`` tells which is which.
    """
    return _products(mesh(), absolute)(one.rows, other.rows)


def inner(one: Any, other: Any) -> Float[Array, "rows others"]:
    """Inner products of all rows of two trees: the sum over their arrays, in float32."""
    parts = jax.tree.map(
        lambda x, y: jnp.matmul(
            _flat(x),
            _flat(y).T,
            precision=PRECISION,
            preferred_element_type=jnp.float32,
        )[: len(x), : len(y)],
        one,
        other,
    )
    return functools.reduce(jnp.add, jax.tree.leaves(parts))


def _flat(x: Array) -> Float[Array, "rows numbers"]:
    """Rows of numbers, two at least: for a single one XLA's CPU takes the numbers one after the
    other, which in float32 is wrong by 1e-3 for 2 million of them."""
    rows = x.reshape(len(x), -1)
    return rows if len(x) > 1 else jnp.concatenate([rows, rows])


def unit(rows: Any) -> tuple[Any, Float[Array, " q"]]:
    """Rows over their norms, and the norms; NaN where a norm is 0.

    The largest number is taken out first: squares of numbers below 1e-19 are 0 in float32.
    """
    leaves = [x.reshape(len(x), -1).astype(jnp.float32) for x in jax.tree.leaves(rows)]
    largest = jnp.stack([jnp.abs(x).max(1) for x in leaves]).max(0)
    scaled = 1 / largest
    squares = sum(jnp.square(x * scaled[:, None]).sum(1) for x in leaves)
    size = jnp.sqrt(squares)
    factor = scaled / size

    def divided(x: Array) -> Array:
        return x.astype(jnp.float32) * factor.reshape(-1, *(1,) * (x.ndim - 1))

    return jax.tree.map(divided, rows), jnp.where(largest == 0, 0, largest * size)


def _spread(found: Any, count: int, devices: Mesh) -> Any:
    """Rows cut over the devices, after as many of zeros as make them even."""
    short = padded(count, devices.size) - count
    if short:
        found = jax.tree.map(
            lambda x: jnp.pad(x, [(0, short), *[(0, 0)] * (jnp.ndim(x) - 1)]), found
        )
    return jax.device_put(found, NamedSharding(devices, P(SAMPLES)))


def _nothing(like: Any, panel: int, dtype: str, devices: Mesh) -> Any:
    """An empty panel."""
    shapes = tuple((panel, *x.shape[1:]) for x in jax.tree.leaves(like))
    leaves = _zeros(shapes, dtype, devices)()
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


@functools.cache
def _zeros(shapes: tuple[tuple[int, ...], ...], dtype: str, devices: Mesh) -> Any:
    return jax.jit(
        lambda: [jnp.zeros(shape, dtype) for shape in shapes],
        out_shardings=NamedSharding(devices, P(SAMPLES)),
    )


@functools.cache
def _place(devices: Mesh) -> Any:
    """Put the unit rows of a batch into a panel, in its own memory."""

    def place(panel: Any, found: Any, used: Array) -> tuple[Any, Array]:
        rows, norms = unit(found)
        put = jax.tree.map(
            lambda into, x: jax.lax.dynamic_update_slice_in_dim(
                into, x.astype(into.dtype), used, 0
            ),
            panel,
            rows,
        )
        return put, norms

    batched = P(SAMPLES)
    return jax.jit(
        jax.shard_map(
            place,
            mesh=devices,
            in_specs=(batched, batched, P()),
            out_specs=batched,
            check_vma=False,  # devices share nothing
        ),
        donate_argnums=0,
    )


@functools.cache
def _products(devices: Mesh, absolute: bool) -> Any:
    """The first panel stays where it is; the second is gathered on every device."""

    def program(one: Any, other: Any) -> tuple[Array, ...]:
        signed = inner(one, other)
        if not absolute:
            return (signed,)
        return signed, inner(jax.tree.map(jnp.abs, one), jax.tree.map(jnp.abs, other))

    return jax.jit(program, out_shardings=NamedSharding(devices, P(SAMPLES, None)))
