"""Checkpoints of Llama's kin and of GPT-2: names, defaults, and what is refused, in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jquanta as jq
from jquanta.cli.model import main
from jquanta.errors import BadInput
from jquanta.lm.models.base import ACTIVATIONS
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gemma import GemmaConfig
from jquanta.lm.models.gpt2 import GPT2Config
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.llama import LlamaConfig, MistralConfig
from jquanta.lm.models.olmo2 import Olmo2Config
from jquanta.lm.models.qwen import Qwen2Config, Qwen3Config
from jquanta.lm.models.rotary import Scaling
from jquanta.lm.weights.save import save_model
from jquanta.lm.weights.tables import from_json, to_json
from tests.lm.models.switches import GROUPED, SHAPES, SIZE
from tests.lm.weights import examples

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def stored(config: LMConfig, **changes: Any) -> dict[str, Any]:
    """A ``config.json`` with other fields; those that are ``...`` are missing."""
    found = to_json(config, "float32") | changes
    return {name: value for name, value in found.items() if value is not ...}


LLAMA = LlamaConfig(**GROUPED)
MISTRAL = MistralConfig(**GROUPED, window=7)
LATER = Qwen3Config(**GROUPED), Olmo2Config(**GROUPED), GemmaConfig(**GROUPED)
NEO = GPTNeoConfig(**SIZE)
NEOX = GPTNeoXConfig(**SIZE)
QWEN = Qwen2Config(**GROUPED, window=9, local_from=1)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (LLAMA, {"num_key_value_heads": 3}, "num_key_value_heads = 3: does not divide the 4 heads"),
        (LLAMA, {"head_dim": 7}, "head_dim = 7: rotations need an even number"),
        (LLAMA, {"head_dim": 0}, "head_dim = 0: give a whole number from 1"),
        (LLAMA, {"rope_scaling": {"rope_type": "yarn"}}, "rope_type = 'yarn'; supported: default"),
        (LLAMA, {"rope_scaling": {"type": "dynamic"}}, "rope_type = 'dynamic'; supported"),
        (
            LLAMA,
            {"rope_scaling": {"type": "linear", "rope_type": "llama3"}},
            "rope_type and type disagree",
        ),
        (LLAMA, {"rope_scaling": {"rope_type": "linear"}}, "rope_type = 'linear' without factor"),
        (
            LLAMA,
            {"rope_scaling": {"rope_type": "linear", "factor": 2, "mscale": 1}},
            "rope_type = 'linear' with mscale, which it has not",
        ),
        (LLAMA, {"rope_scaling": {**LLAMA3, "factor": "8"}}, "factor = '8': give a number"),
        (
            LLAMA,
            {"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}},
            "low_freq_factor = 4.0: give a factor below high = 4.0",
        ),
        (
            LLAMA,
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": LLAMA3},
            "rope_scaling is another table than rope_parameters",
        ),
        (LLAMA, {"rope_parameters": {"rope_theta": 5e5}}, "rope_theta = 500000.0 where rope_theta"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 (only 1.0)"),
        (LLAMA, {"hidden_act": "tanh"}, "hidden_act = 'tanh': give one of gelu"),
        (LLAMA, {"attention_bias": None}, "attention_bias = None: give true or false"),
        (LLAMA, {"rms_norm_eps": ...}, "has no rms_norm_eps"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config"),
        (MISTRAL, {"sliding_window": ...}, "has no sliding_window"),
        (MISTRAL, {"sliding_window": 0}, "sliding_window = 0: give a whole number from 1"),
        (QWEN, {"sliding_window": ...}, "and there is no sliding_window"),
        (LLAMA, {"hidden_act": 1}, "hidden_act = 1: give one of gelu"),
        (QWEN, {"use_sliding_window": 1}, "use_sliding_window = 1: give true or false"),
        (
            QWEN,
            {"layer_types": ["full_attention"] * 2},
            "layer_types are not those that max",
        ),
        (Qwen3Config(**GROUPED), {"head_dim": ...}, "has no head_dim"),
        *(
            (config, {"num_key_value_heads": 3}, "num_key_value_heads = 3: does not divide the 4")
            for config in (MISTRAL, QWEN, *LATER)
        ),
        *(
            (config, {"rope_scaling": {"rope_type": "ntk"}}, "rope_type = 'ntk'; supported: defa")
            for config in (MISTRAL, QWEN, *LATER)
        ),
        (NEOX, {"num_attention_heads": 5}, "num_attention_heads = 5: does not divide the width 32"),
        (NEOX, {"rope_scaling": {"type": "linear"}}, "rope_scaling.type = 'linear' (only 'defa"),
        (
            NEOX,
            {"rope_parameters": {"rope_theta": 5}},
            "rope_parameters.rope_theta = 5 where rotary_emb_base says",
        ),
        (NEO, {"num_heads": 5}, "num_heads = 5: does not divide the width 32"),
        (NEO, {"num_layers": 3}, "attention_types = ('global', 'local'): give 'global' or 'local'"),
        (NEO, {"attention_types": 3}, "attention_types = 3: give pairs of a list and how often"),
        (NEO, {"attention_types": [["global", 1, 2]]}, "attention_types = [['global', 1, 2]]: gi"),
        (NEO, {"attention_types": [[3, 1]]}, "attention_types = [[3, 1]]: give pairs of a list"),
        (NEO, {"attention_layers": ["global"]}, "attention_layers = ['global'] where attention_t"),
        (GPT2Config(**SIZE), {"n_head": 5}, "n_head = 5: does not divide the width 32"),
        (GPT2Config(**SIZE), {"scale_attn_by_inverse_layer_idx": True}, "(only False)"),
        (GPT2Config(**SIZE), {"n_ctx": 65}, "n_ctx = 65 where n_positions says 64"),
        (LLAMA, {"model_type": "gemma2"}, "model_type 'gemma2'; supported: gpt_neox, gpt_neo"),
    ],
)
def test_configurations_that_are_not_computed(
    config: LMConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        from_json(stored(config, **changes), "config.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_stands_for_a_default() -> None:
    plain = LlamaConfig(**SIZE)
    missing = {"num_key_value_heads": ..., "head_dim": ..., "rope_theta": ..., "mlp_bias": ...}
    assert from_json(stored(plain, **missing), "") == plain
    null = {"num_key_value_heads": None, "head_dim": None, "rope_scaling": None}
    assert from_json(stored(plain, **null), "") == plain
    assert from_json(stored(MISTRAL, sliding_window=None), "") == MistralConfig(**GROUPED)
    assert from_json(stored(QWEN, use_sliding_window=False), "") == Qwen2Config(**GROUPED)
    assert from_json(stored(GPT2Config(**SIZE), n_inner=None, n_ctx=64), "") == GPT2Config(**SIZE)


@pytest.mark.parametrize("newer", [..., None, "gelu_pytorch_tanh"])
def test_gelu_of_the_first_gemma_is_the_approximation(newer: Any) -> None:
    plain = GemmaConfig(**GROUPED)
    assert from_json(stored(plain, hidden_act="gelu", hidden_activation=newer), "") == plain
    with pytest.raises(BadInput, match="hidden_activation = 'gelu' where hidden_act says"):
        from_json(stored(plain, hidden_act="gelu", hidden_activation="gelu"), "")


def test_as_transformers_5_writes_rotations() -> None:
    changes = {"rope_theta": ..., "rope_scaling": ..., "rope_parameters": {"rope_theta": 5e5}}
    found = from_json(stored(LLAMA, **changes), "")
    assert found == LlamaConfig(**GROUPED, rotary_base=5e5)
    changes["rope_parameters"] = {"rope_theta": 5e5, **LLAMA3}
    wanted = LlamaConfig(**GROUPED, rotary_base=5e5, scaling=Scaling("llama3", 8.0))
    assert from_json(stored(LLAMA, **changes), "") == wanted


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**GROUPED, window=7),
        LlamaConfig(**GROUPED, qkv_bias=True),
        MistralConfig(**GROUPED, mlp_bias=True),
        GemmaConfig(**GROUPED, activation="gelu"),
    ],
)
def test_a_shape_that_the_format_cannot_tell(config: LMConfig, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no such network, so it cannot be stored as one"):
        save_model(tmp_path / "model", config, examples.params(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama, tied."""
    return examples.saved(tmp_path / "llama", LlamaConfig(**GROUPED, tied=True))


