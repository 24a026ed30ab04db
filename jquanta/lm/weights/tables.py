"""Hugging Face's names for shapes and parameters, and ours: one table an architecture."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoConfig, GPTNeoXConfig, LMConfig
from jquanta.lm.models.network import shapes


class Architecture(NamedTuple):
    """How Hugging Face stores an architecture."""

    modules: Mapping[str, str]
    """Our modules and theirs; {} is the number of the layer."""
    aliases: Mapping[str, str]
    """Other names of their parameters."""
    ties: Mapping[str, str]
    """Copies that some files hold, which must equal the parameter named."""
    ignored: re.Pattern[str]
    """Buffers that old files hold: masks and frequencies that the code makes itself."""


NEOX = Architecture(
    modules={
        "embed": "gpt_neox.embed_in",
        "layers.{}.attention_norm": "gpt_neox.layers.{}.input_layernorm",
        "layers.{}.attention.qkv": "gpt_neox.layers.{}.attention.query_key_value",
        "layers.{}.attention.out": "gpt_neox.layers.{}.attention.dense",
        "layers.{}.mlp_norm": "gpt_neox.layers.{}.post_attention_layernorm",
        "layers.{}.mlp.up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
        "layers.{}.mlp.down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "final_norm": "gpt_neox.final_layer_norm",
        "unembed": "embed_out",
    },
    aliases={"lm_head.weight": "embed_out.weight"},  # what transformers 5 calls it
    ties={},
    ignored=re.compile(
        r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"
    ),
)

NEO = Architecture(
    modules={
        "embed": "transformer.wte",
        "positions": "transformer.wpe",
        "layers.{}.attention_norm": "transformer.h.{}.ln_1",
        "layers.{}.attention.query": "transformer.h.{}.attn.attention.q_proj",
        "layers.{}.attention.key": "transformer.h.{}.attn.attention.k_proj",
        "layers.{}.attention.value": "transformer.h.{}.attn.attention.v_proj",
        "layers.{}.attention.out": "transformer.h.{}.attn.attention.out_proj",
        "layers.{}.mlp_norm": "transformer.h.{}.ln_2",
        "layers.{}.mlp.up": "transformer.h.{}.mlp.c_fc",
        "layers.{}.mlp.down": "transformer.h.{}.mlp.c_proj",
        "final_norm": "transformer.ln_f",
    },
    aliases={},
    ties={"lm_head.weight": "transformer.wte.weight"},
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)"),
)

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}


def architecture(config: LMConfig) -> Architecture:
    """The table for a model of this shape."""
    return NEOX if isinstance(config, GPTNeoXConfig) else NEO


def source_keys(config: LMConfig) -> dict[str, str]:
    """Hugging Face's name of each of our parameters. Kernels are stored transposed there."""
    modules = architecture(config).modules

    def key(name: str) -> str:
        module, leaf = name.rsplit(".", 1)
        layer = re.search(r"\d+", module)
        number = layer[0] if layer else ""
        theirs = modules[module.replace(f".{number}.", ".{}.") if layer else module]
        return f"{theirs.format(number)}.{_LEAVES[leaf]}"

    return {name: key(name) for name in shapes(config)}


def from_json(stored: Mapping[str, Any], file: str) -> LMConfig:
    """The shape that a ``config.json`` describes.

    Raises:
        BadInput: naming each field of ``file`` that is missing, or that we do not compute.
    """
    kind = stored.get("model_type")
    if kind not in _READERS:
        raise BadInput(f"{file}: model_type {kind!r}; supported: {', '.join(_READERS)}")
    read = _READERS[kind]
    missing = sorted(name for name in read.needed if name not in stored)
    if missing:
        raise BadInput(f"{file}: has no {', '.join(missing)}")
    wrong = [
        f"{name} = {stored[name]!r} (only {wanted!r})"
        for name, wanted in read.fixed.items()
        if stored.get(name, wanted) != wanted
    ]
    width = stored["hidden_size"]
    if stored.get("intermediate_size") not in (None, 4 * width):
        wrong.append(f"intermediate_size = {stored['intermediate_size']!r} (only {4 * width})")
    if wrong:
        raise BadInput(f"{file}: not supported: {'; '.join(wrong)}")
    try:
        return read.make(stored)
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(f"{file}: {error}") from None


