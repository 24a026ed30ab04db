"""The GPU kernels against their twins in interpret mode; and that they lower for CUDA."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jquanta.machine import devices, triton
from jquanta.parity import kernels, packed, solo, xla
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import Block, Way, way_of
from jquanta.parity.packed import Packed, Weights
from jquanta.parity.tiling import UNITS, Tiling, segments_of
from tests.cuda import lowered_for_cuda, scatters
from tests.parity.test_packed import mixed
from tests.parity.twins import small_run

CODES = "0 1 2 3 4 5 0+1*2.5 2+3+4"
"""Eight codes of six subtasks."""


def composite(**changes: Any) -> list[RunConfig]:
    """Two distributions of codes, two networks each."""
    return [
        small_run(
            task__codes=CODES, task__n_bits=12, task__alpha=alpha, network__width=w, **changes
        )
        for alpha in (0.4, 1.3)
        for w in (7, 70)
    ]


MIXES: dict[str, list[RunConfig]] = {
    "several distributions, a short batch": mixed(train__train_size=57),
    "bits in two words, spare columns for more codes than there are": mixed(task__n_bits=40),
    "codes": composite(),
    "one subtask, one unit, one sample": [
        small_run(task__n_tasks=1, network__width=1, train__batch_size=1)
    ],
    "many codes in several blocks, several segments, widths beyond a tile": [
        small_run(
            task__n_tasks=300,
            task__n_bits=60,
            network__width=w,
            train__batch_size=1500,
            eval__points_per_task=45,
        )
        for w in (3, 64, 65, 200)
    ],
    "bits in two chunks": [
        small_run(task__n_bits=150, task__k=3, network__width=w, train__batch_size=300)
        for w in (5, 70)
    ],
}


def real(block: Block) -> np.ndarray:
    """The places of the units that do not pad."""
    starts = np.cumsum(block.padded) - np.array(block.padded)
    return np.concatenate([s + np.arange(w) for s, w in zip(starts, block.widths, strict=True)])


def batch_of(pack: Packed, step: int) -> Any:
    """What the pack's gradients read in one step."""
    return next_batch(pack.layout, pack.data, jnp.uint32(step))


next_batch = jax.jit(packed.next_batch, static_argnums=0)
gradients = jax.jit(packed.gradients, static_argnums=1)
segments = jax.jit(segments_of, static_argnums=1)
sorted_sums = jax.jit(xla.sorted_sums, static_argnums=2)


