"""QDG on sparse parity (D.1), where the quanta are known."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jquanta.cli import known
from jquanta.errors import BadInput
from jquanta.parity import solo
from jquanta.parity.task import unpack
from jquanta.qdg.clusters.cluster import cluster, open_clusters
from jquanta.qdg.clusters.matching import adjusted_rand, by_groups_alone, is_found, matches
from jquanta.qdg.clusters.parts import open_parts
from jquanta.qdg.cosines.blockwise import Rows, exact
from jquanta.qdg.cosines.partial import cells, cosines_of, partial_products
from jquanta.qdg.known import parity
from jquanta.sweep.drive import run_sweep
from jquanta.sweep.store import load_run

CONFIG = {
    "name": "small",
    "task": {"n_tasks": 6, "n_bits": 24, "k": 2, "alpha": 0.4},
    "network": {"width": 128},
    "train": {"lr": 5e-3, "batch_size": 500, "steps": 1000},
    "eval": {"log_every": 500, "points_per_task": 100},
}

SAMPLES = 300


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "small"
    run_sweep(CONFIG, path)
    return path


def test_samples_are_learned_sorted_and_labelled(runs: Path) -> None:
    task, module = load_run(runs, 0)
    network, weights = nnx.split(module)
    learned = parity.draw_learned(task, network, weights, SAMPLES, parity.PARITY_BELOW)
    subtask, label = np.asarray(learned.subtask), np.asarray(learned.label)
    assert (np.lexsort((label, subtask)) == np.arange(SAMPLES)).all()
    assert (np.asarray(learned.loss) < parity.PARITY_BELOW).all()
    bits = np.asarray(unpack(learned.words, task.config.n_bits, jnp.float32))
    own = np.take_along_axis(bits, task.subsets[subtask], 1).sum(1) % 2
    np.testing.assert_array_equal(label, own)


def test_gradients_are_those_of_the_training_loss(runs: Path) -> None:
    """One sample at a time by the trainer's own loss. Its softmax rounds at 6e-8, which of a
    gradient in proportion to the loss is as much more as the loss is small."""
    task, module = load_run(runs, 0)
    network, weights = nnx.split(module)
    learned = parity.draw_learned(task, network, weights, 20, 0.5)
    found = parity.gradient_rows(task, network, weights, learned)(3, 9)
    for row in range(6):
        i = slice(3 + row, 4 + row)
        batch = solo.Batch(
            words=learned.words[i],
            subtask=learned.subtask[i],
            label=learned.label[i],
            weight=jnp.ones(1),
        )
        error = 1e-5 + 2e-7 / float(learned.loss[i][0])
        plain = jax.grad(solo.training_loss)(weights, network, batch, task.config.n_bits)
        for ours, theirs in zip(found, jax.tree.leaves(plain), strict=True):
            scale = float(jnp.abs(theirs).max())
            np.testing.assert_allclose(ours[row], theirs, atol=error * scale)


def test_parts_of_the_network(runs: Path, tmp_path: Path) -> None:
    """The row of a subtask's control bit is the only one of them with a gradient: it alone tells
    the subtask, and the sign of the gradient whether the sample is odd."""
    parity.sparse_parity(runs, samples=90, counts=[6], out=tmp_path / "quanta", parts=True)
    found = open_parts(tmp_path / "quanta")
    control = found.sel(part="control bits")
    halves = control.sel(truth="subtask, odd and even apart")
    assert halves.nearest.item() == 1
    assert halves.pairs.item() == 1
    # Of one number each: layers, kernels and biases, and rows of the first kernel and its bias.
    size = {name: found.numbers.sel(part=name).item() for name in found.part.to_numpy()}
    n_in, width = 6 + 24, 128
    assert size["everything"] == n_in * width + width + 2 * width + 2
    assert size["layer 0"] + size["layer 1"] == size["kernels"] + size["biases"]
    assert (size["control bits"], size["task bits"]) == (6 * width, 24 * width)
    share = {name: found.share.sel(part=name).item() for name in size}
    assert share["everything"] == pytest.approx(1, abs=1e-6)  # float32
    assert share["layer 0"] + share["layer 1"] == pytest.approx(1, abs=1e-6)
    with pytest.raises(BadInput, match="parts: they are stored in a folder; give out"):
        parity.sparse_parity(runs, samples=90, parts=True)


def test_cosines_of_parts_are_those_of_their_gradients(runs: Path) -> None:
    """Each part's numbers of flat gradients; sums of float32 in another order, 1e-6 of a length."""
    task, module = load_run(runs, 0)
    network, weights = nnx.split(module)
    learned = parity.draw_learned(task, network, weights, 40, 0.5)
    rows = parity.gradient_rows(task, network, weights, learned)
    shapes = {name: x.shape for name, x in parity._by_name(weights).items()}
    assert set(shapes) == {f"layers.{i}.{kind}" for i in (0, 1) for kind in ("kernel", "bias")}
    made_of = {name: own for name, (_, own) in parity.parts_of(shapes, 6).items()}
    found = partial_products(
        Rows(rows, [17, 40]),
        40,
        cells(shapes, made_of),
        by_name=lambda leaves: dict(zip(shapes, leaves, strict=True)),
        panel=17,
    )
    arrays = {name: np.asarray(x, float) for name, x in zip(shapes, rows(0, 40), strict=True)}
    for part, own in made_of.items():
        gram = np.sum([x for members, x in found.items() if part in members], 0)
        flat = np.concatenate([arrays[p.name][:, p.start : p.stop].reshape(40, -1) for p in own], 1)
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        np.testing.assert_allclose(cosines_of(gram), unit @ unit.T, atol=1e-5, err_msg=part)


