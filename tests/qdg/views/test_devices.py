"""Rows cut over several devices give what one device gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.processes import with_devices

PROGRAM = """
import json, sys
from pathlib import Path
import jax, numpy as np
from jquanta import qdg
from jquanta.qdg.views.stored import view_from
from tests.qdg import examples

home = Path(sys.argv[1])
corpus = examples.corpus(home / "corpus")
model, samples = examples.model(), examples.predictions(corpus)
settings = {"batch_tokens": 64, "memory": 64 * 2**20}
for name, (view, changes) in json.loads(sys.argv[2]).items():
    found = qdg.similarity(model, samples, view_from(view), **(settings | changes))
    np.savez(home / name, **{k: v.to_numpy() for k, v in found.items()})
rows = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
alone = qdg.exact(lambda start, stop: rows[start:stop], 50, batch=4, panel=7)
np.savez(home / "rows", **alone)
print(json.dumps(jax.local_device_count()))
"""

RUNS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "exact": ({"mode": "exact"}, {"absolute": True, "panel": 6}),
    "whole": ({"mode": "exact"}, {"absolute": True}),
    "sketch": ({"mode": "sketch", "sketch_size": 6}, {}),
    "activations": ({"mode": "activations"}, {"panel": 12}),
}


def compute(home: Path, devices: int) -> dict[str, dict[str, np.ndarray]]:
    home.mkdir()
    printed = with_devices(devices, PROGRAM, str(home), json.dumps(RUNS))
    assert json.loads(printed.splitlines()[-1]) == devices
    return {name: dict(np.load(home / f"{name}.npz")) for name in [*RUNS, "rows"]}


@pytest.mark.slow
def test_three_devices_compute_what_one_does(tmp_path: Path) -> None:
    """A number that divides neither samples, batches nor panels. Float32 sums in another order:
    3e-6, as in test_similarity."""
    one, three = compute(tmp_path / "one", 1), compute(tmp_path / "three", 3)
    for name, found in one.items():
        for key, values in found.items():
            np.testing.assert_allclose(three[name][key], values, rtol=0, atol=3e-6)
    np.testing.assert_allclose(
        three["exact"]["cosine_abs"], three["whole"]["cosine_abs"], rtol=0, atol=3e-6
    )
