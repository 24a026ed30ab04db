"""Power laws of the mean loss as a function of parameters and of training steps."""

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.lm.models.pythia import is_pythia
from jquanta.lm.taxonomy.repeats import Network, same_seeds
from jquanta.lm.taxonomy.tables import LEAST_SIZES, step_of
from jquanta.masks import unmasked
from jquanta.powerlaw import Fit, Window

PYTHIA_WINDOW = (11_000.0, 100_000.0)
"""First and last step that the paper fits in Figure 11."""

LAST_PART = 0.1
"""For other suites, the fit begins at this share of the last step."""

PYTHIA_STEP_TOKENS = 1024 * 2048
"""Training tokens for each step in the name of a Pythia revision: 1,024 sequences of 2,048 tokens.

It holds for all models. The -v0 runs in ``pythia.HALVED`` used batches of twice as many tokens, but
their revisions are named by the step at which the other runs had seen as many tokens.
"""


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
    return powerlaw.fit(sizes, mean, window or size_window(sizes))


def fit_networks(
    found: Sequence[Network], mean: ArrayLike, window: Window | None = None
) -> tuple[Fit, bool]:
    """Fit the power law of ``fit_sizes`` to networks of which some were trained several times.

    Where all that are fitted have the same seeds, the law is fitted to all of their models, and its
    interval reflects how the exponent varies between seeds (``powerlaw.fit`` with groups).
    Elsewhere it is fitted to the mean of each network, and its interval is from the spread about
    the line.

    Args:
        found: of ``networks``.
        mean: [M] mean losses of all columns.
        window: as of ``fit_sizes``.

    Returns:
        The fit, and whether its interval is over seeds.

    Raises:
        BadInput: as ``fit_sizes``.
    """
    mean = unmasked(mean, "mean", np.float64)
    sizes = np.array([one.size for one in found], np.float64)
    low, high = window or size_window(sizes) or (-np.inf, np.inf)
    inside = [one for one in found if low <= one.size <= high]
    if len(inside) >= LEAST_SIZES and same_seeds(inside):
        order = sorted(inside[0].seeds)
        y = [[mean[one.columns[one.seeds.index(seed)]] for one in inside] for seed in order]
        x = [one.size for one in inside]
        return powerlaw.fit(x, y, groups=np.arange(len(order))[:, None]), True
    return fit_sizes(sizes, [mean[list(one.columns)].mean() for one in found], window), False


def size_window(sizes: ArrayLike) -> Window | None:
    """The sizes that are fitted by default: all but the largest; None, for all, where these would
    be fewer than three."""
    sizes = unmasked(sizes, "sizes", np.float64)
    below = np.unique(sizes[~np.isnan(sizes)])[:-1]
    return (float(below[0]), float(below[-1])) if len(below) >= 3 else None


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


def label_tokens(names: Iterable[str]) -> int | None:
    """Training tokens for each step in these models' revisions; None if that is not known."""
    return PYTHIA_STEP_TOKENS if all(map(is_pythia, names)) else None