@cache
def alone(run: RunConfig) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Evaluation 3 of a run by itself after 20 steps, losses by subtask; and its weights."""
    stack = solo.Stack([run])
    state = stack.advance(stack.start(), 20)
    return np.asarray(stack.evaluate(state, 3).subtask_loss[0]), stack.weights(state, 0)


def grown(state: packed.State) -> tuple[Weights, ...]:
    """Weights away from the linear regime."""
    return jax.tree.map(lambda w: 3 * w, state.weights)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", MIXES)
def test_gradients_equal_the_twins(name: str) -> None:
    """float32 from two float16 parts against XLA in float64, where the batch is the same.

    3e-7 of an array's norm: parts hold 22 bits (2^-23 of the largest weight of a column), and sums
    of float32 are rounded at 2^-24 a term. Without the low parts it is 2e-4.
    """
    runs = MIXES[name]
    fast = Packed(runs, way=Way.KERNELS)
    (found,) = gradients(grown(fast.start()), fast.layout, batch_of(fast, 3), fast.data.codes)
    with jax.enable_x64(True):
        slow = Packed(runs, jnp.float64, Way.TILES)
        twins = gradients(grown(slow.start()), slow.layout, batch_of(slow, 3), slow.data.codes)
        twins = jax.tree.map(np.asarray, twins)
    (block,) = fast.layout.blocks
    places = real(block)
    for field in Weights._fields:
        expected = np.concatenate([getattr(twin, field) for twin in twins], axis=-1)
        values = np.asarray(getattr(found, field))
        if field != "shift":
            assert not np.delete(values, places, axis=-1).any(), f"{field}: padding has a gradient"
            values = values[..., places]
        error, size = np.linalg.norm(values - expected), np.linalg.norm(expected)
        assert error <= 3e-7 * size, f"{field}: {error:.1e} of {size:.1e}"


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", MIXES)
def test_evaluations_equal_the_twins(name: str) -> None:
    """float32 on both sides, sums in another order: a few 2^-24 of losses near 1."""
    runs = MIXES[name]
    fast, slow = Packed(runs, way=Way.KERNELS), Packed(runs, way=Way.TILES)
    state, twin = fast.start(), slow.start()
    found = fast.evaluate(state._replace(weights=grown(state)), 2)
    expected = slow.evaluate(twin._replace(weights=grown(twin)), 2)
    for field in ("loss", "subtask_loss", "validation_loss"):
        np.testing.assert_allclose(
            getattr(found, field), getattr(expected, field), atol=2e-6, err_msg=field
        )
    np.testing.assert_array_equal(found.subtask_accuracy, expected.subtask_accuracy)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("way", [Way.KERNELS, Way.WHOLE])
@pytest.mark.parametrize("shared", [{}, {"train__train_size": 57}], ids=str)
def test_a_member_equals_its_solo_run(way: Way, shared: dict[str, Any]) -> None:
    """20 steps in float32: rounding that Adam lifts where gradients are near zero."""
    runs = mixed(**shared)[:4]
    pack = Packed(runs, way=way)
    state = pack.advance(pack.start(), 20)
    metrics = pack.evaluate(state, 3)
    for place, run in enumerate(runs):
        loss, weights = alone(run)
        np.testing.assert_allclose(metrics.subtask_loss[place], loss, atol=1e-5)
        for name, values in weights.items():
            np.testing.assert_allclose(pack.weights(state, place)[name], values, atol=2e-5)


@pytest.mark.parametrize("way", [Way.KERNELS, Way.WHOLE])
def test_batches_drawn_ahead_are_the_same_and_so_is_what_comes_of_them(way: Way) -> None:
    """Bit for bit, whatever the slices: 23 steps are a block of 16 batches and a part of one."""
    pack = Packed(mixed(train__train_size=57)[:4], way=way)
    assert pack.layout.ahead == 16
    many = jax.vmap(lambda step: next_batch(pack.layout, pack.data, step))(
        jnp.arange(4, 8, dtype=jnp.uint32)
    )
    for i in range(4):
        one = batch_of(pack, 4 + i)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], many), one)
    whole, parts = pack.advance(pack.start(), 23), pack.start()
    for count in (1, 17, 5):
        parts = pack.advance(parts, count)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_a_diverging_network_touches_nobody() -> None:
    """Bit for bit, though it shares the kernels' programs with the others."""
    quiet = mixed()[:4]
    wild = [
        run if place != 2 else small_run(network__width=33, train__lr=1e20)
        for place, run in enumerate(quiet)
    ]
    metrics = []
    for runs in (quiet, wild):
        pack = Packed(runs, way=Way.KERNELS)
        metrics.append(pack.evaluate(pack.advance(pack.start(), 20), 1))
    assert np.isnan(metrics[1].loss[2])
    others = [place for place in range(len(quiet)) if place != 2]
    for name in ("loss", "subtask_loss", "subtask_accuracy"):
        calm, beside = (np.asarray(getattr(one, name))[others] for one in metrics)
        np.testing.assert_array_equal(beside, calm)


