"""Steps against clusters' mean gradients: against plain code, and to first order."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jquanta import qdg
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.clusters import imported
from jquanta.qdg.commands import mechanism as door
from jquanta.qdg.mechanism import halves, interval, mechanisms, ratio
from jquanta.qdg.parameters import chosen, columns
from jquanta.qdg.store import read
from tests.lm.losses.examples import NEOX, parameters, plain_column
from tests.qdg import examples, planted
from tests.qdg.planted import COPIES, LENGTHS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> planted.Run:
    return planted.run(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def test_halves() -> None:
    label = np.random.default_rng(0).integers(0, 5, 101)
    held = halves(label, np.random.default_rng(1))
    for cluster, size in enumerate(np.bincount(label)):
        assert held[label == cluster].sum() == size // 2
    same, other = (halves(label, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(held, same)
    assert (held != other).any()
    # Every sample is held out now and then: at 500 draws, 0.5 within 5 standard deviations.
    often = np.mean([halves(label, np.random.default_rng(seed)) for seed in range(500)], 0)
    share = (np.bincount(label) // 2 / np.bincount(label))[label]
    assert np.abs(often - share).max() < 5 * np.sqrt(0.25 / 500)


@pytest.mark.parametrize("others", [0, 9])
def test_equal_to_plain_code(corpus: Corpus, others: int) -> None:
    """Flat gradients, one step after another, whole documents."""
    params, step = parameters(), 0.01
    selection = examples.selection(corpus, 5)
    labels = np.sort(np.random.default_rng(0).integers(0, 3, len(selection)))
    clusters = imported([labels])
    labels = clusters.label[0].to_numpy()
    found = mechanisms(
        NEOX, params, corpus, selection, clusters, largest=2, step=step, others=others, seed=7
    )
    held = halves(labels, np.random.default_rng(7))
    rows = qdg.gradients(NEOX, params, corpus, selection).astype(np.float64)
    names = chosen(NEOX)
    flat = np.concatenate([np.asarray(params[name]).ravel() for name in names])
    length = step * np.linalg.norm(flat.astype(np.float64))
    assert found.attrs["length"] == pytest.approx(length, rel=1e-5)
    before = plain_column(NEOX, params, corpus)[selection.index]
    for cluster in range(2):
        mean = rows[(labels == cluster) & ~held].mean(0)
        direction = mean / np.linalg.norm(mean)
        moved = {
            name: params[name] - length * direction[place].reshape(params[name].shape)
            for name, place in columns(NEOX, names).items()
        }
        after = plain_column(NEOX, {**params, **moved}, corpus)[selection.index]
        own, rest = held & (labels == cluster), held & (labels != cluster)
        row = found.sel(cluster=cluster)
        # Losses of a few nats in float32, each rounded at 1e-6 of itself.
        assert float(row.own) == pytest.approx((after - before)[own].mean(), abs=1e-5)
        assert float(row.loss) == pytest.approx(before[own].mean(), rel=1e-5)
        slopes = -length * rows @ direction
        assert float(row.own_predicted) == pytest.approx(slopes[own].mean(), rel=1e-4)
        assert row.n_own == own.sum()
        assert row.samples == (labels == cluster).sum()
        if others:
            assert row.n_others <= others
            continue
        assert row.n_others == rest.sum()
        assert float(row.others) == pytest.approx((after - before)[rest].mean(), abs=1e-5)
        assert float(row.others_predicted) == pytest.approx(slopes[rest].mean(), rel=1e-4, abs=1e-6)
        wanted = -(after - before)[own].mean() / abs((after - before)[rest].mean())
        assert float(row.ratio) == pytest.approx(wanted, rel=1e-2)
        assert row.ratio_low < row.ratio < row.ratio_high
    assert found.attrs["share"] == (found.ratio.to_numpy() > 1).mean()


@pytest.mark.usefixtures("x64")
def test_the_first_order_is_that_of_small_steps(made: planted.Run) -> None:
    """What is left is of second order: a hundredth at a tenth of the step.

    In float64, where a small step is not lost in the rounding of the loss. At 1e-4 what is of third
    order is 1e-4 of what is of second, by the same token, times a constant that 30% allow for.
    """
    params: dict[str, Array] = {n: jnp.asarray(x, jnp.float64) for n, x in made.params.items()}
    free = made.clusters.assign_attrs(weights="")  # of the float32 model

    def rest(step: float) -> np.ndarray:
        found = mechanisms(
            made.config, params, made.corpus, made.selection, free, count=4, step=step
        )
        left = [found.own - found.own_predicted, found.others - found.others_predicted]
        assert (np.abs(found.own_predicted) > 1e-6).all()
        return np.abs(np.concatenate([x.to_numpy() for x in left]))

    ratios = rest(1e-4) / rest(1e-3)
    np.testing.assert_allclose(ratios, 0.01, rtol=0.3)


def test_planted_mechanisms(made: planted.Run) -> None:
    """Held-out copies are what the step is for: their loss falls as fast as any can."""
    found = mechanisms(
        made.config, made.params, made.corpus, made.selection, made.clusters, count=4, step=1e-3
    )
    gradients = qdg.gradients(made.config, made.params, made.corpus, made.selection)
    labels = made.clusters.label.sel(count=4).to_numpy()
    for cluster in range(len(LENGTHS)):
        norm = np.linalg.norm(gradients[labels == cluster][0])
        own = float(found.own_predicted.sel(cluster=cluster))
        assert own == pytest.approx(-found.attrs["length"] * norm, rel=1e-4)
    assert (found.own < 0).all()
    assert (found.ratio > 1).all()
    assert found.attrs["share"] == 1
    assert (found.n_own == COPIES // 2).all()
    assert (found.ratio_low > 1).all()
    assert found.sizes["cluster"] == 4


def test_seeds(made: planted.Run) -> None:
    def found(seed: int) -> Any:
        return mechanisms(*made[:5], count=2, others=5, seed=seed)

    assert found(1).identical(found(1))
    assert not found(1).equals(found(2))


def test_the_interval() -> None:
    """Where others' change is constant the ratio is a mean, whose interval is known."""
    draw = np.random.default_rng(0)
    own, others = draw.normal(-2, 1, 400), np.full(50, -0.5)
    low, high = interval(own, others, draw)
    centre, half = 2 * -own.mean(), 1.96 * 2 * own.std() / np.sqrt(len(own))
    # Percentiles of 2,000 resamples are uncertain by about 5% of the half-width each.
    assert low == pytest.approx(centre - half, abs=0.2 * half)
    assert high == pytest.approx(centre + half, abs=0.2 * half)
    assert ratio(np.array([-2.0, -4.0]), np.array([1.0, 0.0])) == 6


