"""The emulation of matrix units: what a card measured, and what is exact."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu.drift import ALGORITHMS, in_float32, inner, rounded, unit
from jquanta.qdg.cosines.kernel import CHUNK

RECORD = Path(__file__).parents[2] / "benchmarks/records/gpu-h200/rates.json"


def measured(algorithm: str) -> float:
    """The error that an H200 had in a product over 4,096 normal numbers."""
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    note = next(row["note"] for row in rows if row["name"] == f"4096³ {algorithm}")
    return float(note.split()[-1])


@pytest.mark.parametrize("algorithm", ["TF32_TF32_F32_X3", "BF16_BF16_F32_X6", "HIGHEST"])
def test_errors_are_those_of_a_card(algorithm: str) -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, 256, 4096)).astype(np.float32)
    exact = (x.astype(np.float64) * y).sum(1)
    if algorithm == "HIGHEST":
        found = in_float32(x, y, 4096)
    else:
        found = inner(x, y, ALGORITHMS[algorithm], 4096)
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert error == pytest.approx(measured(algorithm), rel=0.2)  # of 256 sums, and of other numbers


def test_the_kernels_chunks_keep_a_cosine_to_a_part_in_a_million() -> None:
    """With a margin of four, where all terms have one sign and the drift is largest."""
    x = unit(np.random.default_rng(0).standard_normal((2, 2**15)))
    exact = (x.astype(np.float64) ** 2).sum(1)
    algorithm = ALGORITHMS["BF16_BF16_F32_X6"]
    assert np.abs(inner(x, x, algorithm, CHUNK) - exact).max() < 2.5e-7
    assert np.abs(inner(x, x, algorithm, 2**15) - exact).max() > 2e-5


def test_few_exact_terms_have_no_error() -> None:
    x = np.arange(1.0, 17.0, dtype=np.float32)[None]
    for algorithm in ALGORITHMS.values():
        assert inner(x, x, algorithm, 16) == (x**2).sum()
    assert rounded(np.array([257.0]), 8) == 256
