"""A sweep over alpha in which the power laws of each alpha and seed are planted."""

import numpy as np

from jquanta.parity.config import RunConfig
from tests.sweep.examples import Config

S = 12
ALPHAS = [0.2, 0.4, 0.6]
PLATEAU = 15_000  # updates from which the loss no longer falls
BEST_STEP = 5_000
SIZES = [100, 316, 1000, 3162, 10_000, 31_623, 100_000]
SPREAD = 0.01  # between the exponents of one seed and the next

WIDTHS: Config = {"network.width": [4, 8, 16, 32, 64]}
DATA: Config = {"network.width": 64, "train.train_size": SIZES}

CONFIG: Config = {
    "name": "alphas",
    "task.n_tasks": S,
    "task.n_bits": 12,
    "task.k": 2,
    "task.alpha": ALPHAS,
    "train.batch_size": 100,
    "train.steps": 20_000,
    "train.seed": [0, 1, 2],
    "eval.log_every": 250,
    "sweep": [WIDTHS, DATA],
}


def exponents(alpha: float, k: int = 2) -> dict[str, float]:
    """What is planted: other than the model's, and different for each k."""
    shift = 0.03 * (k - 2)
    return {
        "alpha_N": 0.1 + alpha + shift,
        "alpha_S": 0.2 + alpha / 4 + shift,
        "alpha_D": 0.1 + alpha / 2 + shift,
    }


def mean_loss(run: RunConfig, steps: np.ndarray, seed: float) -> np.ndarray:
    """Bits at ``steps``; each exponent is larger for larger seeds, and as planted for seed 1.

    At seed 1, all D but the first are below 0.95 bit.
    """
    of = exponents(run.task.alpha, run.task.k)
    more = SPREAD * (seed - 1)
    if run.online:
        sizes = (run.n_params / 110) ** -(of["alpha_N"] + more)
        falling = (np.maximum(steps, 1) / PLATEAU) ** -(of["alpha_S"] + more)
        return 0.5 * sizes * np.maximum(falling, 1)
    data = 0.98 * (run.train.train_size / SIZES[0]) ** -(of["alpha_D"] + more)
    return data * (1 + np.log(np.maximum(steps, 1) / BEST_STEP) ** 2)


def count(bits: np.ndarray) -> np.ndarray:
    """Subtasks learned where the mean loss is ``bits`` at seed 1; the same at all seeds."""
    return np.minimum(0.5 / bits, S // 2).astype(int)


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """The first subtasks are learned; the others share what is left of the mean loss."""
    rank = np.arange(1, run.task.n_tasks + 1)
    frequency = rank ** -(run.task.alpha + 1.0)
    frequency /= frequency.sum()
    learned = rank <= count(mean_loss(run, steps, 1))
    left = mean_loss(run, steps, run.train.seed) - 0.01 * (learned @ frequency)[:, None]
    return np.where(learned, 0.01, left / (~learned @ frequency)[:, None])
