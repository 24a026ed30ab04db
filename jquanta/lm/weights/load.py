"""Load a model: its shape, its parameters under our names, its tokenizer."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array
from rich.console import Console
from rich.progress import Progress
from tokenizers import Tokenizer

from jquanta.errors import BadInput
from jquanta.lm.corpus.tokenizer import parse_tokenizer
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import Params, shapes
from jquanta.lm.weights import files, tables
from jquanta.lm.weights.sources import Source, open_source

BAR_FROM = 2**30
"""Bytes from which reading is shown: a few seconds' worth."""


def load_model(
    id_or_folder: Path | str,
    revision: str | None = None,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Model:
    """A language model from the hub or a folder::

        model = jq.load_model("EleutherAI/pythia-70m-v0", "step143000")
        logits = forward(model.config, model.params, tokens)  # jquanta.lm.models.network

    Names from before 2023, such as ``pythia-19m``, are taken for what they are called today, with
    a warning that says so.

    Args:
        id_or_folder: a model's id on the hub, or a folder in Hugging Face layout.
        revision: a branch, tag or commit of the hub's model; of a folder, a subfolder.
        dtype: of the parameters, and so of the products.

    Returns:
        The model, its tokenizer None where it comes with none.

    Raises:
        BadInput: if there is no such model or revision; if its shape is not supported; if
            tensors are unknown, missing, of a wrong shape or not finite (all are listed); or if
            its tokenizer has more tokens than its embedding rows.
        RunFailed: if a download fails; the same call goes on with it.
    """
    source = open_source(id_or_folder, revision)
    for note in source.notes:
        warnings.warn(note, stacklevel=2)
    config = read_config(source)
    tokenizer = read_tokenizer(source, config)  # before the weights: it fails sooner
    return Model(config, read_params(source, config, dtype), tokenizer)


def read_config(source: Source) -> LMConfig:
    """The shape that the model's ``config.json`` describes."""
    path = source.get("config.json")
    if path is None:
        raise BadInput(f"{source.label}: has no config.json; give a model's folder")
    file = f"{source.label}: config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file}: not JSON ({error})") from None
    if not isinstance(stored, dict):
        raise BadInput(f"{file}: not a table of settings")
    return tables.from_json(stored, file)


def read_tokenizer(source: Source, config: LMConfig) -> Tokenizer | None:
    """The model's tokenizer, or None if it comes with no ``tokenizer.json``."""
    path = source.get("tokenizer.json")
    if path is None:
        return None
    loaded = parse_tokenizer(path.read_bytes(), f"{source.label}: tokenizer.json")
    if loaded.vocab_size > config.vocab:
        raise BadInput(
            f"{source.label}: its tokenizer has {loaded.vocab_size:,} tokens and its embedding "
            f"{config.vocab:,} rows; they do not belong together"
        )
    return loaded.tokenizer


def read_params(
    source: Source, config: LMConfig, dtype: DTypeLike = jnp.float32
) -> dict[str, Array]:
    """The model's parameters by our names. One tensor at a time is on the host.

    Raises:
        BadInput: listing every unknown, missing, misshapen and not finite tensor.
    """
    wanted = {key: name for name, key in tables.source_keys(config).items()}
    sizes, table = shapes(config), tables.architecture(config)
    params: dict[str, Array] = {}
    copies: dict[str, np.ndarray] = {}
    found: set[str] = set()
    problems: list[str] = []

    def take(stored: str, tensor: np.ndarray) -> None:
        key = table.aliases.get(stored, stored)
        if table.ignored.fullmatch(key):
            return
        if key in found:
            problems.append(f"{stored}: stored twice")
        found.add(key)
        if key in table.ties:
            copies[key] = tensor.astype(dtype)
        elif key not in wanted:
            problems.append(f"{stored}: unknown")
        else:
            name = wanted[key]
            turned = tables.transposed(config, name)
            expected = sizes[name][::-1] if turned else sizes[name]
            if tensor.shape != expected:
                problems.append(f"{stored}: has shape {tensor.shape}, not {expected}")
                return
            with np.errstate(over="ignore"):  # found below
                array = (tensor.T if turned else tensor).astype(dtype, order="C")
            if bad := array.size - np.count_nonzero(np.isfinite(array)):
                problems.append(f"{stored}: {bad:,} of {array.size:,} numbers are not finite")
            params[name] = jax.device_put(array)

    _each(files.shards(source), take)
    problems += [f"{key}: missing" for key in wanted if key not in found]
    for key, copy in copies.items():
        original = params.get(wanted[table.ties[key]])
        if original is not None and not np.array_equal(np.asarray(original), copy):
            problems.append(f"{key}: differs from {table.ties[key]}, which it must equal")
    if problems:
        raise BadInput(f"{source.label}: does not fit its config.json: {'; '.join(problems)}")
    return {name: params[name] for name in sizes}


def _each(paths: Sequence[Path], take: Callable[[str, np.ndarray], None]) -> None:
    """Give every tensor of every file to ``take``; a bar shows how far, where it takes long."""
    total = sum(path.stat().st_size for path in paths)
    console = Console(stderr=True)
    hidden = total < BAR_FROM or not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("reading weights", total=total)
        for path in paths:
            for key, tensor in files.tensors(path):
                take(key, tensor)
                bar.advance(task, tensor.nbytes)


def fingerprint(params: Params) -> str:
    """sha256 over the names, dtypes, shapes and bytes of all parameters, in the names' order."""
    digest = hashlib.sha256()
    for name in sorted(params):
        array = np.ascontiguousarray(params[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.view(np.uint8).data)
    return digest.hexdigest()


def warn_of_equals(fingerprints: Sequence[tuple[str, str]]) -> None:
    """Warn of revisions that have the same weights.

    There are open reports of Pythia revisions that serve another step's weights.

    Args:
        fingerprints: a revision's name and its ``fingerprint``, for each that was loaded.
    """
    names: dict[str, list[str]] = {}
    for name, print_ in fingerprints:
        names.setdefault(print_, []).append(name)
    for same in names.values():
        if len(set(same)) > 1:
            warnings.warn(
                f"{' and '.join(dict.fromkeys(same))} have equal weights: one of them may be "
                "served another's; do not read them as different checkpoints",
                stacklevel=2,
            )
