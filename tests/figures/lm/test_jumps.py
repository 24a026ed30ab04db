"""The figure of jumps from losses in which places are planted."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.drawing import Agreed, Note
from jquanta.figures.lm import jumps
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.lm.taxonomy.examples import table

SIZES = {"20k": 20_000, "110k": 110_000, "300k": 300_000, "790k": 790_000}
STEPS = (0, 10, 20, 40, 80)
ROWS = 400


def suite(seeds: int = 3, steps: tuple[int, ...] = STEPS, move: float = 0.2) -> xr.Dataset:
    """Every token has a size and a step from which on all larger and later models have learned it;
    in each seed some tokens have others."""
    chance = np.random.default_rng(0)
    own = chance.integers(0, [len(SIZES) + 1, len(steps) + 1], (ROWS, 2))
    rows, columns = [], []
    for seed in range(seeds):
        other = chance.integers(0, [len(SIZES) + 1, len(steps) + 1], (ROWS, 2))
        place = np.where(chance.random((ROWS, 1)) < move, other, own)
        for i, (name, size) in enumerate(SIZES.items()):
            for j, step in enumerate(steps):
                known = (i >= place[:, 0]) & (j >= place[:, 1])
                columns.append(np.where(known, 0.1, 3.0))
                rows.append((f"{name}-seed{seed}" if seeds > 1 else name, size, f"step{step}"))
    names, sizes, revisions = zip(*rows, strict=True)
    return table(np.stack(columns, 1), sizes, names, revisions)


def test_sizes_and_steps_of_every_size(tmp_path: Path) -> None:
    figure, measured = drawn(jumps.draw, suite(), tmp_path)
    rows = [row for row in measured if isinstance(row, Agreed)]
    assert len(rows) == 4 * (1 + len(SIZES))
    assert rows[0].of == "4 sizes, of tokens that jump in any of 3 seeds (0, 1, 2), below 0.3 nats"
    by_steps = {row.of.split(",")[0] for row in rows[4:]}
    assert by_steps == {"N = 20k", "N = 110k", "N = 300k", "N = 790k"}
    same = rows[1]
    # A token keeps its place in all seeds with 0.8³; of the others some do not jump in all seeds,
    # and are not counted, and some agree by chance.
    assert 0.512 < same.value < 0.9
    assert same.value == same.number / same.total
    assert same.chance < 0.2 < same.interval[0] < same.value < same.interval[1]
    sizes, steps, shares = panels(figure)
    names = [tick.get_text() for tick in sizes.get_yticklabels()]
    assert names == ["≤ 20k", "110k", "300k", "790k", "never"]
    places = [tick.get_text() for tick in steps.get_xticklabels()]
    assert places == ["≤ 10", "20", "40", "80", "never"]
    (image,) = sizes.get_images()
    np.testing.assert_allclose(image.get_array().sum(1), 1)
    assert "by chance" in labels(shares)
    assert_legible(figure)


def test_many_checkpoints_stay_legible(tmp_path: Path) -> None:
    figure, _ = drawn(jumps.draw, suite(2, tuple(range(0, 1_540_000, 10_000))), tmp_path)
    assert not panels(figure)[1].texts
    assert_legible(figure)


def test_only_sizes_or_only_steps(tmp_path: Path) -> None:
    losses = suite()
    figure, measured = drawn(jumps.draw, losses.isel(model=losses.revision == "step80"), tmp_path)
    assert len([row for row in measured if isinstance(row, Agreed)]) == 4
    assert len(panels(figure)) == 2
    one = losses.isel(model=losses.base == "790k")
    figure, measured = drawn(jumps.draw, one, tmp_path)
    assert all("N = 790k" in row.of for row in measured if isinstance(row, Agreed))
    assert_legible(figure)


def test_the_threshold_and_the_checkpoint(tmp_path: Path) -> None:
    _, measured = drawn(jumps.draw, suite(), tmp_path, below=0.05)
    assert {row.number for row in measured if isinstance(row, Agreed)} == {0}
    _, early = drawn(jumps.draw, suite(), tmp_path, step=20)
    _, late = drawn(jumps.draw, suite(), tmp_path)
    assert early[1].total < late[1].total
    with pytest.raises(BadInput, match="below = 0: give a positive number of nats"):
        drawn(jumps.draw, suite(), tmp_path, below=0.0)
    with pytest.raises(BadInput, match="--step 7: no losses of"):
        drawn(jumps.draw, suite(), tmp_path, step=7)


def test_what_has_one_seed_is_left_out_or_refused(tmp_path: Path) -> None:
    losses = suite()
    without = losses.isel(model=~losses.name.isin(["20k-seed0", "20k-seed1"]))
    _, measured = drawn(jumps.draw, without, tmp_path)
    assert measured[0] == Note("left out: 20k-seed2")
    assert measured[1].of.startswith("3 sizes, ")
    with pytest.raises(BadInput, match="no three sizes and no three checkpoints of networks with"):
        drawn(jumps.draw, suite(1), tmp_path)
    lacking = losses.isel(model=losses.name != "20k-seed1")
    with pytest.raises(
        BadInput, match="no losses of 20k-seed1@step80, and others have seeds 0, 1, 2"
    ):
        drawn(jumps.draw, lacking, tmp_path)
