"""What is saved is what transformers loads, and what it saves is what we load."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import jquanta as jq
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import forward
from jquanta.lm.weights.save import save_model
from tests.lm.weights import examples

torch = pytest.importorskip("torch")

ODD = (
    GPTNeoXConfig(3, 64, 2, 61, context=32, eps=1e-3, rotary=0.5, rotary_base=500.0),
    GPTNeoConfig(3, 64, 2, 61, context=32, eps=1e-3, window=3, reach=("local", "local", "global")),
)
MODELS = pytest.mark.parametrize("config", [examples.NEOX, examples.NEO, *ODD], ids=str)


def stock_logits(folder: Path, tokens: np.ndarray) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy()


@MODELS
def test_transformers_computes_our_logits(config: LMConfig, tmp_path: Path) -> None:
    params = examples.params(config)
    save_model(tmp_path, config, params, examples.TOKENIZER)
    tokens = np.random.default_rng(0).integers(0, 60, (2, 30))
    mine = np.asarray(forward(config, params, jnp.asarray(tokens)))
    # Both in float32: sums of 30 to 300 numbers, 1e-6 each, through two or three blocks.
    np.testing.assert_allclose(stock_logits(tmp_path, tokens), mine, rtol=0, atol=1e-4)
    assert mine.std() > 0.5
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == 50


@MODELS
def test_a_round_trip_changes_nothing(config: LMConfig, tmp_path: Path) -> None:
    params = examples.params(config)
    half = {name: x.astype(jnp.bfloat16) for name, x in params.items()}
    save_model(tmp_path, config, params, examples.TOKENIZER)
    again = jq.load_model(tmp_path)
    assert again.config == config
    assert examples.same(again.params, params)
    assert again.tokenizer is not None
    assert again.tokenizer.to_str() == examples.TOKENIZER.to_str()
    save_model(tmp_path, config, half)
    assert examples.same(jq.load_model(tmp_path, dtype=jnp.bfloat16).params, half)
    assert AutoConfig.from_pretrained(tmp_path).dtype == torch.bfloat16
    assert not list(tmp_path.glob("*.part"))


@MODELS
def test_what_transformers_saves_in_shards(config: LMConfig, tmp_path: Path) -> None:
    save_model(tmp_path / "ours", config, examples.params(config))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 2
    loaded = jq.load_model(tmp_path / "theirs")
    assert loaded.config == config
    assert examples.same(loaded.params, examples.params(config))
    assert loaded.tokenizer is None
