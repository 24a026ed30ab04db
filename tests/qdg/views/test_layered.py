"""Views by parameters that are cut over the devices, against those by copies.

In float64 both are the same sums in another order: 1e-11 of a view's size, as in test_scanned. In
float32 numbers pass through three blocks and back, 1e-6 in another order; 1e-5 is asked.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import init
from jquanta.lm.models.pythia import pythia
from jquanta.machine.computer import H200
from jquanta.machine.devices import mesh
from jquanta.qdg import estimate
from jquanta.qdg.cosines.features import features
from jquanta.qdg.views import layered, ways
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.lowrank import dense, is_low
from jquanta.qdg.views.per_sample import _program
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.view import Function
from tests.cuda import lowered_for_cuda, scatters
from tests.lm.losses.examples import LLAMA, NEO, NEOX
from tests.monitors import Watch
from tests.processes import with_devices
from tests.qdg import examples

EXACT, ROUNDING = 1e-11, 1e-5

DEEP = replace(NEOX, layers=3)
WINDOWS = replace(NEO, layers=4, reach=("global", "local", "local", "global"), window=7)


def apart(tree: Any) -> dict[str, np.ndarray]:
    """Arrays by their place in the tree, factors multiplied out."""
    whole = jax.tree.map(lambda x: dense(x) if is_low(x) else x, tree, is_leaf=is_low)
    found, _ = jax.tree_util.tree_flatten_with_path(whole)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in found}


def computed(function: Function, *samples: Any) -> dict[str, np.ndarray]:
    """Of two samples, side by side; gradients by the names of parameters."""
    program = _program(function.one, mesh(), False, function.cut)
    found = program(function.constants, *samples)
    return apart(found if not isinstance(found, dict) else function.by_name(found))


CASES: list[tuple[LMConfig, Any]] = [
    (WINDOWS, Gradients(".")),  # tied: both ends of the network add to one gradient
    (DEEP, Gradients([r"layers\.1\.mlp", r"layers\.2\.attention\.out"])),  # none of the first block
    (replace(NEOX, layers=1), Gradients()),
    (replace(LLAMA, layers=3, local_from=1), Gradients("reference")),  # the last norm, too
    (DEEP, Sketch("reference", size=6)),
    (replace(LLAMA, layers=3, local_from=1), Sketch(size=4)),
    (DEEP, Activations(1)),
    (WINDOWS, Activations()),
]


@pytest.mark.thorough(keep=4)
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("config", "view"), CASES)
def test_blocks_one_by_one_give_what_all_give(config: LMConfig, view: Any) -> None:
    """An odd length, with tokens after the position, of samples side by side."""
    model = Model(config, parameters(config))
    wanted = computed(made(view, model), *SAMPLES)
    found = computed(made(view, replace(model, placement="cut")), *SAMPLES)
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        size = max(float(np.abs(x).max()), 1.0)
        assert found[name].shape == x.shape
        np.testing.assert_allclose(found[name], x, rtol=0, atol=EXACT * size, err_msg=name)


def made(view: Any, model: Model) -> Function:
    """Its function, and what factors lack."""
    return view.measured(model) if isinstance(view, Factors) else view.function(model)


def parameters(config: LMConfig) -> dict[str, Any]:
    """Random ones in float64, no bias of which is zero."""
    chance = np.random.default_rng(0)
    params = init(config, jax.random.key(1), jnp.float64)
    return {name: x + 0.1 * chance.normal(size=x.shape) for name, x in params.items()}


SAMPLES = (
    np.random.default_rng(0).integers(0, NEOX.vocab, (2, 37)).astype(np.int32),
    np.array([36, 20], np.int32),
    np.array([5, 0], np.int32),
)

SIXTEEN = (
    np.random.default_rng(1).integers(0, NEOX.vocab, (16, 32)).astype(np.int32),
    np.arange(16, 32, dtype=np.int32),
    np.arange(16, dtype=np.int32),
)

# Eight devices

VIEWS = {
    "factors": Factors(rank=4),
    "sketch": Sketch(size=6),
    "activations": Activations(),
}

PROGRAM = """
import json, sys
from dataclasses import replace
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jquanta.lm.models import cut
from jquanta.machine import cache, devices
from jquanta.qdg.views import layered, sketch
from jquanta.qdg.views.parameters import chosen
from jquanta.qdg.views.per_sample import _program
from tests.qdg import examples
from tests.qdg.views.test_layered import DEEP, SIXTEEN, VIEWS, computed, made

cache.keep_programs()
home, mesh = Path(sys.argv[1]), devices.mesh()
model = replace(examples.model(DEEP), placement="cut")
told = {"devices": mesh.size, "shares": sorted({
    shard.data.nbytes * mesh.size / x.nbytes
    for x in model.shares.values() for shard in x.addressable_shards})}
for name, view in VIEWS.items():
    np.savez(home / name, **computed(made(view, model), *SIXTEEN))

