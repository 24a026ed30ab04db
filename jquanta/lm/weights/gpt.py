"""Names and settings of GPT-NeoX, GPT-Neo and GPT-2 at Hugging Face."""

import re
from collections.abc import Mapping
from typing import Any

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.weights.architecture import FULL, SCALED, Architecture, anywhere
from jquanta.run.shown import shown

NEOX = Architecture(
    kind="gpt_neox",
    loads="GPTNeoXForCausalLM",
    fields={
        "layers": ("num_hidden_layers",),
        "width": ("hidden_size",),
        "heads": ("num_attention_heads",),
        "vocab": ("vocab_size",),
        "context": ("max_position_embeddings",),
        "eps": ("layer_norm_eps",),
        "hidden": ("intermediate_size",),
        "activation": ("hidden_act",),
        "rotary": anywhere("rotary_pct", "partial_rotary_factor"),
        "rotary_base": anywhere("rotary_emb_base", "rope_theta"),
        "parallel": ("use_parallel_residual",),
        "attention_bias": ("attention_bias",),
        "tied": ("tie_word_embeddings",),
    },
    nullable=("hidden",),
    agree={"partial_rotary_factor": "rotary", "rope_theta": "rotary_base"},
    write=lambda config: {"rope_scaling": None},
    fixed=FULL
    | {f"{table}.{name}": "default" for table in SCALED for name in ("rope_type", "type")},
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
    ignored=re.compile(
        r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"
    ),
    aliases={"lm_head.weight": "embed_out.weight"},  # the name in transformers 5
    ties={"embed_out.weight": "gpt_neox.embed_in.weight"},
)


def _read_neo(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers have local attention."""
    # attention_types = [[["global", "local"], 6]] stands for six times (global, local).
    reach: list[str] = []
    types = stored["attention_types"]
    try:
        pairs = [([str(word) for word in group], times) for group, times in types]
    except (TypeError, ValueError):
        raise BadInput(
            f"attention_types = {shown(repr(types))}: give pairs of a list and how often it comes, "
            'such as [[["global", "local"], 6]]'
        ) from None
    for group, times in pairs:
        LMConfig.RANGES["layers"].require("attention_types: times", times)
        reach += group * times
        LMConfig.RANGES["layers"].require("attention_types: layers", len(reach))
    return {"reach": tuple(reach)}


NEO = Architecture(
    kind="gpt_neo",
    loads="GPTNeoForCausalLM",
    fields={
        "layers": ("num_layers", "num_hidden_layers"),
        "width": ("hidden_size",),
        "heads": ("num_heads", "num_attention_heads"),
        "vocab": ("vocab_size",),
        "context": ("max_position_embeddings",),
        "eps": ("layer_norm_epsilon",),
        "hidden": ("intermediate_size",),
        "activation": ("activation_function",),
        "window": ("window_size",),
    },
    nullable=("hidden",),
    agree={"attention_layers": "reach"},
    read=_read_neo,
    makes={"reach": "attention_types"},
    write=lambda config: {"attention_types": [[[reach], 1] for reach in config.reach]},
    needed=("attention_types",),
    fixed=FULL | {"tie_word_embeddings": True},
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
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)"),
    ties={"lm_head.weight": "transformer.wte.weight"},
)

GPT2 = Architecture(
    kind="gpt2",
    loads="GPT2LMHeadModel",
    fields={
        "layers": ("n_layer",),
        "width": ("n_embd",),
        "heads": ("n_head",),
        "vocab": ("vocab_size",),
        "context": ("n_positions",),
        "eps": ("layer_norm_epsilon",),
        "hidden": ("n_inner",),
        "activation": ("activation_function",),
    },
    nullable=("hidden",),
    agree={"n_ctx": "context"},
    fixed=FULL
    | {
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
    },
    modules={
        "embed": "transformer.wte",
        "positions": "transformer.wpe",
        "layers.{}.attention_norm": "transformer.h.{}.ln_1",
        "layers.{}.attention.qkv": "transformer.h.{}.attn.c_attn",
        "layers.{}.attention.out": "transformer.h.{}.attn.c_proj",
        "layers.{}.mlp_norm": "transformer.h.{}.ln_2",
        "layers.{}.mlp.up": "transformer.h.{}.mlp.c_fc",
        "layers.{}.mlp.down": "transformer.h.{}.mlp.c_proj",
        "final_norm": "transformer.ln_f",
    },
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)"),
    prefix="transformer.",
    ties={"lm_head.weight": "transformer.wte.weight"},
    transposed=False,
)
