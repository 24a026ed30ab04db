"""Labelled arrays stored as Zarr groups, which appear under their names only when complete."""

import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore  # given a string, zarr may take a path for a URL

from jquanta.errors import BadInput
from jquanta.run import parse, sums
from jquanta.run.files import whole, write_whole

METADATA = "zarr.json"
"""The file whose presence makes a folder a Zarr group."""

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, IndexError)
"""What zarr, its codecs and xarray raise over files that are not as they were written."""

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
        sums.write(part)


def make_group(path: Path, attributes: Mapping[str, Any]) -> None:
    """Make a folder a group without arrays. Whenever the process ends, it is one or it is not."""
    path.mkdir(parents=True, exist_ok=True)
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    write_whole(path / METADATA, json.dumps(content, indent=2))


def set_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    """Add attributes to a group that is not finished."""
    write_whole(path / METADATA, _with(path, attributes))


def finish(path: Path, attributes: Mapping[str, Any]) -> None:
    """Add attributes to a group that is complete now, and write its check sums.

    The attributes, which may say that the group is finished, come last: when they are there, so are
    the check sums.
    """
    text = _with(path, attributes)
    sums.write(path, {METADATA: text.encode()})
    write_whole(path / METADATA, text)


def _with(path: Path, attributes: Mapping[str, Any]) -> str:
    """The metadata of a group with further attributes, as JSON."""
    content = parse.read_json(path / METADATA)
    content["attributes"] = content.get("attributes", {}) | dict(attributes)
    return json.dumps(content, indent=2)


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
    remedy = f"delete it, then {remedy}"
    if not (path / METADATA).is_file():
        if path.is_dir() and any(path.iterdir()):
            raise sums.damaged(path, [f"{METADATA} is missing"], remedy)
        raise BadInput(f"{path}: no {what} here; {remedy.removeprefix('delete it, then ')}")
    require_whole(path, remedy)
    try:
        found = xr.open_zarr(LocalStore(path, read_only=True), chunks=None, consolidated=True)
        if needed in found:
            return found
    except DAMAGE:
        pass  # another kind of group, or damaged: the message below covers both
    raise BadInput(f"{path}: holds no {what}, or is damaged; {remedy}")


MayLack = Callable[[str, tuple[int, ...]], bool]
"""Whether a chunk may be absent, by the name of its array and its place among the chunks."""


def nothing(name: str, place: tuple[int, ...]) -> bool:
    """No chunk may be absent."""
    return False


def require_whole(path: Path, remedy: str, may_lack: MayLack = nothing) -> None:
    """Check that nothing of a finished group is lost: by its check sums, or, where an older version
    wrote none, by asking for every chunk. Zarr itself reads a missing chunk as zeros.

    Args:
        path: of the group, which exists.
        remedy: advice for the message.
        may_lack: which chunks may be absent, if there are no check sums.

    Raises:
        BadInput: naming the first file that is missing, cut short, or altered.
    """
    if not sums.require_whole(path, remedy):
        found = faults(path, content=stored_bytes(path) <= sums.SMALL, may_lack=may_lack)
        if found:
            raise sums.damaged(path, found, remedy)


def stored_bytes(path: Path) -> int:
    """The size of all files of a group."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def faults(path: Path, *, content: bool, may_lack: MayLack = nothing) -> list[str]:
    """What is wrong with a finished group that has no check sums, in words: chunks that are missing
    or have another size than their numbers take.

    Args:
        path: of the group.
        content: whether all chunks are read, too, to find those that cannot be.
        may_lack: which chunks may be absent.
    """
    try:
        arrays = dict(open_group(path).arrays())
    except DAMAGE:
        return [f"{METADATA} cannot be read"]
    return [
        fault
        for name, array in arrays.items()
        for fault in _array_faults(path / name, array, content, may_lack)
    ]


def _array_faults(path: Path, array: Any, content: bool, may_lack: MayLack) -> Iterator[str]:
    # Numbers that are not compressed take a known number of bytes, and fill every chunk.
    plain = array.dtype.kind in "iufb" and not array.compressors
    full = math.prod(array.chunks) * array.dtype.itemsize
    counts = [-(-side // own) for side, own in zip(array.shape, array.chunks, strict=True)]
    for place in itertools.product(*map(range, counts)):
        key = array.metadata.encode_chunk_key(place)
        file = path / key
        if not file.is_file():
            if not may_lack(path.name, place):
                yield f"{path.name}/{key} is missing"
        elif plain and file.stat().st_size != full:
            yield f"{path.name}/{key} has {file.stat().st_size:,} bytes, not {full:,}"
        elif content and not plain:
            region = tuple(
                slice(i * side, (i + 1) * side) for i, side in zip(place, array.chunks, strict=True)
            )
            try:
                array[region]
            except DAMAGE:
                yield f"{path.name}/{key} cannot be read"
