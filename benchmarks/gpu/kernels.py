"""The error of packed training, compared with solo training on the same weights and samples."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.record import Row
from benchmarks.gpu.trainer import figure2
from jquanta.parity.config import RunConfig
from jquanta.parity.packed import Packed
from jquanta.parity.solo import Metrics, Stack

STEPS = 20
"""Training steps after which weights are compared."""

Weights = Mapping[str, np.ndarray]


def measure(small: bool) -> Iterator[Row]:
    """Errors of three of the networks of Figure 2, and whether two packed trainings are equal.

    Each network is also trained alone (solo), in float32 on the same device and in float64 on the
    CPU. The float64 result is taken as exact, and the error of solo float32 training is the scale
    on which the error of the pack is judged. Such errors are larger than rounding: where the
    preactivation of a hidden unit is within rounding of 0, the ReLU switches, and Adam, which
    divides by the size of the gradient, moves a weight of a rare subtask by a whole step.
    """
    runs, steps = figure2(small), 2 if small else STEPS
    pack = Packed(runs)
    state = pack.start()
    chosen = (len(runs) - 1, 0) if small else (len(runs) - 1, 0, len(runs) // 2)
    before = {member: pack.weights(state, member) for member in chosen}
    untrained = pack.evaluate(state, 0)
    state = pack.advance(state, steps)
    again = pack.advance(pack.start(), steps)
    # The same seed and the same program on the same device should give the same bits.
    same = [
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True)
    ]
    yield Row(
        f"two trainings of {steps} steps",
        "equal to the bit" if all(same) else "not equal",
        note=f"{sum(same)} of {len(same)} arrays are",
    )
    trained = pack.evaluate(state, 1)
    for member in chosen:
        run, started = runs[member], before[member]
        mine = Trained(pack.weights(state, member), _of(untrained, member), _of(trained, member))
        solo = _alone(run, steps)
        # The reference: the same weights and samples in float64.
        with jax.default_device(jax.devices("cpu")[0]), jax.enable_x64(True):
            exact = _alone(run, steps, jnp.float64)
        width = f"width {run.network.width}"
        changes = {
            name: _change_error(found.weights, exact.weights, started)
            for name, found in (("pack", mine), ("solo", solo))
        }
        worst = max(changes["pack"], key=lambda name: changes["pack"][name])
        yield Row(
            f"{width}: change of weights off by",
            changes["pack"][worst],
            note=f"solo {max(changes['solo'].values()):.1e}; {worst}, {steps} steps, relative norm "
            "against float64",
            samples=tuple(changes["pack"].values()),
        )
        for when in ("before", "after"):
            off = [
                _loss_error(getattr(found, when), getattr(exact, when)) for found in (mine, solo)
            ]
            yield Row(
                f"{width}: subtask losses {when} off by",
                off[0],
                "nats",
                note=f"solo {off[1]:.1e}; the largest, against float64",
                shown=when == "after",
            )
        flips = [_wrong_answers(found.after, exact.after, run) for found in (mine, solo)]
        yield Row(
            f"{width}: points answered otherwise",
            flips[0],
            note=f"solo {flips[1]}; of {run.eval.points_per_task * run.task.n_tasks:,}, at least",
            shown=False,
        )


class Trained(NamedTuple):
    """One trained network: its weights, and its evaluations before and after training."""

    weights: Weights
    before: Metrics
    after: Metrics


def _alone(run: RunConfig, steps: int, dtype: Any = jnp.float32) -> Trained:
    """Train one network by the solo trainer, the simple implementation."""
    stack = Stack([run], dtype)
    state = stack.start()
    untrained = stack.evaluate(state, 0)
    state = stack.advance(state, steps)
    weights, trained = stack.weights(state, 0), stack.evaluate(state, 1)
    return Trained(weights, _of(untrained, 0), _of(trained, 0))


def _of(metrics: Metrics, member: int) -> Metrics:
    """The metrics of one network, in the host's memory."""
    return Metrics(*(np.asarray(column[member]) for column in metrics))


def _change_error(found: Weights, exact: Weights, started: Weights) -> dict[str, float]:
    """For each array of weights, the norm of the error divided by the norm of the change."""
    return {
        name: float(np.linalg.norm(found[name] - x) / np.linalg.norm(x - started[name]))
        for name, x in exact.items()
    }


def _loss_error(found: Metrics, exact: Metrics) -> float:
    """The largest error of the loss of a subtask, in nats."""
    return float(np.abs(np.asarray(found.subtask_loss) - exact.subtask_loss).max())


def _wrong_answers(found: Metrics, exact: Metrics, run: RunConfig) -> int:
    """At least how many test points are answered differently, by the accuracies of subtasks."""
    apart = np.abs(np.asarray(found.subtask_accuracy, np.float64) - exact.subtask_accuracy)
    return round(run.eval.points_per_task * float(apart.sum()))
