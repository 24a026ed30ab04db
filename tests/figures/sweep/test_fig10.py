"""Figure 10 from sweeps over alpha in which every exponent is planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from jquanta import theory
from jquanta.errors import BadInput
from jquanta.figures.drawing import Measured
from jquanta.figures.sweep import fig10
from tests.figures.layout import assert_legible, drawn, panels
from tests.figures.sweep import alphas
from tests.figures.sweep.alphas import ALPHAS, CONFIG, DATA, SPREAD, WIDTHS, S
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config, tree

STORED = 1e-5  # losses are stored as float32; an exponent is a ratio of their logarithms

HALF = 4.302653 * SPREAD / np.sqrt(3)
"""Half of a 95% interval from three exponents that are SPREAD apart: Student's t with 2 degrees of
freedom times their standard error."""


def made(**changes: object) -> xr.Dataset:
    return results_of(CONFIG | {k.replace("__", "."): v for k, v in changes.items()}, alphas.losses)


@pytest.fixture(scope="module")
def widths() -> xr.Dataset:
    return made(sweep=[WIDTHS])


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return made(sweep=[DATA])


@pytest.fixture(scope="module")
def both(
    widths: xr.Dataset, data: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Figure, list[Measured]]:
    return drawn(fig10.draw, [widths, data], tmp_path_factory.mktemp("fig10"))


def test_exponents_are_those_planted(both: tuple[Figure, list[Measured]]) -> None:
    _, measured = both
    names = [name for name in ("alpha_N", "alpha_S", "alpha_D") for _ in ALPHAS]
    assert [row.name for row in measured] == names
    assert [row.of for row in measured] == [f"alpha {alpha:g}" for alpha in ALPHAS] * 3
    for row, alpha in zip(measured, ALPHAS * 3, strict=True):
        expected = alphas.exponents(alpha)[row.name]
        assert row.exponent == pytest.approx(expected, abs=STORED)
        assert row.interval == pytest.approx((expected - HALF, expected + HALF), abs=STORED)


def test_windows_are_the_papers(both: tuple[Figure, list[Measured]]) -> None:
    _, measured = both
    windows = {row.name: (row.window, row.n_points) for row in measured}
    assert windows == {
        "alpha_N": ((110, 1730), 3 * 5),  # all widths
        "alpha_S": ((500, 15_000), 3 * 59),
        "alpha_D": ((316, 100_000), 3 * 6),  # from the first below 0.95 bit
    }


def test_short_runs_are_fitted_from_where_learning_begins(tmp_path: Path) -> None:
    short = made(sweep=[WIDTHS], train__steps=10_000)
    figure, measured = drawn(fig10.draw, [short], tmp_path)
    assert {row.window for row in measured if row.name == "alpha_S"} == {(250, 10_000)}
    assert panels(figure)[3].get_title(loc="right") == "fit: loss below 0.95 bit"


def test_theory_in_the_limit_and_for_these_subtasks(both: tuple[Figure, list[Measured]]) -> None:
    figure, measured = both

    def limit(alpha: Any, column: int) -> Any:
        return alpha if column == 0 else alpha / (alpha + 1)

    for column, panel in enumerate(panels(figure)[3:]):
        rows = measured[3 * column : 3 * column + 3]
        _, dashed, diamonds = (line for line in panel.get_lines())
        assert dashed.get_label() == "theory, infinitely many subtasks"
        x = dashed.get_xdata()
        assert (x[0], x[-1]) == (ALPHAS[0], ALPHAS[-1])
        np.testing.assert_allclose(dashed.get_ydata(), limit(x, column), rtol=1e-12)
        assert [row.theory for row in rows] == pytest.approx([limit(a, column) for a in ALPHAS])
        np.testing.assert_allclose(diamonds.get_xdata(), ALPHAS)
        assert list(diamonds.get_ydata()) == [row.finite for row in rows]
    for alpha, row in zip(ALPHAS, measured, strict=False):
        sizes = np.array([110.0, 1730.0])
        learned = alphas.count(0.5 * (sizes / 110) ** -alphas.exponents(alpha)["alpha_N"])
        first, last = learned.tolist()
        expected = theory.finite_exponents(alpha, S, (max(1, first), last))
        assert row.finite == pytest.approx(expected.alpha_N)


def test_error_bars_are_the_intervals(both: tuple[Figure, list[Measured]]) -> None:
    figure, measured = both
    for column, panel in enumerate(panels(figure)[3:]):
        rows = measured[3 * column : 3 * column + 3]
        (bars,) = panel.containers
        points, _, (reach,) = bars.lines
        np.testing.assert_allclose(points.get_ydata(), [row.exponent for row in rows])
        drawn_bars = [(low, high) for (_, low), (_, high) in reach.get_segments()]
        np.testing.assert_allclose(drawn_bars, [row.interval for row in rows])


def test_curves_in_bits_with_their_fits(both: tuple[Figure, list[Measured]]) -> None:
    figure, measured = both
    sizes, steps, samples = panels(figure)[:3]
    assert sizes.get_ylabel() == "mean test loss (bits)"
    for panel, number, factor in ((sizes, 0, 0.5), (samples, 6, 0.98)):
        lines = panel.get_lines()
        assert len(lines) == 2 * len(ALPHAS)
        for trained, fitted, row in zip(lines[::2], lines[1::2], measured[number:], strict=False):
            x = trained.get_xdata()
            law = factor * (x / x[0]) ** -row.exponent
            # seeds' exponents differ by SPREAD either way: their mean loss lies a little above
            above = 1 + (SPREAD * np.log(x / x[0])) ** 2 / 3
            np.testing.assert_allclose(trained.get_ydata(), law * above, rtol=1e-4)
            assert (fitted.get_xdata()[0], fitted.get_xdata()[-1]) == row.window
            expected = factor * (fitted.get_xdata() / x[0]) ** -row.exponent
            np.testing.assert_allclose(fitted.get_ydata(), expected, rtol=1e-4)
    for trained in steps.get_lines()[::2]:
        assert trained.get_xdata().tolist() == list(range(250, 20_001, 250))


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["widths"], ["parameters $N$", "steps $S$"]),
        (["data"], ["training samples $D$"]),
        (["data", "widths"], ["parameters $N$", "steps $S$", "training samples $D$"]),
    ],
)
def test_either_sweep_alone_is_enough(
    names: list[str], axes: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    figure, _ = drawn(fig10.draw, [request.getfixturevalue(name) for name in names], tmp_path)
    along = [panel.get_xlabel() for panel in panels(figure)]
    assert [label for label in along if label != r"$\alpha$"] == axes
    assert along.count(r"$\alpha$") == len(axes)
    letters = [panel.get_title(loc="left") for panel in panels(figure)]
    assert sorted(letters) == list("abcdef")[: 2 * len(axes)]
    assert_legible(figure)
    width, height = figure.get_size_inches()
    assert width <= 6.8
    assert height <= 5


def test_a_column_for_each_k(tmp_path: Path) -> None:
    config: Config = {"task.k": [2, 3, 4, 5], "train.seed": 1, "sweep": [DATA]}
    figure, measured = drawn(fig10.draw, [results_of(CONFIG | config, alphas.losses)], tmp_path)
    kinds = [(k, alpha) for k in (2, 3, 4, 5) for alpha in ALPHAS]
    assert [row.of for row in measured] == [f"k {k}, alpha {alpha:g}" for k, alpha in kinds]
    expected = [alphas.exponents(alpha, k)["alpha_D"] for k, alpha in kinds]
    assert [row.exponent for row in measured] == pytest.approx(expected, abs=STORED)
    notes = [panel.get_title(loc="right") for panel in panels(figure)[:4]]
    assert notes == [f"$k$ = {k}" for k in (2, 3, 4, 5)]
    assert figure.get_suptitle() == "width 64, best test loss"
    assert_legible(figure)


def test_alphas_from_several_folders(data: xr.Dataset, tmp_path: Path) -> None:
    parts = [
        data.isel(run=(data.alpha > 0.5).to_numpy()),
        data.isel(run=(data.alpha < 0.5).to_numpy()),
    ]
    _, measured = drawn(fig10.draw, parts, tmp_path)
    assert measured == drawn(fig10.draw, [data], tmp_path)[1]


def test_an_alpha_that_cannot_be_fitted_has_no_exponent(data: xr.Dataset, tmp_path: Path) -> None:
    flat = data.loss.where(data.alpha != 0.4, 1.0).assign_attrs(data.loss.attrs)  # nats: unlearned
    figure, measured = drawn(fig10.draw, [data.assign(loss=flat)], tmp_path)
    assert [row.of for row in measured] == ["alpha 0.2", "alpha 0.6"]
    assert len(panels(figure)[0].get_lines()) == 3 + 2


def with_one_alpha(results: xr.Dataset) -> xr.Dataset:
    return results.isel(run=(results.alpha == 0.4).to_numpy())


def unlearned(results: xr.Dataset) -> xr.Dataset:
    return results.assign(loss=results.loss.copy(data=np.ones(results.loss.shape, np.float32)))


def of_one_size(results: xr.Dataset) -> xr.Dataset:
    return results.isel(run=(results.train_size == 1000).to_numpy())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_one_alpha, r"a single alpha \(0\.4\): exponents against alpha need two or more"),
        (unlearned, "no alpha has a curve over training samples"),
        (of_one_size, "no width sweep and no data sweep"),
        (
            lambda results: results.assign_coords(frequencies=("run", ["uniform"] * 63)),
            "no data sweep of Zipf frequencies",
        ),
        (lambda results: results.assign_coords(lr=("run", np.arange(63.0))), "differ in lr"),
    ],
)
def test_bad_input(change: object, says: str, data: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says):
        fig10.draw([change(data)], tmp_path)  # type: ignore[operator]
    assert tree(tmp_path) == {}


def test_different_tasks_are_not_mixed(data: xr.Dataset, tmp_path: Path) -> None:
    other = made(sweep=[DATA], task__n_tasks=11, task__alpha=[0.7, 0.8])
    with pytest.raises(BadInput, match="different tasks"):
        fig10.draw([data, other], tmp_path)


def test_too_many_columns(widths: xr.Dataset, tmp_path: Path) -> None:
    other = made(sweep=[DATA], task__k=[3, 4, 5])
    with pytest.raises(BadInput, match="5 columns are too many"):
        fig10.draw([widths, other], tmp_path)
