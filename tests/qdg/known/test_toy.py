"""The toy model: its sizes, its cells on disk, and the bias of the slope that QDG measures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jquanta.cli import known
from jquanta.errors import BadInput
from jquanta.qdg.clusters.ranks import envelope_slope
from jquanta.qdg.known import toy
from jquanta.qdg.known.toy import Cell, cells, open_cells, run, sizes, solve, vectors, window_of
from tests.monitors import Watch


def test_sizes_are_the_papers() -> None:
    assert sizes(1.0)[[0, 1, 2, 332, 999]].tolist() == [1000, 500, 333, 3, 1]
    assert sizes(1.0).sum() == 7069  # the number of lattice points under a hyperbola, D(1000)
    assert sizes(1.5)[[0, 3, 98]].tolist() == [1000, 125, 1]
    assert len(sizes(1.5)) == 100  # 1000 / 101^1.5 is below 1
    assert sizes(0.8)[999] == 3  # 1000^0.2 = 3.98
    assert sizes(1.0, 200).tolist() == [200 // i for i in range(1, 201)]


def test_vectors_are_means_and_noise() -> None:
    cell = Cell(exponent=1.0, dimension=400, noise=0.5, subtasks=40, counts=(5,), seed=1)
    points, subtask = vectors(cell)
    assert np.bincount(subtask).tolist() == [40 // i for i in range(1, 41)]
    largest = points[subtask == 0]
    # 40 × 400 numbers of standard deviation ½, to a few of 0.5 / √32,000
    assert (largest - largest.mean(axis=0)).std() == pytest.approx(0.5 * np.sqrt(39 / 40), abs=0.01)
    clear, _ = vectors(Cell(1.0, 400, 0.0, 40, (5,), 1))
    assert np.unique(clear, axis=0).shape == (40, 400)
    assert clear.std() == pytest.approx(1, abs=0.05)


def test_the_grid_is_figures_16_and_17() -> None:
    grid = cells()
    settings = {(cell.exponent, cell.dimension, cell.noise) for cell in grid}
    assert len(grid) == len(settings) == 9 + 8 - 1
    assert {(1.0, d, s) for d in (30, 100, 1000) for s in (0.0, 0.5, 2.0)} <= settings
    assert {(a, 1000, 2.0) for a in (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)} <= settings
    assert all({100, 200, 500} <= set(cell.counts) for cell in grid)
    (like,) = [c for c in grid if (c.exponent, c.dimension, c.noise) == (1.0, 1000, 2.0)]
    assert like.counts[-1] == 1400  # the paper's up to a fifth of 7,069
    mini = cells(toy.MINI, seeds=(0, 1))
    assert len(mini) == 32
    assert {20, 40, 100} <= set(mini[0].counts)


@pytest.fixture(scope="module")
def solved() -> dict[float, object]:
    """Cells of 80 subtasks like language models, by exponent."""
    counts = (8, 12, 16, 24, 32, 40, 56, 72)
    return {a: solve(Cell(a, 1000, 2.0, 80, counts, 0), n_init=3) for a in (0.8, 1.2)}


def test_the_slope_is_biased_but_follows_the_exponent(solved: dict) -> None:
    """The paper: an error of about 0.2 at 1,000 subtasks; here, at 80, up to 0.4 is seen."""
    fitted = {}
    for a, cell in solved.items():
        fitted[a] = envelope_slope(cell, window=window_of(cell)).exponent
        assert abs(fitted[a] - a) < 0.6
    assert fitted[0.8] < fitted[1.2]


def test_clear_vectors_are_told_apart_and_noisy_ones_are_not(solved: dict) -> None:
    clear = solve(Cell(1.2, 1000, 0.0, 80, (40,), 0), n_init=3)
    # With σ = 0 subtasks are points: clusters are whole subtasks, but for the smallest joined.
    assert float(clear.ari[0]) > 0.6
    noisy = solved[1.2].sel(count=40)
    assert float(noisy.ari) < float(clear.ari[0])
    size = clear["size"].to_numpy()[0]
    assert size.sum() == sizes(1.2, 80).sum()
    assert clear.true_size.to_numpy().tolist() == sizes(1.2, 80).tolist()


def test_a_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [Cell(a, 5, 0.5, 20, (4, 8), 0) for a in (1.0, 1.2, 1.1)]
    monkeypatch.setattr(toy, "cells", lambda subtasks, seeds: small)
    seen = []
    original = toy.solve

    def once_only(cell: Cell, **options: Any) -> object:
        seen.append(cell.exponent)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(cell, **options)

    monkeypatch.setattr(toy, "solve", once_only)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, subtasks=20, n_init=2)
    (first,) = open_cells(tmp_path)
    heard = Watch()
    found = run(tmp_path, subtasks=20, n_init=2, monitor=heard)
    # The fewest vectors first, and what was there is not made again.
    assert seen == [1.2, 1.1, 1.1, 1.0]
    assert [cell.attrs["exponent"] for cell in found] == [1.0, 1.1, 1.2]
    assert found[2].identical(first)
    assert found[0].attrs["samples"] == sizes(1.0, 20).sum()
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == pytest.approx(1)
    with pytest.raises(BadInput, match="holds cells of 20 subtasks; give another folder"):
        run(tmp_path, subtasks=30)
    with pytest.raises(BadInput, match="holds cells of 2 restarts; give another folder, or --rest"):
        run(tmp_path, subtasks=20)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [Cell(1.0, 5, 0.5, toy.MINI, (4, 8), 0)]
    monkeypatch.setattr(toy, "cells", lambda subtasks, seeds: small)
    assert known.main(["toy", "--mini", "--out", str(tmp_path / "toy")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'toy'}: 1 cells of 200 subtasks\n"
    assert known.main(["toy", "--mini"]) == 2
    assert "--out is missing" in capsys.readouterr().err
    assert known.main(["toy", "--out", str(tmp_path / "toy")]) == 2
    assert "holds cells of 200 subtasks; give another folder, or --mini" in capsys.readouterr().err
    assert known.main(["toy", "--restarts", "0", "--out", str(tmp_path / "other")]) == 2
    assert "--restarts 0: give at least 1" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert known.main(["toy", "--out", str(tmp_path / "file")]) == 2
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "config.toml").write_text("[task]\n")
    capsys.readouterr()
    for name, said in (("sweep", "is a sweep's folder"), ("", "is a folder of other things")):
        assert known.main(["toy", "--mini", "--out", str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err


def test_no_cells(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match="no cells of the toy model; make them with jquanta known toy"
    ):
        open_cells(tmp_path)
