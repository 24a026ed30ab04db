"""Losses by parameters that are cut over the devices: those of copies, bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jquanta.cli import losses as command
from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.losses import packing, ways
from jquanta.lm.losses.compute import _program, compute_losses
from jquanta.lm.losses.estimate import estimate, placement_on, plan_on
from jquanta.lm.models import cut
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.pythia import pythia
from jquanta.machine.computer import H200
from jquanta.machine.devices import mesh
from tests.cuda import lowered_for_cuda
from tests.lm.losses import examples
from tests.lm.losses.examples import LLAMA, NEO, NEOX
from tests.monitors import Watch
from tests.processes import with_devices

ROUNDING = 1e-5
"""As in test_rows: float32 sums in another order."""

PROGRAM = """
import json, sys
from dataclasses import replace
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec as P
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.losses import compute, packing, ways
from jquanta.lm.losses.rows import batch_bytes, logits_bytes
from jquanta.lm.models import cut, network
from jquanta.lm.models.network import count
from jquanta.machine import cache, devices
from tests.lm.losses import examples
from tests.monitors import Watch

cache.keep_programs()
packing.ALIGNMENT = packing.SHORTEST_ROW = 32
ways.WAYS["cpu"] = ways.ROWS  # so that copies are computed as on an accelerator
home, mesh = Path(sys.argv[1]), devices.mesh()
corpus, told, arrays = open_corpus(home / "corpus"), {"devices": mesh.size}, {}
shapes = {"neox": examples.NEOX, "neo": replace(examples.NEO, layers=3, reach=())}
for name, config in shapes.items():
    for dtype in ("float32", "bfloat16"):
        params = {n: x.astype(dtype) for n, x in examples.parameters(config, scale=1.0).items()}
        for lie in ("copied", "cut"):
            batches = compute.plan_for(corpus, config, 100, dtype, placement=lie).batches
            model = compute.on_devices(config, params, lie)
            found = compute.batch_losses(config, model, corpus, batches, lie)
            column = np.full(corpus.n_predictions, np.nan, np.float32)
            for batch, losses in found:
                places = zip(batch.documents.tolist(), batch.row, batch.start)
                for document, row, start in places:
                    first, last = corpus.starts[document : document + 2]
                    column[first:last] = losses[row, start : start + last - first]
            arrays[f"{name} {dtype} {lie}"] = column
        if dtype == "float32":
            told[name] = sorted({shard.data.nbytes * mesh.size / x.nbytes
                                 for x in model.values() for shard in x.addressable_shards})

# Many blocks, so that all of them are far more than one.
deep = replace(examples.NEOX, layers=16, width=64)
ids = jax.ShapeDtypeStruct((8, 64), jnp.int32, sharding=devices.cut(mesh))
copies = {n: jax.ShapeDtypeStruct((16,) * n.startswith("layers.") + s, jnp.float32)
          for n, s in network.shapes(deep.of_one_block()).items()}
for lie, like in {"copied": copies, "cut": cut.abstract(deep, jnp.float32, mesh)}.items():
    program = compute._program(ways.way_here(lie), deep, mesh)
    found = program.lower(like, ids, ids, ids).compile().memory_analysis()
    told[lie] = [found.argument_size_in_bytes - 3 * 64 * 4, found.temp_size_in_bytes]
told["wanted"] = [4 * count(deep)[0], cut.bytes_of_share(deep, "float32", 8),
                  cut.bytes_gathered(deep, "float32")]

# Devices that have room for a batch and for half a copy.
config, watch = examples.NEOX, Watch()
beside = batch_bytes(config, "float32", 1, 64) + logits_bytes(config)
compute.usable = lambda: beside + 2 * count(config)[0]
found = compute.compute_losses(home / "corpus", home / "neox", home / "alone", batch_tokens=100,
                               monitor=watch)
arrays["alone"], told["lines"] = found.loss.to_numpy(), watch.lines
np.savez(home / "found", **arrays)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and a model."""
    path = tmp_path_factory.mktemp("cut")
    examples.corpus(path / "corpus")
    examples.model(path / "neox")
    return path


@pytest.fixture(scope="module")
def eight(home: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a process with eight devices tells and finds, its programs compiled as for users."""
    printed = with_devices(8, PROGRAM, str(home), optimised=True)
    return json.loads(printed.splitlines()[-1]), dict(np.load(home / "found.npz"))


