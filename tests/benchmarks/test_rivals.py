"""The rivals train the same networks on the same task: what is timed is the same work."""

import json
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import contest, lookup, memory, parity
from benchmarks.lookup import REDUCTIONS, Lookup, Variant, initial_weights, variants
from benchmarks.record import Timing
from benchmarks.rivals import Reference
from jquanta.parity import solo
from jquanta.parity.config import RunConfig
from jquanta.parity.task import unpack
from tests.chance import fair, follows, normal_bound
from tests.parity.twins import cross_entropy, labels, logits, one_hot_inputs, small_run

torch = pytest.importorskip("torch")

CPU = torch.device("cpu")
WIDTHS = (5, 8, 3)
TINY = {
    "network.width": list(WIDTHS),
    "task.n_tasks": 6,
    "task.n_bits": 10,
    "train.batch_size": 64,
    "eval.points_per_task": 16,
}
ROUNDING = 2e-6  # float32, weights of order 1, sums of at most 64 samples in any order


def runs() -> list[RunConfig]:
    return [small_run(network__width=width, train__weight_decay=0.1) for width in WIDTHS]


def trained_by_us(run: RunConfig, steps: int) -> dict[str, np.ndarray]:
    """Weights of the solo trainer, the slow twin of ours."""
    stack = solo.Stack([run])
    return stack.weights(stack.advance(stack.start(), steps), 0)


