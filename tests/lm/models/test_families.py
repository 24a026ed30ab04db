"""Every family and every switch against transformers' own code, in float64 throughout.

transformers computes rotations, norms and softmaxes in float32, whatever the weights. ``Wide`` lets
its code compute them in float64, so that what differs is a mistake, and no rounding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import NETWORKS, init
from jquanta.lm.weights.load import load_model
from jquanta.lm.weights.save import save_model
from jquanta.lm.weights.tables import source_keys, transposed
from jquanta.qdg.views.gradient import loss
from tests.lm.models import examples
from tests.lm.models.switches import SHAPES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LENGTH, AT, TARGET = 40, 36, 5

EXACT = 1e-9
"""Of logits and losses near 1, and of gradients over the largest of them, in float64."""


class Wide(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
    """What asks torch for float32 gets float64."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.float:
            return args[0].double()

        def wide(x: Any) -> Any:
            return torch.float64 if x is torch.float32 else x

        named = {name: wide(x) for name, x in (kwargs or {}).items()}
        return function(*map(wide, args), **named)


@pytest.fixture(params=SHAPES)
def both(
    request: pytest.FixtureRequest, x64: None, tmp_path: Path
) -> tuple[LMConfig, dict[str, Array], Any]:
    """Shape and parameters, none at 0 or 1, and the model of transformers with the same."""
    config = SHAPES[request.param]
    params = init(config, jax.random.key(0), jnp.float64)
    noise = jax.random.split(jax.random.key(1), len(params))
    params = {
        name: 5 * x if x.ndim == 2 else x + 0.3 * jax.random.normal(key, x.shape, x.dtype)
        for key, (name, x) in zip(noise, params.items(), strict=True)
    }
    save_model(tmp_path, config, params)
    with Wide():
        stock = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, dtype=torch.float64, attn_implementation="eager"
        )
    again = load_model(tmp_path, dtype=jnp.float64)
    assert again.config == config
    assert all(np.array_equal(again.params[name], x) for name, x in params.items())
    return config, params, stock


@pytest.mark.thorough(keep=5)
def test_logits_losses_and_gradients(both: tuple[LMConfig, dict[str, Array], Any]) -> None:
    config, params, stock = both
    tokens = examples.documents(2, LENGTH)
    with Wide():
        wanted = stock(torch.tensor(tokens)).logits
        nats = torch.nn.functional.cross_entropy(wanted[0, AT], torch.tensor(TARGET))
        nats.backward()
    wanted = wanted.detach().numpy()
    assert 0.3 < np.std(wanted) < 10  # logits that say something
    found = examples.logits(config, params, tokens)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT)

    # As QDG takes it: positions in columns, attention's backward pass written out.
    one = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)
    own, gradients = one(config, params, tokens[0], jnp.asarray(AT), jnp.asarray(TARGET))
    assert abs(float(own) - nats.item()) < EXACT
    theirs = {name: x.grad.numpy() for name, x in stock.named_parameters()}
    theirs |= {"embed_out.weight": theirs.get("lm_head.weight")}  # GPT-NeoX in transformers 5
    size = max(abs(x).max() for x in theirs.values() if x is not None)
    for name, key in source_keys(config).items():
        x = theirs[key].T if transposed(config, name) else theirs[key]
        np.testing.assert_allclose(gradients[name], x, rtol=0, atol=EXACT * size, err_msg=name)

    narrow = {name: x.astype(jnp.float32) for name, x in params.items()}
    rounded = examples.losses(examples.logits(config, narrow, tokens), tokens)
    # What is asked of losses in float32. Sums of 100 numbers round to 1e-6 of 1.
    assert 0 < abs(rounded - examples.losses(wanted, tokens)).max() < 2e-4


def test_every_family_is_here() -> None:
    assert {type(config) for config in SHAPES.values()} == set(NETWORKS)
