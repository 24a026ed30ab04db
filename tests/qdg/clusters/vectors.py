"""Synthetic gradients whose groups are known."""

from collections.abc import Sequence

import numpy as np


def groups(
    sizes: Sequence[int], dimension: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 [Q, dimension] around a mean for each group, shuffled; their groups.

    Two of one group have a cosine of about 1 / (1 + noise²), two others of 0 ± dimension^-½.
    """
    random = np.random.default_rng(seed)
    group = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = random.standard_normal((len(sizes), dimension))
    points = means[group] + noise * random.standard_normal((len(group), dimension))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32), group


def cosines(points: np.ndarray) -> np.ndarray:
    """Of unit vectors."""
    return points @ points.T
