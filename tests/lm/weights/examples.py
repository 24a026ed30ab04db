"""Tiny models in Hugging Face layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models

from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import init
from jquanta.lm.weights.save import save_model

NEOX = GPTNeoXConfig(layers=2, width=32, heads=2, vocab=60)
NEO = GPTNeoConfig(layers=2, width=32, heads=2, vocab=60, context=64, window=5)
TOKENIZER = Tokenizer(models.WordLevel({f"w{i}": i for i in range(50)}, unk_token="w0"))


def params(config: LMConfig, seed: int = 0) -> dict[str, Any]:
    """Parameters none of which is 1 or 0, so that mixed-up ones are seen."""
    key = jax.random.key(seed)
    made = init(config, key)
    keys = jax.random.split(key, len(made))
    return {
        name: x + 0.2 * jax.random.normal(k, x.shape)
        for (name, x), k in zip(made.items(), keys, strict=True)
    }


def saved(folder: Path, config: LMConfig = NEOX, seed: int = 0) -> Path:
    """A model's folder."""
    save_model(folder, config, params(config, seed), TOKENIZER)
    return folder


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """What its ``model.safetensors`` holds, by Hugging Face's names."""
    return load_file(folder / "model.safetensors")


def store(folder: Path, changed: Mapping[str, np.ndarray]) -> None:
    """Replace its tensors."""
    save_file(
        {name: np.ascontiguousarray(x) for name, x in changed.items()}, folder / "model.safetensors"
    )


def split(folder: Path, parts: int = 3) -> list[str]:
    """Cut its ``model.safetensors`` into shards with an index; their names."""
    whole = tensors(folder)
    (folder / "model.safetensors").unlink()
    names = [f"model-{i + 1:05d}-of-{parts:05d}.safetensors" for i in range(parts)]
    for i, name in enumerate(names):
        save_file(dict(list(whole.items())[i::parts]), folder / name)
    index = {"weight_map": {key: names[i % parts] for i, key in enumerate(whole)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return names


def contents(folder: Path) -> dict[str, bytes]:
    """The folder's files, as a hub serves them."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets of parameters are equal, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)
