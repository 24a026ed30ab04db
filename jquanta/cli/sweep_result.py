"""The text of a sweep's result: what diverged, and the fitted exponents beside the theory's."""

import numpy as np
import xarray as xr

from jquanta.errors import BadInput
from jquanta.powerlaw import Fit
from jquanta.sweep.emergence import convergence_step
from jquanta.sweep.scaling import (
    LEARNED_BELOW,
    NATS_PER_BIT,
    NoSuchRuns,
    bends,
    data_curve,
    fit_curve,
    learned,
    parameter_curve,
    predicted,
    predicted_finite,
    step_curve,
)

SHOWN_RUNS = 6
SHOWN_CODES = 20


def summarise(results: xr.Dataset) -> None:
    """Print the number of subtasks learned and the fitted exponents beside theory, or what came
    of each code: the theory is of the plain task."""
    diverged = np.flatnonzero(results.diverged_at.to_numpy() >= 0)
    if diverged.size:
        shown = ", ".join(map(str, diverged[:SHOWN_RUNS]))
        print(f"diverged  {diverged.size} of {results.sizes['run']} runs (run {shown})")
    if (results.codes != "").any():
        _summarise_codes(results)
        return
    for name, curve_of in (
        ("alpha_N", parameter_curve),
        ("alpha_S", step_curve),
        ("alpha_D", data_curve),
    ):
        try:
            curve = curve_of(results)
        except NoSuchRuns:
            continue
        except BadInput as error:
            print(f"{name}   not fitted: {error}, or draw: jquanta figures --help")
            continue
        count = learned(curve).to_numpy()
        best = float(curve.loss.min()) / NATS_PER_BIT
        try:
            fit = fit_curve(curve)
            told = f"{_told(curve, fit)}{_theory(curve, fit)}"
        except BadInput as error:
            told = f"not fitted: {error}"
        print(f"{name}   {told}")
        print(
            f"          {count.max()} of {curve.attrs['n_tasks']} subtasks below "
            f"{LEARNED_BELOW} bit; mean loss down to {best:.3f} bits"
        )


def _summarise_codes(results: xr.Dataset) -> None:
    """Print for each set of codes how many runs learned each of them, and when."""
    for codes in filter(None, dict.fromkeys(results.codes.to_numpy().tolist())):
        runs = results.isel(run=(results.codes == codes).to_numpy())
        steps = convergence_step(runs).to_numpy()
        words = codes.split()
        print(f"codes     {_shortened(codes)}")
        for code, word in enumerate(words[:SHOWN_CODES]):
            reached = steps[np.isfinite(steps[:, code]), code]
            when = f", from step {np.median(reached):,.0f}" if reached.size else ""
            print(
                f"  {_shortened(word):20} below {LEARNED_BELOW} bit in {reached.size} of "
                f"{runs.sizes['run']} runs{when}"
            )
        if len(words) > SHOWN_CODES:
            print(f"  … and {len(words) - SHOWN_CODES} more")


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _told(curve: xr.Dataset, fit: Fit) -> str:
    """The fit, without an interval where the curve bends."""
    if not bends(curve, fit):
        return str(fit)
    low, high = fit.window
    return (
        f"{fit.exponent:.2f} over {low:.4g}…{high:.4g} (n = {fit.n_points}), of a curve that bends"
    )


def _theory(curve: xr.Dataset, fit: Fit) -> str:
    """What the model predicts, in words."""
    limit, finite = predicted(curve), predicted_finite(curve, fit)
    if limit is None:
        return ""
    bent = "" if finite is None else f" ({finite:.2f} with only {curve.attrs['n_tasks']} subtasks)"
    return f"; theory {limit:.2f}{bent}"
