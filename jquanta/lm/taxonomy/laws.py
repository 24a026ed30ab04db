"""Power laws of the mean loss as a function of parameters and of training steps."""

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.lm.models.pythia import resolve
from jquanta.lm.taxonomy.tables import step_of
from jquanta.masks import unmasked
from jquanta.powerlaw import Fit, Window

PYTHIA_WINDOW = (11_000.0, 100_000.0)
"""First and last step that the paper fits in Figure 11."""

LAST_PART = 0.1
"""For other suites, the fit begins at this share of the last step."""

PYTHIA_STEP_TOKENS = 1024 * 2048
"""Training tokens for each step in the name of a Pythia revision: 1,024 sequences of 2,048 tokens.

It holds for all models. The -v0 runs in ``HALVED`` used batches of twice as many tokens, but their
revisions are named by the step at which the other runs had seen as many tokens.
"""

HALVED = ("160m-v0", "410m-v0", "1.4b-v0")
"""Models whose number of updates is half the step in the name of the revision."""


def fit_sizes(sizes: ArrayLike, mean: ArrayLike, window: Window | None = None) -> Fit:
    """Fit the power law mean loss ∝ N^-alpha_N, as in the paper's Figure 3.

    Args:
        sizes: [M] numbers N of parameters without embeddings.
        mean: [M] mean losses, in nats or bits: the exponent does not depend on the unit.
        window: smallest and largest N to fit. By default all sizes but the largest, as in the
            paper, or all sizes if there would be fewer than three.

    Raises:
        BadInput: if there are fewer than three sizes to fit.
    """
    sizes = unmasked(sizes, "sizes", np.float64)
    below = np.unique(sizes[~np.isnan(sizes)])[:-1]
    if window is None and len(below) >= 3:
        window = (float(below[0]), float(below[-1]))
    return powerlaw.fit(sizes, mean, window)


def step_window(name: str, steps: ArrayLike) -> Window:
    """The range of steps that is fitted by default.

    For Pythia the paper's range, if it contains at least three of the checkpoints; otherwise from
    a tenth of the last step on, but at least the last three checkpoints.

    Args:
        name: of the model.
        steps: of its checkpoints.

    Returns:
        The first and the last step.
    """
    ascending = unmasked(steps, "steps", np.float64)
    ascending = np.sort(ascending[~np.isnan(ascending)])
    low, high = PYTHIA_WINDOW
    if is_pythia(name) and np.count_nonzero((ascending >= low) & (ascending <= high)) >= 3:
        return PYTHIA_WINDOW
    last = ascending[-1]
    return (float(min(LAST_PART * last, ascending[-3:][0])), float(last))


def step_curves(losses: xr.Dataset) -> dict[str, list[int]]:
    """Group the columns of losses by model, for curves over training steps.

    Args:
        losses: of ``open_table``.

    Returns:
        For each model that has at least two checkpoints after step 0, in ascending order of size:
        the indices of its columns along ``model``, in ascending order of step. Revisions without
        a step, such as ``main``, are left out.

    Raises:
        BadInput: if there is no such model.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    names, revisions = losses.name.to_numpy().tolist(), losses.revision.to_numpy().tolist()
    for place, (name, revision) in enumerate(zip(names, revisions, strict=True)):
        if step := step_of(revision):  # neither None (``main``) nor 0, which has no logarithm
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
    """The steps in the revisions of some columns.

    Args:
        losses: of ``open_table``.
        places: indices of the columns along ``model``.
    """
    return np.array([step_of(r) or 0 for r in losses.revision.to_numpy()[list(places)].tolist()])


def is_pythia(name: str) -> bool:
    """Whether a model's name (its id on the hub, or its folder) is that of a Pythia model."""
    return resolve(name)[0].startswith("EleutherAI/pythia-")


def is_halved(name: str) -> bool:
    """Whether a model's number of updates is half the step in the names of its revisions."""
    return is_pythia(name) and resolve(name)[0].removeprefix("EleutherAI/pythia-") in HALVED


def label_tokens(names: Iterable[str]) -> int | None:
    """Training tokens for each step in these models' revisions; None if that is not known."""
    return PYTHIA_STEP_TOKENS if all(map(is_pythia, names)) else None