def our_batches(run: RunConfig, steps: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Subtasks, bits and labels of the first batches of the solo trainer."""
    program, data = solo.Program.of(run), solo.run_data(run)
    batches = [solo.draw_batch(program, data, jax.numpy.uint32(step)) for step in range(steps)]
    return [
        (
            np.array(batch.subtask, np.int64),
            np.array(unpack(batch.words, run.task.n_bits, np.float32)),
            np.array(batch.label, np.int64),
        )
        for batch in batches
    ]


def test_reference_steps_as_we_do() -> None:
    run = runs()[0]
    rival = Reference(run, CPU)
    for subtask, bits, label in our_batches(run, 3):
        inputs = one_hot_inputs(subtask, bits, run.task.n_tasks)
        rival.step(torch.tensor(inputs, dtype=torch.float32), torch.tensor(label))
    ours = trained_by_us(run, 3)
    theirs = [parameter.detach().numpy().T for parameter in rival.network.parameters()]
    for (name, mine), other in zip(sorted_as_torch(ours), theirs, strict=True):
        np.testing.assert_allclose(other, mine, rtol=0, atol=ROUNDING, err_msg=name)


def sorted_as_torch(named: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    names = [f"layers.{layer}.{part}" for layer in (0, 1) for part in ("kernel", "bias")]
    return [(name, named[name]) for name in names]


@pytest.mark.parametrize("tile", [None, 5])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "product"])
def test_lookup_steps_as_we_do(reduction: str, tile: int | None) -> None:
    members = runs() if reduction in REDUCTIONS else runs()[1:2]
    rival = Lookup(members, CPU, Variant(reduction, tile))
    for subtask, bits, label in our_batches(members[0], 3):
        rival.step(torch.tensor(subtask), torch.tensor(bits), torch.tensor(label))
    each = [trained_by_us(run, 3) for run in members]
    n_tasks = members[0].task.n_tasks
    first = np.concatenate([named["layers.0.kernel"] for named in each], axis=1)
    ours = (
        first[n_tasks:],
        first[:n_tasks],
        np.concatenate([named["layers.0.bias"] for named in each]),
        np.concatenate([named["layers.1.kernel"] for named in each]),
        np.stack([named["layers.1.bias"] for named in each]),
    )
    for mine, start, other in zip(ours, initial_weights(members), rival.weights, strict=True):
        np.testing.assert_allclose(other.detach().numpy(), mine, rtol=0, atol=ROUNDING)
        assert np.abs(mine - start).max() > 1e-3  # three steps of lr 1e-3 have moved it


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_sum_each_networks_own_units(reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    widths = (300, 2, 40, 260, 7)  # two of them fill a group of their own
    hidden = torch.randn(9, sum(widths), generator=generator)
    out = torch.randn(sum(widths), 2, generator=generator)
    found = REDUCTIONS[reduction](widths, CPU)(hidden, out).numpy()
    ends = np.cumsum(widths)
    for net, (end, width) in enumerate(zip(ends, widths, strict=True)):
        own = slice(end - width, end)
        expected = hidden[:, own].double() @ out[own].double()
        np.testing.assert_allclose(found[:, net], expected, rtol=0, atol=1e-4)


def check_draws(run: RunConfig, subtask: np.ndarray, bits: np.ndarray, label: np.ndarray) -> None:
    task = solo.make_task(run.task, run.train.seed)
    np.testing.assert_array_equal(label, labels(bits.astype(int), task.subsets, subtask))
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert fair(bits)
    assert follows(np.bincount(subtask, minlength=run.task.n_tasks), task.frequencies)


# More bits than one random word of the rivals holds, and not a multiple of it.
BIG_BATCH: dict[str, int] = {"task__n_bits": 60, "train__batch_size": 4000}


def test_reference_draws_the_task() -> None:
    torch.manual_seed(0)
    run = small_run(**BIG_BATCH)
    inputs, label = Reference(run, CPU).draw(run.batch_size)
    control, bits = inputs.numpy()[:, : run.task.n_tasks], inputs.numpy()[:, run.task.n_tasks :]
    np.testing.assert_array_equal(control.sum(1), 1)
    np.testing.assert_array_equal(control.max(1), 1)
    check_draws(run, control.argmax(1), bits, label.numpy())


def test_lookup_draws_the_task() -> None:
    torch.manual_seed(0)
    run = small_run(**BIG_BATCH)
    subtask, bits, label = Lookup([run], CPU, Variant("product")).draw()
    check_draws(run, subtask.numpy(), bits.numpy(), label.numpy())


def test_lookup_evaluates_as_we_do() -> None:
    members = runs()
    rival = Lookup(members, CPU, Variant("blocks"))
    bits = rival.draw_bits(40)
    loss, accuracy = rival.evaluate(bits)
    task = solo.make_task(members[0].task, members[0].train.seed)
    for net, run in enumerate(members):
        weights = solo.named_weights(solo.init(run).weights)
        for subtask in range(run.task.n_tasks):
            same = np.full(len(bits), subtask)
            found = logits(weights, one_hot_inputs(same, bits.numpy(), run.task.n_tasks))
            label = labels(bits.numpy().astype(int), task.subsets, same)
            expected = cross_entropy(found, label).mean()
            assert float(loss[net, subtask]) == pytest.approx(expected, abs=1e-5)
            right = (found.argmax(1) == label).mean()
            assert float(accuracy[net, subtask]) == pytest.approx(right, abs=1e-6)


def test_reference_evaluates_the_exact_losses_up_to_chance() -> None:
    torch.manual_seed(0)
    run = small_run(eval__points_per_task=5000)
    rival = Reference(run, CPU, mean_points=20_000)
    with torch.no_grad():  # losses that differ clearly between samples
        for parameter in rival.network.parameters():
            parameter.mul_(3)
    mean, subtasks = rival.evaluate()
    task = solo.make_task(run.task, run.train.seed)
    n_bits = run.task.n_bits
    every = (np.arange(2**n_bits)[:, None] >> np.arange(n_bits)) & 1
    named = {
        f"layers.{place}.{part}": parameter.detach().numpy().T
        for (place, part), parameter in zip(
            [(0, "kernel"), (0, "bias"), (1, "kernel"), (1, "bias")],
            rival.network.parameters(),
            strict=True,
        )
    }
    losses = []
    for subtask in range(run.task.n_tasks):
        same = np.full(len(every), subtask)
        found = logits(named, one_hot_inputs(same, every, run.task.n_tasks))
        losses.append(cross_entropy(found, labels(every, task.subsets, same)))
    exact, deviation = np.mean(losses, axis=1), np.std(losses, axis=1)
    limit = normal_bound(run.task.n_tasks + 1)
    assert np.all(np.abs(subtasks[:, 0] - exact) < limit * deviation / 5000**0.5)
    whole = float(task.frequencies @ exact)
    spread = float(task.frequencies @ (np.mean(np.square(losses), axis=1))) - whole**2
    assert abs(mean[0] - whole) < limit * (spread / 20_000) ** 0.5


def test_variants_cover_every_reduction_and_compiling() -> None:
    thorough = variants(runs(), CPU, thorough=True)
    assert {variant.reduction for variant in thorough} == set(REDUCTIONS)
    assert any(variant.compiled for variant in thorough)
    assert not any(variant.compiled for variant in variants(runs(), CPU, thorough=False))


def timing(width: int, step: float, evaluation: float) -> Timing:
    return Timing((width,), "", step, (step,), evaluation, (evaluation,), 0.0)


def test_score_interpolates_in_the_width_and_shares_the_evaluation() -> None:
    measured = [timing(10, 1.0, 10.0), timing(20, 3.0, 10.0), timing(40, 4.0, 30.0)]
    score = contest.score("tuned", measured, (10, 15, 20, 30, 40), log_every=100)
    assert score.step == pytest.approx(1 + 2 + 3 + 3.5 + 4)
    assert score.evaluation == pytest.approx(10 + 10 + 10 + 20 + 30)
    assert score.total == pytest.approx(13.5 + 80 / 100)


def test_fastest_leaves_out_what_does_not_work() -> None:
    class Fine:
        def train(self, n_steps: int) -> None: ...
        def evaluate(self) -> object: ...

    def broken() -> contest.Entry:
        raise OSError("no compiler")

    entry = contest.fastest("x", [broken, lambda: contest.Entry("x", (1,), Fine())])
    assert entry.widths == (1,)
    with pytest.raises(RuntimeError, match="no variant of x works"):
        contest.fastest("x", [broken])


@pytest.mark.thorough(keep=1)
@pytest.mark.slow
@pytest.mark.parametrize("quick", [True, False])
def test_a_whole_benchmark_at_a_tiny_size(
    quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "WORKLOAD", TINY)
    if not quick:  # the choice itself is the same; that of many, compiled too, takes minutes
        short = partial(variants, thorough=False)
        monkeypatch.setattr(
            lookup, "variants", lambda members, device, thorough: short(members, device)
        )
        monkeypatch.setattr(memory, "peak_gb", lambda flags: 0.5)
    out = tmp_path / "deep" / "record.json"
    flags = ["--out", str(out), "--repeats", "2", *(["--quick"] if quick else [])]
    assert parity.main(flags) == 0
    number = r"\d+\.\d+"
    names = ("reference_ratio", "tuned_ratio", "packed_ratio", "matmul_fraction", "peak_gb")
    last = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(" ".join(f"{name}=({number})" for name in names), last)
    assert found is not None
    record = json.loads(out.read_text())
    totals = {score["name"]: score["total"] for score in record["scores"]}
    for name, value in record["ratios"].items():
        assert value == pytest.approx(totals[name] / totals["ours"])
    assert record["mode"] == ("quick" if quick else "full")
    assert any("interpolated" in note for note in record["notes"]) == quick
    assert record["bound"]["operations"] == 4 * 64 * 10 * sum(WIDTHS)
    assert record["peak_gb"] > 0
    assert record["versions"]["torch"] == str(torch.__version__)