def changed(folder: Path, **changes: Any) -> str:
    """What is said of a model some of whose arrays are others; None takes one away."""
    path = folder / "model.safetensors"
    found = load_file(path) | changes
    save_file({k: x for k, x in found.items() if x is not None}, path)
    with pytest.raises(BadInput) as caught:
        jq.load_model(folder)
    return str(caught.value)


def test_arrays_that_do_not_fit(folder: Path) -> None:
    key = "model.layers.0.self_attn.k_proj"
    assert f"{key}.weight: missing" in changed(folder, **{f"{key}.weight": None})
    bias = np.zeros(16, np.float32)
    said = changed(folder, **{f"{key}.bias": bias, f"{key}.weight": np.ones((32, 32), np.float32)})
    assert f"{key}.bias: unknown" in said
    assert f"{key}.weight: has shape (32, 32), not (16, 32)" in said


def test_a_copy_of_the_embedding_must_be_one(folder: Path) -> None:
    path = folder / "model.safetensors"
    found = load_file(path)
    table = found["model.embed_tokens.weight"]
    save_file(found | {"lm_head.weight": table.copy()}, path)
    jq.load_model(folder)
    assert "lm_head.weight: differs from model.embed_tokens.weight" in changed(
        folder, **{"lm_head.weight": table + 1}
    )