def test_bad_input_is_one_clear_line(made: planted.Run) -> None:
    def refused(line: str, run: Any = made, **settings: Any) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            mechanisms(*run[:5], **settings)
        assert "\n" not in str(caught.value)

    refused("count 7: there are clusters for 2, 4", count=7)
    refused("largest = 0, others = 500, step = 0.001: give", largest=0)
    refused("others = -1", others=-1)
    refused("step = nan", step=np.nan)
    refused("step = 0", step=0.0)
    one = made._replace(clusters=imported([np.zeros(24, int)]))
    refused("count 1: 1 of 1 clusters have 4 samples or more, and there must be others", one)
    small = made._replace(clusters=imported([np.arange(24) // 3]))
    refused("count 8: 0 of 8 clusters have 4 samples", small)
    refused("the model's weights are not", made._replace(params=parameters(seed=1)))
    flat = {**made.params, "final_norm.scale": np.zeros(32, np.float32)}
    free = made.clusters.assign_attrs(weights="")
    refused(
        "cluster 0: its mean gradient is zero or not finite",
        made._replace(params=flat, clusters=free),
    )


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = planted.folder(tmp_path)
    assert door.main([str(results), "--count", "4", "--clusters", "2", "--step", "0.002"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6
    assert out[-2] == "own change the larger: 2 of 2"
    assert out[-1] == str(results / "mechanism.zarr")
    stored = read(results / "mechanism.zarr", "mechanism", "ratio", "")
    assert stored.attrs["step"] == 0.002
    assert f"{float(stored.own[0]):+.4f}" in out[2]
    assert door.main([str(results), "--count", "3"]) == 2
    assert "count 3: there are clusters for 2, 4" in capsys.readouterr().err
    assert door.main([str(tmp_path)]) == 2
    assert "no folder of jquanta qdg" in capsys.readouterr().err


def test_on_any_number_of_devices_the_program_is_one(made: planted.Run) -> None:
    """Other parameters compile nothing."""
    from jquanta.qdg.losses import loss_rows, losses_under

    rows = loss_rows(made.config, made.params, made.corpus, made.selection)
    every = np.arange(len(made.selection))
    whole = losses_under(rows, made.params, every)
    compiled = rows._program._cache_size()
    other = losses_under(rows, parameters(seed=1), every)
    part = losses_under(rows, made.params, np.array([20, 3, 11]))
    assert rows._program._cache_size() == compiled
    np.testing.assert_array_equal(part, whole[[20, 3, 11]])
    wanted = plain_column(made.config, parameters(seed=1), made.corpus)[made.selection.index]
    np.testing.assert_allclose(other, wanted, rtol=1e-5)
    assert jax.local_device_count() == 1
