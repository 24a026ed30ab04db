"""A model that exists is one whose parts fit together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import init

CONFIG = GPTNeoXConfig(layers=1, width=32, heads=2, vocab=50)


def test_parts_that_fit() -> None:
    params = init(CONFIG, jax.random.key(0), jnp.bfloat16)
    model = Model(CONFIG, params)
    assert model.params is params
    assert model.tokenizer is None
    assert model.dtype == jnp.bfloat16
    assert Model(CONFIG, {name: x.astype(np.float32) for name, x in params.items()}).dtype == (
        np.float32
    )


def test_parts_that_do_not() -> None:
    params = init(CONFIG, jax.random.key(0))
    remedy = "give config and params of one model, as jquanta.load_model does"
    without = {name: x for name, x in params.items() if name != "unembed.kernel"}
    with pytest.raises(BadInput, match=r"^params: unembed\.kernel is missing, and this"):
        Model(CONFIG, without)
    wide = params | {"embed.embedding": jnp.zeros((51, 32))}
    message = rf"embed\.embedding is \(51, 32\), and this model's is \(50, 32\); {remedy}$"
    with pytest.raises(BadInput, match=message):
        Model(CONFIG, wide)
    more = params | {"layers.1.mlp.up.bias": jnp.zeros(128), "foreign": jnp.zeros(1)}
    message = rf"^params: this model has no foreign, layers\.1\.mlp\.up\.bias; {remedy}$"
    with pytest.raises(BadInput, match=message):
        Model(CONFIG, more)
