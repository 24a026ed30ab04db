"""A shape for each family of decoders, and for each of their switches turned the other way."""

from typing import Any

from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gemma import GemmaConfig
from jquanta.lm.models.gpt2 import GPT2Config
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.llama import LlamaConfig, MistralConfig
from jquanta.lm.models.olmo2 import Olmo2Config
from jquanta.lm.models.qwen import Qwen2Config, Qwen3Config
from jquanta.lm.models.rotary import Scaling
from tests.lm.models.examples import VOCAB

SIZE: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4, "vocab": VOCAB, "context": 64}
GROUPED: dict[str, Any] = {**SIZE, "kv_heads": 2, "hidden": 24}

LONG = Scaling("llama3", factor=8.0, low=1.0, high=4.0, original=32)
"""Of wavelengths 6, 35, 200 and 1,120 tokens, the first stays, the second is between, the others
are stretched."""

SHAPES: dict[str, LMConfig] = {
    "gpt_neox": GPTNeoXConfig(**SIZE),
    "gpt_neox in sequence": GPTNeoXConfig(**SIZE, parallel=False),
    "gpt_neox tied": GPTNeoXConfig(**SIZE, tied=True, hidden=40),
    "gpt_neox without biases": GPTNeoXConfig(**SIZE, attention_bias=False, activation="gelu_new"),
    "gpt_neo": GPTNeoConfig(**SIZE, window=7, hidden=24),
    "gpt2": GPT2Config(**SIZE),
    "gpt2 relu": GPT2Config(**SIZE, activation="relu", hidden=24),
    "llama": LlamaConfig(**SIZE),
    "llama grouped": LlamaConfig(**GROUPED, tied=True, rotary_base=500.0, eps=1e-3),
    "llama one key": LlamaConfig(**SIZE, kv_heads=1, head_size=10, scaling=Scaling("linear", 4.0)),
    "llama long": LlamaConfig(**GROUPED, scaling=LONG),
    "llama with biases": LlamaConfig(
        **GROUPED, qkv_bias=True, out_bias=True, mlp_bias=True, activation="gelu"
    ),
    "mistral": MistralConfig(**GROUPED),
    "mistral local": MistralConfig(**GROUPED, window=7, head_size=6),
    "qwen2": Qwen2Config(**GROUPED, tied=True),
    "qwen2 local": Qwen2Config(**GROUPED, window=9, local_from=1),
    "qwen3": Qwen3Config(**GROUPED, head_size=12),
    "qwen3 with biases": Qwen3Config(**GROUPED, qkv_bias=True, out_bias=True, tied=True),
    "olmo2": Olmo2Config(**GROUPED),
    "olmo2 with biases": Olmo2Config(**SIZE, qkv_bias=True, out_bias=True, tied=True),
    "gemma": GemmaConfig(**GROUPED, head_size=10),
    "gemma one key": GemmaConfig(**SIZE, kv_heads=1, tied=False),
}
"""By what they are."""
