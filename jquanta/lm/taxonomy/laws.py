"""Power laws of the mean loss: against parameters, and against steps of training."""

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.lm.models.pythia import resolve
from jquanta.lm.taxonomy.tables import step_of
from jquanta.powerlaw import Fit, Window

PYTHIA_WINDOW = (11_000.0, 100_000.0)
"""Steps fitted in the paper's Figure 11."""

LAST_PART = 0.1
"""Of other suites' steps: from this share of the last on."""

PYTHIA_STEP_TOKENS = 1024 * 2048
"""Tokens that a step in the name of a Pythia revision stands for: sequences times context.

It holds for all: the -v0 runs of ``HALVED`` took twice as many tokens an update, and their
revisions are named after the step that a run with smaller batches would have reached.
"""

HALVED = ("160m-v0", "410m-v0", "1.4b-v0")
"""Runs whose updates are half the step in the revision's name."""


def fit_sizes(sizes: ArrayLike, mean: ArrayLike, window: Window | None = None) -> Fit:
    """Fit mean loss ∝ N^-alpha_N, as in Figure 3 over all but the largest size.

    Args:
        sizes: [M] parameters without embeddings.
        mean: [M] mean losses, in any unit.
        window: smallest and largest N to fit. By default all but the largest size, or all where
            that leaves under three.

    Raises:
        BadInput: if under three sizes are left to fit.
    """
    sizes = np.asarray(sizes)
    below = np.unique(sizes)[:-1]
    if window is None and len(below) >= 3:
        window = (float(below[0]), float(below[-1]))
    return powerlaw.fit(sizes, mean, window)


def step_window(name: str, steps: ArrayLike) -> Window:
    """Which steps of a model are fitted by default.

    For Pythia the paper's, if there are three checkpoints in them; else from a tenth of the last
    step on, and the last three checkpoints at least.
    """
    ascending = np.sort(np.asarray(steps, np.float64))
    low, high = PYTHIA_WINDOW
    if is_pythia(name) and np.count_nonzero((ascending >= low) & (ascending <= high)) >= 3:
        return PYTHIA_WINDOW
    last = ascending[-1]
    return (float(min(LAST_PART * last, ascending[-3:][0])), float(last))


def step_curves(losses: xr.Dataset) -> dict[str, list[int]]:
    """The columns of each model that has two or more checkpoints after step 0.

    Returns:
        For each model's name, by ascending size, the places of its columns by ascending step.
        Revisions without a step, such as ``main``, are left out.

    Raises:
        BadInput: if there is no such model.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    names, revisions = losses.name.to_numpy().tolist(), losses.revision.to_numpy().tolist()
    for place, (name, revision) in enumerate(zip(names, revisions, strict=True)):
        if step := step_of(revision):
            found.setdefault(name, []).append((step, place))
    curves = {name: [p for _, p in sorted(at)] for name, at in found.items() if len(at) > 1}
    if not curves:
        raise BadInput(
            "no model has losses at two steps: give columns of several revisions stepN "
            "(jquanta losses --revision step1000 step2000 …)"
        )
    sizes = losses["size"].to_numpy()
    return dict(sorted(curves.items(), key=lambda item: (sizes[item[1][0]], item[0])))


def steps_of(losses: xr.Dataset, places: Sequence[int]) -> np.ndarray:
    """Steps of columns, as their revisions name them."""
    return np.array([step_of(r) or 0 for r in losses.revision.to_numpy()[list(places)].tolist()])


def is_pythia(name: str) -> bool:
    """Whether a name, an id on the hub or a folder, is that of a Pythia model."""
    return resolve(name)[0].startswith("EleutherAI/pythia-")


def is_halved(name: str) -> bool:
    """Whether a model's updates are half the step in its revisions' names."""
    return is_pythia(name) and resolve(name)[0].removeprefix("EleutherAI/pythia-") in HALVED


def label_tokens(names: Iterable[str]) -> int | None:
    """Tokens that a step of these models' revisions stands for; None where that is not known."""
    return PYTHIA_STEP_TOKENS if all(map(is_pythia, names)) else None
