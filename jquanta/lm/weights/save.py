"""Save a model in Hugging Face layout, so that ``transformers`` and ``load_model`` read it."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params
from jquanta.lm.weights import tables
from jquanta.lm.weights.files import SAFETENSORS
from jquanta.run.files import whole, write_whole


def save_model(
    folder: Path | str, config: LMConfig, params: Params, tokenizer: Tokenizer | None = None
) -> None:
    """Write ``model.safetensors``, the tokenizer's files and, last, ``config.json``.

    Each file appears under its name only when whole; a folder without ``config.json`` is not
    finished.

    Args:
        folder: made if there is none.
        config: the network's shape.
        params: by name; their dtype is kept.
        tokenizer: of the ``tokenizers`` library.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    keys = tables.source_keys(config)
    stored = {
        keys[name]: np.ascontiguousarray(x.T if tables.transposed(config, name) else x)
        for name, x in ((name, np.asarray(params[name])) for name in keys)
    }
    with whole(folder / SAFETENSORS) as part:
        save_file(stored, part, metadata={"format": "pt"})  # without it transformers 4 refuses
    if tokenizer is not None:
        write_whole(folder / "tokenizer.json", tokenizer.to_str())
        # Else transformers takes the class of the model's family, which adds tokens of its own.
        write_whole(
            folder / "tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast"}\n'
        )
    described = tables.to_json(config, str(next(iter(stored.values())).dtype))
    write_whole(folder / "config.json", json.dumps(described, indent=2) + "\n")
