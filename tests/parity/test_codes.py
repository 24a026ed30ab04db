"""Compositional sparse parity: codes, and that the plain task is a special case of them."""

import math
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jquanta import streams
from jquanta.errors import BadInput
from jquanta.parity import solo
from jquanta.parity.codes import Code, parse_codes
from jquanta.parity.config import RunConfig, TaskConfig
from jquanta.parity.network import make_network
from jquanta.parity.packed import Packed
from jquanta.parity.task import draw, make_task, parity, unpack, whole_inputs
from jquanta.run.shown import shown
from jquanta.sweep.plan import plan
from tests import chance
from tests.parity import twins
from tests.parity.twins import small_run

# Members in any order, one code of all, weights; 6 disjoint subsets of 2 need 12 of the 40 bits.
CODES = "0 2 4+1*2.5 5 0+1+2+3+4+5*0.25"
OTHERS = "3*7 1 0+2 5+1+4 0+5"


def coded_run(codes: str = CODES, **changes: Any) -> RunConfig:
    return small_run(**{"task__n_bits": 40, "task__codes": codes} | changes)


# Reading codes


def test_codes_are_read() -> None:
    assert parse_codes(" 3  0\n2+0+11*2.5\t1*1e-3 ") == (
        Code((3,), 1.0),
        Code((0,), 1.0),
        Code((0, 2, 11), 2.5),
        Code((1,), 1e-3),
    )
    assert parse_codes("") == parse_codes("  ") == ()


def test_the_plain_task_has_its_subtasks_for_codes() -> None:
    plain = TaskConfig(n_tasks=7)
    assert (plain.n_codes, plain.longest_subset, plain.composite) == (7, 3, False)
    coded = coded_run().task
    assert (coded.n_codes, coded.longest_subset, coded.composite) == (5, 12, True)
    assert not TaskConfig(codes="3 0").composite


@pytest.mark.parametrize(
    ("codes", "remedy"),
    [
        ("0 x", "'x' is no code"),
        ("0+", "'0+' is no code"),
        ("+1", "is no code"),
        ("0++1", "is no code"),
        ("-1", "is no code"),
        ("1.0", "is no code"),
        ("0,1", "is no code"),
        ("0-1", "is no code"),
        ("0*", "is no code"),
        ("*2", "is no code"),
        ("0 * 2", "is no code"),
        ("9" * 5000, "is no code"),
        ("0*2*3", "the weight of '0*2*3' must be a finite number above 0"),
        ("0*0", "finite number above 0"),
        ("0*-1", "finite number above 0"),
        ("0*nan", "finite number above 0"),
        ("0*inf", "finite number above 0"),
        ("0*1e999", "finite number above 0"),
        ("0*two", "finite number above 0"),
        ("1 2+0+2", "'2+0+2' names a subtask twice"),
        ("0 1 00", "'00' repeats a code"),
        ("0+1 1+0*2", "repeats a code"),
        ("0 6", "there is no subtask 6; task.n_tasks = 6"),
        ("0+12", "there is no subtask 12"),
    ],
)
def test_nonsense_is_refused_in_one_line(codes: str, remedy: str) -> None:
    with pytest.raises(BadInput) as refusal:
        TaskConfig(n_tasks=6, codes=codes)
    message = str(refusal.value)
    assert re.fullmatch(rf"task\.codes = {re.escape(shown(repr(codes)))}: .*", message)
    assert remedy in message


def test_disjoint_subsets_must_fit() -> None:
    with pytest.raises(BadInput, match=r"^task\.codes = '0\+1': .* 12 bits; raise task\.n_bits$"):
        TaskConfig(n_tasks=6, n_bits=11, k=2, codes="0+1")
    TaskConfig(n_tasks=6, n_bits=12, k=2, codes="0+1")
    TaskConfig(n_tasks=6, n_bits=11, k=2, codes="0 1")  # no union: subsets may meet


# The task


def test_weights_multiply_the_frequencies_of_places() -> None:
    def expected(weights: list[float], by_place: list[float]) -> list[float]:
        shares = [weight * share for weight, share in zip(weights, by_place, strict=True)]
        return [share / math.fsum(shares) for share in shares]

    places = [(place + 1.5) ** -1.4 for place in range(1, 6)]
    for weights, text in [([1, 1, 2.5, 1, 0.25], CODES), ([7, 1, 1, 1, 1], OTHERS)]:
        zipf = make_task(coded_run(text, task__offset=1.5).task, 0).frequencies
        uniform = make_task(coded_run(text, task__frequencies="uniform").task, 0).frequencies
        # float64 powers and sums, a few units in the last place
        np.testing.assert_allclose(zipf, expected(weights, places), rtol=1e-13)
        np.testing.assert_allclose(uniform, expected(weights, [1] * 5), rtol=1e-13)


