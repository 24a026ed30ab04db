"""The benchmark of families: sizes that may be compared, and a record that says what was timed."""

import json
from pathlib import Path

import pytest

from benchmarks import families
from jquanta.lm.models.network import count


def test_the_models_are_of_one_size() -> None:
    """Norms, biases and GPT-2's table of positions are all that differs: 1%."""
    sizes = {
        name: count(one)[0] for name, one in families.models(families.WORKLOADS["full"]).items()
    }
    least, most = min(sizes.values()), max(sizes.values())
    assert 15_000_000 < least <= most < 1.012 * least


def test_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = families.Workload(1, 72, 3, 40, 2, 16, 3, 2)
    monkeypatch.setitem(families.WORKLOADS, "quick", work)
    llama = families.models(work)["llama"]  # twice: its programs are compiled once
    monkeypatch.setattr(families, "models", lambda work: {"gpt_neox": llama, "llama": llama})
    out = tmp_path / "record.json"
    assert families.main(["--quick", "--out", str(out)]) == 0
    neox, llama = json.loads(out.read_text("utf-8"))["entries"]
    assert (neox["losses_ratio"], neox["gradients_ratio"]) == (1.0, 1.0)
    assert len(llama["losses"]) == len(llama["gradients"]) == 2
    turns = [one / other for one, other in zip(llama["losses"], neox["losses"], strict=True)]
    assert min(turns) <= llama["losses_ratio"] <= max(turns)
