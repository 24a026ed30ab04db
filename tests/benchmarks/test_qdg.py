"""The benchmark of QDG: all contestants compute the same, seconds are counted right, and told."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import clustering, qdg
from benchmarks.clustering import counts_for, inertia
from benchmarks.qdg import WORKLOADS, Workload
from benchmarks.similarity import AGREEMENT, disagreement, off_diagonal
from benchmarks.texts import synthetic
from benchmarks.torch_gradients import (
    Once,
    PerSample,
    Reference,
    blocks,
    blockwise,
    names,
    passes,
)
from benchmarks.torch_losses import Rival
from jquanta.errors import RunFailed
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models import pythia
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import init, shapes
from jquanta.lm.weights.tables import source_keys
from jquanta.qdg.clusters.cluster import COUNTS
from jquanta.qdg.cosines.similarity import similarity
from jquanta.qdg.samples.predictions import Predictions, given
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.gradient import gradients
from jquanta.qdg.views.parameters import chosen, columns

torch = pytest.importorskip("torch")

CONFIG = GPTNeoXConfig(layers=2, width=32, heads=1, vocab=50304)
LENGTHS = np.array([5, 0, 33, 1, 2, 20])
PICKED = [0, 3, 4, 20, 35, 37, 40, 55]

ROUNDING = 1e-5
"""Of float32 sums of 10^4 numbers that passed through two blocks and back, in different orders."""


@pytest.fixture(scope="module")
def params() -> dict[str, jax.Array]:
    return init(CONFIG, jax.random.key(0))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("corpus"), LENGTHS)


@pytest.fixture(scope="module")
def predictions(corpus: Corpus) -> Predictions:
    return given(corpus, PICKED)


@pytest.fixture(scope="module")
def model(params: dict[str, jax.Array], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Rival(CONFIG, params, tmp_path_factory.mktemp("model")).model


@pytest.fixture(scope="module")
def cosine(params: dict[str, jax.Array], predictions: Predictions) -> np.ndarray:
    return similarity(Model(CONFIG, params), predictions).cosine.to_numpy()


@pytest.mark.parametrize("block", [1, 3, 8])
def test_the_references_cosines_are_ours(
    model: Any, predictions: Predictions, cosine: np.ndarray, block: int
) -> None:
    reference = Reference(model, predictions.corpus, predictions.index, names(CONFIG))
    plain = blockwise(reference, len(PICKED), block).numpy()
    np.testing.assert_allclose(plain, cosine, rtol=0, atol=ROUNDING)
    once = blockwise(Once(reference), len(PICKED), block).numpy()
    np.testing.assert_allclose(once, plain, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("batch_tokens", [1, 40, 1000])
def test_the_cosines_of_vmap_are_ours(
    model: Any, predictions: Predictions, cosine: np.ndarray, batch_tokens: int
) -> None:
    own = prefixes(predictions, CONFIG)
    found = PerSample(model, names(CONFIG)).cosines(own, batch_tokens)
    np.testing.assert_allclose(found, cosine, rtol=0, atol=ROUNDING)


def test_the_gradients_of_vmap_are_ours(
    model: Any, params: dict[str, jax.Array], predictions: Predictions
) -> None:
    """Cosines alone would not show a constant factor, or parameters that are left out."""
    own = prefixes(predictions, CONFIG)
    everyone = np.arange(len(PICKED))
    inputs = (own.tokens(everyone, int(own.lengths.max())), own.lengths - 1, own.targets)
    per_sample = PerSample(model, names(CONFIG))
    with torch.no_grad():
        theirs = per_sample.gradients(per_sample.own, *(torch.tensor(x).long() for x in inputs))
    mine = gradients(Model(CONFIG, params), predictions)
    places, keys, sides = columns(CONFIG, chosen(CONFIG)), source_keys(CONFIG), shapes(CONFIG)
    assert theirs.keys() == {keys[name] for name in places}
    for name, place in places.items():
        wanted = theirs[keys[name]].numpy()
        wanted = wanted.transpose(0, 2, 1) if name.endswith(".kernel") else wanted
        ours = mine[:, place].reshape(-1, *sides[name])
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())


@pytest.mark.parametrize(("count", "block"), [(10, 10), (10, 3), (12, 4), (7, 1), (3, 5)])
def test_the_references_gradients_are_counted(count: int, block: int) -> None:
    asked: list[int] = []

    def gradients(rows: range) -> torch.Tensor:
        asked.extend(rows)
        return torch.eye(count)[list(rows)]

    torch.testing.assert_close(blockwise(gradients, count, block), torch.eye(count))
    assert passes(count, block) == len(asked)


def test_the_papers_gradients_are_counted() -> None:
    """The public code's blocks hold 250: 215,000 backward passes for 10,000 gradients."""
    assert passes(10_000, 250) == 215_000
    assert passes(1000, 250) == 3500
    assert passes(100, 25) == 350