def test_clusters_recover_the_subtasks(runs: Path, tmp_path: Path) -> None:
    """Odd and even samples of a subtask have opposite gradients: twelve groups, and by absolute
    values six. Subtasks share hidden units, so the floors are below 1: measured were 0.64 and
    0.46, and similarities 2.2 times as large within a subtask. By chance it were 0, 0 and 1."""
    found = parity.sparse_parity(runs, samples=SAMPLES, counts=[6, 12], out=tmp_path / "quanta")
    blind = parity.sparse_parity(runs, samples=SAMPLES, counts=[6], affinity="absolute")
    same = found.subtask.to_numpy()[:, None] == found.subtask.to_numpy()
    cosine = np.abs(found.cosine.to_numpy())
    assert cosine[same].mean() > 1.8 * cosine[~same].mean()
    assert float(found.halves.sel(count=12)) > 0.5
    assert float(blind.ari.sel(count=6)) > 0.35
    assert float(found.halves.sel(count=12)) > float(found.ari.sel(count=12))
    np.testing.assert_array_equal(open_clusters(tmp_path / "quanta").label, found.label)


def test_clusters_recover_compositional_codes(tmp_path: Path) -> None:
    """The fifth code is made of two others and shares their bits. The floor is below the measured
    0.53; and 0.29 if odd and even samples were one group. By chance both were 0."""
    composed = CONFIG | {
        "task": {
            "n_tasks": 4, "n_bits": 24, "k": 2, "frequencies": "uniform", "codes": "0 1 2 3 0+1"
        },
        "train": {"lr": 5e-3, "batch_size": 500, "steps": 2000},
    }  # fmt: skip
    run_sweep(composed, tmp_path / "runs")
    found = parity.sparse_parity(tmp_path / "runs", samples=SAMPLES, counts=[10])
    assert set(found.subtask.to_numpy().tolist()) == {0, 1, 2, 3, 4}
    assert float(found.halves.sel(count=10)) > 0.4
    assert float(found.halves.sel(count=10)) > float(found.ari.sel(count=10))
    same = found.subtask.to_numpy()[:, None] == found.subtask.to_numpy()
    cosine = np.abs(found.cosine.to_numpy())
    assert cosine[same].mean() > 1.6 * cosine[~same].mean()  # 1.9 was measured


