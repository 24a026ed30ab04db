"""Names and settings of Llama, Mistral, Qwen, OLMo 2 and Gemma at Hugging Face."""

import re
from collections.abc import Mapping
from typing import Any

from jquanta.errors import BadInput
from jquanta.lm.models.llama import LlamaConfig
from jquanta.lm.models.rotary import Scaling
from jquanta.lm.weights.architecture import FULL, SCALED, Architecture, anywhere
from jquanta.run.shown import shown

_SCALINGS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "low": "low_freq_factor",
        "high": "high_freq_factor",
        "original": "original_max_position_embeddings",
    },
}
"""Fields of a table of rotary embeddings by our names, for each type of table."""


def _read_scaling(stored: Mapping[str, Any]) -> dict[str, Any]:
    """How the rates of rotations are lowered. Raises ``BadInput`` for a way that is not ours."""
    table: Mapping[str, Any] = next((stored[name] for name in SCALED if stored.get(name)), {})
    kinds = [table[name] for name in ("rope_type", "type") if name in table]
    kind: Any = kinds[0] if kinds else "default"
    if any(other != kind for other in kinds):
        raise BadInput(f"rope_type and type disagree: {shown(repr(kinds))}")
    if not isinstance(kind, str) or kind not in _SCALINGS:
        raise BadInput(f"rope_type = {shown(repr(kind))}; supported: {', '.join(_SCALINGS)}")
    own = _SCALINGS[kind]
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor", *own.values()}
    if surplus := sorted(set(table) - known):
        raise BadInput(f"rope_type = {kind!r} with {shown(', '.join(surplus))}, which it has not")
    if missing := [name for name in own.values() if name not in table]:
        raise BadInput(f"rope_type = {kind!r} without {', '.join(missing)}")
    for ours, theirs in own.items():
        Scaling.RANGES[ours].require(theirs, table[theirs])
    numbers: dict[str, Any] = {ours: table[theirs] for ours, theirs in own.items()}
    return {"scaling": Scaling(kind, **numbers)} if own else {}  # type: ignore[arg-type]


def _write_scaling(config: LlamaConfig) -> dict[str, Any]:
    scaling = config.scaling
    if scaling is None:
        return {"rope_scaling": None}
    numbers = {theirs: getattr(scaling, own) for own, theirs in _SCALINGS[scaling.kind].items()}
    return {"rope_scaling": {"rope_type": scaling.kind, **numbers}}


