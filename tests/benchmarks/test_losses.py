"""The benchmark of losses: all contestants compute the same losses, and the record says it."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import losses, texts
from benchmarks.losses import Workload, operations
from benchmarks.texts import lengths, synthetic
from benchmarks.torch_losses import Rival
from jquanta.lm.losses.compute import batch_losses, on_devices, plan_for
from jquanta.lm.models import pythia
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.models.network import init

CONFIG = GPTNeoXConfig(layers=1, width=32, heads=1, vocab=50304)
LENGTHS = np.array([5, 0, 33, 1, 2, 20])


def test_all_contestants_compute_the_same(tmp_path: Path) -> None:
    params = init(CONFIG, jax.random.key(0))
    corpus = synthetic(tmp_path / "corpus", LENGTHS)
    documents = [corpus.document(i).astype(np.int64) for i in range(len(LENGTHS))]
    mine = [np.zeros(0, np.float32)] * len(documents)
    plan = plan_for(corpus, CONFIG, 64)
    for batch, found in batch_losses(CONFIG, on_devices(CONFIG, params), corpus, plan.batches):
        for row, i in enumerate(batch.documents.tolist()):
            mine[i] = found[row, : LENGTHS[i] - 1]
    rival = Rival(CONFIG, params, tmp_path / "model")
    for theirs in (rival.single(documents), *(rival.batched(documents, n) for n in (1, 40, 1000))):
        assert [len(row) for row in theirs] == [max(0, n - 1) for n in LENGTHS]
        # float32 on both sides: losses near 11 have a last bit of 1e-6.
        np.testing.assert_allclose(np.concatenate(theirs), np.concatenate(mine), rtol=0, atol=2e-5)


def test_lengths_have_a_spread() -> None:
    found = lengths(100_000)
    assert 100_000 <= found.sum() < 101_024
    assert np.median(found) == pytest.approx(texts.MEDIAN, rel=0.2)
    assert 0.1 < np.mean(found == texts.CUT) < 0.3
    np.testing.assert_array_equal(lengths(5_000), found[: len(lengths(5_000))])


def test_operations_are_those_of_the_products() -> None:
    """Two for each entry of a kernel and prediction, and attention's pairs that see each other."""
    config, n = GPTNeoXConfig(layers=3, width=64, heads=2, vocab=10), 1000
    kernels = 3 * 12 * config.width**2 + config.vocab * config.width
    pairs = 3 * n * (n + 1) / 2 * 2 * 2 * config.width  # scores, and sums of values
    # Biases and norms are counted as if they were kernels: 1% at this width, less above.
    assert operations(config, np.array([n, 0])) == pytest.approx(2 * n * kernels + pairs, rel=0.01)


def test_a_whole_benchmark_at_a_tiny_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = pythia.Size(1, 32, 1, 50304, 0, 0, None)
    monkeypatch.setitem(pythia.PYTHIA, "14m", tiny)
    monkeypatch.setitem(pythia.PYTHIA, "70m", tiny)
    workload = Workload({"14m": 60, "70m": 40}, 2)
    monkeypatch.setitem(losses.WORKLOADS, ("cpu", "quick"), workload)
    out = tmp_path / "record.json"
    assert losses.main(["--quick", "--repeats", "1", "--out", str(out)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"ratio_14m=\d+\.\d\d ratio_70m=\d+\.\d\d tokens_per_s=\d+", last)
    record = json.loads(out.read_text())
    assert record["mode"] == "quick"
    assert {"jax", "torch", "transformers", "jquanta"} <= record["versions"].keys()
    for result in record["results"]:
        rates = {t["name"]: t["tokens_per_second"] for t in result["timings"]}
        assert rates.keys() == {"ours", "single", "batched"}
        assert all(len(t["samples"]) == 1 for t in result["timings"])
        best = max(rates["single"], rates["batched"])
        assert result["ratio"] == pytest.approx(rates["ours"] / best)
    assert re.search(rf"ratio_14m={record['results'][0]['ratio']:.2f} ", last)
