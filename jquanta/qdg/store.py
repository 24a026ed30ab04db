"""Results of QDG as Zarr groups, each seen under its name only when it is whole."""

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.sweep.folder import remove

if TYPE_CHECKING:
    import xarray as xr

CHUNK = 1024
"""Rows and columns of a chunk of a matrix: 4 MiB of float32."""


class Variable(NamedTuple):
    """An array to store.

    Attributes:
        dims: names of its dimensions.
        shape, dtype: of the array.
        parts: the array along its first dimension, piece by piece.
        attributes: such as units and ``long_name``.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[NDArray[Any]]
    attributes: Mapping[str, Any]


def write(path: Path, variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> None:
    """Write a Zarr group under a temporary name, then give it its own, whatever was there.

    Numbers are not compressed: the digits of a float are hardly compressible.

    Args:
        path: of the group; the folder that holds it exists.
        variables: by name.
        attributes: of the group.
    """
    import zarr
    from zarr.storage import LocalStore  # a path could be taken for an address

    part = path.with_name(path.name + ".part")
    remove(part)
    group = zarr.create_group(LocalStore(part), attributes=dict(attributes))
    for name, variable in variables.items():
        array: Any = group.create_array(
            name,
            shape=variable.shape,
            chunks=tuple(max(1, min(CHUNK, side)) for side in variable.shape),
            dtype=variable.dtype,
            compressors=None,
            dimension_names=variable.dims,
            attributes=dict(variable.attributes),
            config={"write_empty_chunks": True},  # so that a chunk that is not there is missing
        )
        start = 0
        for values in variable.parts:
            array[start : start + len(values)] = values
            start += len(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr: consolidated metadata is not in its format 3
        zarr.consolidate_metadata(LocalStore(part))
    remove(path)
    part.replace(path)


def read(path: Path, what: str, needed: str, remedy: str) -> "xr.Dataset":
    """Open a Zarr group lazily.

    Args:
        path: of the group.
        what: it holds, for messages.
        needed: a variable that it must have.
        remedy: what to do where there is none.

    Raises:
        BadInput: if there is no such group, or parts of it are missing.
    """
    import xarray as xr
    from zarr.storage import LocalStore

    if not (path / "zarr.json").is_file():
        raise BadInput(f"{path}: no {what} here; {remedy}")
    try:
        found = xr.open_zarr(LocalStore(path, read_only=True), chunks=None, consolidated=True)
        if needed in found and _is_whole(path):
            return found
    except (ValueError, KeyError, TypeError, OSError):
        pass  # not ours, or damaged: the same to who reads it
    raise BadInput(f"{path}: holds no {what}, or is damaged; delete it, then {remedy}")


def _is_whole(path: Path) -> bool:
    """Whether all chunks are there, those of numbers at full size. Zarr reads missing ones as 0."""
    import zarr
    from zarr.storage import LocalStore

    for name, array in zarr.open_group(LocalStore(path, read_only=True), mode="r").arrays():
        sizes = [file.stat().st_size for file in (path / name / "c").rglob("*") if file.is_file()]
        full = math.prod(array.chunks) * array.dtype.itemsize
        numbers = array.dtype.kind in "iufb"
        if len(sizes) < array.nchunks or (numbers and any(size != full for size in sizes)):
            return False
    return True


def whole(dims: tuple[str, ...], values: NDArray[Any], **attributes: Any) -> Variable:
    """A variable that is at hand at once."""
    return Variable(dims, values.shape, str(values.dtype), [values], attributes)


def permuted(
    matrix: NDArray[np.float32], place: NDArray[np.int64]
) -> Iterable[NDArray[np.float32]]:
    """A matrix whose row and column i are ``place[i]`` of the given one, a strip at a time."""
    for start in range(0, len(place), CHUNK):
        yield matrix[place[start : start + CHUNK]][:, place]