def _read_windows(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Of Qwen: which blocks have local attention, and how far it reaches."""
    used = stored.get("use_sliding_window", False)
    if not isinstance(used, bool):
        raise BadInput(f"use_sliding_window = {shown(repr(used))}: give true or false")
    if used and "sliding_window" not in stored:
        raise BadInput("use_sliding_window = True, and there is no sliding_window")
    layers, window = stored["num_hidden_layers"], stored.get("sliding_window")
    first = layers
    if used and window is not None:
        first = stored.get("max_window_layers", 28)
        LlamaConfig.RANGES["window"].require("sliding_window", window)
        LlamaConfig.RANGES["local_from"].require("max_window_layers", first)
    kinds = ["sliding_attention" if i >= first else "full_attention" for i in range(layers)]
    if stored.get("layer_types") not in (None, kinds):
        raise BadInput("layer_types are not those that max_window_layers and the window make")
    return {"window": window, "local_from": first} if first < layers else {}


def _write_windows(config: LlamaConfig) -> dict[str, Any]:
    return {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": config.local_from,
    }


_FIELDS = {
    "layers": ("num_hidden_layers",),
    "width": ("hidden_size",),
    "hidden": ("intermediate_size",),
    "heads": ("num_attention_heads",),
    "kv_heads": ("num_key_value_heads",),
    "head_size": ("head_dim",),
    "vocab": ("vocab_size",),
    "context": ("max_position_embeddings",),
    "eps": ("rms_norm_eps",),
    "activation": ("hidden_act",),
    "rotary_base": anywhere("rope_theta", "rope_theta"),
    "tied": ("tie_word_embeddings",),
}
_BIAS = {"qkv_bias": ("attention_bias",), "out_bias": ("attention_bias",)}
_NEEDED = ("intermediate_size", "rms_norm_eps")

_MODULES = {
    "embed": "model.embed_tokens",
    "layers.{}.attention_norm": "model.layers.{}.input_layernorm",
    "layers.{}.attention.query": "model.layers.{}.self_attn.q_proj",
    "layers.{}.attention.key": "model.layers.{}.self_attn.k_proj",
    "layers.{}.attention.value": "model.layers.{}.self_attn.v_proj",
    "layers.{}.attention.out": "model.layers.{}.self_attn.o_proj",
    "layers.{}.mlp_norm": "model.layers.{}.post_attention_layernorm",
    "layers.{}.mlp.gate": "model.layers.{}.mlp.gate_proj",
    "layers.{}.mlp.up": "model.layers.{}.mlp.up_proj",
    "layers.{}.mlp.down": "model.layers.{}.mlp.down_proj",
    "final_norm": "model.norm",
    "unembed": "lm_head",
}
_NORMS = {
    "layers.{}.attention.query_norm": "model.layers.{}.self_attn.q_norm",
    "layers.{}.attention.key_norm": "model.layers.{}.self_attn.k_norm",
}

LLAMA = Architecture(
    kind="llama",
    loads="LlamaForCausalLM",
    fields=_FIELDS | _BIAS | {"mlp_bias": ("mlp_bias",)},
    nullable=("kv_heads", "head_size"),
    read=_read_scaling,
    makes=_SCALINGS["llama3"],
    write=_write_scaling,
    needed=_NEEDED,
    fixed=FULL | dict.fromkeys(anywhere("partial_rotary_factor", "partial_rotary_factor"), 1.0),
    modules=_MODULES,
    ignored=re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"),
    prefix="model.",
    ties={"lm_head.weight": "model.embed_tokens.weight"},
)

MISTRAL = LLAMA._replace(
    kind="mistral",
    loads="MistralForCausalLM",
    fields=_FIELDS | {"window": ("sliding_window",)},
    nullable=("kv_heads", "head_size", "window"),
    write=_write_scaling,
    needed=(*_NEEDED, "num_key_value_heads", "sliding_window"),
)

QWEN2 = LLAMA._replace(
    kind="qwen2",
    loads="Qwen2ForCausalLM",
    fields=_FIELDS,
    read=lambda stored: _read_scaling(stored) | _read_windows(stored),
    write=lambda config: _write_scaling(config) | _write_windows(config),
    needed=(*_NEEDED, "num_key_value_heads"),
)

QWEN3 = QWEN2._replace(
    kind="qwen3",
    loads="Qwen3ForCausalLM",
    fields=_FIELDS | _BIAS,
    needed=(*_NEEDED, "num_key_value_heads", "head_dim"),
    modules=_MODULES | _NORMS,
)

OLMO2 = LLAMA._replace(
    kind="olmo2",
    loads="Olmo2ForCausalLM",
    fields=_FIELDS | _BIAS,
    modules=_MODULES
    | _NORMS
    | {
        "layers.{}.attention_norm": "model.layers.{}.post_attention_layernorm",
        "layers.{}.mlp_norm": "model.layers.{}.post_feedforward_layernorm",
    },
)

GEMMA = LLAMA._replace(
    kind="gemma",
    loads="GemmaForCausalLM",
    fields=_FIELDS | _BIAS,
    agree={"hidden_activation": "activation"},
    # The first releases say gelu, and were trained with its tanh approximation.
    legacy={"hidden_act": ("gelu", "gelu_pytorch_tanh")},
    needed=(*_NEEDED, "num_key_value_heads", "head_dim"),
    fixed={**LLAMA.fixed, "use_bidirectional_attention": None},
)
