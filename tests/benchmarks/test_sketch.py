"""The benchmark of sketches: its numbers are what they are called."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import sketch
from benchmarks.sketch import Workload, bias, cosines, grams, inner, rows_of, untrained
from jquanta.lm.models import pythia
from jquanta.qdg.cosines.similarity import similarity
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.stored import view_from


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pythia.PYTHIA, "14m", pythia.Size(1, 32, 1, 50304, 0, 0, None))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("mode", ["exact", "sketch"])
def test_cosines_are_those_of_similarity(tmp_path: Path, mode: str) -> None:
    subject = untrained("14m", 40, tmp_path)  # two batches
    view = view_from({"mode": mode})
    found = inner(view_of(*subject[1:], view))
    assert len(found) == 5
    wanted = similarity(*subject[1:], view).cosine
    np.testing.assert_allclose(cosines(found), wanted, rtol=0, atol=1e-5)  # float32


@pytest.mark.usefixtures("tiny")
def test_inner_products_are_added_up_by_layer(tmp_path: Path) -> None:
    subject = untrained("14m", 3, tmp_path)
    rows = rows_of(view_of(*subject[1:], view_from({"mode": "exact"})))
    found = grams(rows)
    wanted = {
        name: np.asarray(x, np.float64) @ np.asarray(x, np.float64).T for name, x in rows.items()
    }
    both = wanted["layers.0.mlp.up.kernel"] + wanted["layers.0.mlp.up.bias"]
    for module, sums in (("layers.0.mlp.up", both), ("sum", sum(wanted.values()))):
        rounding = 1e-5 * np.max(sums)  # of float32
        np.testing.assert_allclose(found[module], sums, rtol=0, atol=rounding)


def test_bias_shows_and_its_absence_too() -> None:
    """20 seeds, 780 pairs: without bias the root mean square of t is √(19/17) = 1.06."""
    chance = np.random.default_rng(0)
    exact = 2 * np.eye(40) + 1
    drawn = exact + chance.standard_normal((20, 40, 40)) * 0.3
    none = bias("sum", exact, drawn)
    assert none.pairs == pytest.approx(1.06, abs=0.06)
    assert none.squares == pytest.approx(1.06, abs=0.35)
    assert none.resolution == pytest.approx(0.1 / 20**0.5, rel=0.1)
    longer = bias("sum", exact, drawn * np.where(np.eye(40), 1.1, 1))
    assert longer.squares > 3
    assert longer.pairs == none.pairs


@pytest.mark.usefixtures("tiny")
def test_a_whole_benchmark_at_a_tiny_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = Workload({"14m": 9}, 9, sizes=(4, 16, 129), seeds=4, repeats=2)
    monkeypatch.setitem(sketch.WORKLOADS, "quick", workload)
    out = tmp_path / "record.json"
    assert sketch.main(["--quick", "--repeats", "1", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    record = json.loads(out.read_text())
    (result,) = record["results"]
    exact, *sketches = result["entries"]
    assert [entry["size"] for entry in sketches] == [4, 16, 129]
    assert exact["row_bytes"] == 4 * result["parameters"]
    assert [entry["row_bytes"] for entry in sketches[:2]] == [4 * 4 * 16, 4 * 4 * 256]
    errors = [entry["cosine_error"] for entry in sketches]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5  # no side is longer: nothing is lost
    modules = [one["module"] for one in result["biases"]]
    assert len(modules) == 5
    assert modules[-1] == "sum"
    bias_in_sum = result["biases"][-1]["pairs"]
    last = f"cosine_error_14m={errors[1]:.4f} bias_14m={bias_in_sum:.2f}"
    assert told.splitlines()[-1] == last
    assert re.search(r"in 4 layers; 1\.73 where there is no bias", re.sub(r"\s+", " ", told))
