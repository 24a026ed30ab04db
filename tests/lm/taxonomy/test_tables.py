"""Tables of losses: published arrays, which checkpoint counts, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.lm.losses import column
from jquanta.lm.losses.reader import mean_loss
from jquanta.lm.models.pythia import PYTHIA
from jquanta.lm.taxonomy.tables import (
    PUBLISHED,
    at_step,
    blocks,
    notes,
    open_table,
    require_text,
    step_of,
)
from tests.lm.losses.examples import corpus
from tests.lm.taxonomy import examples
from tests.lm.taxonomy.examples import SIZES, table


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_notes_before_losses_are_compared() -> None:
    """Models that end at different steps, unfinished suites, arrays of another step."""
    names, revisions = ["a", "a", "b", "b"], ["step1", "step20", "step1", "step20"]
    even = table(examples.random(5, 4), [1, 1, 2, 2], names, revisions)
    assert notes(even) == []
    assert (
        notes(table(examples.random(5, 3), [1, 1, 2], names[:3], ["step1", "main", "step1"])) == []
    )
    uneven = even.isel(model=[0, 1, 2])
    (note,) = notes(uneven)
    assert note.startswith("the models end at different steps (a 20, b 1): ")
    assert notes(uneven, steps=False) == []
    (note,) = notes(even.assign_attrs(unfinished=["runs/suite"]))
    assert note.startswith("runs/suite: this suite is not finished")
    (note,) = notes(even.assign_coords(shared=("model", ["", "step1", "", ""])))
    assert note.startswith("a@step20: has arrays in common with step1: ")


@pytest.mark.parametrize("models", [6, 7])
def test_the_papers_array(models: int, tmp_path: Path) -> None:
    losses = examples.random(50, models)
    found = open_table([saved(tmp_path / "curves.npy", losses)])
    np.testing.assert_array_equal(found.loss, losses)
    assert found["size"].to_numpy().tolist() == [
        PYTHIA[size].non_embedding for size in PUBLISHED[:models]
    ]
    assert found.model.to_numpy()[0] == "pythia-70m-v0"
    base = found.loss.variable.data
    while getattr(base, "base", None) is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)  # mapped, not read


def test_an_array_of_other_sizes_is_put_in_order(tmp_path: Path) -> None:
    losses = examples.random(20, 4)
    path = saved(tmp_path / "curves.npy", losses)
    found = open_table([path], [300, 20, 4000, 100])
    assert found["size"].to_numpy().tolist() == [20, 100, 300, 4000]
    np.testing.assert_array_equal(found.loss, losses[:, [1, 3, 0, 2]])


def test_a_column_that_was_never_computed(tmp_path: Path) -> None:
    losses = examples.random(50, 6)
    losses[:, 3] = 0
    found = open_table([saved(tmp_path / "curves.npy", losses)])
    with pytest.raises(BadInput, match="pythia-1b-v0: every loss is 0"):
        list(blocks(found, 20))
    with pytest.raises(BadInput, match="pythia-1b-v0: every loss is 0"):
        mean_loss(found)


def test_arrays_that_are_none(tmp_path: Path) -> None:
    flat = saved(tmp_path / "flat.npy", np.zeros(9, np.float32))
    whole = saved(tmp_path / "whole.npy", np.zeros((9, 7), np.int64))
    four = saved(tmp_path / "four.npy", np.zeros((9, 4), np.float32))
    (tmp_path / "text.npy").write_text("no array")
    for path, sizes, message in (
        (flat, (), r"flat.npy: holds float32 of shape \(9,\); give floats"),
        (whole, (), r"whole.npy: holds int64 of shape"),
        (four, (), "4 models, and the paper's are 7 or the first 6 of them: .* --sizes"),
        (four, (1, 2, 3), "--sizes: 3 given, .*four.npy has 4 models"),
        (four, (1, 2, 3, 3), "a different positive number for each"),
        (four, (0, 1, 2, 3), "a different positive number for each"),
        (tmp_path / "text.npy", (), "text.npy: damaged, or no .npy array"),
        (tmp_path / "none.npy", (), "none.npy: no such file"),
        (tmp_path, (1, 2, 3), "--sizes is for a .npy file"),
    ):
        with pytest.raises(BadInput, match=message) as refusal:
            open_table([path], sizes)
        assert "\n" not in str(refusal.value)
    with pytest.raises(BadInput, match="give it alone"):
        open_table([four, tmp_path])


def test_steps_of_revisions() -> None:
    assert [step_of(name) for name in ("step0", "step1000", "main", "step", "step5x")] == [
        0,
        1000,
        None,
        None,
        None,
    ]


def suite() -> xr.Dataset:
    """Three sizes with checkpoints, one of them with main, too; the order of a folder's names."""
    rows = [
        ("c", 900, "main"),
        ("c", 900, "step9"),
        ("a", 30, "step512"),
        ("a", 30, "step1000"),
        ("b", 50, "step1000"),
        ("b", 50, "step512"),
    ]
    names, sizes, revisions = zip(*rows, strict=True)
    return table(np.arange(12.0).reshape(2, 6), sizes, names, revisions)


