"""The packed trainer against its slow twin, ``solo``: one network at a time, autodiff, optax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jquanta.parity import layout, packed, solo
from jquanta.parity.config import RunConfig
from jquanta.parity.packed import Packed
from tests.parity.twins import small_run

STEPS = 200


def mixed(**shared: Any) -> list[RunConfig]:
    """Networks of one pack that differ in all that may differ. Neighbours share a distribution."""
    return [
        small_run(**shared, network__width=7),
        small_run(**shared, network__width=1, train__lr=0.01),
        small_run(**shared, network__width=33, train__weight_decay=0.1),
        small_run(**shared, network__width=7, task__alpha=1.3),
        small_run(**shared, network__width=33, task__alpha=1.3, train__lr=0.01),
        small_run(**shared, network__width=7, task__k=3, task__offset=2.0),
        small_run(**shared, network__width=7, task__frequencies="uniform"),
    ]


def trained(runs: list[RunConfig], *steps: int, dtype: Any = jnp.float64) -> tuple[Any, Any, Any]:
    """A pack after some chunks of updates: the pack, its state, and evaluation 3."""
    pack = Packed(runs, dtype)
    state = pack.start()
    for count in steps:
        state = pack.advance(state, count)
    return pack, state, jax.tree.map(np.asarray, pack.evaluate(state, 3))


def assert_members_equal_solo(runs: list[RunConfig], tolerance: float) -> None:
    pack, state, metrics = trained(runs, STEPS)
    for width in {run.network.width for run in runs}:  # one compiled program each
        places = [place for place, run in enumerate(runs) if run.network.width == width]
        stack = solo.Stack([runs[place] for place in places], jnp.float64)
        alone = stack.advance(stack.start(), STEPS)
        for name, values in stack.evaluate(alone, 3)._asdict().items():
            mine = getattr(metrics, name)[places]
            np.testing.assert_allclose(mine, values, rtol=0, atol=tolerance, err_msg=name)
        for member, place in enumerate(places):
            weights = stack.weights(alone, member)
            for name, values in pack.weights(state, place).items():
                np.testing.assert_allclose(values, weights[name], rtol=0, atol=tolerance)


# 1e-9 in float64: sums over the batch are rounded in another order, 1e-16 each, and Adam divides
# by the square root of squared gradients, which lifts that where gradients are near zero.
TOLERANCE = 1e-9


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    "shared",
    [
        {"train__seed": 5, "task__n_bits": 40},  # online; two words of bits
        {"train__train_size": 57},  # 57 = 3 * 16 + 9: the last batch of an epoch is short
        {"train__train_size": 11},  # less than a batch
    ],
    ids=str,
)
def test_a_member_equals_its_solo_run(shared: dict[str, Any], x64: None) -> None:
    assert_members_equal_solo(mixed(**shared), TOLERANCE)


@pytest.mark.parametrize(("tile", "block"), [(5, 3), (7, None)], ids=str)
def test_tiles_and_blocks_change_nothing(
    tile: int | None, block: int | None, x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of 5 pad the batch of 16 to 20; those of 7 pad it to 18."""
    runs = mixed(train__train_size=57)
    _, _, expected = trained(runs, STEPS)
    monkeypatch.setattr(layout, "CPU_TILE", tile)
    monkeypatch.setattr(layout, "CPU_BLOCK", block)
    _, _, found = trained(runs, STEPS)
    np.testing.assert_allclose(found.subtask_loss, expected.subtask_loss, atol=TOLERANCE)


def test_gradients_equal_automatic_ones(x64: None) -> None:
    """The gradient of ``out`` comes from the other sums: here it is derived from the loss."""
    pack = Packed(mixed(train__train_size=57), jnp.float64)
    weights = jax.tree.map(lambda w: 3 * w, pack.start().weights)  # away from the linear regime
    batch = packed.draw_batch(pack.layout, pack.data, jnp.uint32(3), jnp.float64)  # a short one

    def loss(weights: tuple[packed.Weights, ...]) -> jax.Array:
        total = jnp.zeros(())
        for block, own in zip(pack.layout.blocks, weights, strict=True):
            one = block.distributions[0]
            rows = jax.nn.one_hot(batch.subtask[one], 6) @ own.rows
            hidden = jax.nn.relu(batch.bits @ own.bits + rows + own.bias)
            for net in range(len(block.widths)):
                units = block.owner == net
                z = hidden[:, units] @ own.out[units] + own.shift[net]
                total += (batch.weight * jnp.log1p(jnp.exp(-batch.sign[one] * z))).sum()
        return total

    found = packed.gradients(weights, pack.layout, batch)
    expected = jax.grad(loss)(weights)
    assert len(found) > 1
    for own, other in zip(found, expected, strict=True):
        for name, values in other._asdict().items():
            # float64: sums of 16 products
            np.testing.assert_allclose(getattr(own, name), values, atol=1e-14, err_msg=name)


