"""What matrix units make of long sums, emulated: ``python -m benchmarks.gpu.drift``.

A tensor core of a recent NVIDIA GPU adds a few products to an accumulator at a time: 8 of TF32
numbers, 16 of bfloat16 numbers. It aligns all of them to the largest, keeps two bits more than
float32 has, cuts off the rest, and cuts the sum to float32's 24 bits: always towards zero (Fasi and
others, 2021, doi:10.7717/peerj-cs.330, have this from experiments). So a sum drifts.

That this is what an H200 does is seen in ``--parts rates``: of products over 4,096 normal numbers
the emulation's errors are 9.9e-6 (TF32_TF32_F32_X3), 4.5e-6 (BF16_BF16_F32_X6), 1.1e-6 (HIGHEST),
and the card's were 9.8e-6, 4.5e-6 and 1.1e-6.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jquanta.cli import door, flags
from jquanta.run.settings import knob

EXTRA = 2
"""Bits that a unit keeps beyond float32's while it adds."""

FLOAT32 = 24
"""Bits of a float32 number, the hidden one included."""

CHUNKS = 64, 128, 256, 512, 1024, 4096
PAIRS = 6

Rows = Float[np.ndarray, "pairs numbers"]


class Algorithm(NamedTuple):
    """How a product of float32 numbers is made of narrower ones.

    Attributes:
        bits: of a narrow number, the hidden one included.
        terms: products that a unit adds at a time.
        pairs: which parts of the two factors are multiplied, 0 the largest, in order.
    """

    bits: int
    terms: int
    pairs: tuple[tuple[int, int], ...]


ALGORITHMS = {
    "TF32_TF32_F32_X3": Algorithm(11, 8, ((1, 0), (0, 1), (0, 0))),
    "BF16_BF16_F32_X6": Algorithm(8, 16, ((2, 0), (0, 2), (1, 1), (1, 0), (0, 1), (0, 0))),
    "BF16_BF16_F32": Algorithm(8, 16, ((0, 0),)),
}


def inner(one: Rows, other: Rows, algorithm: Algorithm, chunk: int) -> Float[np.ndarray, " pairs"]:
    """Inner products of each row with its partner, as matrix units make them.

    Args:
        one, other: float32 numbers.
        algorithm: of products.
        chunk: numbers that a unit adds up from zero, a multiple of its terms; what it gives is
            added in float32, pairwise.
    """
    short = -one.shape[1] % chunk
    padded = (np.pad(rows, ((0, 0), (0, short))) for rows in (one, other))
    parts = [_parts(rows.reshape(len(rows), -1, chunk), algorithm) for rows in padded]
    sums = np.zeros(parts[0][0].shape[:2])
    for i, j in algorithm.pairs:
        products = parts[0][i] * parts[1][j]  # exact: at most 22 bits
        for some in np.split(products, chunk // algorithm.terms, axis=2):
            sums = _added(sums, some)
    return np.sum(sums.astype(np.float32), axis=1)


def in_float32(one: Rows, other: Rows, chunk: int) -> Float[np.ndarray, " pairs"]:
    """The same in float32, one fused multiplication and addition after the other in each chunk."""
    short = -one.shape[1] % chunk
    padded = (np.pad(rows, ((0, 0), (0, short))) for rows in (one, other))
    x, y = (rows.reshape(len(rows), -1, chunk).astype(np.float64) for rows in padded)
    sums = np.zeros(x.shape[:2], np.float32)
    for k in range(chunk):
        sums = (sums + x[..., k] * y[..., k]).astype(np.float32)
    return np.sum(sums, axis=1)


def _parts(rows: np.ndarray, algorithm: Algorithm) -> list[np.ndarray]:
    """Numbers as sums of narrow ones, the largest first."""
    found, rest = [], rows.astype(np.float64)
    for _ in range(1 + max(map(max, algorithm.pairs))):
        found.append(rounded(rest, algorithm.bits))
        rest = rest - found[-1]
    return found


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest numbers of so many bits."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


def _added(sums: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Sums after a unit has added some products to each."""
    every = np.concatenate([sums[..., None], terms], axis=2)
    aligned = np.frexp(np.abs(every).max(2, keepdims=True))[1]
    found = _cut(every, aligned, FLOAT32 + EXTRA).sum(2)
    return _cut(found, np.frexp(found)[1], FLOAT32)


def _cut(x: np.ndarray, exponent: np.ndarray, bits: int) -> np.ndarray:
    """Towards zero, to so many bits below 2^exponent."""
    return np.ldexp(np.trunc(np.ldexp(x, bits - exponent)), exponent - bits)


def unit(rows: np.ndarray) -> Rows:
    """Rows over their lengths, in float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def pairs(numbers: int) -> Iterator[tuple[str, Rows, Rows]]:
    """Pairs of unit rows by name: of random direction, of like direction, and equal ones."""
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((PAIRS, numbers)) for _ in range(2))
    yield "random", unit(x), unit(y)
    yield "cosine 0.995", unit(x), unit(x + 0.1 * y)
    yield "equal", unit(x), unit(x)


def gradients(path: Path, most: int = 200) -> tuple[str, Rows, Rows]:
    """Pairs of a finished run's gradients: the most alike of some samples."""
    from jquanta.qdg import given, gradients, open_run  # late: the emulation needs no model

    run = open_run(path)
    cosine = run.similarity.cosine[:most, :most].to_numpy()
    i, j = np.unravel_index(np.argsort(-np.triu(cosine, 1), axis=None)[:PAIRS], cosine.shape)
    both = np.unique([i, j])
    rows = gradients(run.model(), given(run.corpus, run.predictions.index[both]))
    one, other = (unit(rows[np.searchsorted(both, k)].astype(np.float64)) for k in (i, j))
    return "gradients", one, other


@dataclass(frozen=True)
class Options:
    """Emulate inner products of long rows on matrix units, and print the errors.

    Each line is an algorithm and a chunk: the numbers that the unit adds by itself, before the sum
    goes to ordinary float32. The columns are the largest absolute errors of a cosine.
    """

    numbers: int = knob(2**20, "of a row")
    qdg: Path | None = knob(None, "a finished run of jquanta qdg, for pairs of gradients", "DIR")


def command(argv: Sequence[str]) -> None:
    """Print the table."""
    options = flags.parse(Options, argv, "python -m benchmarks.gpu.drift")
    data = [*pairs(options.numbers), *([gradients(options.qdg)] if options.qdg else [])]
    exact = [(x.astype(np.float64) * y).sum(1) for _, x, y in data]
    print(f"{'algorithm':18} {'chunk':>7}", *(f"{name:>14}" for name, *_ in data))
    mean = (f"{np.mean(np.abs(e)):14.4f}" for e in exact)
    print(f"{'(the cosine)':26}", *mean)

    def line(name: str, chunk: int, found: Sequence[np.ndarray]) -> None:
        errors = (np.abs(f - e).max() for f, e in zip(found, exact, strict=True))
        print(f"{name:18} {chunk:7,}", *(f"{error:14.1e}" for error in errors), flush=True)

    for name, algorithm in ALGORITHMS.items():
        for chunk in CHUNKS:
            line(name, chunk, [inner(x, y, algorithm, chunk) for _, x, y in data])
    for chunk in (CHUNKS[-1], CHUNKS[-1] * 16):
        line("HIGHEST", chunk, [in_float32(x, y, chunk) for _, x, y in data])


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
