"""Small sweeps, written as flat tables of dotted fields, and what helps to look at folders."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jquanta as jq
from jquanta import streams
from jquanta.parity.config import RunConfig
from jquanta.parity.task import Task, draw
from jquanta.streams import Stream
from tests.parity import twins

Config = dict[str, Any]

TINY: Config = {
    "name": "tiny",
    "task.n_tasks": 5,
    "task.n_bits": 8,
    "task.k": 2,
    "network.width": [3, 5],
    "train.batch_size": 16,
    "train.steps": 30,
    "eval.log_every": 10,
    "eval.points_per_task": 256,
}
"""Two online networks; seconds to train, nearly all of it compilation."""

FINITE: Config = {
    "network.width": 24,
    "train.train_size": [50, 100],  # 50 = 3 * 16 + 2: the last batch of an epoch is short
    "train.steps": 45,
    "train.lr": 0.02,
    "eval.log_every": 20,  # 45 is no multiple: the last interval is short
}

RAGGED: Config = TINY | {
    "name": "ragged",
    "sweep": [
        {},
        FINITE,
        {
            "task.n_tasks": 7,
            "task.n_bits": 9,
            "task.k": 3,
            "task.offset": 1.5,
            "network.width": 4,
            "network.depth": 3,
            "network.activation": "tanh",
            "train.steps": 25,
            "train.seed": 3,
            "train.weight_decay": 0.01,
        },
    ],
}
"""Five runs that share neither their steps nor their subtasks: online, finite and deep."""


LONG: Config = TINY | {
    "name": "long",
    "train.steps": 310,
    "eval.log_every": 30,  # 310 is no multiple: the last interval is short
    "sweep": [{}, {"network.width": 5, "train.train_size": 50}],
}
"""Online and finite networks, which cannot train together, with 12 evaluations each."""


def toml(config: Mapping[str, Any]) -> str:
    """A flat configuration as a TOML document."""
    import tomli_w

    nested: Config = {}
    for field, value in config.items():
        if "." in field:
            table, name = field.split(".")
            nested.setdefault(table, {})[name] = value
        elif isinstance(value, Mapping):
            nested[field] = dict(value)
        else:
            nested[field] = value
    return tomli_w.dumps(nested)


def flags(config: Mapping[str, Any]) -> list[str]:
    """The fields of a flat configuration as flags of the command line."""
    words: list[str] = []
    for field, value in config.items():
        if "." in field:
            values = value if isinstance(value, list) else [value]
            words += [f"--{field}", ", ".join(map(str, values))]
    return words


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below ``folder`` with its time of change and, for files, its content."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


SUM_ROUNDING = 2e-5
"""Relative. Logits are sums of some 20 float32 products of size 1 to 20, each off by 1e-6."""


def evaluated(
    run: RunConfig, task: Task, network: Callable[[Any], Any], step: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Loss (nats) and accuracy [S] of a network on the test points of a run's evaluation at
    ``step`` (the last if None), by the contract's words: whole inputs, labels counted."""
    number = run.evaluation_steps.index(run.train.steps if step is None else step)
    key = streams.fold(streams.key(Stream.EVALUATION, run.train.seed, run.task.n_bits), number)
    points = streams.at_index(jnp.arange(run.eval.points_per_task, dtype=jnp.uint32))
    words = np.asarray(draw(key, points, run.task.n_bits).words)
    bits = twins.bits_of(words, run.task.n_bits)
    loss, accuracy = [], []
    for subtask in range(run.task.n_codes):
        same = np.full(len(bits), subtask)
        inputs = twins.whole_inputs(same, bits, run.task)
        label = twins.labels(bits, task.subsets, same)
        logits = np.asarray(network(jnp.asarray(inputs, jnp.float32)), np.float64)
        loss.append(twins.cross_entropy(logits, label).mean())
        accuracy.append((logits.argmax(1) == label).mean())
    return np.array(loss), np.array(accuracy)


CIRCUMSTANCES = ["created", "commit"]  # what a later run of the same code may say otherwise


def assert_same(one: Path, other: Path) -> None:
    """Two finished folders hold the same Dataset and weights, bit for bit."""
    first, second = jq.open_results(one).load(), jq.open_results(other).load()
    for name in CIRCUMSTANCES:
        first.attrs.pop(name)
        second.attrs.pop(name)
    assert first.identical(second)
    weights = sorted(path.name for path in (one / "weights").iterdir())
    assert weights == sorted(path.name for path in (other / "weights").iterdir())
    for name in weights:
        assert (one / "weights" / name).read_bytes() == (other / "weights" / name).read_bytes()
    assert {path.name for path in one.iterdir()} - {"figures"} == {
        path.name for path in other.iterdir()
    } - {"figures"}


class Crash(Exception):
    pass


def crash() -> None:
    raise Crash("on purpose")
