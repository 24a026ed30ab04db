"""Figure 11 from losses whose mean falls with the steps by planted laws."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.drawing import Measured, Note, Spread
from jquanta.figures.lm import fig11
from jquanta.sweep.scaling import NATS_PER_BIT
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.lm.taxonomy.examples import table

STEPS = (0, 10, 30, 100, 300, 1000)
SLOPES = {"suite-25k": 0.1, "suite-100k": 0.2, "suite-1m": 0.3}
SIZES = {"suite-25k": 25_000, "suite-100k": 100_000, "suite-1m": 1_000_000}
ROWS = 4_000


def curves(names: dict[str, float], steps: tuple[int, ...] = STEPS) -> xr.Dataset:
    """Losses whose means are 4 S^-slope nats; one for step 0, one for main, both off."""
    chance = np.random.default_rng(0)
    columns, rows = [], []
    for name, slope in names.items():
        for step in steps:
            mean = 4 * max(step, 0.01) ** -slope
            one = chance.exponential(1, ROWS).clip(0, 6)
            columns.append(one * mean / one.mean())
            rows.append((name, SIZES.get(name, 10**6), f"step{step}"))
    columns.append(np.full(ROWS, 7.0))
    rows.append((next(iter(names)), SIZES.get(next(iter(names)), 10**6), "main"))
    names_, sizes, revisions = zip(*rows, strict=True)
    return table(np.stack(columns, 1), sizes, names_, revisions)


def test_every_model_has_its_slope(tmp_path: Path) -> None:
    figure, measured = drawn(fig11.draw, curves(SLOPES), tmp_path)
    laws = [row for row in measured if isinstance(row, Measured)]
    assert [law.of for law in laws] == list(SLOPES)
    assert [law.exponent for law in laws] == pytest.approx(list(SLOPES.values()))
    assert {law.window for law in laws} == {(100, 1000)}  # the last part
    upper = panels(figure)[0]
    curves_drawn = [line for line in upper.get_lines() if line.get_marker() == "o"]
    for line, slope in zip(curves_drawn, SLOPES.values(), strict=False):
        steps, bits = line.get_data()
        np.testing.assert_array_equal(steps, STEPS[1:])
        np.testing.assert_allclose(bits, 4 * steps**-slope / NATS_PER_BIT)
    fitted = [line for line in upper.get_lines() if line.get_marker() != "o"][: len(SLOPES)]
    for line, curve in itertools.product(fitted, curves_drawn):  # told apart, and on top
        assert line.get_color() != curve.get_color()
        assert line.get_linestyle() == "--"
        assert line.get_zorder() > curve.get_zorder() or not len(curve.get_xdata())
    assert labels(upper)[:2] == [
        r"$N$ = 25k: $\alpha_S$ = 0.100",
        r"$N$ = 100k: $\alpha_S$ = 0.200",
    ]
    assert len(panels(figure)) == 1 + 2 * 3  # no axis of tokens: they are not known
    _, measured = drawn(fig11.draw, curves(SLOPES), tmp_path, fit=(10, 100))
    assert {law.window for law in measured if isinstance(law, Measured)} == {(10, 100)}


def test_checkpoints_that_should_not_be_compared_are_marked(tmp_path: Path) -> None:
    losses = curves(SLOPES)
    losses = losses.sel(model=losses.model != "suite-1m@step1000")
    shared = ["step300" if label == "suite-100k@step30" else "" for label in losses.model.values]
    losses = losses.assign_coords(shared=("model", shared))
    figure, measured = drawn(fig11.draw, losses, tmp_path)
    told = [row.note for row in measured if isinstance(row, Note)]
    ends = "suite-25k 1,000, suite-100k 1,000, suite-1m 300"
    assert any(t.startswith(f"the models end at different steps ({ends}): ") for t in told)
    assert any(t.startswith("suite-100k@step30: has arrays in common") for t in told)
    (cross,) = (line for line in panels(figure)[0].get_lines() if line.get_marker() == "x")
    np.testing.assert_array_equal(cross.get_xdata(), [30])
    np.testing.assert_allclose(cross.get_ydata(), [4 * 30**-0.2 / NATS_PER_BIT])
    assert "arrays of another step" in labels(panels(figure)[0])


def test_distributions_of_every_checkpoint(tmp_path: Path) -> None:
    losses = curves(SLOPES)
    figure, _ = drawn(fig11.draw, losses, tmp_path)
    lower = panels(figure)[1:]
    titles = [panel.get_title(loc="right") for panel in lower[:3]]
    assert titles == ["$N$ = 25k", "$N$ = 100k", "$N$ = 1M"]
    bits = losses.loss.sel(model="suite-100k@step30").to_numpy() / NATS_PER_BIT
    assert len(lower[1].get_lines()) == len(STEPS) - 1
    x, p = lower[1].get_lines()[1].get_data()
    edges = np.append(x - (x[1] - x[0]) / 2, 30)
    wanted = np.histogram(bits, bins=edges)[0] / (ROWS * np.diff(edges))
    np.testing.assert_allclose(np.nan_to_num(p), wanted, atol=1e-9)
    np.testing.assert_allclose(lower[4].get_lines()[1].get_ydata(), x * wanted, atol=1e-8)
    top = lower[3].get_ylim()[1]
    last = [panel.get_lines()[-1].get_ydata().max() for panel in lower[3:]]
    assert max(last) < top <= 3.2 * max(last)
    assert_legible(figure)


def test_no_peak_of_the_first_steps_is_cut_off(tmp_path: Path) -> None:
    """All tokens have nearly one loss at first: the axis is logarithmic above the late curves."""
    losses = curves(SLOPES)
    early = (losses.revision == "step10").to_numpy()
    values = losses.loss.to_numpy().copy()
    values[:, early] = np.random.default_rng(0).normal(7, 0.1, (ROWS, early.sum()))
    figure, _ = drawn(fig11.draw, losses.assign(loss=(losses.loss.dims, values)), tmp_path)
    lower = panels(figure)[4:]
    last = max(panel.get_lines()[-1].get_ydata().max() for panel in lower)
    highest = max(line.get_ydata().max() for panel in lower for line in panel.get_lines())
    assert highest > 8 * last
    for panel in lower:
        assert panel.get_yscale() == "symlog"
        assert panel.get_ylim()[1] > highest
        # The late ones keep half of the height and more.
        places = panel.transData.transform([(0, 0), (0, last), (0, highest)])[:, 1]
        assert places[1] - places[0] > 0.5 * (places[2] - places[0])
    assert_legible(figure)


def test_pythia_is_shown_over_tokens_and_fitted_as_in_the_paper(tmp_path: Path) -> None:
    steps = (1000, 4000, 16_000, 32_000, 64_000, 128_000)
    names = {"EleutherAI/pythia-70m-v0": 0.05, "EleutherAI/pythia-160m-v0": 0.06}
    figure, measured = drawn(fig11.draw, curves(names, steps), tmp_path)
    laws = [row for row in measured if isinstance(row, Measured)]
    assert {law.window for law in laws} == {(16_000, 64_000)}
    (note,) = (row.note for row in measured if isinstance(row, Note) and "half" in row.note)
    assert note.startswith("pythia-160m-v0: ")
    (tokens,) = (axes for axes in figure.axes if axes.get_xlabel() == "tokens")
    upper = panels(figure)[0]
    np.testing.assert_allclose(np.array(upper.get_xlim()) * 2_097_152, tokens.get_xlim())


def test_tokens_of_a_step_can_be_told(tmp_path: Path) -> None:
    figure, _ = drawn(fig11.draw, curves(SLOPES), tmp_path, step_tokens=4096)
    (tokens,) = (axes for axes in figure.axes if axes.get_xlabel() == "tokens")
    upper = panels(figure)[0]
    np.testing.assert_allclose(np.array(upper.get_xlim()) * 4096, tokens.get_xlim())
    with pytest.raises(BadInput, match="--step_tokens 0: give a positive number"):
        drawn(fig11.draw, curves(SLOPES), tmp_path, step_tokens=0)


def test_curves_that_are_none(tmp_path: Path) -> None:
    losses = curves(SLOPES)
    with pytest.raises(BadInput, match="no model has losses at two steps"):
        drawn(fig11.draw, losses.isel(model=losses.revision == "step30"), tmp_path)
    few = losses.isel(model=losses.revision.isin(["step30", "step100"]))
    _, measured = drawn(fig11.draw, few, tmp_path)
    assert not any(isinstance(row, Measured) for row in measured)
    assert "suite-25k: no fit: " in str(measured[0])


def test_seeds_give_means_and_intervals(tmp_path: Path) -> None:
    slopes = {"net-seed0": 0.09, "net-seed1": 0.1, "net-seed2": 0.11}
    losses = curves(slopes)
    figure, measured = drawn(fig11.draw, losses, tmp_path)
    (law,) = (row for row in measured if isinstance(row, Measured))
    half = 4.3027 * 0.01 / np.sqrt(3)  # Student's t with two degrees of freedom, 97.5%
    assert law.of == "net"
    assert str(law._replace(interval=(0.099, 0.1015))).startswith("alpha_S at net = 0.100 [0.099, ")
    assert law.exponent == pytest.approx(0.1)
    assert law.interval == pytest.approx((0.1 - half, 0.1 + half), rel=1e-4)
    assert labels(panels(figure)[0])[0] == r"$N$ = 1M: $\alpha_S$ = 0.100 [0.075, 0.125]"
    (last,) = (row for row in measured if isinstance(row, Spread))
    each = [4 * 1000**-slope / NATS_PER_BIT for slope in slopes.values()]
    assert last.each == pytest.approx(each)
    mean = next(line for line in panels(figure)[0].get_lines() if line.get_marker() == "o")
    assert mean.get_ydata()[-1] == pytest.approx(np.mean(each))
    assert_legible(figure)
    lower = panels(figure)[1].get_lines()  # a line for each checkpoint, of all seeds
    assert len(lower) == len(STEPS) - 1
    few = losses.isel(model=losses.model != "net-seed1@step30")
    _, measured = drawn(fig11.draw, few, tmp_path)
    assert any("net: 2 losses left out, of steps that not all" in str(row) for row in measured)


def test_seeds_without_common_steps_stay_apart(tmp_path: Path) -> None:
    losses = curves({"net-seed0": 0.1, "net-seed1": 0.2})
    early = losses.revision.isin(["step10", "step30", "step100"]) & (losses.seed == "0")
    late = losses.revision.isin(["step100", "step300", "step1000"]) & (losses.seed == "1")
    _, measured = drawn(fig11.draw, losses.isel(model=early | late), tmp_path)
    assert [row.of for row in measured if isinstance(row, Measured)] == ["net-seed0", "net-seed1"]


def test_many_models_stay_legible(tmp_path: Path) -> None:
    """Two seeds of seven sizes: each size has a line, some have their distributions."""
    sizes = {f"suite-{k}k-seed{seed}": 1000 * k for k in range(10, 80, 10) for seed in (0, 1)}
    many = [(name, size, f"step{step}") for name, size in sizes.items() for step in (10, 100, 1000)]
    names, counts, revisions = zip(*many, strict=True)
    losses = np.random.default_rng(0).exponential(3, (500, len(many)))
    figure, measured = drawn(fig11.draw, table(losses, counts, names, revisions), tmp_path)
    assert len([row for row in measured if isinstance(row, Measured)]) == 7
    assert labels(panels(figure)[0])[0].endswith("]")
    titles = [panel.get_title(loc="right") for panel in panels(figure)[1:5]]
    assert titles == ["$N$ = 10k", "$N$ = 30k", "$N$ = 50k", "$N$ = 70k"]
    assert_legible(figure)