def test_seconds_are_counted_as_often_as_a_block_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("benchmarks.stopwatch.time.perf_counter", lambda: clock[0])
    made: list[range] = []

    def gradients(rows: range) -> torch.Tensor:
        made.append(rows)
        clock[0] += 10.0 ** len(made)
        return torch.eye(7)[list(rows)]

    once = Once(gradients)
    blockwise(once, 7, 3)
    assert made == blocks(7, 3) == [range(3), range(3, 6), range(6, 7)]
    assert once.spent == 10 + 100 + 1000
    assert once.asked == 2 * 10 + 3 * 100 + 4 * 1000


def test_a_rival_that_computes_something_else_is_refused() -> None:
    ours, part = np.eye(3), np.array([0, 2])
    near = np.array([[1, AGREEMENT / 2], [AGREEMENT / 2, 1]])
    assert disagreement(near, ours, part) == pytest.approx(AGREEMENT / 2)
    assert disagreement(1.0003 * near, ours, part) == pytest.approx(AGREEMENT / 2)
    for wrong in (np.eye(2) + 2 * AGREEMENT, np.eye(2) + np.nan, 1.01 * near):
        with pytest.raises(RunFailed, match="computes something else"):
            disagreement(wrong, ours, part)


def test_the_sketchs_error_leaves_the_diagonal_out() -> None:
    one = np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])
    other = np.array([[9, 0.2, 0], [0.2, 9, 0], [0, 0, 9]])
    assert off_diagonal(one, other) == pytest.approx(0.3 / 3**0.5)


def test_counts_are_the_papers() -> None:
    assert counts_for(10_000) == COUNTS
    assert counts_for(2000) == tuple(count // 5 for count in COUNTS)
    few = counts_for(10_000, 5)
    assert len(few) == 6
    assert few[-1] == 1500


def test_inertia_is_the_sum_of_squared_distances() -> None:
    chance = np.random.default_rng(0)
    points, label = chance.standard_normal((40, 3)), chance.integers(0, 4, 40)
    label[label == 2] = 3  # an empty cluster
    members = [points[label == cluster] for cluster in np.unique(label)]
    plain = sum(float(((own - own.mean(0)) ** 2).sum()) for own in members)
    assert inertia(points, label) == pytest.approx(plain)


def test_a_whole_benchmark_at_a_tiny_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(pythia.PYTHIA, "14m", pythia.Size(1, 32, 1, 50304, 0, 0, None))
    monkeypatch.setattr(qdg, "TOKENS_A_SAMPLE", 20)
    monkeypatch.setattr(qdg, "RESTARTS", 2)
    workload = Workload("14m", 9, 2, part=4, part_block=2, clustered=60, step=10, repeats=2)
    monkeypatch.setitem(WORKLOADS, ("cpu", "quick"), workload)
    out = tmp_path / "record.json"
    assert qdg.main(["--quick", "--repeats", "1", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    last = told.splitlines()[-1]
    number = r"\d+\.\d+"
    assert re.fullmatch(
        f"reference_ratio={number} vmap_ratio={number} cluster_ratio={number} "
        f"sketch_cosine_error={number}",
        last,
    )
    record = json.loads(out.read_text())
    assert record["mode"] == "quick"
    assert {"jax", "torch", "transformers", "scikit-learn"} <= record["versions"].keys()
    timings = {t["name"]: t for t in record["similarity"]}
    assert list(timings) == ["reference", "vmap", "ours", "sketch"]
    # 9 samples in blocks of 2: 2·2 + 2·3 + 2·4 + 2·5 + 1·6 gradients; of 4: 2·2 + 2·3.
    factors = {"reference": 34 / 10, "vmap": 9 / 4, "ours": 1, "sketch": 1}
    assert {name: t["factor"] for name, t in timings.items()} == pytest.approx(factors)
    for name, t in timings.items():
        assert len(t["samples"]) == 1
        assert t["seconds"] == pytest.approx(t["samples"][0] * t["factor"])
        assert (t["first"] is None) == (name == "reference")
    for rival in ("reference", "vmap"):
        ratio = timings[rival]["seconds"] / timings["ours"]["seconds"]
        assert record["ratios"][rival] == pytest.approx(ratio)
        assert 0 < record["disagreement"][rival] <= AGREEMENT
    clusters = record["clustering"]
    assert [c["count"] for c in clusters["counts"]] == [2, 9]
    theirs = sum(c["theirs"] for c in clusters["counts"])
    ours = clusters["embedding"] + sum(c["ours"] for c in clusters["counts"])
    assert record["ratios"]["cluster"] == pytest.approx(theirs / ours)
    assert any("multiplied by 3.4 and 2.25" in note for note in record["notes"])


def test_worse_inertia_is_told() -> None:
    counts = tuple(clustering.Count(k, 1.0, 1.0, r, 1.0) for k, r in ((5, 0.99), (9, 1.01)))
    clusters = clustering.Clustering(60, 2, 0.1, 0.1, counts)
    workload = WORKLOADS["cpu", "quick"]
    assert qdg.notes(workload, clusters)[-1].endswith("above 1.001 at 9 (1.0100)")
    better = clustering.Clustering(60, 2, 0.1, 0.1, counts[:1])
    assert "inertia" not in " ".join(qdg.notes(workload, better))
