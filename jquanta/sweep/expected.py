"""What the quantization model expects of a curve (paper, section 2), in the limit of many subtasks
and with as many as there are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from jquanta import powerlaw, theory
from jquanta.sweep.curves import NATS_PER_BIT, learned, scale_of

FINE = 2000
"""Points of a curve of theory."""

BENT = 0.1
"""See ``bends``."""


def predicted(curve: xr.Dataset) -> float | None:
    """The exponent that the quantization model predicts for a curve's scale (paper, section 2).

    None where it predicts none: for uniform frequencies, codes, alpha ≤ 0, or a single subtask.
    """
    scale, limit = scale_of(curve), limit_theory(curve.attrs)
    return None if limit is None else _of_scale(limit, scale)


def predicted_finite(curve: xr.Dataset, fit: powerlaw.Fit) -> float | None:
    """The exponent that a fit would find if the model held, given finitely many subtasks.

    It is computed for the numbers of subtasks learned at the two ends of the fit's window. None
    where ``predicted`` is None, or where these numbers do not differ.
    """
    scale = scale_of(curve)
    counts = learned(curve).sel({scale: slice(*fit.window)})
    finite = finite_theory(curve.attrs, int(counts[0]), int(counts.max()))
    return None if finite is None else _of_scale(finite, scale)


def finite_curve(curve: xr.Dataset, fit: powerlaw.Fit) -> xr.DataArray | None:
    """The loss (nats) that the model predicts for finitely many subtasks, along a curve's scale.

    Subtasks are learned one after another, by descending frequency: that, and no power law, is what
    a curve should follow. The one number that the model leaves open, parameters (or samples) for a
    subtask, is chosen so that it meets the fit in the (geometric) middle of its window.

    Returns:
        The losses, with the curve's scale as coordinate; None where ``predicted_finite`` is None.
    """
    if predicted_finite(curve, fit) is None:
        return None
    scale, task = scale_of(curve), curve.attrs
    p = powerlaw.zipf(task["n_tasks"], task["alpha"], task["offset"])
    if scale == "n_params":
        units = np.geomspace(0.01, len(p), FINE)  # subtasks learned
        nats = theory.loss(units, p, b=NATS_PER_BIT)
    else:
        units = np.geomspace(0.5 / p.max(), 2 / p.min(), FINE)  # samples over those for a subtask
        nats = theory.loss_D(units, p, b=NATS_PER_BIT)
    middle = np.sqrt(fit.window[0] * fit.window[1])
    there = min(int(np.searchsorted(-nats, -float(fit.predict(middle)))), FINE - 1)
    x = units * middle / units[there]
    shown = (x >= float(curve[scale].min())) & (x <= float(curve[scale].max())) & (nats > 0)
    return xr.DataArray(nats[shown], {scale: x[shown]}, [scale])


def bends(curve: xr.Dataset, fit: powerlaw.Fit) -> bool:
    """Whether a curve of one seed should bend, so that the spread of its points about a power law
    is no confidence interval of an exponent: the model's exponent with finitely many subtasks
    differs from that of the limit by more than a tenth."""
    limit, finite = predicted(curve), predicted_finite(curve, fit)
    if limit is None or finite is None or curve.sizes["seed"] > 1:
        return False
    return abs(finite / limit - 1) > BENT


def limit_theory(task: Mapping[str, Any]) -> theory.Exponents | None:
    """The model's exponents in the limit of many subtasks, for a task; None if it has none.

    Args:
        task: from ``task_of``, or the attributes of a curve.
    """
    if not task["alpha"] > 0 or task["n_tasks"] < 2:
        return None
    return theory.exponents(task["alpha"])


def finite_theory(task: Mapping[str, Any], first: int, last: int) -> theory.Exponents | None:
    """The exponents that fits would find with the task's finite number of subtasks.

    Args:
        task: from ``task_of``, or the attributes of a curve.
        first, last: numbers of subtasks learned at the two ends of the fit.

    Returns:
        The exponents; None in the cases of ``predicted_finite``.
    """
    window = max(1, first), min(task["n_tasks"] - 1, last)
    if limit_theory(task) is None or window[0] >= window[1]:
        return None
    return theory.finite_exponents(task["alpha"], task["n_tasks"], window, offset=task["offset"])


def _of_scale(exponents: theory.Exponents, scale: str) -> float:
    """The exponent of the loss against ``scale``."""
    return {
        "n_params": exponents.alpha_N,
        "step": exponents.alpha_S,
        "train_size": exponents.alpha_D,
    }[scale]
