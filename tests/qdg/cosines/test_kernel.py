"""Inner products on matrix units: the kernel, interpreted, against float64 and the plain way."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import Precision

from jquanta.machine.triton import AVAILABLE
from jquanta.qdg.cosines import kernel
from jquanta.qdg.cosines.blockwise import exact
from jquanta.qdg.cosines.kernel import CHUNK, PROGRAMS, TILES, inner


def rows(count: int, numbers: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, numbers), np.float32)


@pytest.mark.parametrize(
    ("count", "others", "numbers"),
    [
        (1, 1, 3),
        (5, 2 * TILES[-1] + 1, CHUNK + 1),  # rows and numbers that fill no tile and no chunk
        (TILES[-1], TILES[0] + 1, CHUNK * PROGRAMS + 5),  # some segments have a chunk more
    ],
)
def test_inner_products_are_those_of_float64(count: int, others: int, numbers: int) -> None:
    one, other = rows(count, numbers, 0), rows(others, numbers, 1)
    found = jax.jit(lambda *x: inner(*x, Precision.HIGHEST))(one, other)
    wanted = one.astype(np.float64) @ other.T.astype(np.float64)
    # Each sum has rounding errors of about 6e-8 of what it adds up to, in lengths of rows.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.sqrt(numbers) * 3)
    assert found.dtype == jnp.float32


def test_rows_in_bfloat16_have_exact_products() -> None:
    one, other = (jnp.asarray(rows(4, 500, seed), jnp.bfloat16) for seed in (0, 1))
    wanted = np.asarray(one, np.float64) @ np.asarray(other, np.float64).T
    np.testing.assert_allclose(jax.jit(inner)(one, other), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("absolute", [False, True])
def test_cosines_are_those_of_the_plain_way(
    absolute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On all devices, from panels of trees of arrays."""
    made = {"kernel": rows(20, 96, 0).reshape(20, 8, 12), "bias": rows(20, 7, 1)}

    def some(start: int, stop: int) -> dict[str, np.ndarray]:
        return {name: x[start:stop] for name, x in made.items()}

    wanted = exact(some, 20, batch=4, panel=8, absolute=absolute)
    monkeypatch.setattr(kernel, "here", lambda: True)
    monkeypatch.setattr(kernel, "SPLIT", Precision.HIGHEST)  # a CPU has no other
    found = exact(some, 20, batch=4, panel=8, absolute=absolute)
    assert found.keys() == wanted.keys()
    for name, cosines in wanted.items():
        np.testing.assert_allclose(found[name], cosines, rtol=0, atol=5e-7)  # float32, unit rows


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind of device on which the kernel is tried, interpreted."""
    monkeypatch.setattr("jquanta.machine.devices.kind", lambda: "gpu")
    monkeypatch.setattr(kernel, "SPLIT", Precision.HIGHEST)  # a CPU has no other
    kernel._trouble.cache_clear()
    yield
    kernel._trouble.cache_clear()


def test_only_a_recent_nvidia_gpu_takes_the_kernel(
    gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kernel.here() == AVAILABLE
    assert not kernel.note()
    for other in ("cpu", "other"):
        monkeypatch.setattr("jquanta.machine.devices.kind", lambda other=other: other)
        assert not kernel.here()
        assert not kernel.note()


@pytest.mark.skipif(not AVAILABLE, reason="JAX has no Triton backend")
def test_a_gpu_on_which_it_is_not_right_takes_the_plain_way(
    gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "inner", lambda one, other: one @ other.T + 4e-5)
    assert not kernel.here()
    assert "the kernel's cosines are off by 4e-05 here" in kernel.note()


@pytest.mark.skipif(not AVAILABLE, reason="JAX has no Triton backend")
def test_a_gpu_on_which_it_does_not_compile_takes_the_plain_way(
    gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise NotImplementedError("no rule")

    monkeypatch.setattr(kernel, "inner", fails)
    assert not kernel.here()
    assert "without matrix units, at half the speed: the kernel fails here" in kernel.note()
