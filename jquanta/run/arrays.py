"""Labelled arrays as Zarr groups, each seen under its name only when it is whole."""

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore  # a bare path could be taken for an address

from jquanta.errors import BadInput
from jquanta.run.files import whole

CHUNK = 1024
"""Rows and columns of a chunk of a matrix: 4 MiB of float32."""


class Variable(NamedTuple):
    """An array to store.

    Attributes:
        dims: names of its dimensions.
        shape, dtype: of the array.
        parts: the array along its first dimension, piece by piece. Without any, only its metadata
            are written, and the chunks are for another to write.
        attributes: such as units and ``long_name``.
        chunks: shape of a chunk, a file of its own; by default up to ``CHUNK`` along each
            dimension.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[NDArray[Any]]
    attributes: Mapping[str, Any]
    chunks: tuple[int, ...] | None = None


def variable(dims: tuple[str, ...], values: NDArray[Any], **attributes: Any) -> Variable:
    """A variable whose values are in memory."""
    return Variable(dims, values.shape, str(values.dtype), [values], attributes)


def open_group(path: Path, mode: Any = "r") -> Any:
    """The Zarr group in a folder."""
    return zarr.open_group(LocalStore(path, read_only=mode == "r"), mode=mode)


def consolidate(path: Path) -> None:
    """Gather a group's metadata in one file, so that it opens by a single read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr: consolidated metadata is not in its format 3
        zarr.consolidate_metadata(LocalStore(path))


def write(path: Path, variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> None:
    """Write a Zarr group whole, in place of what was there.

    Numbers are not compressed: the digits of a float hardly can be.

    Args:
        path: of the group; the folder that holds it exists.
        variables: by name.
        attributes: of the group.
    """
    with whole(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr: strings have no final specification yet
        group = zarr.create_group(LocalStore(part), attributes=dict(attributes))
        for name, variable in variables.items():
            array: Any = group.create_array(
                name,
                shape=variable.shape,
                chunks=variable.chunks
                or tuple(max(1, min(CHUNK, side)) for side in variable.shape),
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
        consolidate(part)


def set_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    """Add attributes to a group that is there."""
    open_group(path, "r+").attrs.update(dict(attributes))
    consolidate(path)


def save_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a Dataset in memory as a Zarr group, whole or not at all."""
    variables = {
        str(name): variable(tuple(map(str, found.dims)), found.to_numpy(), **found.attrs)
        for name, found in dataset.variables.items()
    }
    write(path, variables, dataset.attrs)


def read(path: Path, what: str, needed: str, remedy: str) -> xr.Dataset:
    """Open a Zarr group lazily.

    Args:
        path: of the group.
        what: it holds, for messages.
        needed: a variable that it must have.
        remedy: what to do where there is none.

    Raises:
        BadInput: if there is no such group, or parts of it are missing.
    """
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
    for name, array in open_group(path).arrays():
        sizes = [file.stat().st_size for file in (path / name / "c").rglob("*") if file.is_file()]
        full = math.prod(array.chunks) * array.dtype.itemsize
        numbers = array.dtype.kind in "iufb"
        if len(sizes) < array.nchunks or (numbers and any(size != full for size in sizes)):
            return False
    return True
