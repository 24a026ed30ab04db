"""The compute axis of a sweep in which a law L(N, S) is planted: the frontier follows from it."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta import theory
from jquanta.errors import BadInput
from jquanta.figures.drawing import Measured, Note
from jquanta.figures.sweep import compute
from jquanta.sweep import scaling
from jquanta.sweep.scaling import NoSuchRuns
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config
from tests.sweep.synthetic import LN2

ALPHA_N, ALPHA_S = 0.45, 0.55
A_N, A_S = 5.0, 8.0  # bits
BATCH = 50
SWEEP: Config = {
    "name": "compute", "task.n_tasks": 6, "task.n_bits": 12, "task.k": 2, "train.steps": 20_000,
    "train.batch_size": BATCH, "train.seed": [0, 1], "eval.log_every": 50,
    "network.width": "log(8, 512, 13)",
}  # fmt: skip
A = ALPHA_S / (ALPHA_N + ALPHA_S)
C_LOSS = ALPHA_N * ALPHA_S / (ALPHA_N + ALPHA_S)


def bits(run: object, steps: np.ndarray) -> np.ndarray:
    """Additive in N and S; the seeds have exponents of N that differ by 0.01."""
    n, own = run.n_params, 0.01 * run.train.seed - 0.005  # type: ignore[attr-defined]
    law = A_N * n ** -(ALPHA_N + own) + A_S * np.maximum(steps, 1) ** -ALPHA_S
    return np.asarray(np.minimum(law, 1))


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(SWEEP, bits)


def test_the_frontier_of_a_planted_law(results: xr.Dataset) -> None:
    found = scaling.frontier(results)
    assert found.loss.dims == ("seed", "operations")
    assert found.attrs["batch_size"] == BATCH
    begun = (found.loss < 0.95 * LN2).all("seed") & found.seen
    some = found.isel(operations=begun.to_numpy())
    assert some.sizes["operations"] >= 10
    np.testing.assert_allclose(
        some.best_step * 6 * BATCH * some.best_n_params,
        some.operations.broadcast_like(some.best_step).transpose(*some.best_step.dims),
    )
    for seed in (0, 1):
        alpha = ALPHA_N + 0.01 * seed - 0.005
        # α_N A_N N^-α_N = α_S A_S S^-α_S with S = C / (6 N batch)
        steps = some.operations.to_numpy() / (6 * BATCH)
        best = (alpha * A_N / (ALPHA_S * A_S) * steps**ALPHA_S) ** (1 / (alpha + ALPHA_S))
        least = A_N * best**-alpha + A_S * (steps / best) ** -ALPHA_S
        one = some.isel(seed=seed)
        # A parabola through widths that are a factor of 1.4 apart, and lines between evaluations.
        np.testing.assert_allclose(one.best_n_params, best, rtol=0.1)
        np.testing.assert_allclose(one.loss, least * LN2, rtol=0.003)


def test_exponents_are_those_that_the_law_implies(results: xr.Dataset) -> None:
    fits = scaling.fit_frontier(scaling.frontier(results))
    assert fits["n_params"].slope == pytest.approx(A, abs=0.02)
    assert fits["step"].slope == pytest.approx(1 - A, abs=0.02)
    assert fits["loss"].exponent == pytest.approx(C_LOSS, abs=0.005)
    low, high = fits["loss"].interval  # of two seeds, and so of a single degree of freedom
    assert low < C_LOSS < high
    law = scaling.loss_surface(results)
    assert law.exponents == pytest.approx((ALPHA_N, ALPHA_S), abs=0.005)
    assert not law.floor_told
    implied = law.allocation()
    assert implied.exponents == pytest.approx((A, 1 - A, C_LOSS), abs=0.005)


def test_the_figure_tells_them(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(compute.draw, [results], tmp_path)
    rows = {row.name: row for row in measured if isinstance(row, Measured)}
    names = list(compute.EXPONENTS.values())
    assert list(rows) == [*names, *(f"{name}, of L(N, S)" for name in names)]
    for name, truth in zip(names, (A, 1 - A, C_LOSS), strict=True):
        low, high = rows[name].interval
        assert low < rows[name].exponent < high
        assert rows[name].exponent == pytest.approx(truth, abs=0.02)
        assert rows[f"{name}, of L(N, S)"].exponent == pytest.approx(truth, abs=0.005)
    theories = [rows[name].theory for name in names]
    assert theories == pytest.approx([1 / 2.4, 1.4 / 2.4, theory.compute_exponent(0.4)])
    notes = [row.note for row in measured if isinstance(row, Note)]
    assert notes[0].startswith("L(N, S) = ")
    assert "alpha_N 0.4" in notes[1]
    assert not any("one seed" in note for note in notes)
    assert "least loss" in labels(panels(figure)[0])
    assert_legible(figure)


def test_where_training_is_too_short_to_tell_nothing_is_fitted(tmp_path: Path) -> None:
    """Narrow networks end before the best ones: what is seen beyond is drawn, and left out."""
    results = results_of(SWEEP | {"train.steps": 2000, "train.seed": 0}, bits)
    found = scaling.frontier(results)
    seen = found.seen.to_numpy()
    assert not seen.all()
    assert seen[: np.flatnonzero(~seen)[0]].all()
    # Within the steps that there are, the best N of C is found, and no longer beyond.
    limit = 6 * BATCH * 2000 * 2_400  # S = 2000 is the best for N = 2,400 (by the law)
    assert found.operations[~found.seen][0] > limit / 3
    fits = scaling.fit_frontier(found)
    assert fits["n_params"].slope == pytest.approx(A, abs=0.04)
    assert fits["n_params"].window[1] < found.operations[~found.seen][0]
    figure, measured = drawn(compute.draw, [results], tmp_path)
    assert measured[-1].note.startswith("one seed")
    assert_legible(figure)


def test_where_there_are_no_wider_networks_nothing_is_fitted(results: xr.Dataset) -> None:
    """The widest networks train past their best; and a seed may lack the narrowest."""
    narrow = results.isel(run=(results.width <= 64).to_numpy())
    first = (narrow.width == 8) & (narrow.seed == 1)
    found = scaling.frontier(narrow.isel(run=~first.to_numpy()))
    seen = found.seen.to_numpy()
    assert not seen.all()
    assert found.loss.where(found.seen).notnull().sum() > 10
    best = found.best_n_params.where(found.seen).max()
    assert best < found.n_params[-1]
    fits = scaling.fit_frontier(found)
    assert fits["n_params"].slope == pytest.approx(A, abs=0.03)
    assert fits["loss"].exponent == pytest.approx(C_LOSS, abs=0.01)


def test_the_theory_of_finitely_many_subtasks(results: xr.Dataset) -> None:
    found = scaling.frontier(results)
    fit = scaling.fit_frontier(found)["loss"]
    finite = scaling.expected_finite(found, fit)
    assert finite is not None
    assert finite["n_params"] + finite["step"] == pytest.approx(1)  # C = n t
    flat = found.assign_attrs(alpha=float("nan"))
    assert scaling.expected_finite(flat, fit) is None


def test_what_has_no_frontier(results: xr.Dataset, tmp_path: Path) -> None:
    two = results.isel(run=np.isin(results.width, np.unique(results.width)[:2]))
    with pytest.raises(NoSuchRuns, match="online runs of 2 widths: a frontier needs at least 3"):
        scaling.frontier(two)
    wide = results.isel(run=(results.width > 200).to_numpy())
    with pytest.raises(BadInput, match="train narrower networks for longer, or wider ones"):
        scaling.frontier(wide.isel(step=slice(0, 20)))
    with pytest.raises(BadInput, match="0 amounts of compute have"):
        scaling.fit_frontier(scaling.frontier(results), (1.0, 2.0))
    with pytest.raises(NoSuchRuns, match=r"under three evaluations"):
        scaling.frontier(results.isel(step=slice(0, 3)))
    with pytest.raises(BadInput, match="no results of a sweep"):
        scaling.loss_surface(xr.Dataset())
