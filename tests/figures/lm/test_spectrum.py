"""The figure of learning times from losses in which they are planted, and the command."""

from pathlib import Path

import numpy as np
import pytest

import jquanta as jq
from jquanta.cli import spectrum as command
from jquanta.errors import BadInput
from jquanta.figures.drawing import Amount, Measured, Note, Portion
from jquanta.figures.lm import spectrum
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.lm.losses.examples import corpus
from tests.lm.taxonomy.examples import store
from tests.lm.taxonomy.learnable import STEPS, TIMES, of_sizes, suite


def test_the_spectrum_of_every_size(tmp_path: Path) -> None:
    losses = suite()
    figure, measured = drawn(spectrum.draw, losses, tmp_path)
    learned = [row for row in measured if isinstance(row, Portion) and "learned" in row.name]
    assert [row.of for row in learned] == ["20k", "110k"]
    for row, rows in zip(learned, losses.loss.to_numpy().T.reshape(2, -1, 300), strict=True):
        assert row.share > 0.95
        assert row.total == TIMES.shape[1]
        assert row.whole == pytest.approx(rows[1].mean() - rows[-1].mean(), rel=1e-5)
        assert row.fall == pytest.approx(row.whole, rel=0.06)  # what is not learned is chance
    exponents = {(r.name, r.of): r.exponent for r in measured if isinstance(r, Measured)}
    assert len(exponents) == 8
    for size in ("20k", "110k"):
        truth = exponents["alpha_S", size]
        assert exponents["alpha_S rebuilt from every sigmoid", size] == pytest.approx(
            truth, rel=0.02
        )
        # All widths are planted alike, and times are binned by a quarter of a doubling.
        times = exponents["alpha_S rebuilt from learning times alone", size]
        assert times == pytest.approx(truth, rel=0.05)
    sharp = [row.value for row in measured if isinstance(row, Amount)]
    assert min(sharp) > 0.95  # exp(4.39 · 0.4) is a factor of 6 of 128
    assert isinstance(measured[-1], Note)
    density, mean, kinds, *examples = panels(figure)
    for place, stairs in enumerate(density.patches[::2]):
        times, edges, _ = stairs.get_data()
        planted = TIMES[place]
        inside = (edges[1:] < planted.max()) & (edges[:-1] > planted.min())
        # Times are uniform in ln t, and each token drops 5 nats.
        expected = 5 / np.log(planted.max() / planted.min())
        assert times[inside].mean() == pytest.approx(expected, rel=0.1)
    np.testing.assert_allclose(
        mean.get_lines()[0].get_ydata() * np.log(2),
        losses.loss.to_numpy()[:, 1:9].mean(0),
        rtol=1e-5,
    )  # float32
    assert labels(kinds)[0] == "learned"
    assert [panel.get_title().split(":")[0] for panel in examples][:3] == ["learned"] * 3
    assert_legible(figure)


def test_seeds_are_counted_together_and_sizes_drawn(tmp_path: Path) -> None:
    figure, measured = drawn(spectrum.draw, suite(seeds=2), tmp_path)
    assert next(r.total for r in measured if isinstance(r, Portion)) == 2 * TIMES.shape[1]
    notes = [row.note for row in measured if isinstance(row, Note)]
    assert "110k: tokens of 2 seeds (0, 1), counted together" in notes
    assert_legible(figure)
    figure, measured = drawn(spectrum.draw, of_sizes(8), tmp_path, along="size")
    assert {row.name for row in measured if isinstance(row, Measured)} > {"alpha_N"}
    assert {row.of for row in measured if isinstance(row, Portion)} == {"8 sizes"}
    assert_legible(figure)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="losses of 5 sizes: a sigmoid has four numbers"):
        drawn(spectrum.draw, of_sizes(5), tmp_path, along="size")
    with pytest.raises(BadInput, match="--step 13 is for --along size"):
        drawn(spectrum.draw, suite(), tmp_path, step=13)
    with pytest.raises(BadInput, match="below = 0: give a positive number"):
        drawn(spectrum.draw, suite(), tmp_path, below=0.0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stores the Dataset beside the losses, and says what is in it; the same again does
    nothing."""
    text = corpus(tmp_path / "corpus", [7])
    losses = suite().isel(prediction=slice(6))
    store(
        tmp_path / "losses", text, losses.loss.to_numpy(), losses.name.to_numpy().tolist(),
        losses["size"].to_numpy().tolist(), losses.revision.to_numpy().tolist(),
    )  # fmt: skip
    for _ in range(2):
        assert command.main([str(tmp_path / "losses")]) == 0
        said = capsys.readouterr().out
        assert "6 tokens, share of each kind (%)" in said
        assert said.splitlines()[2].split()[:2] == ["n20000", "100.0"]
        assert str(tmp_path / "spectrum.zarr") in said
    found = jq.open_learning_times(tmp_path / "spectrum.zarr")
    assert found.attrs["at"][0] == list(STEPS)
    assert command.main([str(tmp_path / "losses"), "--below", "-1"]) == 2
    assert "below = -1: give a positive number of nats" in capsys.readouterr().err
    assert command.main([str(tmp_path / "losses"), "--along", "size"]) == 2
    assert "losses of 2 sizes" in capsys.readouterr().err