# What more blocks take, by the memory that XLA plans.
names, sizes = chosen(DEEP), []
for layers in (6, 12):
    config = replace(DEEP, layers=layers, width=64)
    names = chosen(config)
    around = sketch._stacked(config, names, sketch.projections(config, names, 4, jax.random.key(0)))
    ids, each = (jax.ShapeDtypeStruct(s, jnp.int32, sharding=devices.cut(mesh))
                 for s in ((8, 32), (8,)))
    like = cut.abstract(config, jnp.float32, mesh), around
    program = _program(sketch._layered(config, names), mesh, False, True)
    found = program.lower(like, ids, each, each).compile().memory_analysis()
    sizes.append([found.temp_size_in_bytes, cut.bytes_of_share(config, "float32", 1)])
told["sizes"] = sizes
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process with eight devices finds."""
    return tmp_path_factory.mktemp("cut")


@pytest.fixture(scope="module")
def eight(home: Path) -> Any:
    """What it tells."""
    return json.loads(with_devices(8, PROGRAM, str(home)).splitlines()[-1])


@pytest.mark.parametrize("name", VIEWS)
def test_eight_devices_find_what_copies_on_one_do(
    eight: Any, home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two samples a device, each with its own view."""
    assert eight["devices"] == 8
    monkeypatch.setitem(ways.WAYS, "cpu", ways.ACCELERATOR)
    wanted = computed(made(VIEWS[name], examples.model(DEEP)), *SIXTEEN)
    found = dict(np.load(home / f"{name}.npz"))
    assert found.keys() == wanted.keys()
    sizes = np.stack([np.square(x.reshape(16, -1)).sum(1) for x in wanted.values()])
    for key, x in wanted.items():
        error = np.abs(found[key] - x).reshape(16, -1).max(1)
        assert (error < ROUNDING * np.sqrt(sizes.sum(0))).all(), key


def test_a_device_never_holds_all_blocks(eight: Any) -> None:
    """Six blocks more take some inputs of blocks, 6 · 32 · 64 numbers, their projections and their
    sketches: far less than their parameters, which would be kept for the way back otherwise."""
    assert eight["shares"] == [1.0]
    (few, small), (many, large) = eight["sizes"]
    assert many - few < (large - small) / 10


# Runs


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return examples.corpus(tmp_path / "corpus")


def test_features_continue_in_the_other_layout(corpus: Corpus, tmp_path: Path) -> None:
    copied, samples = examples.model(), examples.predictions(corpus)
    cut, view = replace(copied, placement="cut"), Sketch(size=6)
    wanted = features(copied, samples, view, out=tmp_path / "whole")
    out = tmp_path / "run"
    for model in (cut, copied):
        with pytest.raises(Interrupted):
            features(model, samples, view, out=out, batch_tokens=64, monitor=Watch(stop_at=2))
    watch = Watch()
    found = features(cut, samples, view, out=out, batch_tokens=64, monitor=watch)
    assert "continuing after" in watch.lines[0]
    np.testing.assert_allclose(found.vector, wanted.vector, rtol=0, atol=ROUNDING)


# Plans

CARDS = replace(H200, devices=8, memory=int(40e9))
LENGTHS = np.linspace(1, 1023, 200).astype(int)


def test_a_plan_cuts_what_does_not_fit_and_refuses_rows_that_do_not() -> None:
    """Of 12b a copy takes 47 GB; a whole gradient takes 44 GB, and panels of them fit nowhere."""
    config = pythia("12b")
    assert estimate.placement_on(Sketch(), LENGTHS, pythia("1.4b"), CARDS) == "copied"
    assert estimate.placement_on(Sketch(), LENGTHS, config, CARDS) == "cut"
    assert estimate.placement_on(Sketch(), LENGTHS, config, replace(CARDS, devices=1)) == "copied"
    both = [estimate.features(Sketch(), LENGTHS, config, CARDS, lie) for lie in ("copied", "cut")]
    assert both[1].memory < 8 * CARDS.memory < both[0].memory
    for view, more in ((Gradients(), 8 / 6), (Sketch(), 6 / 4), (Activations(), 1)):
        cost = view.cost(config).operations  # a forward pass more, where there is a backward pass
        assert layered.operations(config, cost) == pytest.approx(more * cost)
    with pytest.raises(BadInput, match="do not take rows of 11,090,411,520 numbers"):
        estimate.similarity(Gradients(), LENGTHS, config, CARDS, placement="cut")


# Programs


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("view", [Gradients(), *VIEWS.values()], ids=["exact", *VIEWS])
@pytest.mark.parametrize("config", [DEEP, replace(LLAMA, layers=3)], ids=["neox", "llama"])
def test_programs_lower_for_cuda(config: LMConfig, view: Any) -> None:
    """A block's arrays are gathered in a loop, there and back, and nothing is added up in turn."""
    function = made(view, Model(config, init(config, jax.random.key(0)), placement="cut"))
    ids, each = (jax.ShapeDtypeStruct(s, jnp.int32) for s in ((4, 60), (4,)))
    program = _program(function.one, mesh(), False, True)
    text = lowered_for_cuda(program, function.constants, ids, each, each)
    assert scatters(text) == 0
    assert "stablehlo.while" in text
    assert "stablehlo.all_gather" in text
    assert "stablehlo.reduce_scatter" not in text  # no gradients of different samples are added
    assert "stablehlo.all_reduce" not in text