def test_another_network_has_the_same_clusters(runs: Path, tmp_path: Path) -> None:
    """Two networks, of 128 and 192 hidden units, each trained by itself on one task, and the same
    samples. Of twelve clusters all were found in the other, with an index of 0.93, and 0.99 within
    subtasks, of which each is cut into odd and even by both. Shuffled, none is found. Each has an
    index of 0.62 with the twelve groups themselves: the networks share more than the groups, so
    that agreement alone is no proof of them."""
    run_sweep(CONFIG | {"network": {"width": 192}}, tmp_path / "wide")
    labels, learned = [], None
    for folder in (runs, tmp_path / "wide"):
        task, module = load_run(folder, 0)
        network, weights = nnx.split(module)
        if learned is None:
            learned = parity.draw_learned(task, network, weights, SAMPLES, parity.PARITY_BELOW)
            masks = task.masks
        np.testing.assert_array_equal(task.masks, masks)  # the task depends on the seed only
        rows = parity.gradient_rows(task, network, weights, learned)
        cosine = exact(rows, SAMPLES, batch=256)["cosine"]
        labels.append(cluster(cosine, [12], n_init=10).label.to_numpy()[0])
    assert learned is not None
    one, other = labels
    subtask = np.asarray(learned.subtask)
    half = 2 * subtask + np.asarray(learned.label)
    between = adjusted_rand(one, other)
    assert between.value > 0.8
    assert adjusted_rand(one, other, subtask).value > 0.9
    assert by_groups_alone(one, other, subtask) < 0.3
    found = matches(one, other)
    assert is_found(found.jaccard, found.p).sum() >= 10
    for label in labels:
        with_truth = adjusted_rand(label, half)
        assert with_truth.low > 0.45
        assert with_truth.value < between.low
        told = matches(label, half)
        assert is_found(told.jaccard, told.p).sum() >= 3
    by_chance = matches(one, np.random.default_rng(0).permutation(other))
    assert not is_found(by_chance.jaccard, by_chance.p).any()


def test_too_few_learned_samples_are_told(runs: Path) -> None:
    task, module = load_run(runs, 0)
    network, weights = nnx.split(module)
    nothing = jax.tree.map(jnp.zeros_like, weights)
    with pytest.raises(BadInput, match="0 of 40 samples have a loss below"):
        parity.draw_learned(task, network, nothing, 10, parity.PARITY_BELOW)


def test_a_certain_sample_keeps_its_digits(runs: Path) -> None:
    """Where the loss is 1e-12 a softmax rounds to one, and its gradient to zero."""
    task, module = load_run(runs, 0)
    network, weights = nnx.split(module)
    learned = parity.draw_learned(task, network, weights, 5, parity.PARITY_BELOW)
    model = nnx.merge(network, weights)
    sure = jax.tree.map(lambda x: x, nnx.state(model))
    sure["layers"][1]["kernel"].set_value(1e3 * sure["layers"][1]["kernel"][...])
    rows = parity.gradient_rows(task, network, sure, learned)(0, 5)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in rows)


def test_the_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "quanta"
    words = ["parity", str(runs), "--samples", "60", "--below", "0.5", "--out", str(out)]
    assert known.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("60 samples of ")
    assert lines[2].split()[:2] == ["10", "clusters:"]  # the paper's counts up to a fifth
    assert lines[-1] == f"results   {out}"
    assert {path.name for path in out.iterdir()} == {
        "similarity.zarr",
        "clusters.zarr",
        "truth.zarr",
    }
    for wrong, says in (
        (["parity", "--out", str(out)], "RUNS is missing"),
        (["parity", str(runs)], "--out is missing"),
        (["parity", str(runs), "--out", str(runs)], "holds other files and no truth.zarr"),
        (["party"], "known party: there is no such; give parity or toy"),
    ):
        assert known.main(wrong) == 2
        assert says in capsys.readouterr().err
    assert known.main([]) == 0
    assert "jquanta known parity RUNS" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["parity", "toy"])
def test_the_old_spelling_says_the_new_one(name: str) -> None:
    words = [sys.executable, "-m", f"jquanta.qdg.{name}", "--out", "some place"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == (
        f"jquanta: this command has moved; type: jquanta known {name} --out 'some place'\n"
    )