def test_weights_of_any_size_are_frequencies() -> None:
    for text in ("0*1e308 1*1e308", "0*1e-320 1*1e-320"):  # neither overflow nor 0 / 0
        task = make_task(TaskConfig(codes=text, frequencies="uniform"), 0)
        np.testing.assert_allclose(task.frequencies, 0.5, rtol=1e-15)


def test_codes_come_with_their_frequencies() -> None:
    run = coded_run()
    position = streams.at_index(jnp.arange(100_000, dtype=jnp.uint32))
    uniform = draw(solo.run_data(run).samples, position, 40).uniform
    task = make_task(run.task, 0)
    code = np.searchsorted(task.thresholds, np.asarray(uniform), side="right")
    assert chance.follows(np.bincount(code, minlength=5), task.frequencies)


@pytest.mark.parametrize(("n_tasks", "n_bits", "k"), [(6, 12, 2), (4, 64, 4), (5, 33, 1)])
def test_subsets_of_a_composite_task_are_disjoint(n_tasks: int, n_bits: int, k: int) -> None:
    singles = " ".join(map(str, range(n_tasks)))
    everything = "+".join(map(str, range(n_tasks)))
    for seed in range(20):
        subsets = make_task(TaskConfig(n_tasks, n_bits, k, codes=f"{singles} {everything}"), seed)
        *atomic, union = ([p for p in row if p >= 0] for row in subsets.subsets.tolist())
        assert [len(subset) for subset in atomic] == [k] * n_tasks
        assert all(subset == sorted(subset) for subset in atomic)
        assert union == sorted(position for subset in atomic for position in subset)
        assert len(set(union)) == n_tasks * k
        assert max(union) < n_bits


def test_disjoint_subsets_are_uniform() -> None:
    """Every position is as often in each subset as any other, and so is each pair of two."""
    config = TaskConfig(n_tasks=2, n_bits=7, k=2, codes="0 1 0+1")
    drawn = np.array([make_task.__wrapped__(config, seed).subsets[:2, :2] for seed in range(800)])
    pairs = [(a, b) for a in range(7) for b in range(a + 1, 7)]
    for subset in (drawn[:, 0], drawn[:, 1]):
        rows = list(map(tuple, subset.tolist()))
        assert chance.follows([rows.count(pair) for pair in pairs], 1 / 21)


def test_disjoint_subsets_depend_on_seed_and_shape_only() -> None:
    """So a composite code alone has the subset that it has beside others."""
    everything = make_task(coded_run().task, 3).subsets[-1]
    for other in (
        coded_run("0+1+2+3+4+5", task__alpha=2.0),
        coded_run("1+5 0+1+2+3+4+5*3", task__frequencies="uniform", network__width=3),
    ):
        np.testing.assert_array_equal(make_task(other.task, 3).subsets[-1], everything)
    assert not np.array_equal(make_task(coded_run().task, 4).subsets[-1], everything)


def test_single_codes_are_the_plain_task_restricted() -> None:
    plain = make_task(small_run().task, 0)
    task = make_task(small_run(task__codes="4 0*3").task, 0)
    np.testing.assert_array_equal(task.subsets, plain.subsets[[4, 0]])
    np.testing.assert_array_equal(task.masks, plain.masks[[4, 0]])
    assert plain.codes is None


@pytest.mark.parametrize("codes", [CODES, OTHERS])
def test_a_code_is_its_control_bits_and_the_parity_of_its_union(codes: str) -> None:
    """The union in plain Python: the subsets of the members, from the codes that name one."""
    singles = " ".join(map(str, range(6)))
    atomic = make_task(coded_run(f"{singles} 0+1").task, 0).subsets[:6, :2].tolist()
    run = coded_run(codes)
    task = make_task(run.task, 0)
    members = twins.members(run.task)
    assert task.codes is not None
    assert [np.flatnonzero(row).tolist() for row in task.codes] == [sorted(m) for m in members]
    drawn = draw(
        solo.run_data(run).samples, streams.at_index(jnp.arange(400, dtype=jnp.uint32)), 40
    )
    bits = twins.bits_of(drawn.words, 40)
    for code, own in enumerate(members):
        label = parity(drawn.words, jnp.asarray(task.masks[code]))
        expected = [sum(row[p] for i in own for p in atomic[i]) % 2 for row in bits]
        np.testing.assert_array_equal(label, expected)
        assert chance.fair(np.array(expected)[:, None])


