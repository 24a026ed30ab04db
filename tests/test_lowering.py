"""Every program that runs on a GPU can be lowered for one, as the code builds it there."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta import spectrum
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.llama import LlamaConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import Params, init, shapes
from jquanta.lm.pretrain.config import TrainConfig
from jquanta.lm.pretrain.step import initial, make_step
from jquanta.machine.devices import mesh
from jquanta.parity import packed, solo
from jquanta.parity.layout import Way
from jquanta.qdg.clusters import kmeans
from jquanta.qdg.cosines import kernel, panels
from jquanta.qdg.cosines import partial as partial_products
from jquanta.qdg.questions.assignment import _product
from jquanta.qdg.questions.mechanism import _inner, _weighted
from jquanta.qdg.questions.parts import EVERYTHING, parts_of
from jquanta.qdg.views import per_sample, sketch
from jquanta.qdg.views.gradient import Gradients, _loss, gradient
from jquanta.qdg.views.parameters import PAPER, chosen, pieces
from tests.cuda import as_on_a_gpu, lowered_for_cuda, scatters
from tests.lm.models.switches import SHAPES
from tests.parity.twins import small_run

NEOX = GPTNeoXConfig(layers=2, width=32, heads=2, vocab=103, context=256)
NEO = GPTNeoConfig(layers=2, width=24, heads=2, vocab=103, context=256, window=5)
LLAMA = LlamaConfig(layers=2, width=32, heads=4, vocab=103, context=256, kv_heads=2)
MODELS = pytest.mark.parametrize("config", [NEOX, NEO, LLAMA], ids=["neox", "neo", "llama"])


@pytest.fixture(autouse=True, scope="module")
def _gpu() -> Iterator[None]:
    with as_on_a_gpu():
        yield


def test_what_cannot_be_lowered_is_seen() -> None:
    """The helper fails where there is no rule, and counts what it should."""
    with pytest.raises(NotImplementedError, match="cuda"):
        lowered_for_cuda(jax.jit(jax.lax.linalg.schur), jnp.eye(3))
    x, at = jnp.zeros(5), jnp.zeros(3, int)
    assert scatters(lowered_for_cuda(jax.jit(lambda x: x.at[at].add(1)), x)) == 1
    assert scatters(lowered_for_cuda(jax.jit(lambda x: x[at]), x)) == 0


# Sparse parity

ONLINE = {"network.width": 12}
FINITE = ONLINE | {"train.train_size": 100}
DEEP = {"network.depth": 3, "network.activation": "tanh"}


@pytest.mark.parametrize("changes", [ONLINE, FINITE, DEEP], ids=["online", "finite", "deep"])
def test_the_stacked_trainer(changes: dict[str, Any]) -> None:
    stack = solo.Stack([small_run(**changes, **{"train.seed": seed}) for seed in range(2)])
    state, number = stack.start(), jnp.uint32(3)
    lowered_for_cuda(solo._stacked_advance, stack.program, stack.data, state, number)
    lowered_for_cuda(solo._stacked_evaluate, stack.program, stack.data, state.weights, number)


@pytest.mark.parametrize("changes", [ONLINE, FINITE], ids=["online", "finite"])
def test_the_packed_trainer(changes: dict[str, Any]) -> None:
    runs = [small_run(**changes, **{"task.alpha": alpha}) for alpha in (0.2, 0.4)]
    pack = packed.Packed(runs)
    assert pack.layout.way is Way.WHOLE  # not a GPU that the kernels are for: test_kernels.py
    state, number = pack.start(), jnp.uint32(3)
    for program in packed._advance, packed._evaluate:
        text = lowered_for_cuda(program, pack.layout, pack.data, state, number)
        assert scatters(text) == 0


# Language models


@pytest.fixture
def params(config: LMConfig) -> Params:
    return init(config, jax.random.key(0))


@MODELS
def test_pretraining(config: LMConfig) -> None:
    train = TrainConfig()
    state = jax.eval_shape(lambda: initial(config, train, 1e-3))
    step = make_step(config, train, 1e-3, mesh(train.batch))
    windows = jnp.zeros((len(train.seed_list), train.batch, config.context + 1), jnp.int32)
    lowered_for_cuda(step, state, windows)


# QDG

EACH = (jnp.zeros((4, 60), jnp.int32), jnp.zeros(4, jnp.int32), jnp.zeros(4, jnp.int32))
"""Of a batch of samples: prefixes, the place of the last token, targets."""


@MODELS
def test_gradients(config: LMConfig, params: Params) -> None:
    program = per_sample._program(gradient(config, chosen(config, PAPER)), mesh(), False)
    lowered_for_cuda(program, dict(params), *EACH)


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("family", SHAPES)
def test_gradients_of_every_family(family: str) -> None:
    """As they are made on a GPU: blocks but the last in a loop, and no scatter."""
    more = {"reach": ()} if isinstance(SHAPES[family], GPTNeoConfig) else {}
    config = replace(SHAPES[family], layers=4, **more)
    params = init(config, jax.random.key(0))
    made = Gradients().function(Model(config, params))
    text = lowered_for_cuda(per_sample._program(made.one, mesh(), False), made.constants, *EACH)
    assert scatters(text) == 0
    assert "stablehlo.while" in text


@MODELS
def test_losses_of_samples(config: LMConfig, params: Params) -> None:
    program = per_sample._program(_loss(config, False), mesh(), False)
    lowered_for_cuda(program, dict(params), *EACH)


@MODELS
def test_sketches(config: LMConfig, params: Params) -> None:
    around = sketch.projections(config, chosen(config, PAPER), 8, jax.random.key(0))
    program = per_sample._program(sketch._sketch(config, ()), mesh(), False)
    lowered_for_cuda(program, (dict(params), around), *EACH)


ROWS = {"kernel": jnp.ones((4, 6, 8)), "bias": jnp.ones((4, 8))}


@pytest.mark.parametrize("absolute", [False, True])
def test_similarity(absolute: bool) -> None:
    devices = mesh()
    panel = jax.tree.map(lambda x: jnp.tile(x, (4, *[1] * (x.ndim - 1))), ROWS)
    programs = (
        lowered_for_cuda(panels._place(devices), panel, ROWS, jnp.int32(4)),
        lowered_for_cuda(panels._products(devices, absolute, False), panel, panel),
        # Without a mesh of this machine's devices, of which JAX from 0.12 on would ask the kind.
        lowered_for_cuda(jax.jit(partial(panels.inner, product=kernel.inner)), panel, panel),
        lowered_for_cuda(_product(absolute), panel, ROWS),
        lowered_for_cuda(_weighted, ROWS, jnp.ones((2, 4))),
        lowered_for_cuda(_inner(), ROWS, ROWS),
    )
    assert list(map(scatters, programs)) == [0] * len(programs)


@MODELS
def test_products_of_parts(config: LMConfig) -> None:
    """Of layers that lie stacked, and of heads."""
    made_of = {name: pieces(config, own) for name, (_, own) in parts_of(config).items()}
    cut = tuple(tuple(own) for own in partial_products.cells(shapes(config), made_of).values())
    function = Gradients(EVERYTHING).function(Model(config, init(config, jax.random.key(0))))
    one = per_sample._shapes_of_one(function)
    panel = jax.tree.map(lambda x: jnp.zeros((4, *x.shape)), one)
    program = partial_products.products_of(cut, function.by_name)
    assert scatters(lowered_for_cuda(program, panel, panel)) == 0


@pytest.mark.parametrize("k", [3, 200])
def test_kmeans(k: int) -> None:
    layout = kmeans.layout_for(300, k, 5, host=False)
    assert not layout.scatter
    points, keys = jnp.zeros((300, layout.clusters)), jnp.zeros((5, 2), jnp.uint32)
    arguments = points, jnp.int32(k), jnp.int32(24), keys, jnp.float32(0)
    for some in layout, layout._replace(kept=False), layout._replace(batch=2):
        text = lowered_for_cuda(kmeans._best, *arguments, layout=some, max_iter=10)
        assert scatters(text) == 0
    scattered = layout._replace(scatter=True)
    assert scatters(lowered_for_cuda(kmeans._best, *arguments, layout=scattered, max_iter=10))


def test_the_embedding(x64: None) -> None:
    lowered_for_cuda(jax.jit(jnp.linalg.eigh), jnp.eye(50))


# Learning times


def test_the_spectrum() -> None:
    grid = spectrum.Checkpoints(np.geomspace(10, 1000, 8)).grid
    losses = jnp.ones((30, 8))
    text = lowered_for_cuda(spectrum._fit, losses, grid, jnp.ones(3))
    assert scatters(text) == 0