@pytest.mark.parametrize("name", ["neox", "neo"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_not_a_bit_changes(eight: Any, name: str, dtype: str) -> None:
    """Each device multiplies the same numbers in the same order, wherever they lay before. Two
    programs: without XLA's optimisations the last bits differ."""
    _, found = eight
    assert np.isfinite(found[f"{name} {dtype} cut"]).all()
    np.testing.assert_array_equal(found[f"{name} {dtype} cut"], found[f"{name} {dtype} copied"])


def test_eight_devices_compute_what_one_does(eight: Any, home: Path) -> None:
    told, found = eight
    assert told["devices"] == 8
    corpus, params = open_corpus(home / "corpus"), examples.parameters(NEOX, scale=1.0)
    wanted = examples.plain_column(NEOX, params, corpus)
    np.testing.assert_allclose(found["neox float32 cut"], wanted, rtol=0, atol=ROUNDING)


def test_no_device_holds_more_than_its_share_and_a_block(eight: Any) -> None:
    """By the memory that XLA plans for a program: beside its share of the parameters, no more than
    with a copy, and what is gathered: a block and the unembedding."""
    told, _ = eight
    assert told["neox"] == told["neo"] == [1.0]  # each piece an eighth of its array
    copy, share, gathered = told["wanted"]
    assert told["copied"][0] == copy
    assert told["cut"][0] == share < copy / 7
    assert told["cut"][1] <= told["copied"][1] + gathered
    assert gathered < copy / 4  # so that the bound says something


def test_parameters_are_cut_where_copies_do_not_fit(eight: Any, home: Path, tmp_path: Path) -> None:
    told, found = eight
    (line,) = told["lines"]
    assert line.startswith("neox@main: parameters are cut over 8 devices: ")
    wanted = examples.compute(home, tmp_path / "out")
    np.testing.assert_allclose(found["alone"], wanted, rtol=0, atol=ROUNDING)


def test_a_column_continues_in_the_other_layout(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "ALIGNMENT", 32)
    monkeypatch.setattr(packing, "SHORTEST_ROW", 32)
    wanted = examples.compute(home, tmp_path / "whole")[:, 0]
    for lie in ("cut", "copied", "cut"):
        with pytest.raises(Interrupted):
            lies(home, tmp_path / "out", lie, Watch(stop_at=1))
    found = lies(home, tmp_path / "out", "copied")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDING)
    legs = examples.stored(tmp_path / "out", "neox@main").attrs["legs"]
    assert [order.split(" ")[0] for order, _ in legs] == ["rows", "longest", "rows", "longest"]


def lies(home: Path, out: Path, placement: str, watch: Watch | None = None) -> np.ndarray:
    """Losses by parameters that lie so."""
    given = home / "corpus", home / "neox", out
    found = compute_losses(*given, batch_tokens=64, placement=placement, monitor=watch)
    return found.loss.to_numpy()[:, 0]


def test_another_word_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--placement shared: give copied or cut"):
        lies(home, tmp_path / "out", "shared")
    assert not (tmp_path / "out").exists()


# Plans

CARDS = replace(H200, devices=8, memory=int(40e9))


def test_a_plan_cuts_what_does_not_fit() -> None:
    """The memory on each device is what the program takes: a share, a block, a table, a batch."""
    counts, config = np.full(64, 1023), pythia("12b")
    assert placement_on(CARDS, counts, pythia("2.8b"), "float32") == "copied"
    assert placement_on(replace(CARDS, devices=1), counts, config, "float32") == "copied"
    assert placement_on(CARDS, counts, config, "bfloat16") == "copied"
    assert placement_on(CARDS, counts, config, "float32") == "cut"
    both = {
        lie: estimate(
            config, plan_on(CARDS, counts, config, "float32", 1024, lie), "float32", CARDS, lie
        )
        for lie in ("copied", "cut")
    }
    held = cut.bytes_of_share(config, "float32", 8) + cut.bytes_gathered(config, "float32")
    copy = 8 * cut.bytes_of_share(config, "float32", 1)
    assert both["copied"].memory - both["cut"].memory == copy - 8 * held
    assert both["cut"].memory < 8 * CARDS.memory < both["copied"].memory
    assert both["cut"].seconds == both["copied"].seconds


def test_the_command_says_so(
    home: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(H200, name="a small card", devices=8, memory=1000)
    monkeypatch.setattr("jquanta.machine.computer.here", lambda: small)
    given = ["--corpus", home / "corpus", "--model", home / "neox", "--out", tmp_path / "out"]
    assert command.main([*map(str, given), "--plan"]) == 0
    told = capsys.readouterr().out
    after = told[told.index("a small card") :].splitlines()
    assert after[2].startswith("    parameters are cut over 8 devices: ")
    assert "cut" not in told[told.index("NVIDIA H200") :]
    assert not (tmp_path / "out").exists()


# The program


@pytest.mark.parametrize("config", [NEOX, NEO, LLAMA], ids=["neox", "neo", "llama"])
def test_the_program_lowers_for_cuda(config: LMConfig) -> None:
    """A block's arrays are gathered within the loop, and none of it is added up in turn."""
    like = cut.abstract(config, np.float32, mesh())
    ids = jax.ShapeDtypeStruct((4, 64), np.int32)
    text = lowered_for_cuda(_program(ways.CUT_ROWS, config, mesh()), like, ids, ids, ids)
    tied = "unembed.kernel" not in like  # then the embedding is gathered at both ends
    assert text.count("stablehlo.all_gather") == len(like) + tied
    assert "scatter" not in text
