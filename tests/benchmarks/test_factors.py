"""The benchmark of factors: what it stores is what its names say."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import factors
from jquanta import qdg
from tests.lm.losses import examples
from tests.qdg.clusters import planted
from tests.qdg.test_pipeline import settings


def test_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.corpus(tmp_path / "corpus")
    examples.model(tmp_path / "tiny")
    qdg.run(settings(tmp_path), tmp_path / "run")
    monkeypatch.setitem(factors.WORKLOADS, "quick", factors.Workload(12, (2, 3), "20 MB"))
    monkeypatch.setattr(factors, "RANKS", (2, 100))
    monkeypatch.setattr(factors, "SIZES", (3,))
    out = tmp_path / "record.json"
    assert factors.main(["--quick", "--run", str(tmp_path / "run"), "--out", str(out)]) == 0
    found = json.loads(out.read_text("utf-8"))
    exact, low, full, sketch = found["trained"]
    assert found["samples"] == 12
    # Of full rank nothing is lost, but for the rounding of two float32 programs.
    assert full["rms"] < 1e-6 < low["rms"] < low["largest"]
    assert full["agreement"] == [1.0, 1.0]
    assert low["lost"][0] > 1e-3
    assert low["row_bytes"] < exact["row_bytes"]
    assert sketch["rms"] > low["rms"]
    assert np.isfinite([one["seconds"] for one in (*found["trained"], *found["tight"])]).all()
