"""Steps against clusters' mean gradients: against plain code, and to first order."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jquanta import qdg
from jquanta.cli import mechanism as door
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.model import Model
from jquanta.qdg.clusters.cluster import imported
from jquanta.qdg.questions.mechanism import held_out, mechanisms, summary
from jquanta.qdg.samples.predictions import given
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views import ways
from jquanta.qdg.views.gradient import loss_function
from jquanta.qdg.views.parameters import chosen, columns
from jquanta.qdg.views.per_sample import _program, per_sample
from jquanta.run.arrays import read
from tests.lm.losses.examples import NEOX, parameters, plain_column
from tests.qdg import examples
from tests.qdg.clusters import planted
from tests.qdg.clusters.planted import COPIES, LENGTHS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> planted.Run:
    return planted.run(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def test_halves_are_held_out() -> None:
    label = np.random.default_rng(0).integers(0, 5, 101)
    held = held_out(label, np.random.default_rng(1))
    for cluster, size in enumerate(np.bincount(label)):
        assert held[label == cluster].sum() == size // 2
    same, other = (held_out(label, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(held, same)
    assert (held != other).any()
    # Every sample is held out now and then: at 500 draws, 0.5 within 5 standard deviations.
    often = np.mean([held_out(label, np.random.default_rng(seed)) for seed in range(500)], 0)
    share = (np.bincount(label) // 2 / np.bincount(label))[label]
    assert np.abs(often - share).max() < 5 * np.sqrt(0.25 / 500)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(("others", "way"), [(0, ways.CPU), (9, ways.CPU), (0, ways.ACCELERATOR)])
def test_equal_to_plain_code(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, others: int, way: ways.Way
) -> None:
    """Flat gradients, one step after another, whole documents."""
    monkeypatch.setitem(ways.WAYS, "cpu", way)
    params, step = parameters(), 0.01
    model, samples = Model(NEOX, params), examples.predictions(corpus, 5)
    clusters = imported([np.sort(np.random.default_rng(0).integers(0, 3, len(samples)))])
    labels = clusters.label[0].to_numpy()
    found = mechanisms(model, samples, clusters, largest=2, step=step, others=others, seed=7)
    held = held_out(labels, np.random.default_rng(7))
    seen = found.sample.to_numpy()
    assert held[seen].all()
    assert set(np.flatnonzero(held & (labels < 2))) <= set(seen)
    if not others:
        np.testing.assert_array_equal(seen, np.flatnonzero(held))
    np.testing.assert_array_equal(found.label, labels[seen])
    rows = qdg.gradients(model, samples).astype(np.float64)
    names = chosen(NEOX)
    flat = np.concatenate([np.asarray(params[name]).ravel() for name in names])
    length = step * np.linalg.norm(flat.astype(np.float64))
    assert found.attrs["length"] == pytest.approx(length, rel=1e-5)
    before = plain_column(NEOX, params, corpus)[samples.index]
    np.testing.assert_allclose(found.loss, before[seen], rtol=1e-5)
    for cluster in range(2):
        mean = rows[(labels == cluster) & ~held].mean(0)
        direction = mean / np.linalg.norm(mean)
        moved = {
            name: params[name] - length * direction[place].reshape(params[name].shape)
            for name, place in columns(NEOX, names).items()
        }
        after = plain_column(NEOX, {**params, **moved}, corpus)[samples.index]
        row = found.sel(cluster=cluster)
        # Losses of a few nats in float32, each rounded at 1e-6 of itself.
        np.testing.assert_allclose(row.change, (after - before)[seen], rtol=0, atol=1e-5)
        foretold = -length * (rows @ direction)[seen]
        scale = np.abs(foretold).max()
        np.testing.assert_allclose(row.first_order, foretold, rtol=0, atol=1e-5 * scale)
        assert row.samples == (labels == cluster).sum()


@pytest.mark.usefixtures("x64")
def test_the_first_order_is_that_of_small_steps(made: planted.Run) -> None:
    """What is left is of second order: a hundredth at a tenth of the step.

    In float64, where a small step is not lost in the rounding of the loss. At 1e-5 what is of third
    order is some 3% of what is of second here, and at 1e-6 the float32 slopes are wrong by 1%.
    """
    params = {n: jnp.asarray(x, jnp.float64) for n, x in made.model.params.items()}
    wide = Model(made.model.config, params)
    free = made.clusters.assign_attrs(weights="")  # of the float32 model

    def rest(step: float) -> np.ndarray:
        found = mechanisms(wide, made.predictions, free, count=4, step=step)
        return np.abs(found.change - found.first_order).to_numpy()

    small, large = rest(1e-6), rest(1e-5)
    clear = large > 1e-2 * large.max()  # where the second order happens to vanish it tells nothing
    assert clear.any(1).all()
    np.testing.assert_allclose(small[clear] / large[clear], 0.01, rtol=0.1)


def test_planted_mechanisms(made: planted.Run) -> None:
    """Held-out copies are what the step is for: their loss falls as fast as any can."""
    found = mechanisms(*made[:3], count=4, step=1e-3)
    short = summary(found)
    gradients = qdg.gradients(made.model, made.predictions)
    labels = made.clusters.label.sel(count=4).to_numpy()
    for cluster in range(len(LENGTHS)):
        norm = np.linalg.norm(gradients[labels == cluster][0])
        own = float(short.own_first_order.sel(cluster=cluster))
        assert own == pytest.approx(-found.attrs["length"] * norm, rel=1e-4)
    assert (short.own < 0).all()
    assert (short.own < short.others).all()
    assert (short.separation == 1).all()
    assert (short.n_own == COPIES // 2).all()
    assert found.sizes["cluster"] == 4


def test_the_summary() -> None:
    found = xr.Dataset(
        {
            "change": (("cluster", "sample"), [[-3.0, -1.0, -2.0, 1.0], [0.0, 0.0, -1.0, -1.0]]),
            "first_order": (("cluster", "sample"), [[-4.0, -2.0, 0.0, 1.0], [1.0, 2.0, 3.0, 4.0]]),
            "label": ("sample", [0, 0, 1, 2]),
        },
        {"cluster": [0, 1], "sample": [3, 5, 7, 9]},
    )
    short = summary(found)
    np.testing.assert_allclose(short.own, [-2, -1])
    np.testing.assert_allclose(short.own_error, [1, np.nan])
    np.testing.assert_allclose(short.own_first_order, [-3, 3])
    np.testing.assert_allclose(short.others, [-0.5, -1 / 3])
    np.testing.assert_allclose(short.others_first_order, [0.5, 7 / 3])
    # -3 gains more than both others, -1 more than one of them; -1 more than two and ties with one.
    np.testing.assert_allclose(short.separation, [3 / 4, 2.5 / 3])
    np.testing.assert_array_equal(short.n_others, [2, 3])


def test_seeds(made: planted.Run) -> None:
    def found(seed: int) -> Any:
        return mechanisms(*made[:3], count=2, others=5, seed=seed)

    assert found(1).identical(found(1))
    assert not found(1).equals(found(2))


def test_other_parameters_compile_nothing(
    made: planted.Run, caplog: pytest.LogCaptureFixture
) -> None:
    def losses(seed: int) -> tuple[np.ndarray, int]:
        """Of all samples, and how many programs were compiled for them."""
        caplog.clear()
        jax.config.update("jax_log_compiles", True)  # in all threads
        try:
            model = examples.model(seed=seed)
            own = prefixes(made.predictions, model.config)
            found = per_sample(loss_function(model), own, model.config).all()
        finally:
            jax.config.update("jax_log_compiles", False)
        told = [record.getMessage() for record in caplog.records]
        return found, sum("Finished XLA compilation of jit(each)" in line for line in told)

    _program.cache_clear()  # other tests may have compiled the same
    first, compiled = losses(0)
    other, again = losses(1)
    assert compiled > 0
    assert again == 0
    wanted = plain_column(NEOX, parameters(seed=1), made.corpus)[made.predictions.index]
    np.testing.assert_allclose(other, wanted, rtol=1e-5)
    assert np.abs(first - other).min() > 1e-3


def test_bad_input_is_one_clear_line(made: planted.Run) -> None:
    def refused(line: str, run: Any = made, **settings: Any) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            mechanisms(*run[:3], **settings)
        assert "\n" not in str(caught.value)

    refused("count 7: there are clusters for 2, 4", count=7)
    refused("^largest = 0: give 1 or more", largest=0)
    refused("seed = -1", seed=-1)
    refused("others = -1", others=-1)
    refused("step = nan", step=np.nan)
    refused("step = 0", step=0.0)
    one = made._replace(clusters=imported([np.zeros(24, int)]))
    refused("count 1: 1 of 1 clusters have 4 samples or more, and there must be others", one)
    small = made._replace(clusters=imported([np.arange(24) // 3]))
    refused("count 8: 0 of 8 clusters have 4 samples", small)
    refused("the model's weights are not", made._replace(model=examples.model(seed=1)))
    flat = Model(NEOX, {**made.model.params, "final_norm.scale": np.zeros(32, np.float32)})
    free = made.clusters.assign_attrs(weights="")
    refused(
        "cluster 0: its mean gradient is zero or not finite",
        made._replace(model=flat, clusters=free),
    )


def test_a_wrong_corpus_is_refused(made: planted.Run, tmp_path: Path) -> None:
    """One with enough documents has all the numbers: only what is stored can tell."""
    wrong = examples.corpus(tmp_path / "wrong", (40,) * 24, tokenizer=planted.tokenizer())
    samples = given(wrong, made.predictions.index)
    assert samples.hash == made.predictions.hash
    with pytest.raises(BadInput, match=r"not the corpus of these results \(its hash is ") as caught:
        mechanisms(made.model, samples, made.clusters)
    assert "\n" not in str(caught.value)
    made.predictions.save(tmp_path)
    with pytest.raises(BadInput, match="not the corpus of this selection"):
        mechanisms(made.model, qdg.open_selection(tmp_path, wrong), made.clusters)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = planted.folder(tmp_path)
    assert door.main([str(results), "--count", "4", "--largest", "2", "--step", "0.002"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6
    assert out[-2] == "own samples gain more: 2 of 2"
    assert out[-1] == str(results / "mechanism.zarr")
    assert door.main([str(results), "--largest", "1", "--others", "9", "--step", "0.002"]) == 0
    assert capsys.readouterr().out.endswith("mechanism.zarr, in place of an earlier one\n")
    stored = read(results / "mechanism.zarr", "mechanism", "change", "").load()
    assert stored.sizes["cluster"] == 1
    assert stored.attrs["step"] == 0.002
    assert f"{1e3 * float(summary(stored).own[0]):+.2f}" in out[2]
    assert door.main([str(results), "--count", "3"]) == 2
    assert "count 3: there are clusters for 2, 4" in capsys.readouterr().err
    assert door.main([str(tmp_path)]) == 2
    assert "not a folder that jquanta qdg made" in capsys.readouterr().err