def to_json(config: LMConfig, dtype: str) -> dict[str, Any]:
    """The ``config.json`` that transformers reads for a model of this shape."""
    if isinstance(config, GPTNeoXConfig):
        return {
            "architectures": ["GPTNeoXForCausalLM"],
            "model_type": "gpt_neox",
            "num_hidden_layers": config.layers,
            "hidden_size": config.width,
            "num_attention_heads": config.heads,
            "intermediate_size": 4 * config.width,
            "vocab_size": config.vocab,
            "max_position_embeddings": config.context,
            "layer_norm_eps": config.eps,
            "rotary_pct": config.rotary,
            "rotary_emb_base": config.rotary_base,
            "torch_dtype": dtype,
            **_NEOX_FIXED,
            **_NO_TOKENS,
        }
    assert isinstance(config, GPTNeoConfig)
    return {
        "architectures": ["GPTNeoForCausalLM"],
        "model_type": "gpt_neo",
        "num_layers": config.layers,
        "hidden_size": config.width,
        "num_heads": config.heads,
        "intermediate_size": 4 * config.width,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "layer_norm_epsilon": config.eps,
        "window_size": config.window,
        "attention_types": [[[reach], 1] for reach in config.reach],
        "torch_dtype": dtype,
        **_NEO_FIXED,
        **_NO_TOKENS,
    }


def _neox(stored: Mapping[str, Any]) -> GPTNeoXConfig:
    rope = {  # transformers 5 writes them together, older versions beside the rest
        "rope_theta": stored.get("rotary_emb_base", 10000),
        "partial_rotary_factor": stored.get("rotary_pct", 0.25),
        **(stored.get("rope_parameters") or {}),
    }
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} is not supported (only 'default')")
    return GPTNeoXConfig(
        layers=stored["num_hidden_layers"],
        width=stored["hidden_size"],
        heads=stored["num_attention_heads"],
        vocab=stored["vocab_size"],
        context=stored["max_position_embeddings"],
        eps=stored.get("layer_norm_eps", 1e-5),
        rotary=rope["partial_rotary_factor"],
        rotary_base=float(rope["rope_theta"]),
    )


def _neo(stored: Mapping[str, Any]) -> GPTNeoConfig:
    return GPTNeoConfig(
        layers=stored["num_layers"],
        width=stored["hidden_size"],
        heads=stored["num_heads"],
        vocab=stored["vocab_size"],
        context=stored["max_position_embeddings"],
        eps=stored.get("layer_norm_epsilon", 1e-5),
        window=stored.get("window_size", 256),
        reach=tuple(
            reach for group, times in stored["attention_types"] for reach in list(group) * times
        ),
    )


class _Reader(NamedTuple):
    make: Any
    needed: tuple[str, ...]
    fixed: Mapping[str, Any]


_COMMON = ("hidden_size", "vocab_size", "max_position_embeddings")
_NEOX_FIXED = {
    "hidden_act": "gelu",
    "use_parallel_residual": True,
    "attention_bias": True,
    "tie_word_embeddings": False,
    "rope_scaling": None,
}
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}  # their defaults are Pythia's and GPT-2's
_NEO_FIXED = {"activation_function": "gelu_new", "tie_word_embeddings": True}
_READERS = {
    "gpt_neox": _Reader(_neox, (*_COMMON, "num_hidden_layers", "num_attention_heads"), _NEOX_FIXED),
    "gpt_neo": _Reader(_neo, (*_COMMON, "num_layers", "num_heads", "attention_types"), _NEO_FIXED),
}
