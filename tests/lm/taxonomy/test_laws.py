"""Power laws of the mean loss: planted exponents found, windows stated."""

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.models.pythia import HALVED, PYTHIA, is_halved, is_pythia
from jquanta.lm.taxonomy.distribution import distributions
from jquanta.lm.taxonomy.laws import (
    PYTHIA_WINDOW,
    fit_sizes,
    label_tokens,
    step_curves,
    step_window,
)
from tests.lm.taxonomy.examples import table

SIZES = np.array([2e4, 1e5, 4e5, 2e6, 1e7])


def test_the_exponent_of_losses_whose_mean_is_known() -> None:
    """Exponential losses of mean 20 N^-0.2; the largest model is off, and is left out."""
    mean = 20 * SIZES**-0.2
    mean[-1] *= 2
    chance = np.random.default_rng(0)
    losses = chance.exponential(mean, (100_000, 5)).astype(np.float32)
    found = distributions(table(losses, SIZES.astype(int).tolist()))
    law = fit_sizes(SIZES, found.mean)
    # A mean of 100,000 exponentials is off by 0.3%, over ln N that spans 4.6: 0.3% / 2 at 2 sigma.
    assert law.exponent == pytest.approx(0.2, abs=0.004)
    assert law.window == (2e4, 2e6)
    assert law.n_points == 4
    assert fit_sizes(SIZES, found.mean, (1e5, 1e7)).window == (1e5, 1e7)


def test_three_sizes_are_all_fitted() -> None:
    law = fit_sizes(SIZES[:3], SIZES[:3] ** -0.1)
    assert law.n_points == 3
    assert law.exponent == pytest.approx(0.1)
    seeds = np.repeat(SIZES[:3], 2)
    assert fit_sizes(seeds, seeds**-0.1).n_points == 6  # two sizes below the largest: no curve
    with pytest.raises(BadInput, match="2 measured points"):
        fit_sizes(SIZES, SIZES**-0.1, (1e4, 1e5))


def test_windows_of_steps() -> None:
    pythia = [1000, 8000, 16_000, 32_000, 64_000, 128_000]
    assert step_window("EleutherAI/pythia-70m-v0", pythia) == PYTHIA_WINDOW
    assert step_window("pythia-70m-v0", [1000, 2000, 12_000, 20_000]) == (2000, 20_000)
    assert step_window("suite-25k", pythia) == (12_800, 128_000)
    assert step_window("suite-25k", [1, 2, 4, 100]) == (2, 100)  # three at least
    assert step_window("suite-25k", [5, 9]) == (0.9, 9)


def test_tokens_of_steps() -> None:
    names = [f"EleutherAI/pythia-{size}-v0" for size in PYTHIA]
    assert label_tokens(names) == 2_097_152
    assert label_tokens([*names, "suite-25k"]) is None
    assert [name for name in names if is_halved(name)] == [
        f"EleutherAI/pythia-{name}" for name in HALVED
    ]
    assert not is_halved("EleutherAI/pythia-160m")
    assert is_halved("pythia-125m")  # the old name of 160m-v0
    assert not is_pythia("my-pythia-70m")


def test_curves_are_by_model_and_step() -> None:
    rows = [
        ("big", 900, "step100"),
        ("big", 900, "step20"),
        ("big", 900, "step0"),
        ("big", 900, "main"),
        ("once", 40, "step9"),
        ("small", 30, "step1000"),
        ("small", 30, "step512"),
    ]
    names, sizes, revisions = zip(*rows, strict=True)
    losses = table(np.zeros((1, 7)), sizes, names, revisions)
    curves = step_curves(losses)
    assert curves == {"small": [6, 5], "big": [1, 0]}
    with pytest.raises(BadInput, match="no model has losses at two steps"):
        step_curves(losses.isel(model=[2, 3, 4]))