@pytest.mark.parametrize(
    ("config", "prefix"), [(LLAMA, "model."), (GPT2Config(**SIZE), "transformer.")]
)
def test_files_of_the_model_without_its_head(config: LMConfig, prefix: str, tmp_path: Path) -> None:
    """Whose names begin later, with buffers among them, as GPT-2's on the hub."""
    folder = examples.saved(tmp_path / "model", config)
    path = folder / "model.safetensors"
    found = {name.removeprefix(prefix): x for name, x in load_file(path).items()}
    if prefix == "transformer.":
        found["h.0.attn.bias"] = np.ones((1, 1, 64, 64), np.float32)
    save_file(found, path)
    (folder / "sums.json").unlink(missing_ok=True)
    assert examples.same(jq.load_model(folder).params, examples.params(config))


@pytest.mark.parametrize("family", SHAPES)
def test_weights_that_do_not_fit_are_one_line_in_every_family(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An array that is missing, one too many, and a vocabulary of another size."""
    folder = examples.saved(tmp_path / "model", SHAPES[family])
    found = examples.tensors(folder)
    first = min(name for name in found if ".1." in name)
    described = json.loads((folder / "config.json").read_text())
    vocab = described["vocab_size"]
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({k: x for k, x in found.items() if k != first}, {}, f"{first}: missing"),
        (found | {"odd.weight": np.zeros((2, 2), np.float32)}, {}, "odd.weight: unknown"),
        (found, {"vocab_size": vocab + 1}, f"has shape ({vocab}, 32), not ({vocab + 1}, 32)"),
        (found, {"vocab_size": 49}, "its tokenizer has 50 tokens and its embedding 49 rows"),
    ]
    for arrays, changes, says in cases:
        examples.store(folder, arrays)
        (folder / "config.json").write_text(json.dumps(described | changes))
        assert main([str(folder), "--check"]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert says in said.err


def test_swish_is_silu(tmp_path: Path) -> None:
    assert ACTIVATIONS["swish"] is ACTIVATIONS["silu"]
    config = from_json(stored(LLAMA, hidden_act="swish"), "")
    save_model(tmp_path, config, examples.params(config))
    assert jq.load_model(tmp_path).config == config


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--check"]) == 0
    said = capsys.readouterr().out
    assert "llama, supported" in said
    assert "4 heads of 8 numbers, 2 of keys; sees all earlier positions" in said
    assert "weights     whole: 20 arrays of finite numbers" in said
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"hidden_act": "mish"}))
    assert main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "hidden_act = 'mish': give one of gelu" in error
    neox = examples.saved(folder.parent / "neox", GPTNeoXConfig(**SIZE))
    assert main([str(neox)]) == 0
    assert "4 heads of 8 numbers, 4 of keys" in capsys.readouterr().out