@settings(max_examples=40)  # of few shapes: each is compiled
@given(
    codes=st.sampled_from([1, 60]).flatmap(
        lambda n: st.lists(st.integers(0, 39), min_size=n, max_size=n)
    ),
    block=st.sampled_from([1, 7, 40, 50]),
    segment=st.sampled_from([1, 8, 20]),
)
def test_segments_hold_every_sample_once_and_of_one_block(
    codes: list[int], block: int, segment: int
) -> None:
    code = np.sort(codes).astype(np.int32)
    tiling = Tiling(10, 40, len(code), 10 + block, segment)
    found = np.asarray(segments(jnp.asarray(code), tiling)).T
    assert len(found) == tiling.segments
    seen = [sample for first, end, _ in found for sample in range(first, end)]
    assert sorted(seen) == list(range(len(code)))
    for first, end, number in found:
        assert end - first <= segment
        assert (code[first:end] // block == number).all()


@settings(max_examples=40)  # of few lengths: each is compiled
@given(
    keys=st.sampled_from([1, 2, 7, 40]).flatmap(
        lambda n: st.lists(st.integers(0, 9), min_size=n, max_size=n)
    )
)
def test_sorted_sums_are_those_of_each_key_alone(keys: list[int]) -> None:
    """A key beside one of values 2^40 times larger keeps its own sum: nothing is subtracted."""
    key = np.sort(keys).astype(np.int32)
    values = np.where(key % 2 == 0, 2.0**40, 1.0)[:, None] * np.ones(3)
    found = sorted_sums(jnp.asarray(values, jnp.float32), jnp.asarray(key), 10)
    expected = np.array([values[key == k].sum(0) for k in range(10)])
    np.testing.assert_array_equal(found, expected)


def test_two_float16_parts_hold_22_bits() -> None:
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 2.0**12
    high, low = (np.asarray(part, np.float64) for part in kernels.split(jnp.asarray(x)))
    assert (np.abs(high + low - x) <= 2.0**-22 * np.abs(x)).all()
    assert np.abs(low).max() > 0


@pytest.mark.parametrize("tiles", [1, 1700, 2000, 3500])
def test_no_array_s_bytes_are_counted_with_a_sign_bit(tiles: int) -> None:
    """Pallas counts an array's bytes with 32 bits up to 2^32, and Triton takes them as signed.

    2,000 tiles of 20,000 samples are 2.6e9 bytes of active units: half of them would be lost.
    """
    tiling = Tiling.of(100, 500, 20_000, tiles)
    assert tiling is not None
    units, rows = tiles * UNITS, 100 + tiling.blocks * tiling.block
    half = jax.ShapeDtypeStruct((rows, units), jnp.float16)
    z, active = jax.eval_shape(
        partial(kernels.forward, tiling),
        jax.ShapeDtypeStruct((1, tiling.padded, tiling.columns), jnp.float16),
        jax.ShapeDtypeStruct((1, 3, tiling.segments), jnp.int32),
        jax.ShapeDtypeStruct((tiles,), jnp.int32),
        half,
        half,
        jax.ShapeDtypeStruct((units,), jnp.float32),
    )
    assert active.shape[0] >= tiling.padded
    assert active.shape[1] == units
    for array in (half, z, active):
        assert array.size <= 2**31 or array.size * array.dtype.itemsize > 2**32


@pytest.mark.parametrize(("kind", "stages"), [(9.0, 2), (8.0, 2), (8.6, 1), (12.0, 1), (0.0, 1)])
def test_wide_inputs_fit_the_shared_memory_of_smaller_gpus(
    kind: float, stages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for 8.9 by XLA, 256 columns with two stages ask for 102,400 of 101,376 bytes."""
    monkeypatch.setattr(devices, "capability", lambda: kind)
    wide, narrow = (Tiling.of(n_bits, 1, 100, 1) for n_bits in (200, 100))
    assert wide is not None
    assert narrow is not None
    assert kernels._forward_stages(wide) == stages
    assert kernels._forward_stages(narrow) == 2


@pytest.mark.parametrize(
    ("run", "backend", "dtype", "expected", "reason"),
    [
        (small_run(), "cpu", jnp.float32, Way.TILES, "CPU"),
        (small_run(), "tpu", jnp.float32, Way.WHOLE, "NVIDIA"),
        (small_run(), "other", jnp.float32, Way.WHOLE, "Ampere"),
        (small_run(), "gpu", jnp.float64, Way.WHOLE, "float64"),
        (small_run(), "gpu", jnp.float32, Way.KERNELS, "GPU"),
        (small_run(task__n_bits=255), "gpu", jnp.float32, Way.KERNELS, "GPU"),
        (small_run(task__n_bits=256), "gpu", jnp.float32, Way.WHOLE, "fewer than 256 task bits"),
        (
            small_run(task__n_bits=250, task__n_tasks=10_000),
            "gpu",
            jnp.float32,
            Way.WHOLE,
            "beside 250 task bits the kernels have no room for 10,000 subtasks",
        ),
        (
            small_run(task__n_bits=100, task__k=3, task__n_tasks=10_000),
            "gpu",
            jnp.float32,
            Way.KERNELS,
            "GPU",
        ),
    ],
    ids=str,
)
def test_which_way_a_pack_goes(
    run: RunConfig, backend: str, dtype: Any, expected: Way, reason: str
) -> None:
    way, why = way_of(run, backend, dtype)
    assert way is expected
    assert reason in why


@pytest.fixture
def compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels as on a GPU: interpret mode hides what Triton refuses."""
    monkeypatch.setattr(triton, "on_host", lambda: False)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("way", [Way.KERNELS, Way.WHOLE])
@pytest.mark.parametrize("name", MIXES)
def test_programs_lower_for_cuda_and_hold_no_scatter(
    name: str, way: Way, compiled_kernels: None
) -> None:
    pack = Packed(MIXES[name], way=way)
    state, number = pack.start(), jnp.uint32(1)
    for program in (packed._advance, packed._evaluate):
        text = lowered_for_cuda(program, pack.layout, pack.data, state, number)
        assert scatters(text) == 0
        assert ("xla.gpu.triton" in text) == (way is Way.KERNELS)
