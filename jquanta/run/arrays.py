"""Labelled arrays stored as Zarr groups, which appear under their names only when complete."""

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore  # given a string, zarr may take a path for a URL

from jquanta.errors import BadInput
from jquanta.run.files import whole

CHUNK = 1024
"""Rows and columns in a chunk of a matrix: 4 MiB of float32."""


class Variable(NamedTuple):
    """An array to store.

    Attributes:
        dims: names of its dimensions.
        shape, dtype: of the array.
        parts: the array along its first dimension, piece by piece. Without any, only its metadata
            are written, and the chunks are for another to write.
        attributes: metadata, such as ``units`` and ``long_name``.
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
    """A ``Variable`` made of an array in memory."""
    return Variable(dims, values.shape, str(values.dtype), [values], attributes)


def open_group(path: Path, mode: Any = "r") -> Any:
    """Open the Zarr group in a folder. ``mode`` as of ``zarr.open_group``."""
    return zarr.open_group(LocalStore(path, read_only=mode == "r"), mode=mode)


def consolidate(path: Path) -> None:
    """Collect the metadata of a group in one file, so that opening it takes a single read."""
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not part of the specification of format 3.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(LocalStore(path))


def write(path: Path, variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> None:
    """Write a Zarr group, whole or not at all. An existing one is replaced.

    Arrays are not compressed, since the mantissas of floats hardly can be.

    Args:
        path: of the group; its parent folder must exist.
        variables: by name.
        attributes: metadata of the group.
    """
    with whole(path) as part, warnings.catch_warnings():
        # zarr warns that strings have no final specification in format 3.
        warnings.simplefilter("ignore")
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
                config={"write_empty_chunks": True},  # an absent chunk is then a damaged one
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
    """Write a Dataset that is in memory as a Zarr group, whole or not at all."""
    variables = {
        str(name): variable(tuple(map(str, found.dims)), found.to_numpy(), **found.attrs)
        for name, found in dataset.variables.items()
    }
    write(path, variables, dataset.attrs)


def read(path: Path, what: str, needed: str, remedy: str) -> xr.Dataset:
    """Open a Zarr group lazily.

    Args:
        path: of the group.
        what: what it holds, for messages.
        needed: name of a variable that it must have.
        remedy: advice for the message if there is no such group.

    Raises:
        BadInput: if there is no such group, or a part of it is missing.
    """
    if not (path / "zarr.json").is_file():
        raise BadInput(f"{path}: no {what} here; {remedy}")
    try:
        found = xr.open_zarr(LocalStore(path, read_only=True), chunks=None, consolidated=True)
        if needed in found and _is_whole(path):
            return found
    except (ValueError, KeyError, TypeError, OSError):
        pass  # another kind of group, or damaged: the message below covers both
    raise BadInput(f"{path}: holds no {what}, or is damaged; delete it, then {remedy}")


def _is_whole(path: Path) -> bool:
    """Whether all chunks exist, and those of numbers have their full size.

    Zarr does not check this: it reads a missing chunk as zeros.
    """
    for name, array in open_group(path).arrays():
        sizes = [file.stat().st_size for file in (path / name / "c").rglob("*") if file.is_file()]
        full = math.prod(array.chunks) * array.dtype.itemsize
        numbers = array.dtype.kind in "iufb"
        if len(sizes) < array.nchunks or (numbers and any(size != full for size in sizes)):
            return False
    return True
