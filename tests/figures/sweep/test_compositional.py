"""The figure of codes, from planted losses."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.sweep import compositional
from jquanta.parity.codes import parse_codes
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config

ALONE, TOGETHER = "0+1+2+3", "0 1 2 3 0+1+2+3 0+2"
CONFIG: Config = {
    "name": "codes",
    "task.n_tasks": 4,
    "task.n_bits": 64,
    "task.k": 4,
    "task.frequencies": "uniform",
    "train.seed": [0, 1],
    "train.steps": 1_000,
    "eval.log_every": 100,
    "sweep": [
        {"task.codes": ALONE, "train.batch_size": 2_000, "train.steps": 600},
        {"task.codes": TOGETHER, "train.batch_size": 10_000},
    ],
}


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """Code number c falls at step 100 (c + 1), later at seed 1; a code alone stays at 1 bit."""
    codes = run.task.n_codes
    if codes == 1:
        return 1.0 + 0.01 * run.train.seed + 0 * steps
    at = 100 * np.arange(1, codes + 1) + 50 * run.train.seed
    return 1 / (1 + (steps / at) ** 4)


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


def test_a_line_for_every_code_and_seed(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(compositional.draw, [results], tmp_path)
    assert measured == []
    together, alone = panels(figure)
    steps = np.arange(100, 1_001, 100)
    falling = 1 / (1 + (steps / (100 * np.arange(1, 7)[:, None, None] + [[0], [50]])) ** 4)
    for line, bits in zip(together.get_lines(), falling.reshape(12, 10), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_allclose(line.get_ydata(), bits, rtol=1e-6)
    for line, bits in zip(alone.get_lines(), (1.0, 1.01), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), steps[:6])  # its runs are shorter
        np.testing.assert_allclose(line.get_ydata(), bits, rtol=1e-6)


def test_a_code_looks_the_same_in_all_panels(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(compositional.draw, [results], tmp_path)
    together, alone = panels(figure)
    colours = [tuple(np.atleast_1d(line.get_color())) for line in together.get_lines()]
    assert colours[::2] == colours[1::2]  # seeds
    assert len(set(colours)) == 6  # codes
    assert {line.get_color() for line in alone.get_lines()} == {together.get_lines()[8].get_color()}
    assert labels(figure) == [
        f"code {{{', '.join(map(str, code.members))}}}" for code in parse_codes(TOGETHER)
    ]


def test_it_can_be_read(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(compositional.draw, [results], tmp_path)
    assert_legible(figure)
    together, alone = panels(figure)
    assert together.get_ylabel() == "test loss (bits)"
    assert together.get_title(loc="right") == "6 codes together, batch 10,000, 2 seeds"
    assert alone.get_title(loc="right") == "one code, batch 2,000, 2 seeds"
    assert alone.get_xlabel() == "steps"


def test_diverged_runs_are_left_out(results: xr.Dataset, tmp_path: Path) -> None:
    bad = results.assign_coords(diverged_at=results.diverged_at.where(results.seed == 0, 100))
    figure, _ = drawn(compositional.draw, [bad], tmp_path)
    assert [len(panel.get_lines()) for panel in panels(figure)] == [6, 1]


def test_refusals(results: xr.Dataset, tmp_path: Path) -> None:
    one = results.isel(run=(results.codes == ALONE).to_numpy())
    with pytest.raises(BadInput, match="all runs have the same codes"):
        compositional.draw([one], tmp_path)
    other = results.assign_coords(batch_size=results.batch_size + results.seed)
    with pytest.raises(BadInput, match="differ in batch_size"):
        compositional.draw([other], tmp_path)
    texts = ["0", "1", "2", "3", "0 1"]
    many = results_of(
        {k: v for k, v in CONFIG.items() if k != "sweep"} | {"task.codes": texts}, losses
    )
    with pytest.raises(BadInput, match="5 sets of codes: select at most 4"):
        compositional.draw([many], tmp_path)
    with pytest.raises(BadInput, match="under two evaluations after step 0"):
        compositional.draw([results.isel(step=[0, 1])], tmp_path)
    assert list(tmp_path.iterdir()) == []
