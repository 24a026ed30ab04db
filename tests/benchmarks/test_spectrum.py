"""The benchmark of sigmoids: a record that says what was timed, and how good the fits are."""

import json
from pathlib import Path

import pytest

from benchmarks import spectrum


def test_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spectrum.WORKLOADS, "quick", spectrum.Workload(300, 12, 4, 2))
    out = tmp_path / "record.json"
    assert spectrum.main(["--quick", "--out", str(out)]) == 0
    record = json.loads(out.read_text("utf-8"))
    assert len(record["fit"]) == len(record["sums"]) == 2
    assert record["scipy"] > 0
    assert 0 <= record["further"] < 1e-3
