"""The training step against torch, and its fast paths against the plain way."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformers import AutoModelForCausalLM

from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.models.network import count, forward
from jquanta.lm.pretrain import cross_entropy, step
from jquanta.lm.pretrain.config import ModelConfig, TrainConfig
from jquanta.lm.weights.save import save_model
from jquanta.lm.weights.tables import source_keys
from jquanta.machine.devices import mesh
from tests.lm.models import twins
from tests.processes import with_devices

torch = pytest.importorskip("torch")

torch.set_num_threads(1)

NETWORK = GPTNeoXConfig(layers=1, width=16, heads=2, vocab=61, context=12)
STEPS, PEAK = 6, 0.02
TRAIN = TrainConfig(
    tokens=STEPS * 4 * 12,
    context=12,
    batch=4,
    warmup=0.5,
    clip=1.5,
    weight_decay=0.3,
    checkpoints=1,
)


def wide(tree: Any) -> Any:
    """Floats as float64."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def batches(seeds: int = 1) -> np.ndarray:
    """[steps, seeds, batch, context + 1]; few distinct tokens, so that there is much to learn."""
    chance = np.random.default_rng(0)
    shape = (STEPS, seeds, TRAIN.batch, TRAIN.context + 1)
    return (chance.integers(0, 8, shape) ** 2).astype(np.int32)


def run(train: TrainConfig, windows: np.ndarray) -> tuple[step.State, list[np.ndarray]]:
    """The state after all steps, in float64, and the losses of each."""
    state = wide(step.initial(NETWORK, train, PEAK))
    take = step.make_step(NETWORK, TRAIN, PEAK, mesh(TRAIN.batch))  # of any seeds
    losses = []
    for batch in windows:
        state, found = take(state, jnp.asarray(batch))
        losses.append(np.asarray(found))
    return state, losses


def torch_logits(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [
            twins.neox_logits(state, row, NETWORK.layers, NETWORK.heads, NETWORK.rotary_dim)
            for row in tokens
        ]
    )


