"""Rows of unit length in panels, many at a time, and the inner products of two panels."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float
from numpy.typing import NDArray

from jquanta.lm.models.network import PRECISION
from jquanta.machine.devices import DEVICES, cut, mesh
from jquanta.qdg.cosines import kernel
from jquanta.qdg.views.lowrank import LowRank, is_low
from jquanta.qdg.views.source import Source, computed


class Panel(NamedTuple):
    """Rows divided by their norms, one a sample.

    Attributes:
        rows: a tree of [panel, …], cut over the devices; zeros where there is no row.
        samples: [q] which samples they are.
        places: [q] where in the panel the row of each of them lies.
        norms: of their rows: for each batch an array on the devices.
    """

    rows: Any
    samples: NDArray[np.int64]
    places: NDArray[np.int64]
    norms: list[Array]


def panels(sizes: Sequence[int], panel: int, devices: int) -> list[range]:
    """The batches of each panel: in order, as many as fit.

    Args:
        sizes: samples of each batch.
        panel: rows of a panel.
        devices: a batch takes up a multiple of them.
    """
    found: list[range] = []
    room = 0
    for number, size in enumerate(sizes):
        rows = padded(size, devices)
        if rows > room:
            found.append(range(number, number))
            room = panel
        found[-1] = range(found[-1].start, number + 1)
        room -= rows
    return found


def padded(rows: int, devices: int) -> int:
    """The least multiple of the devices that is at least so many rows."""
    return -(-rows // devices) * devices


def assemble(
    source: Source,
    batches: range,
    panel: int,
    dtype: str,
    report: Callable[[int], None],
) -> Panel:
    """Compute the rows of a panel.

    Args:
        source: of the rows.
        batches: which.
        panel: rows that it has room for: a multiple of the devices.
        dtype: in which unit rows are held.
        report: called with the number of each batch that is there.
    """
    devices = mesh()
    place = _place(devices)
    slots = np.arange(panel).reshape(devices.size, -1)  # a device's rows lie one after the other
    rows, samples, norms, places, used = None, [], [], [], 0
    for number, (own, made) in zip(batches, computed(source, batches), strict=True):
        found = _spread(made, len(own), devices)
        if rows is None:
            rows = _nothing(found, panel, dtype, devices)
        rows, norm = place(rows, found, np.int32(used))
        share = padded(len(own), devices.size) // devices.size
        places.append(slots[:, used : used + share].reshape(-1)[: len(own)])
        norms.append(norm[: len(own)])
        samples.append(own)
        used += share
        report(number)
    return Panel(rows, np.concatenate(samples), np.concatenate(places), norms)


def products(one: Panel, other: Panel, absolute: bool) -> tuple[Float[Array, "panel panel"], ...]:
    """Inner products of the rows of two panels in float32, and of their absolute values if asked.

    By place in the panels, not by sample: ``Panel.places`` says which is which.
    """
    return _products(mesh(), absolute, kernel.here())(one.rows, other.rows)


Product = Callable[[Array, Array], Array]
"""[rows, numbers] and [others, numbers] → [rows, others]."""


def in_float32(one: Array, other: Array) -> Float[Array, "rows others"]:
    """Inner products of all rows of two matrices, each product and sum in float32."""
    return jnp.matmul(one, other.T, precision=PRECISION, preferred_element_type=jnp.float32)


def inner(one: Any, other: Any, product: Product = in_float32) -> Float[Array, "rows others"]:
    """Inner products of all rows of two trees: the sum over their arrays, in float32. Those of
    matrices of low rank, u·vᵀ + … and x·yᵀ + …, are sums of (u·x)·(v·y): no matrix is formed."""

    def of_one(x: Any, y: Any) -> Array:
        if is_low(x):
            return jnp.einsum("ij...,ij...->ij", *map(_pairs, x, y))
        return product(_flat(x), _flat(y))[: len(x), : len(y)]

    parts = jax.tree.map(of_one, one, other, is_leaf=is_low)
    return functools.reduce(jnp.add, jax.tree.leaves(parts))


def _pairs(x: Array, y: Array) -> Array:
    """Of vectors [rows, …, r, n] and [others, …, s, n] the inner products [rows, others, …, r, s].
    All of a layer are one product."""
    return jnp.einsum(
        "i...rn,j...sn->ij...rs", x, y, precision=PRECISION, preferred_element_type=jnp.float32
    )


def _flat(x: Array) -> Float[Array, "rows numbers"]:
    """Rows of numbers, at least two of them. For the product of two single rows XLA on a CPU adds
    the numbers one after the other, and the rounding of 2 million float32 sums is 1e-3."""
    rows = x.reshape(len(x), -1)
    return rows if len(x) > 1 else jnp.concatenate([rows, rows])


def unit(rows: Any) -> tuple[Any, Float[Array, " q"]]:
    """Rows over their norms, and the norms; NaN where a norm is 0.

    Each row is divided by its largest number first: in float32 the squares of numbers below 1e-19
    are 0.
    """
    leaves = jax.tree.leaves(rows, is_leaf=is_low)
    largest = jnp.stack([_largest(x) for x in leaves]).max(0)
    scaled = 1 / largest
    squares = sum(_squares(_times(x, scaled)) for x in leaves)
    size = jnp.sqrt(squares)
    factor = scaled / size
    divided = jax.tree.map(lambda x: _times(x, factor), rows, is_leaf=is_low)
    return divided, jnp.where(largest == 0, 0, largest * size)


def _times(x: Any, factor: Float[Array, " q"]) -> Any:
    """Rows times a number each, in float32; of a matrix of low rank one factor is multiplied."""
    if is_low(x):
        return LowRank(x.left.astype(jnp.float32), _times(x.right, factor))
    return x.astype(jnp.float32) * factor.reshape(-1, *(1,) * (x.ndim - 1))


def _largest(x: Any) -> Float[Array, " q"]:
    """The largest number of each row; of matrices of low rank, of the factors that are multiplied
    with others, times that of these, which is as good to scale by."""
    if is_low(x):
        return _largest(x.left) * _largest(x.right)
    return jnp.abs(x.reshape(len(x), -1).astype(jnp.float32)).max(1)


def _squares(x: Any) -> Float[Array, " q"]:
    """The squared length of each row."""
    if is_low(x):
        left, right = (jnp.einsum("q...rn,q...sn->q...rs", y, y, precision=PRECISION) for y in x)
        return jnp.einsum("q...,q...->q", left, right)
    return jnp.square(x.reshape(len(x), -1)).sum(1)


def _spread(found: Any, count: int, devices: Mesh) -> Any:
    """Rows cut over the devices, after as many of zeros as make them even."""
    short = padded(count, devices.size) - count
    if short:
        found = jax.tree.map(
            lambda x: jnp.pad(x, [(0, short), *[(0, 0)] * (jnp.ndim(x) - 1)]), found
        )
    return jax.device_put(found, cut(devices))


def _nothing(like: Any, panel: int, dtype: str, devices: Mesh) -> Any:
    """An empty panel."""
    shapes = tuple((panel, *x.shape[1:]) for x in jax.tree.leaves(like))
    leaves = _zeros(shapes, dtype, devices)()
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


@functools.cache
def _zeros(shapes: tuple[tuple[int, ...], ...], dtype: str, devices: Mesh) -> Any:
    return jax.jit(
        lambda: [jnp.zeros(shape, dtype) for shape in shapes],
        out_shardings=cut(devices),
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

    batched = P(DEVICES)
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
def _products(devices: Mesh, absolute: bool, units: bool) -> Any:
    """The first panel stays where it is; the second is gathered on every device.

    Args:
        devices: over which both are cut.
        absolute: also of absolute values.
        units: on the matrix units of GPUs, by ``kernel``.
    """
    product = kernel.inner if units else in_float32

    def program(one: Any, other: Any) -> tuple[Array, ...]:
        signed = inner(one, other, product)
        if not absolute:
            return (signed,)
        return signed, inner(jax.tree.map(jnp.abs, one), jax.tree.map(jnp.abs, other), product)

    if units:  # XLA does not know how to cut a kernel of ours
        batched = P(DEVICES)
        program = jax.shard_map(
            program,
            mesh=devices,
            in_specs=(batched, P()),
            out_specs=batched,
            check_vma=False,  # devices share nothing
        )
    return jax.jit(program, out_shardings=cut(devices))