# The network


def code_matrix(run: RunConfig, dtype: Any = jnp.float64) -> jax.Array:
    codes = make_task(run.task, run.train.seed).codes
    assert codes is not None
    return jnp.asarray(codes, dtype)


@pytest.mark.parametrize("depth", [2, 3])
def test_rows_of_codes_are_multi_hot_inputs(depth: int, x64: None) -> None:
    """float64: some 50 terms of size 1 in another order, 50 x 2^-53, and a layer or two."""
    run = coded_run(network__depth=depth)
    network, codes = make_network(run, jnp.float64), code_matrix(run)
    bits = jnp.asarray(np.random.default_rng(0).integers(0, 2, (40, 40)), jnp.float64)
    code = jnp.arange(40) % 5
    inputs = twins.whole_inputs(code, np.asarray(bits), run.task)
    np.testing.assert_array_equal(whole_inputs(code, bits, codes), inputs)
    at = network.at(code, bits, codes)
    np.testing.assert_allclose(at, network(jnp.asarray(inputs)), rtol=0, atol=1e-14)
    expected = twins.logits(solo.named_weights(nnx.state(network)), inputs)
    np.testing.assert_allclose(at, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("depth", [2, 3])
def test_gradients_flow_through_the_codes(depth: int, x64: None) -> None:
    """Against autodiff through whole multi-hot inputs, sums of 16 terms in another order."""
    run = coded_run(network__depth=depth)
    program, data = solo.Program.of(run), solo.run_data(run, jnp.float64)
    graph, weights = solo.network_of(program), solo.init(run, jnp.float64).weights
    batch = jax.jit(partial(solo.draw_batch, program))(data, jnp.uint32(3))

    def plain(weights: Any) -> jax.Array:
        bits = unpack(batch.words, 40, jnp.float64)
        inputs = whole_inputs(batch.subtask, bits, code_matrix(run))
        return solo.cross_entropy(nnx.merge(graph, weights)(inputs), batch.label).mean()

    found = jax.grad(solo.training_loss)(weights, graph, batch, 40, data.codes)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(jax.grad(plain)(weights)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize("depth", [2, 3])
def test_evaluation_is_of_codes(depth: int, x64: None) -> None:
    """float64: means of 32 losses, rounded as they are; validation points are the same idea."""
    run = coded_run(network__depth=depth, train__train_size=40)
    stack = solo.Stack([run], jnp.float64)
    state = stack.advance(stack.start(), 30)
    metrics = jax.tree.map(lambda x: np.asarray(x[0]), stack.evaluate(state, 2))
    points = streams.at_index(jnp.arange(32, dtype=jnp.uint32))
    data, task = solo.run_data(run), make_task(run.task, 0)
    assert metrics.subtask_loss.shape == (5,)
    for key, mean in [
        (streams.fold(data.evaluation, 2), metrics.loss),
        (data.validation, metrics.validation_loss),
    ]:
        bits = twins.bits_of(draw(key, points, 40).words, 40)
        losses = []
        for code in range(5):
            same = np.full(32, code)
            logits = twins.logits(stack.weights(state, 0), twins.whole_inputs(same, bits, run.task))
            losses.append(twins.cross_entropy(logits, twins.labels(bits, task.subsets, same)))
        assert float(mean) == pytest.approx(task.frequencies @ np.mean(losses, 1), abs=1e-13)
        if mean is metrics.loss:
            np.testing.assert_allclose(metrics.subtask_loss, np.mean(losses, 1), atol=1e-13)


# Training

STEPS = 200

# As in test_packed: float64 sums in another order, lifted where Adam divides by little.
TOLERANCE = 1e-9

Trainer = type[solo.Stack] | type[Packed]


def trained(trainer: Trainer, runs: list[RunConfig], steps: int = STEPS) -> Any:
    """A trainer of some runs, its state after ``steps``, and its evaluation 3."""
    together = trainer(runs, jnp.float64)
    state = together.advance(together.start(), steps)
    return together, state, jax.tree.map(np.asarray, together.evaluate(state, 3))


@pytest.mark.parametrize("depth", [2, 3])
def test_members_of_a_stack_keep_their_own_codes(depth: int, x64: None) -> None:
    runs = [
        coded_run(network__depth=depth),
        coded_run(OTHERS, network__depth=depth, train__seed=3),
        coded_run("0 1 2 3 4", network__depth=depth),
    ]
    stack, state, metrics = trained(solo.Stack, runs)
    for place, run in enumerate(runs):
        alone, own, expected = trained(solo.Stack, [run])
        np.testing.assert_allclose(
            metrics.subtask_loss[place], expected.subtask_loss[0], atol=TOLERANCE
        )
        for name, weight in alone.weights(own, 0).items():
            np.testing.assert_allclose(stack.weights(state, place)[name], weight, atol=TOLERANCE)


def test_plain_runs_and_others_are_not_stacked() -> None:
    with pytest.raises(ValueError, match="cannot be stacked"):
        solo.Stack([small_run(), small_run(task__codes="0 1 2 3 4 5")])


@pytest.mark.parametrize(
    ("trainer", "depth"), [(solo.Stack, 2), (solo.Stack, 3), (Packed, 2)], ids=str
)
def test_every_subtask_by_itself_is_the_plain_task(trainer: Trainer, depth: int, x64: None) -> None:
    """A product with the identity adds zeros: exact but for the order of gradients' sums."""
    shape = {"network__depth": depth, "train__train_size": 57}
    plain, start, expected = trained(trainer, [small_run(**shape)])
    spelled = small_run(**shape, task__codes="0 1 2 3 4 5")
    coded, end, found = trained(trainer, [spelled])
    for name, values in expected._asdict().items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=0, atol=TOLERANCE)
    for name, weight in plain.weights(start, 0).items():
        np.testing.assert_allclose(coded.weights(end, 0)[name], weight, rtol=0, atol=TOLERANCE)
    assert abs(found.loss[0] - math.log(2)) > 1e-3  # something was learned


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("train_size", [math.inf, 57])
def test_a_member_of_a_pack_equals_its_solo_run(train_size: float, x64: None) -> None:
    """Codes, weights, alpha, width and rates differ between members of one pack."""
    shared: dict[str, Any] = {"train__train_size": train_size}
    runs = [
        coded_run(**shared, network__width=7),
        coded_run(**shared, network__width=33, train__weight_decay=0.1),
        coded_run(OTHERS, **shared, network__width=7, train__lr=0.01),
        coded_run(OTHERS, **shared, network__width=7, task__alpha=1.3),
        coded_run("0 1 2 3 4", **shared, network__width=33, task__k=3),
    ]
    pack, state, metrics = trained(Packed, runs)
    for place, run in enumerate(runs):
        alone, own, expected = trained(solo.Stack, [run])
        for name, values in expected._asdict().items():
            np.testing.assert_allclose(
                getattr(metrics, name)[place], values[0], rtol=0, atol=TOLERANCE, err_msg=name
            )
        for name, weight in alone.weights(own, 0).items():
            np.testing.assert_allclose(
                pack.weights(state, place)[name], weight, rtol=0, atol=TOLERANCE
            )


def test_the_plain_task_beside_codes(x64: None) -> None:
    """``plan`` keeps them apart, for speed; a pack of both is right all the same."""
    runs = [small_run(), small_run(task__codes="5 4 3 2 1 0*2")]
    _, _, metrics = trained(Packed, runs)
    for place, run in enumerate(runs):
        _, _, expected = trained(solo.Stack, [run])
        np.testing.assert_allclose(
            metrics.subtask_loss[place], expected.subtask_loss[0], rtol=0, atol=TOLERANCE
        )


def test_only_equal_numbers_of_codes_share_a_pack() -> None:
    runs = [
        coded_run(CODES),
        coded_run("0 1 0+1"),
        coded_run(OTHERS),
        coded_run("0 1 2 3 4 5"),
        coded_run(""),  # six subtasks, too, without a product
        coded_run(CODES, task__k=3),
    ]
    packs = [pack.members for pack in plan(runs, memory=10**9)]
    assert packs == [(0, 2, 5), (1,), (3,), (4,)]