def stock_logits(model: Any) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    return lambda state, tokens: torch.func.functional_call(model, state, (tokens,)).logits


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stock", [False, True], ids=["twin", "transformers"])
def test_steps_are_those_of_torch(stock: bool, tmp_path: Path) -> None:
    """AdamW, clipping, decay of matrices and the schedule, from the model saved at step 0.

    Against the twin optax's schedule is left, which is float32: rates off by 6e-8 of themselves,
    which moves parameters by 1e-9 a step and losses by 1e-8; 1e-6 is asked. Stock transformers
    takes rotary tables and softmaxes in float32, too, and where a gradient is 0 but for that, Adam
    makes a step of any size of it, which no loss depends on: so losses are compared, to 1e-5.
    """
    start = wide(step.initial(NETWORK, TRAIN, PEAK))
    save_model(tmp_path, NETWORK, {name: x[0] for name, x in start.params.items()})
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    theirs = dict(model.named_parameters())
    logits = stock_logits(model) if stock else torch_logits
    matrices = [x for x in theirs.values() if x.ndim == 2]
    others = [x for x in theirs.values() if x.ndim < 2]
    adam = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    expected, norms = [], []
    for number, batch in enumerate(batches()):
        tokens = torch.tensor(batch[0]).long()
        found = logits(theirs, tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(found.reshape(-1, 61), tokens[:, 1:].reshape(-1))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = math.sqrt(sum(float((x.grad**2).sum()) for x in theirs.values()))
        norms.append(norm)
        for x in theirs.values():
            x.grad *= min(1.0, TRAIN.clip / norm)
        # Three steps up to the peak, then half a cosine over the other three and on to the end.
        up, down = (number + 1) / 3, (number - 2) / (STEPS - 2)
        share = up if number < 3 else 0.1 + 0.9 * (1 + math.cos(math.pi * down)) / 2
        for group in adam.param_groups:
            group["lr"] = PEAK * share
        adam.step()
        expected.append(loss.item())
    state, losses = run(TRAIN, batches())
    tolerance = 1e-5 if stock else 1e-6
    np.testing.assert_allclose(np.ravel(losses), expected, rtol=0, atol=tolerance)
    assert min(norms) < TRAIN.clip < max(norms)  # clipped, and not
    assert expected[0] - expected[-1] > 1
    if not stock:
        theirs = {key.replace("lm_head", "embed_out"): x for key, x in theirs.items()}
        for name, key in source_keys(NETWORK).items():
            own = np.asarray(state.params[name][0])
            other = theirs[key].detach().numpy()
            other = other.T if name.endswith(".kernel") else other
            np.testing.assert_allclose(own, other, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("tokens", [1, 8, 512])
def test_the_loss_and_its_gradients(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against optax and autodiff, in float64: 1e-12 is a few hundred roundings."""
    monkeypatch.setattr(cross_entropy, "TOKENS", tokens)
    chance = np.random.default_rng(1)
    x, table = (jnp.asarray(chance.normal(size=shape) * 3) for shape in ((24, 5), (5, 11)))
    targets = jnp.asarray(chance.integers(0, 11, 24))

    def plain(x: Any, table: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(x @ table, targets).mean() * 1.7

    def ours(x: Any, table: Any) -> Any:
        return cross_entropy.mean_cross_entropy(x, table, targets) * 1.7

    expected, found = (jax.value_and_grad(f, argnums=(0, 1))(x, table) for f in (plain, ours))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_parts_of_a_batch_add_up_to_it() -> None:
    """Gradients of all windows at once, by autodiff of the plain loss, and in parts."""
    params = {k: x[0] for k, x in wide(step.initial(NETWORK, TRAIN, PEAK)).params.items()}
    windows = jnp.asarray(batches()[0, 0])

    def plain(params: Any) -> Any:
        logits = forward(NETWORK, params, windows[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

    expected = jax.value_and_grad(plain)(params)
    for at_once in (1, 2, 4):
        found = step.gradients(NETWORK, params, windows, at_once)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), expected, found
        )


@pytest.mark.usefixtures("x64")
def test_seeds_side_by_side_are_seeds_alone() -> None:
    """In float64 a vmap changes roundings only: 1e-15, and 1e-10 in what Adam
    makes of gradients that are 0 but for them; 1e-9 is asked."""
    windows = batches(seeds=3)
    both, losses = run(dataclasses.replace(TRAIN, seeds="5, 0, 8"), windows)
    for i, seed in enumerate((5, 0, 8)):
        alone, own = run(dataclasses.replace(TRAIN, seeds=str(seed)), windows[:, i : i + 1])
        np.testing.assert_allclose(np.stack(losses)[:, i], np.ravel(own), rtol=0, atol=1e-9)
        for name, x in alone.params.items():
            np.testing.assert_allclose(both.params[name][i], x[0], rtol=0, atol=1e-9, err_msg=name)


def test_where_training_begins() -> None:
    train = dataclasses.replace(TRAIN, seeds="1, 2")
    first, second = step.initial(NETWORK, train, PEAK), step.initial(NETWORK, train, PEAK)
    assert all(np.array_equal(first.params[n], second.params[n]) for n in first.params)
    kernel = first.params["layers.0.mlp.up.kernel"]
    assert not np.array_equal(kernel[0], kernel[1])
    other = step.initial(dataclasses.replace(NETWORK, layers=3), train, PEAK)
    assert not np.array_equal(kernel, other.params["layers.0.mlp.up.kernel"])


@pytest.mark.parametrize(("steps", "warmup"), [(1000, 0.05), (50, 0.0), (1, 0.05), (7, 0.9)])
def test_the_schedule(steps: int, warmup: float) -> None:
    train = TrainConfig(tokens=steps, context=1, batch=1, warmup=warmup, checkpoints=1)
    rates = np.array([step.learning_rate(train, 2.0)(i) for i in range(steps)])
    rise = max(1, round(warmup * steps))
    expected = 2.0 * np.arange(1, rise + 1) / rise
    # float32 of numbers up to 2
    np.testing.assert_allclose(rates[:rise], expected, rtol=0, atol=1e-6)
    assert (np.diff(rates[rise - 1 :]) < 0).all()
    assert rates[-1] >= 0.2 - 1e-6
    if steps == 1000:
        assert rates[-1] < 0.201  # a tenth of the peak


def test_the_size_is_that_of_the_network() -> None:
    for layers, width, heads in ((1, 16, 2), (3, 96, 3), (4, 128, 4)):
        model = ModelConfig(layers, width, heads)
        assert model.size == count(model.network(300, 64))[1]


PROGRAM = """
import json, sys
import jax, numpy as np
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.pretrain import step
from jquanta.lm.pretrain.config import TrainConfig
from jquanta.machine import devices
network, train, windows = GPTNeoXConfig(**json.loads(sys.argv[1])), *map(json.loads, sys.argv[2:])
train = TrainConfig(**train)
mesh = devices.mesh(train.batch)
state = jax.device_put(step.initial(network, train, 0.02), devices.copied(mesh))
take = step.make_step(network, train, 0.02, mesh)
losses = []
for batch in windows:
    state, found = take(state, jax.device_put(np.array(batch, np.int32), devices.cut(mesh, 1)))
    losses.append(np.asarray(found).tolist())
print(json.dumps([jax.local_device_count(), mesh.size, losses]))
"""


def test_several_devices_make_the_same_steps() -> None:
    """To float32's rounding: sums of 1e-7 each through six steps of Adam; 1e-4 is asked."""
    windows = batches()
    words = [dataclasses.asdict(NETWORK), dataclasses.asdict(TRAIN), windows.tolist()]
    printed = with_devices(6, PROGRAM, *map(json.dumps, words))
    devices, used, losses = json.loads(printed.splitlines()[-1])
    assert (devices, used) == (6, 2)  # what 4 windows and 6 devices have in common
    state = step.initial(NETWORK, TRAIN, PEAK)
    take = step.make_step(NETWORK, TRAIN, PEAK, mesh(TRAIN.batch))
    for batch, found in zip(windows, losses, strict=True):
        state, expected = take(state, jnp.asarray(batch))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