def test_the_last_checkpoint_of_each_model() -> None:
    found = at_step(suite())
    assert found.model.to_numpy().tolist() == ["a@step1000", "b@step1000", "c@main"]
    np.testing.assert_array_equal(found.loss[0], [3, 4, 0])
    with pytest.raises(BadInput, match=r"--step 1000: no losses of c at step1000"):
        at_step(suite(), 1000)
    losses = suite()
    with pytest.raises(BadInput, match=r"losses of 2 sizes of models \(30, 50\): .* at least 3"):
        at_step(losses.isel(model=losses.name != "c"))


def test_seeds_of_one_size_are_all_there() -> None:
    sizes, names = [10, 10, 20, 30, 30], ["a-0", "a-1", "b", "c-0", "c-1"]
    found = at_step(table(np.zeros((1, 5)), sizes, names))
    assert found.name.to_numpy().tolist() == names


def test_only_blocks_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk on disk is damaged after opening: whatever is read before its block comes, fails."""
    monkeypatch.setattr(column, "CHUNK", 40)
    text = corpus(tmp_path / "corpus")
    losses = examples.random(text.n_predictions)
    names = [f"m{size}" for size in SIZES]
    out = examples.store(tmp_path / "out", text, losses, names, SIZES, ["main"] * 4)
    whole = dict(blocks(open_table([out]), 40))
    assert list(whole) == list(range(0, text.n_predictions, 40))
    np.testing.assert_array_equal(np.concatenate(list(whole.values())), losses)
    opened = open_table([out])
    (out / f"m{SIZES[2]}@main/loss/c/3").write_bytes(b"short")
    parts = blocks(opened, 40)
    assert [next(parts)[0] for _ in range(3)] == [0, 40, 80]
    with pytest.raises(Exception, match=r"."):
        next(parts)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"suite-300000@main: no loss of prediction 61 \(NaN\)"),
        (np.inf, "suite-300000@main: loss inf of prediction 61"),
        (-3.5, "suite-300000@main: loss -3.5 of prediction 61: give cross-entropies in nats"),
    ],
)
def test_losses_that_are_none(value: float, message: str) -> None:
    losses = examples.random(100)
    losses[61, 2] = value
    with pytest.raises(BadInput, match=message):
        list(blocks(table(losses), 40))
    with pytest.raises(BadInput, match="no predictions"):
        list(blocks(table(losses[:0])))


def test_whose_text_it_is(tmp_path: Path) -> None:
    text = corpus(tmp_path / "corpus")
    require_text(table(np.zeros((text.n_predictions, 4))), text)
    with pytest.raises(BadInput, match=r"corpus: .* predictions, and the losses of table are of 5"):
        require_text(table(np.zeros((5, 4))), text)
    out = examples.store(
        tmp_path / "out", text, np.zeros((text.n_predictions, 1)), ["a"], [5], ["main"]
    )
    require_text(open_table([out]), text)
    other = corpus(tmp_path / "other", seed=1)
    with pytest.raises(BadInput, match="not the corpus of these losses"):
        require_text(open_table([out]), other)
