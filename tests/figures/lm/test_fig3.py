"""Figure 3 from losses whose mean falls by a planted law."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta.cli.figures import main
from jquanta.errors import BadInput
from jquanta.figures.drawing import Amount, Measured, Note, Share
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
