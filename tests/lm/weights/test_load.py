"""From files to named parameters: tables, complaints, dtypes, memory, fingerprints."""

import importlib.util
import json
import pickle
import shutil
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.network import shapes
from jquanta.lm.weights import tables
from jquanta.lm.weights.load import fingerprint, warn_of_equals
from tests.lm.weights import examples

torch = pytest.importorskip("torch")
load_torch = pytest.importorskip("safetensors.torch").load_file

EMBED = "gpt_neox.embed_in.weight"
QKV = "gpt_neox.layers.1.attention.query_key_value.weight"


@pytest.fixture(params=[examples.NEOX, examples.NEO], ids=["neox", "neo"])
def config(request: pytest.FixtureRequest) -> LMConfig:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return examples.saved(tmp_path / "model")


def complaint(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        jq.load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_complaints_at_once(folder: Path) -> None:
    stored = examples.tensors(folder)
    del stored["gpt_neox.final_layer_norm.bias"], stored["gpt_neox.layers.0.mlp.dense_4h_to_h.bias"]
    stored[QKV] = stored[QKV].T
    stored[EMBED][3, :2] = np.nan
    stored["embed_out.weight"][0, 0] = np.inf
    stored["gpt_neox.layers.2.input_layernorm.weight"] = np.ones(32, np.float32)  # of two layers
    stored["rotary.weight"] = np.ones(3, np.float32)
    examples.store(folder, stored)
    assert sorted(complaint(folder).split(": does not fit its config.json: ")[1].split("; ")) == [
        "embed_out.weight: 1 of 1,920 numbers are not finite",
        f"{EMBED}: 2 of 1,920 numbers are not finite",
        "gpt_neox.final_layer_norm.bias: missing",
        "gpt_neox.layers.0.mlp.dense_4h_to_h.bias: missing",
        f"{QKV}: has shape (32, 96), not (96, 32)",
        "gpt_neox.layers.2.input_layernorm.weight: unknown",
        "rotary.weight: unknown",
    ]


def test_quantised_weights_are_refused(folder: Path) -> None:
    stored = examples.tensors(folder)
    examples.store(folder, stored | {EMBED: np.ones(stored[EMBED].shape, np.int8)})
    assert complaint(folder).endswith(f"{EMBED}: holds int8, not floating-point numbers")
    file = folder / "config.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {"quantization_config": {"bits": 8}}))
    assert "quantization_config = {'bits': 8} (only None)" in complaint(folder)


def test_a_long_list_of_complaints_is_cut(folder: Path) -> None:
    examples.store(folder, {})
    assert complaint(folder).endswith(" missing; and 8 more")


def test_buffers_of_old_files_are_passed_over(folder: Path) -> None:
    stored = examples.tensors(folder)
    for layer in range(2):
        prefix = f"gpt_neox.layers.{layer}.attention."
        stored |= {
            prefix + "bias": np.tri(8, dtype=bool),
            prefix + "masked_bias": np.array(-1e9, np.float32),
            prefix + "rotary_emb.inv_freq": np.ones(2, np.float32),
        }
    examples.store(folder, stored)
    assert examples.same(jq.load_model(folder).params, examples.params(examples.NEOX))


def test_the_unembedding_under_either_name_but_not_both(folder: Path) -> None:
    stored = examples.tensors(folder)
    renamed = {("lm_head.weight" if k == "embed_out.weight" else k): x for k, x in stored.items()}
    examples.store(folder, renamed)
    assert examples.same(jq.load_model(folder).params, examples.params(examples.NEOX))
    examples.store(folder, stored | renamed)
    assert complaint(folder).endswith("lm_head.weight: stored twice")


def test_a_copy_of_the_tied_embedding_must_be_one(tmp_path: Path) -> None:
    folder = examples.saved(tmp_path, examples.NEO)
    stored = examples.tensors(folder)
    prefix = "transformer.h.0.attn.attention."
    stored |= {prefix + "bias": np.tri(4, dtype=bool), prefix + "masked_bias": np.float32([-1e9])}
    stored["lm_head.weight"] = stored["transformer.wte.weight"].copy()
    examples.store(folder, stored)
    assert examples.same(jq.load_model(folder).params, examples.params(examples.NEO))
    stored["lm_head.weight"][5, 5] += 1
    examples.store(folder, stored)
    assert "lm_head.weight: differs from transformer.wte.weight" in complaint(folder)


def test_every_parameter_has_its_own_source(config: LMConfig) -> None:
    keys = tables.source_keys(config)
    assert keys.keys() == shapes(config).keys()
    assert len(set(keys.values())) == len(keys)


def test_shards_in_a_folder(folder: Path) -> None:
    names = examples.split(folder)
    assert examples.same(jq.load_model(folder).params, examples.params(examples.NEOX))
    (folder / names[2]).unlink()
    assert f"are missing: {names[2]}" in complaint(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "model.safetensors.index.json is not an index" in complaint(folder)


@pytest.mark.parametrize(
    "outside", ["../other/{}", "{folder}/{}", "a/../../other/{}", "..\\\\{}", ""]
)
def test_an_index_does_not_lead_out_of_the_folder(folder: Path, outside: str) -> None:
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    names = examples.split(folder)
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text().replace(names[0], outside.format(names[0], folder=other)))
    assert "model.safetensors.index.json: names " in complaint(folder)


def test_a_revision_does_not_lead_out_of_the_folder(folder: Path) -> None:
    with pytest.raises(BadInput, match="revision: names"):
        jq.load_model(folder, "../model")


@pytest.mark.parametrize("cut", [4, 200, -1])
def test_a_damaged_file(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert f"{path}: damaged" in complaint(folder)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_pickle_through_torch(folder: Path, legacy: bool, dtype: torch.dtype) -> None:
    stored = load_torch(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(
        {name: x.to(dtype) for name, x in stored.items()},
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=not legacy,
    )
    loaded = jq.load_model(folder).params
    half = jnp.dtype(str(dtype).removeprefix("torch."))
    expected = examples.params(examples.NEOX)
    assert examples.same(
        loaded, {name: x.astype(half).astype(jnp.float32) for name, x in expected.items()}
    )


class Payload:
    """What a pickle must not be able to do."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle ran code')",)


def test_a_pickle_that_runs_code_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({EMBED: Payload()}, folder / "pytorch_model.bin")
    assert "torch's weights-only loader refuses it" in complaint(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Payload()}))
    assert "torch's weights-only loader refuses it" in complaint(folder)
    torch.save({"step": 3}, folder / "pytorch_model.bin")
    assert "holds more than named tensors" in complaint(folder)


def test_a_pickle_without_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "to read a pytorch_model.bin torch is needed (pip install torch)" in complaint(folder)


def test_no_weights_no_folder_no_revision(folder: Path) -> None:
    with pytest.raises(BadInput, match="no such folder; give a model's folder"):
        jq.load_model(folder / "elsewhere")
    for step in ("step10", "step2"):
        shutil.copytree(folder, folder.parent / step)
        (folder.parent / step).rename(folder / step)
    with pytest.raises(BadInput, match=r"has no revision .* step7; it has step2, step10"):
        jq.load_model(folder, "step7")
    (folder / "model.safetensors").unlink()
    assert "has neither model.safetensors nor pytorch_model.bin" in complaint(folder)


def test_revisions_of_a_folder_are_subfolders(tmp_path: Path) -> None:
    for step in (10, 20):
        examples.saved(tmp_path / f"step{step}", seed=step)
    loaded = jq.load_model(tmp_path, "step20").params
    assert examples.same(loaded, examples.params(examples.NEOX, seed=20))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "tanh"}, "hidden_act = 'tanh': give one of gelu, "),
        ({"use_parallel_residual": 1}, "use_parallel_residual = 1: give true or false"),
        ({"tie_word_embeddings": True}, "embed_out.weight: differs from gpt_neox.embed_in.weight"),
        ({"intermediate_size": 100}, "has shape (128,), not (100,)"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters.rope_type = 'yarn' (only"),
        (
            {"num_attention_heads": 3},
            "num_attention_heads = 3: does not divide the width 32",
        ),
        ({"num_hidden_layers": None}, "config.json: num_hidden_layers = None: give a whole number"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps = 'small': give a number"),
        (
            {"num_hidden_layers": "3"},
            "num_hidden_layers = '3': give a whole number from 1 to 1,000",
        ),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers = 2.0: give a whole number"),
        ({"num_hidden_layers": True}, "num_hidden_layers = True: give a whole number"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000: give a whole number"),
        ({"vocab_size": 10**400}, "give a whole number from 1 to"),
        ({"layer_norm_eps": -1e-5}, "layer_norm_eps = -1e-05: give a number from 0 to 1"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps = nan: give a number"),
        ({"rotary_pct": 2}, "rotary_pct = 2: give a number from 0 to 1"),
        ({"rotary_pct": "all"}, "rotary_pct = 'all': give a number"),
        ({"rotary_emb_base": -3}, "rotary_emb_base = -3: give a number from 1"),
        ({"rotary_emb_base": float("inf")}, "rotary_emb_base = inf: give a number"),
        ({"rope_parameters": {"rope_theta": 5e5}}, "rope_theta = 500000.0 where rotary_emb_base"),
        ({"rope_parameters": {"rope_theta": []}}, "rope_parameters.rope_theta = []: give a number"),
        ({"rope_parameters": 3}, "rope_parameters = 3: give a table, or null"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling.type = 'linear' (only"),
        ({"rope_theta": 5e5}, "rope_theta = 500000.0 where rotary_emb_base says 10000.0"),
        ({"partial_rotary_factor": 1}, "partial_rotary_factor = 1 where rotary_pct says 0.25"),
    ],
)
def test_configurations_that_are_not_computed(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert message in complaint(folder)


NOTHING_NEW: list[dict[str, Any]] = [
    {"rope_scaling": {"rope_type": "default"}},
    {"rope_scaling": {"type": "default"}, "intermediate_size": None},
    {"rope_parameters": {"rope_theta": 10000, "partial_rotary_factor": 0.25}},
    {"rope_theta": 10000.0, "partial_rotary_factor": 0.25},
]


@pytest.mark.parametrize("changes", NOTHING_NEW)
def test_a_field_that_says_nothing_new_is_no_matter(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert jq.load_model(folder).config == examples.NEOX


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"attention_layers": ["local", "global"]},
            "attention_layers = ['local', 'global'] where attention_types says ['global', 'local']",
        ),
        ({"num_hidden_layers": 5}, "num_hidden_layers = 5 where num_layers says 2"),
        ({"num_attention_heads": 4}, "num_attention_heads = 4 where num_heads says 2"),
        ({"window_size": 0}, "window_size = 0: give a whole number from 1"),
        ({"window_size": 1.5}, "window_size = 1.5: give a whole number"),
        ({"attention_types": [[["global"], 10**9]]}, "attention_types: times = 1000000000: give"),
        ({"attention_types": [[["global"], "2"]]}, "attention_types: times = '2': give"),
        ({"attention_types": 3}, "config.json"),
    ],
)
def test_two_fields_of_gpt_neo_that_disagree(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = examples.saved(tmp_path, examples.NEO)
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"attention_layers": ["global", "local"]}))
    assert jq.load_model(folder).config == examples.NEO
    path.write_text(json.dumps(stored | changes))
    assert message in complaint(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 10**5, "nested too deeply"),
        ('{"vocab_size": ' + 5000 * "9" + "}", "not valid JSON"),
        ('{"model_type": "\\ud800"}', "half of a surrogate pair"),
        ("{", "not valid JSON"),
        ("[]", "not a table"),
        ('{"model_type": "gpt_neo"}', "has no attention_"),
    ],
)
def test_damaged_configurations(folder: Path, text: str, message: str) -> None:
    (folder / "config.json").write_text(text)
    assert message in complaint(folder)


def test_a_tokenizer_that_does_not_fit(tmp_path: Path) -> None:
    folder = examples.saved(tmp_path, GPTNeoXConfig(layers=1, width=32, heads=2, vocab=49))
    assert "tokenizer has 50 tokens and its embedding 49 rows" in complaint(folder)
    (folder / "tokenizer.json").unlink()
    assert jq.load_model(folder).tokenizer is None


def test_dtypes(folder: Path) -> None:
    whole = examples.params(examples.NEOX)
    half = jq.load_model(folder, dtype=jnp.bfloat16).params
    assert examples.same(half, {name: x.astype(jnp.bfloat16) for name, x in whole.items()})
    assert {x.dtype for x in half.values()} == {np.dtype(jnp.bfloat16)}


def test_numbers_too_large_for_the_dtype_are_not_finite(folder: Path) -> None:
    stored = examples.tensors(folder)
    stored[EMBED][0, 0] = 1e6
    examples.store(folder, stored)
    with pytest.raises(BadInput, match="1 of 1,920 numbers are not finite"):
        jq.load_model(folder, dtype=jnp.float16)


def test_memory_is_that_of_the_parameters_and_a_few_tensors(tmp_path: Path) -> None:
    config = GPTNeoXConfig(layers=16, width=128, heads=2, vocab=500)
    folder = examples.saved(tmp_path, config)
    sizes = [4 * int(np.prod(shape)) for shape in shapes(config).values()]
    tracemalloc.start()
    jq.load_model(folder, dtype=jnp.bfloat16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Half of the file's bytes stay; of the tensor at work there are its file's bytes, a copy in
    # the other dtype, and what reading and checking make of them. 2^21 is for Python's own.
    assert peak < sum(sizes) / 2 + 6 * max(sizes) + 2**21 < 0.9 * sum(sizes)


def test_a_fingerprint_knows_names_shapes_dtypes_and_numbers() -> None:
    params = examples.params(examples.NEOX)
    own = fingerprint(params)
    assert len(own) == 64
    assert own == fingerprint(dict(reversed(params.items())))
    name = "final_norm.bias"
    others = [
        params | {name: params[name].at[3].add(1e-6)},
        params | {name: params[name][None]},
        params | {name: params[name].astype(jnp.bfloat16)},
        {("other" if n == name else n): x for n, x in params.items()},
    ]
    assert len({own, *map(fingerprint, others)}) == 5


def test_equal_revisions_draw_a_warning() -> None:
    with pytest.warns(UserWarning, match="step1 and step4 have equal weights"):
        warn_of_equals([("step1", "a"), ("step2", "b"), ("step4", "a")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_equals([("step1", "a"), ("step2", "b"), ("step1", "a")])
