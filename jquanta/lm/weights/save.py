"""Save a model in Hugging Face layout, which ``transformers`` and ``load_model`` can read."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params
from jquanta.lm.weights import tables
from jquanta.lm.weights.files import SAFETENSORS
from jquanta.run.files import as_path, whole, write_whole


def save_model(
    folder: Path | str, config: LMConfig, params: Params, tokenizer: Tokenizer | None = None
) -> None:
    """Write ``model.safetensors``, the files of the tokenizer and, last, ``config.json``.

    Each file gets its name only when it is complete, so a folder with a ``config.json`` holds a
    complete model.

    Args:
        folder: the folder to write to; it is made if it does not exist.
        config: the network's shape.
        params: by name; they are stored in their own dtype.
        tokenizer: of the ``tokenizers`` library; None to save none.
    """
    folder = as_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keys = tables.source_keys(config)
    # Kernels are [in, out] here and [out, in] at Hugging Face.
    stored = {
        keys[name]: np.ascontiguousarray(x.T if tables.transposed(config, name) else x)
        for name, x in ((name, np.asarray(params[name])) for name in keys)
    }
    with whole(folder / SAFETENSORS) as part:
        save_file(stored, part, metadata={"format": "pt"})  # transformers 4 requires this entry
    if tokenizer is not None:
        write_whole(folder / "tokenizer.json", tokenizer.to_str())
        # Without this file transformers chooses the tokenizer class of the model's family, which
        # adds special tokens of its own.
        write_whole(
            folder / "tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast"}\n'
        )
    described = tables.to_json(config, str(next(iter(stored.values())).dtype))
    write_whole(folder / "config.json", json.dumps(described, indent=2) + "\n")
