"""Tensors in files: safetensors, whole or in shards, and torch's pickles where torch is there."""

import importlib.util
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from jquanta.errors import BadInput
from jquanta.lm.weights.sources import Source, Unreachable

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
INDEX = ".index.json"


def shards(source: Source) -> list[Path]:
    """The files that hold the model's tensors, safetensors where there are any.

    Raises:
        BadInput: if there are none, if one that the index names is missing, or if there are only
            torch's pickles and torch is not installed.
    """
    unreachable: Unreachable | None = None
    for name in (SAFETENSORS, SAFETENSORS + INDEX, PICKLE, PICKLE + INDEX):
        if name == PICKLE and not importlib.util.find_spec("torch"):
            raise unreachable or BadInput(
                f"{source.label}: has no {SAFETENSORS}, and to read a {PICKLE} torch is needed "
                "(pip install torch)"
            )
        try:
            path = source.get(name)
        except Unreachable as error:  # without a network another may still be in the cache
            unreachable = unreachable or error
            continue
        if path is not None:
            return _listed(source, path) if name.endswith(INDEX) else [path]
    raise unreachable or BadInput(f"{source.label}: has neither {SAFETENSORS} nor {PICKLE}")


def _listed(source: Source, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{source.label}: {index.name} is not an index of tensors") from None
    found = {name: source.get(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise BadInput(
            f"{source.label}: shards that {index.name} names are missing: {', '.join(missing)}; "
            "fetch the model again"
        )
    return [path for path in found.values() if path is not None]


def tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of a file with its name, one in memory at a time.

    Raises:
        BadInput: if the file is damaged, or holds what torch's weights-only loader refuses.
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
    import torch

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
        if tensor.dtype == torch.bfloat16:  # which numpy has from ml_dtypes, unknown to torch
            yield name, tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            yield name, tensor.numpy()
