"""Columns of losses: what is in them, and what continues."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jquanta as jq
from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.losses import column, packing, ways
from jquanta.lm.losses.compute import add_column, compute_losses, plan_for
from jquanta.lm.taxonomy.tables import notes
from jquanta.lm.weights.load import fingerprint, load_model
from jquanta.lm.weights.save import save_model
from tests.lm.corpus.samples import tree
from tests.lm.losses import examples
from tests.lm.losses.examples import NEO, NEOX, TOKENS, compute
from tests.monitors import Watch
from tests.processes import with_devices

either_way = pytest.mark.usefixtures("either_way")

ROUNDING = 5e-5  # as in test_cross_entropy


def documents(watch: Watch) -> int:
    """That were done at the first report."""
    return int(watch.reports[0][2].split()[0])


@either_way
def test_a_column_is_what_plain_code_gives(home: Path, tmp_path: Path) -> None:
    """As Zarr alone reads it, with its contract's attributes; documents without predictions too."""
    watch = Watch()
    compute(home, tmp_path / "out", "neox", "neo", watch=watch)
    corpus = open_corpus(home / "corpus")
    for name, config in (("neox", NEOX), ("neo", NEO)):
        group = examples.stored(tmp_path / "out", f"{name}@main")
        params = load_model(home / name).params
        wanted = examples.plain_column(config, params, corpus)
        assert len(wanted) == corpus.n_predictions
        np.testing.assert_allclose(group["loss"][:], wanted, rtol=0, atol=ROUNDING)
        assert group["loss"].dtype == np.float32
        assert group["loss"].chunks == (2**20,)
        assert np.isnan(group["loss"].fill_value)
        told = dict(group.attrs)
        assert told["corpus"] == corpus.meta.corpus
        assert told["weights"] == fingerprint(params)
        assert (told["dtype"], told["precision"]) == ("float32", "highest")
        assert told["versions"]["jquanta"] == jq.__version__
        assert (told["model"], told["revision"]) == (name, "main")
    assert {stage for stage, *_ in watch.reports} == {"neox@main", "neo@main"}
    shares = [share for _, share, *_ in watch.reports]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert watch.reports[-1][1:] == (1.0, watch.reports[-1][2])
    assert watch.reports[-1][2].startswith("11 documents")
    assert not (tmp_path / "out" / "lock").exists()


@either_way
@pytest.mark.parametrize("tokens", [1, 64, 500, 10**6])
def test_the_batch_changes_nothing_but_rounding(home: Path, tmp_path: Path, tokens: int) -> None:
    found = compute_losses(home / "corpus", home / "neox", tmp_path / "a", batch_tokens=tokens)
    wanted = compute(home, tmp_path / "b")
    np.testing.assert_allclose(found.loss, wanted, rtol=0, atol=ROUNDING)


@either_way
def test_an_interrupted_column_continues_with_the_same_bits(home: Path, tmp_path: Path) -> None:
    whole = compute(home, tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="the same command continues"):
        compute(home, out, watch=Watch(stop_at=3))
    group = examples.stored(out, "neox@main")
    done = group.attrs["documents_done"]
    missing = np.isnan(group["loss"][:])
    assert 0 < done < 11
    assert 0 < missing.sum() < len(missing)
    with pytest.raises(BadInput, match=r"not finished: neox@main"):
        jq.open_losses(out)
    watch = Watch()
    assert compute(home, out, watch=watch).tobytes() == whole.tobytes()
    assert watch.lines == [f"neox@main: continuing after {done} of 11 documents"]
    assert documents(watch) > done  # what was done is not done again
    assert watch.shares[0] > (~missing).mean()


