"""A panel of several figures: the mean loss against a scale, with its fit and the theory."""

import xarray as xr
from matplotlib.axes import Axes

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Measured
from jquanta.sweep.scaling import (
    NATS_PER_BIT,
    bends,
    finite_curve,
    fit_curve,
    predicted,
    predicted_finite,
    scale_of,
)

SCALE_LABELS = {
    "n_params": "parameters $N$",
    "step": "steps $S$",
    "train_size": "training samples $D$",
}

_EXPONENTS = {  # name of the exponent, and a title
    "n_params": ("alpha_N", "widths {narrowest} to {width}, after {steps:,} steps"),
    "step": ("alpha_S", "width {width}, online"),
    "train_size": ("alpha_D", "width {width}, at the best test loss"),
}


def loss_panel(axes: Axes, curve: xr.Dataset) -> list[Measured]:
    """Draw a scaling curve in bits with its fit and the theory: the power law of infinitely many
    subtasks, and the curve of as many as there are.

    Returns the fitted exponent, or an empty list if the curve cannot be fitted.
    """
    scale = scale_of(curve)
    name, note = _EXPONENTS[scale]
    x, bits = curve[scale].to_numpy(), curve.loss.to_numpy() / NATS_PER_BIT
    points = "-" if scale == "step" else "o"
    axes.loglog(x, bits, points, color=style.BLUE, label="trained")
    theory, measured = predicted(curve), []
    try:
        fit: powerlaw.Fit | None = fit_curve(curve)
    except BadInput:
        fit = None
    if fit:
        finite = predicted_finite(curve, fit)
        bent = bends(curve, fit)
        measured.append(Measured.from_fit(name, fit, theory, finite, bends=bent))
        style.fit_line(axes, fit, rf"\{name}", NATS_PER_BIT, bends=bent)
        if theory is not None:
            # drawn below the fit, so that both can be seen
            label = rf"theory, $\infty$ subtasks: {theory:.2f}"
            style.theory_line(axes, fit, theory, label, NATS_PER_BIT, shift=0.7)
        if (exact := finite_curve(curve, fit)) is not None:
            label = f"theory, {curve.attrs['n_tasks']} subtasks: {finite:.2f}"
            exact = exact[exact >= curve.loss.min()]  # below lies the legend
            style.exact_line(axes, exact[scale].to_numpy(), exact.to_numpy() / NATS_PER_BIT, label)
    axes.legend(loc="lower left", frameon=False, handlelength=1.2, borderaxespad=0.1)
    axes.set_title(note.format(**curve.attrs), fontsize=7, loc="right")
    return measured
