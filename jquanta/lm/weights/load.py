"""Load a model in Hugging Face layout: its configuration, its parameters and its tokenizer."""

import hashlib
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
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
from jquanta.lm.weights.architecture import Architecture
from jquanta.lm.weights.sources import Folder, Source, open_source
from jquanta.run import kinds, parse, sums

FEW = 20
"""So many problems of a model's files are listed."""

BAR_FROM = 2**30
"""Size in bytes from which a progress bar is shown: reading so much takes a few seconds."""


def load_model(
    id_or_folder: Path | str,
    revision: str | None = None,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Model:
    """Load a language model from the Hugging Face hub or a folder::

        model = jq.load_model("EleutherAI/pythia-70m-v0", "step143000")
        logits = forward(model.config, model.params, tokens)  # jquanta.lm.models.network

    Names of Pythia models from before 2023, such as ``pythia-19m``, are replaced by today's names,
    with a warning.

    Args:
        id_or_folder: a model's id on the hub, or a folder in Hugging Face layout.
        revision: a branch, tag or commit on the hub; the name of a subfolder of a folder.
        dtype: of the parameters, and so of the factors of matrix products.

    Returns:
        The model; its tokenizer is None if there is no ``tokenizer.json``.

    Raises:
        BadInput: if there is no such model or revision; if its architecture is not supported; if
            tensors are unknown, missing, of a wrong shape or not finite (all are listed); or if
            its tokenizer has more tokens than its embedding has rows.
        RunFailed: if a download fails; the same call continues it.
    """
    source = open_source(id_or_folder, revision)
    for note in source.notes:
        warnings.warn(note, stacklevel=2)
    config = read_config(source)
    tokenizer = read_tokenizer(source, config)  # before the weights, so that errors come early
    return Model(config, read_params(source, config, dtype), tokenizer)


def _remedy(folder: Path) -> str:
    """What to give in place of a folder without a model."""
    revisions = kinds.revisions(folder)
    if not revisions:
        return "give a model's folder"
    return f"give one of its revisions too: {', '.join(revisions)}"


def read_config(source: Source) -> LMConfig:
    """Read a model's ``config.json``. Raises ``BadInput`` if it is missing or not supported."""
    path = source.get("config.json")
    if path is None:
        raise kinds.wrong(source.label, "model", _remedy(Path(source.label)))
    file = f"{source.label}: config.json"
    stored = parse.read_json(path, file, "fetch the model again, or save it again")
    if not isinstance(stored, dict):
        raise BadInput(f"{file}: not a table of settings")
    return tables.from_json(stored, file)


def read_tokenizer(source: Source, config: LMConfig) -> Tokenizer | None:
    """Read a model's tokenizer; None if the model has no ``tokenizer.json``.

    Raises:
        BadInput: if the file is not a tokenizer, or has more tokens than the embedding has rows.
    """
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
    """Read a model's parameters under our names, with one tensor at a time in the host's memory.

    Args:
        source: the model's files.
        config: the network's shape.
        dtype: of the parameters.

    Raises:
        BadInput: with a list of tensors that are unknown, missing, of a wrong shape, not finite or
            whole numbers.
        RunFailed: if a download fails.
    """
    if isinstance(source, Folder):
        sums.require_whole(
            source.path, f"save the model again, or delete {sums.SUMS} if it was meant to change"
        )
    wanted = {key: name for name, key in tables.source_keys(config).items()}
    sizes, table = shapes(config), tables.architecture(config)
    params: dict[str, Array] = {}
    copies: dict[str, np.ndarray] = {}
    found: set[str] = set()
    problems: list[str] = []

    # Called for each tensor of the files. Problems are collected, for one message that lists all.
    def take(stored: str, tensor: np.ndarray) -> None:
        key = _usual(stored, table, wanted)
        if table.ignored.fullmatch(key):
            return
        if key in found:
            problems.append(f"{stored}: stored twice")
        found.add(key)
        if (
            key in table.ties and key not in wanted
        ):  # a copy of a tied weight: compared with its original at the end
            copies[key] = tensor.astype(dtype)
        elif key not in wanted:
            problems.append(f"{stored}: unknown")
        else:
            name = wanted[key]
            turned = tables.transposed(config, name)  # [in, out] here, [out, in] there
            expected = sizes[name][::-1] if turned else sizes[name]
            if tensor.shape != expected:
                problems.append(f"{stored}: has shape {tensor.shape}, not {expected}")
                return
            if tensor.dtype.kind in "biu":  # as quantised weights are, which stand for others
                problems.append(f"{stored}: holds {tensor.dtype}, not floating-point numbers")
                return
            with np.errstate(over="ignore"):  # an overflow becomes infinity, and is reported below
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
        more = f"; and {len(problems) - FEW:,} more" if problems[FEW:] else ""
        raise BadInput(
            f"{source.label}: does not fit its config.json: {'; '.join(problems[:FEW])}{more}"
        )
    return {name: params[name] for name in sizes}  # in the order of the network, not of the files


def read_on_host(
    source: Source, config: LMConfig, dtype: DTypeLike = jnp.float32
) -> dict[str, Array]:
    """``read_params`` into the host's memory, if JAX has a CPU backend.

    What parameters are brought into (stacked, cut or transposed) is made there, so that a GPU's
    memory never has to hold both the original and the rearranged copy.
    """
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS allows the accelerator only
        host = jax.local_devices()[0]
    with jax.default_device(host):
        return read_params(source, config, dtype)


def _usual(stored: str, table: Architecture, wanted: Mapping[str, str]) -> str:
    """The usual name of a tensor of the files."""
    key = table.aliases.get(stored, stored)
    full = table.prefix + key
    return full if key not in wanted and (full in wanted or table.ignored.fullmatch(full)) else key


def _each(paths: Sequence[Path], take: Callable[[str, np.ndarray], None]) -> None:
    """Pass every tensor of every file to ``take``, with a progress bar if the files are large."""
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
    """The sha256 of all parameters: names, dtypes, shapes and bytes, in the order of the names.

    Args:
        params: by name.
    """
    digest = hashlib.sha256()
    for name in sorted(params):
        array = np.ascontiguousarray(params[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.view(np.uint8).data)
    return digest.hexdigest()


LEAST_NUMBERS = 64
"""Numbers of an array from which two checkpoints do not have the same ones by chance."""


def array_prints(params: Params) -> dict[str, str]:
    """The first 16 digits of the sha256 of each array, by name, to find arrays that two checkpoints
    have in common.

    Left out are arrays that may well be equal: small ones, and those of one number throughout, such
    as biases that are still zero.

    Args:
        params: by name.
    """
    prints = {}
    for name in sorted(params):
        array = np.ascontiguousarray(params[name])
        if array.size >= LEAST_NUMBERS and (array != array.flat[0]).any():
            prints[name] = hashlib.sha256(array.view(np.uint8).data).hexdigest()[:16]
    return prints


def warn_of_shared(prints: Mapping[str, Mapping[str, str]]) -> None:
    """Warn if two revisions of a model have some arrays in common, and not all.

    Users of the hub have reported Pythia revisions of several files of which one is another step's.

    Args:
        prints: ``array_prints`` of the revisions of one model, by their labels.
    """
    for one, other in itertools.combinations(prints, 2):
        shared = [name for name, own in prints[one].items() if prints[other].get(name) == own]
        if shared and len(shared) < len(prints[one]):
            warnings.warn(
                f"{one} and {other} have {len(shared)} of {len(prints[one])} arrays in common "
                f"({shared[0]}{' …' * bool(shared[1:])}): one of them may be served a file of the "
                "other; unless these were frozen, do not read them as different checkpoints",
                stacklevel=2,
            )


def warn_of_equals(fingerprints: Sequence[tuple[str, str]]) -> None:
    """Warn if several revisions have the same weights.

    Users of the hub have reported Pythia revisions that return the weights of another step.

    Args:
        fingerprints: name and ``fingerprint`` of each revision that was loaded.
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