@either_way
def test_a_crash_between_losses_and_mark_is_no_harm(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compute(home, tmp_path / "whole")
    out = tmp_path / "out"
    monkeypatch.setattr(column, "LEAST_INTERVAL", 0.0)
    with pytest.raises(RuntimeError):
        compute(home, out, watch=Watch(3, RuntimeError))  # of three batches two are marked
    group = examples.stored(out, "neox@main")
    assert 0 < group.attrs["documents_done"] < documents_of(home, 3)
    assert compute(home, out).tobytes() == whole.tobytes()


def documents_of(home: Path, batches: int) -> int:
    """Documents in the first batches."""
    corpus = open_corpus(home / "corpus")
    return plan_for(corpus, NEOX, TOKENS).batches[batches - 1].done


def test_devices_of_another_kind_continue(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch by one way, one by the other, and so on: no document twice, and none left out."""
    wanted = compute(home, tmp_path / "whole")
    monkeypatch.setattr(packing, "ALIGNMENT", 32)
    monkeypatch.setattr(packing, "SHORTEST_ROW", 32)
    out, done, orders = tmp_path / "out", [0], []
    for way in (ways.ROWS, ways.LENGTHS, ways.ROWS):
        monkeypatch.setitem(ways.WAYS, "cpu", way)
        watch = Watch(stop_at=1)
        with pytest.raises(Interrupted):
            compute(home, out, watch=watch)
        group = examples.stored(out, "neox@main")
        done.append(group.attrs["documents_done"])
        orders = [order for order, _ in group.attrs["legs"]]
        # Reports count all documents that are done, whoever did them.
        assert documents(watch) > done[-2]
    assert done == sorted(set(done))
    assert orders == ["rows of 64", "longest first", orders[2]]
    assert re.fullmatch(r"rows of \d+", orders[2])
    monkeypatch.setitem(ways.WAYS, "cpu", ways.LENGTHS)
    np.testing.assert_allclose(compute(home, out), wanted, rtol=0, atol=ROUNDING)
    last = examples.stored(out, "neox@main").attrs
    assert last["documents_done"] == sum(number for _, number in last["legs"]) == 11


def begun(home: Path, out: Path) -> Any:
    """A column that was interrupted, as Zarr alone opens it for a change."""
    import zarr

    with pytest.raises(Interrupted):
        compute(home, out, watch=Watch(stop_at=3))
    return zarr.open_group(str(out / "neox@main"), mode="r+")


def without(group: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in group.attrs.asdict().items() if key != name}


@pytest.mark.parametrize("way", ["LENGTHS", "ROWS"])
def test_a_column_of_an_old_version_continues(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It does not say in which order documents were taken: the longest first."""
    whole = compute(home, tmp_path / "whole")
    group = begun(home, tmp_path / "out")
    group.attrs.put(without(group, "legs"))
    monkeypatch.setitem(ways.WAYS, "cpu", getattr(ways, way))
    watch = Watch()
    found = compute(home, tmp_path / "out", watch=watch)
    done = group.attrs["documents_done"]
    assert watch.lines == [f"neox@main: continuing after {done} of 11 documents"]
    if way == "LENGTHS":
        assert found.tobytes() == whole.tobytes()
    np.testing.assert_allclose(found, whole, rtol=0, atol=ROUNDING)


def test_a_column_of_a_later_version_is_refused(home: Path, tmp_path: Path) -> None:
    group = begun(home, tmp_path / "out")
    for order in ("rows of", "rows of 0", "rows of 064", "by the moon"):
        group.attrs.update({"legs": [[order, 3]]})
        with pytest.raises(BadInput, match=f"another version of jquanta, .*{order}.*; go on with"):
            compute(home, tmp_path / "out")


@either_way
def test_another_batch_size_continues_too(home: Path, tmp_path: Path) -> None:
    whole = compute(home, tmp_path / "whole")
    with pytest.raises(Interrupted):
        compute(home, tmp_path / "out", watch=Watch(stop_at=3))
    found = compute_losses(home / "corpus", home / "neox", tmp_path / "out", batch_tokens=333)
    np.testing.assert_allclose(found.loss, whole, rtol=0, atol=ROUNDING)


def test_a_finished_column_is_left_alone(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compute(home, out)
    before = tree(out)
    watch = Watch()
    compute(home, out, "neox", watch=watch)
    assert watch.lines == ["neox@main: already computed; nothing to do"]
    assert watch.reports == []
    assert tree(out) == before
    compute(home, out, "neox", "neo")
    assert tree(out).items() > before.items()


@either_way
def test_documents_across_chunks(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks smaller than a document: it lies in several, and several are interrupted."""
    wanted = compute(home, tmp_path / "whole")
    monkeypatch.setattr(column, "CHUNK", 10)
    with pytest.raises(Interrupted):
        compute(home, tmp_path / "out", watch=Watch(stop_at=2))
    np.testing.assert_array_equal(compute(home, tmp_path / "out"), wanted)
    assert len(list((tmp_path / "out/neox@main/loss/c").iterdir())) == -(-len(wanted) // 10)


def test_a_corpus_without_predictions(tmp_path: Path) -> None:
    examples.corpus(tmp_path / "corpus", [0, 1, 1, 0])
    examples.model(tmp_path / "neox")
    assert compute(tmp_path, tmp_path / "out").shape == (0, 1)


def test_revisions_of_a_folder_and_what_serves_the_same_weights(home: Path, tmp_path: Path) -> None:
    for step, seed in ((1, 1), (2, 2), (10, 1)):
        examples.model(tmp_path / "suite" / f"step{step}", seed=seed)
    with pytest.warns(UserWarning, match="suite@step10 and suite@step1 have equal weights"):
        found = compute_losses(
            home / "corpus",
            tmp_path / "suite",
            tmp_path / "out",
            revisions=["step10", "step1", "step2"],
        )
    assert found.model.to_numpy().tolist() == ["suite@step1", "suite@step2", "suite@step10"]
    one, two, ten = found.loss.to_numpy().T
    assert np.array_equal(one, ten)
    assert np.abs(one - two).max() > 0.1


def test_a_checkpoint_with_a_part_of_another_step_is_told(home: Path, tmp_path: Path) -> None:
    """As the first of two files of Pythia's step29 was step58's."""
    own = {step: examples.parameters(seed=step) for step in (10, 29, 58)}
    first = sorted(own[29])[::2]
    own[29] |= {name: own[58][name] for name in first}
    for step, params in own.items():
        save_model(tmp_path / "suite" / f"step{step}", NEOX, params)
    shared = sum(own[58][name].ndim == 2 for name in first)  # biases and norms are constant
    told = rf"suite@step29 and suite@step58 have {shared} of \d+ arrays in common"
    with pytest.warns(UserWarning, match=told) as warned:
        found = compute_losses(
            home / "corpus",
            tmp_path / "suite",
            tmp_path / "out",
            revisions=["step10", "step29", "step58"],
        )
    assert sum("in common" in str(warning.message) for warning in warned) == 1
    assert found.shared.to_numpy().tolist() == ["", "step58", "step29"]
    (one, other) = notes(found)
    assert "suite@step29: has arrays in common with step58" in one
    assert "suite@step58: has arrays in common with step29" in other


def test_what_a_kill_leaves_is_no_obstacle(home: Path, tmp_path: Path) -> None:
    """Half of the parent's metadata, of this version and of the last; the lock; half a column."""
    out = tmp_path / "out"
    wanted = compute(home, tmp_path / "whole")
    (out / "old@main.part" / "loss").mkdir(parents=True)
    (out / "lock").write_text("process 1 on elsewhere")
    with pytest.raises(BadInput, match=r"holds other files and no zarr\.json"):
        compute(home, out)  # a folder is not ours by its name alone
    shutil.rmtree(out / "old@main.part")
    (out / "zarr.json.part").write_text("{")
    (out / "zarr.0123456789abcdef.partial").write_text("{")
    np.testing.assert_array_equal(compute(home, out), wanted)
    assert {path.name for path in out.iterdir()} == {"zarr.json", "neox@main"}
    (out / "old@main.part" / "loss").mkdir(parents=True)
    (out / "neox@main" / "zarr.0123456789abcdef.partial").write_text("{")
    compute(home, out, "neox", "neo")
    assert {path.name for path in out.iterdir()} == {"zarr.json", "neox@main", "neo@main"}


def test_a_lost_chunk_of_a_column_that_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses that were written and are lost again are not replaced by NaN, or by zeros."""
    monkeypatch.setattr(column, "CHUNK", 40)
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        compute(home, out, watch=Watch(stop_at=4))
    chunk = sorted((out / "neox@main" / "loss" / "c").iterdir())[0]
    content = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(BadInput, match="losses that were written are lost; delete this folder"):
        compute(home, out)
    shutil.rmtree(out)
    with pytest.raises(Interrupted):
        compute(home, out, watch=Watch(stop_at=4))
    for short in sorted((out / "neox@main" / "loss" / "c").iterdir()):
        short.write_bytes(content[:-4])
    with pytest.raises(BadInput, match=r"has 156 bytes, not 160; delete this folder"):
        compute(home, out)


def test_bfloat16_is_said(home: Path, tmp_path: Path) -> None:
    compute_losses(home / "corpus", home / "neox", tmp_path / "out", dtype="bfloat16")
    assert examples.stored(tmp_path / "out", "neox@main").attrs["dtype"] == "bfloat16"
    with pytest.raises(BadInput, match=r"another dtype \(bfloat16\)"):
        compute(home, tmp_path / "out")


def test_parameters_at_hand(home: Path, tmp_path: Path) -> None:
    corpus, params = open_corpus(home / "corpus"), examples.parameters()
    add_column(tmp_path / "out", corpus, "mine", "step7", NEOX, params, batch_tokens=TOKENS)
    found = jq.open_losses(tmp_path / "out")
    assert found.model.item() == "mine@step7"
    np.testing.assert_array_equal(found.loss, compute(home, tmp_path / "other"))


# Devices

PROGRAM = """
import sys
import jax
from jquanta.lm.losses import packing, ways
if sys.argv[4] == "rows":
    ways.WAYS["cpu"], packing.ALIGNMENT, packing.SHORTEST_ROW = ways.ROWS, 32, 32
from jquanta.lm.losses.compute import compute_losses
compute_losses(*sys.argv[1:4], batch_tokens=100)
print(jax.local_device_count())
"""


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("way", ["lengths", "rows"])
def test_four_devices_compute_what_one_does(home: Path, tmp_path: Path, way: str) -> None:
    words = map(str, (home / "corpus", home / "neox", tmp_path / "4", way))
    assert with_devices(4, PROGRAM, *words) == "4\n"
    found = jq.open_losses(tmp_path / "4").loss.to_numpy()
    np.testing.assert_allclose(found, compute(home, tmp_path / "1"), rtol=0, atol=ROUNDING)


# Bad input: nothing is left behind
