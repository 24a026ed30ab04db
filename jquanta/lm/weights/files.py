"""Read tensors from files: safetensors, in one file or in shards, and pickles of torch.

Pickles need torch to be installed.
"""

import importlib.util
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from jquanta.errors import BadInput
from jquanta.lm.weights.sources import Source
from jquanta.run import parse
from jquanta.run.files import inside
from jquanta.run.hub import Unreachable

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
INDEX = ".index.json"
"""The suffix of a file that names, for each tensor, the shard that contains it."""


def shards(source: Source) -> list[Path]:
    """Find the files that contain a model's tensors; safetensors are preferred to pickles.

    Raises:
        BadInput: if there are none, if a shard that the index names is missing, or if there are
            only pickles and torch is not installed.
        RunFailed: if a download fails.
    """
    unreachable: Unreachable | None = None
    # In order of preference. A model without safetensors needs torch, which is checked only when no
    # safetensors were found.
    for name in (SAFETENSORS, SAFETENSORS + INDEX, PICKLE, PICKLE + INDEX):
        if name == PICKLE and not importlib.util.find_spec("torch"):
            raise unreachable or BadInput(
                f"{source.label}: has no {SAFETENSORS}, and to read a {PICKLE} torch is needed "
                "(pip install torch)"
            )
        try:
            path = source.get(name)
        except Unreachable as error:  # no network, but another format may be in the cache
            unreachable = unreachable or error
            continue
        if path is not None:
            return _listed(source, path) if name.endswith(INDEX) else [path]
    raise unreachable or BadInput(f"{source.label}: has neither {SAFETENSORS} nor {PICKLE}")


def _listed(source: Source, index: Path) -> list[Path]:
    """The shards that an index names. Raises ``BadInput`` if one is missing."""
    where = f"{source.label}: {index.name}"
    try:
        names = sorted(set(parse.read_json(index, where)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError):
        raise BadInput(f"{where} is not an index of tensors") from None
    for name in names:
        inside(index.parent, name, where)
    found = {name: source.get(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise BadInput(
            f"{source.label}: shards that {index.name} names are missing: {', '.join(missing)}; "
            "fetch the model again"
        )
    return [path for path in found.values() if path is not None]


def tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Read the tensors of a file one after another, so that one at a time is in memory.

    Args:
        path: a safetensors file, or a pickle of torch.

    Yields:
        The name and the array of each tensor.

    Raises:
        BadInput: if the file is damaged, or torch's weights-only loader refuses it (it loads
            tensors but does not execute code).
    """
    if path.suffix == ".safetensors":
        yield from _safetensors(path)
    else:
        yield from _pickled(path)


def _safetensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise BadInput(f"{path}: damaged ({error}); fetch it again") from None


def _pickled(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    import torch  # late: only old files need it, and it is no dependency

    try:
        stored = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: torch's weights-only loader refuses it ({reason})") from None
    if not isinstance(stored, dict) or not all(map(torch.is_tensor, stored.values())):
        raise BadInput(f"{path}: holds more than named tensors; give a model's own weights")
    for name, tensor in stored.items():
        # numpy knows bfloat16 only through ml_dtypes, and torch cannot convert to that: so the bits
        # are passed as 16-bit integers and reinterpreted, without a copy.
        if tensor.dtype == torch.bfloat16:
            yield name, tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            yield name, tensor.numpy()
