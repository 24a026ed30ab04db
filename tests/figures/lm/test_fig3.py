"""Figure 3 from losses whose mean falls by a planted law."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta.cli.figures import main
from jquanta.errors import BadInput
from jquanta.figures.drawing import Amount, Measured, Note, Share, Spread
from jquanta.figures.lm import fig3
from jquanta.sweep.scaling import NATS_PER_BIT
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.lm.taxonomy.examples import table

SIZES = (18_915_328, 85_056_000, 302_311_424, 805_736_448, 1_208_602_624)
MEAN = 2 * (np.array(SIZES) / SIZES[0]) ** -0.083  # nats, the paper's exponent
ROWS = 40_000


@pytest.fixture(scope="module")
def losses() -> xr.Dataset:
    """Exponential losses, scaled to have exactly these means; all but one under 30 bits."""
    found = np.random.default_rng(0).exponential(1, (ROWS, 5)).clip(0, 9)
    found *= MEAN / found.mean(0)
    found[0, 1] = 31 * NATS_PER_BIT
    return table(found, SIZES)


def test_means_in_bits_with_the_fit(losses: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(fig3.draw, losses, tmp_path)
    (dots,) = panels(figure)[0].collections
    x, y = dots.get_offsets().T
    np.testing.assert_array_equal(x, SIZES)
    np.testing.assert_allclose(y, losses.loss.mean("prediction") / NATS_PER_BIT, rtol=1e-12)
    law = measured[0]
    assert isinstance(law, Measured)
    assert law.exponent == pytest.approx(0.083, abs=1e-3)  # the one far loss moves a mean by 2e-4
    assert law.window == (SIZES[0], SIZES[-2])
    assert str(law).startswith("alpha_N = 0.083 [")
    assert labels(panels(figure)[0])[0].startswith(r"$\alpha_N$ = 0.083 [")
    means = [row for row in measured if isinstance(row, Amount)]
    assert [row.value for row in means] == pytest.approx(y)
    assert {row.unit for row in means} == {"bits"}
    (beyond,) = (row for row in measured if isinstance(row, Share))
    assert (beyond.of, beyond.number, beyond.total) == (f"suite-{SIZES[1]}@main", 1, ROWS)


def test_distributions_in_bits(losses: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig3.draw, losses, tmp_path)
    _, density, integrand = panels(figure)
    assert len(density.get_lines()) == len(integrand.get_lines()) == 5
    for number, (p, area) in enumerate(
        zip(density.get_lines(), integrand.get_lines(), strict=True)
    ):
        bits = losses.loss[:, number].to_numpy() / NATS_PER_BIT
        x, y = p.get_data()
        edges = np.append(x - (x[1] - x[0]) / 2, 30)
        wanted = np.histogram(bits, bins=edges)[0] / (ROWS * np.diff(edges))
        np.testing.assert_allclose(np.nan_to_num(y), wanted, atol=1e-9)
        np.testing.assert_allclose(area.get_ydata(), x * wanted, atol=1e-8)
    assert density.get_yscale() == "log"
    assert_legible(figure)


def test_which_sizes_are_fitted(losses: xr.Dataset, tmp_path: Path) -> None:
    _, measured = drawn(fig3.draw, losses, tmp_path, fit=(SIZES[1], SIZES[4]))
    assert measured[0].window == (SIZES[1], SIZES[4])
    with pytest.raises(BadInput, match=r"--fit: .*at least 3"):
        drawn(fig3.draw, losses, tmp_path, fit=(1, 2))
    with pytest.raises(BadInput, match="losses of 2 sizes"):
        drawn(fig3.draw, losses.isel(model=[0, 1]), tmp_path)


def test_checkpoints_of_different_steps_are_told(losses: xr.Dataset, tmp_path: Path) -> None:
    names = [f"step{1 + (number == 3)}" for number in range(5)]
    _, measured = drawn(fig3.draw, losses.assign_coords(revision=("model", names)), tmp_path)
    assert str(measured[0]).startswith("checkpoints of different steps: suite-18915328 step1, ")
    assert isinstance(measured[1], Measured)


SEEDS = ("0", "1", "2")
NOISE = np.array([0.9, 1.0, 1.1])
"""Factors of the exponent of each seed."""


def repeated(sizes: tuple[int, ...] = SIZES) -> xr.Dataset:
    """Three seeds of each size, each with an exponent of its own: losses of exactly these means."""
    chance = np.random.default_rng(1)
    columns, names, counts = [], [], []
    for size in sizes:
        for seed, factor in zip(SEEDS, NOISE, strict=True):
            one = chance.exponential(1, 5000).clip(0, 9)
            columns.append(one * 2 * (size / sizes[0]) ** (-0.083 * factor) / one.mean())
            names.append(f"net{size}-seed{seed}")
            counts.append(size)
    return table(np.stack(columns, 1), counts, names)


def test_seeds_give_means_and_intervals(tmp_path: Path) -> None:
    figure, measured = drawn(fig3.draw, repeated(), tmp_path)
    law, note, spread, *_ = measured
    assert isinstance(law, Measured)
    assert isinstance(spread, Measured)
    assert law.exponent == pytest.approx(0.083)
    half = 4.3027 * 0.0083 / np.sqrt(3)  # Student's t with two degrees of freedom, 97.5%
    assert law.interval == pytest.approx((0.083 - half, 0.083 + half), rel=1e-4)
    assert note.note.startswith("the interval of alpha_N is over 3 seeds (0, 1, 2)")
    assert spread.n_points == 4  # the means bend a little, and no more
    assert spread.interval[1] - spread.interval[0] < half
    means = [row for row in measured if isinstance(row, Spread)]
    assert [row.of for row in means][:1] == [f"net{SIZES[0]}, N = {SIZES[0]:,}"]
    one = means[-1]
    assert one.seeds == SEEDS
    wanted = repeated().loss.to_numpy()[:, -3:].mean(0) / NATS_PER_BIT
    assert one.each == pytest.approx(wanted)
    assert one.value == pytest.approx(wanted.mean())
    assert sum(one.interval) / 2 == pytest.approx(one.value)
    upper, density, _ = panels(figure)
    (dots,) = upper.collections
    assert len(dots.get_offsets()) == 5
    assert (
        sum(len(line.get_xdata()) for line in upper.get_lines() if line.get_marker() == "_") == 15
    )
    assert len(density.get_lines()) == 15 + 5
    assert_legible(figure)


def test_sizes_of_other_seeds_are_fitted_through_their_means(tmp_path: Path) -> None:
    losses = repeated()
    one = losses.isel(model=losses.name != f"net{SIZES[1]}-seed1")
    _, (law, note, *_) = drawn(fig3.draw, one, tmp_path)
    assert law.n_points == 4
    assert "since not all sizes have the same seeds" in note.note
    assert f"net{SIZES[1]} 2 seeds (0, 2)" in note.note
    # The largest is not fitted, so that it may lack seeds.
    rest = losses.isel(model=losses.name != f"net{SIZES[4]}-seed1")
    _, (law, *_) = drawn(fig3.draw, rest, tmp_path)
    assert law.n_points == 12


def test_the_command_draws_a_published_array(losses: xr.Dataset, tmp_path: Path) -> None:
    array = losses.loss[1:, [0, 1, 2, 3, 4, 4, 4]].to_numpy().astype(np.float32)
    np.save(tmp_path / "curves.npy", array)
    drawing = jq.draw("fig3", losses=[tmp_path / "curves.npy"])
    assert [path.relative_to(tmp_path).as_posix() for path in drawing.paths] == [
        "figures/fig3.png",
        "figures/fig3.pdf",
        "figures/fig3.json",
    ]
    rows = json.loads(drawing.paths[2].read_text())
    assert rows[0]["name"] == "alpha_N"
    assert rows[1]["of"] == "pythia-70m-v0, N = 18,915,328"
    assert rows[-1] == {"note": "no loss reaches 30 bits, the end of the histograms"}
    assert isinstance(drawing.measured[-1], Note)
    assert main(["fig3", "--losses", str(tmp_path / "curves.npy")]) == 0
