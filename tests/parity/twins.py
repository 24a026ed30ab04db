"""Small runs, and plain numpy twins of the package's mathematics: float64, one-hot, slow."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from jquanta.parity.config import RunConfig, Scalar, TaskConfig, from_values

SMALL: dict[str, Scalar] = {
    "task.n_tasks": 6,
    "task.n_bits": 10,
    "task.k": 2,
    "network.width": 8,
    "train.batch_size": 16,
    "train.steps": 40,
    "eval.log_every": 5,
    "eval.points_per_task": 32,
}

Weights = Mapping[str, np.ndarray]


def small_run(**changes: Scalar) -> RunConfig:
    """A run of the small task with some fields changed, written as ``train__lr=0.1``."""
    return from_values(SMALL | {name.replace("__", "."): x for name, x in changes.items()})


def bits_of(words: ArrayLike, n_bits: int) -> np.ndarray:
    """The first ``n_bits`` bits [B, N] of packed words, by arithmetic on Python's integers."""
    numbers = [sum(int(word) << (32 * i) for i, word in enumerate(row)) for row in np.array(words)]
    return np.array([[number >> place & 1 for place in range(n_bits)] for number in numbers])


def labels(bits: np.ndarray, subsets: np.ndarray, subtask: np.ndarray) -> np.ndarray:
    """Parity of each sample's bits in its subtask's subset, counted one by one; -1 is no bit."""
    positions = [[position for position in subset if position >= 0] for subset in subsets]
    return np.array([sum(row[positions[i]]) % 2 for row, i in zip(bits, subtask, strict=True)])


def one_hot_inputs(subtask: np.ndarray, bits: np.ndarray, n_tasks: int) -> np.ndarray:
    """Whole inputs [B, S + N]: the control vector, then the task bits."""
    return np.hstack([np.eye(n_tasks)[np.asarray(subtask)], bits])


def members(task: TaskConfig) -> list[list[int]]:
    """The atomic subtasks of each code, as its text says; without codes each by itself."""
    words = task.codes.split() or map(str, range(task.n_tasks))
    return [[int(number) for number in word.split("*")[0].split("+")] for word in words]


def whole_inputs(subtask: np.ndarray, bits: np.ndarray, task: TaskConfig) -> np.ndarray:
    """Whole inputs [B, S + N] with every control bit of each sample's code set."""
    control = np.zeros((len(bits), task.n_tasks))
    codes = members(task)
    for row, code in zip(control, np.asarray(subtask), strict=True):
        row[codes[code]] = 1
    return np.hstack([control, bits])


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def logits(weights: Weights, inputs: np.ndarray, activation: str = "relu") -> np.ndarray:
    """Logits [B, 2] of whole inputs, from weights named ``layers.0.kernel`` and so on."""
    x = np.asarray(inputs, np.float64)
    depth = len(weights) // 2
    for layer in range(depth):
        x = x @ weights[f"layers.{layer}.kernel"].astype(float) + weights[f"layers.{layer}.bias"]
        if layer < depth - 1:
            x = ACTIVATIONS[activation](x)
    return x


def cross_entropy(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """-ln softmax(logits)[label] [B], in nats."""
    own = np.take_along_axis(logits, np.asarray(label)[:, None], axis=1)[:, 0]
    return np.log(np.exp(logits).sum(1)) - own