def test_the_batch_is_the_solo_batch_sorted() -> None:
    runs = mixed(train__train_size=57)
    pack = Packed(runs)
    for step in (0, 3, 4):
        batch = packed.draw_batch(pack.layout, pack.data, jnp.uint32(step), jnp.float32)
        for one, run in dict(zip(pack.layout.distributions, runs, strict=True)).items():
            alone = solo.draw_batch(solo.Program.of(run), solo.run_data(run), jnp.uint32(step))
            kept = np.asarray(alone.weight) > 0
            expected = sorted(
                zip(
                    np.asarray(alone.subtask)[kept].tolist(),
                    np.asarray(alone.label)[kept].tolist(),
                    np.asarray(alone.words)[kept, 0].tolist(),
                    strict=True,
                )
            )
            counted = np.asarray(batch.weight) > 0
            words = np.asarray(batch.bits) @ 2.0 ** np.arange(10)
            columns = (batch.subtask[one], (batch.sign[one] + 1) / 2, words)
            found = zip(
                *(np.asarray(c)[counted].astype(int).tolist() for c in columns), strict=True
            )
            assert sorted(found) == expected
            assert (np.diff(batch.subtask[one]) >= 0).all()
        # float32: 16 weights of 1/16 or 9 of 1/9
        assert float(batch.weight.sum()) == pytest.approx(1, abs=1e-6)


def test_the_last_weights_give_the_evaluated_loss() -> None:
    """Two logits are rebuilt from their difference and their sum: float32 rounding of a loss."""
    runs = mixed()
    pack, state, metrics = trained(runs, 30, dtype=jnp.float32)
    for place, run in list(enumerate(runs))[2:4]:
        program = solo.Program.of(run)
        named = pack.weights(state, place)
        graph, weights = nnx.split(nnx.merge(solo.network_of(program), solo.init(run).weights))
        for path, leaf in nnx.to_flat_state(weights):
            leaf.set_value(jnp.asarray(named[".".join(map(str, path))]))
        again = solo.evaluate(program, graph, solo.run_data(run), weights, jnp.uint32(3))
        np.testing.assert_allclose(again.subtask_loss, metrics.subtask_loss[place], atol=2e-6)


def test_splitting_a_pack_changes_nothing(x64: None) -> None:
    runs = mixed()
    _, _, whole = trained(runs, STEPS)
    parts = [trained(runs[:3], STEPS)[2], trained(runs[3:], STEPS)[2]]
    for name in ("loss", "subtask_loss", "accuracy"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(getattr(whole, name), joined, rtol=0, atol=TOLERANCE)


def test_chunks_of_steps_change_nothing() -> None:
    """Bit for bit: the loop's body is one compiled program."""
    runs = mixed(train__train_size=57)
    (_, one, _), (_, two, _) = (trained(runs, *n, dtype=jnp.float32) for n in ((12,), (5, 1, 6)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_diverging_network_touches_nobody() -> None:
    """Bit for bit: its weights are zeros in every sum of the others before it can overflow. It is
    compared with one that is watched as well, so that both packs are the same program."""
    calm = mixed()
    watched = {"train__lr": 0.5, "train__weight_decay": 5.0}
    wild, quiet = (
        [
            run if place != 2 else small_run(network__width=33, **third)
            for place, run in enumerate(calm)
        ]
        for third in ({"train__lr": 1e20}, watched)
    )
    pack, state, metrics = trained(wild, 40, dtype=jnp.float32)
    _, _, expected = trained(quiet, 40, dtype=jnp.float32)
    assert np.isnan(metrics.loss[2])
    assert np.isfinite(expected.loss[2])
    assert np.isnan(metrics.subtask_loss[2]).all()
    assert any(np.isnan(values).any() for values in pack.weights(state, 2).values())
    others = [place for place in range(len(calm)) if place != 2]
    for name in ("loss", "subtask_loss", "subtask_accuracy"):
        np.testing.assert_array_equal(
            getattr(metrics, name)[others], getattr(expected, name)[others], err_msg=name
        )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, False),
        ({"train__lr": 1e20}, True),
        ({"train__lr": 1e-3, "train__weight_decay": 10.0}, False),
        ({"train__lr": 0.5, "train__weight_decay": 5.0}, True),  # w shrinks to -1.5 w
    ],
    ids=str,
)
def test_which_runs_are_watched(changed: dict[str, Any], expected: bool) -> None:
    assert layout.may_diverge(small_run(**changed)) == expected


def test_the_bound_on_adams_term(x64: None) -> None:
    """``may_diverge`` rests on it. Cauchy and Schwarz are equal for gradients that grow so."""
    growing = jnp.asarray((0.9 / 0.999) ** np.arange(6000.0)[::-1])
    adam = optax.scale_by_adam(eps=0.0)  # eps only lowers it

    def update(state: Any, gradient: jax.Array) -> tuple[Any, jax.Array]:
        direction, state = adam.update(gradient, state)
        return state, direction

    _, directions = jax.lax.scan(update, adam.init(jnp.zeros(())), growing)
    assert 7.2 < float(directions[-1]) < 7.3


def test_what_packs() -> None:
    assert layout.packable(small_run())
    assert not layout.packable(small_run(network__depth=3))
    assert not layout.packable(small_run(network__activation="tanh"))
