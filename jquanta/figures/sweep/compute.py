"""The compute axis of a sweep over widths: every network's loss against compute, with the frontier;
the loss against parameters at equal compute; and the best parameters and steps against compute.

Beside them stand what the fitted law L(N, S) implies for the best parameters and steps, and the
exponents that the theory has for infinitely many subtasks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta import surface
from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured, Note, Row
from jquanta.figures.sweep.panels import SCALE_LABELS
from jquanta.figures.sweep.select import first_of
from jquanta.powerlaw import Fit
from jquanta.surface import Surface
from jquanta.sweep import scaling
from jquanta.sweep.compute import OPERATIONS, QUANTITIES
from jquanta.sweep.curves import NATS_PER_BIT

NAME = "compute"

EXPONENTS = {
    "n_params": "a of best parameters, N ~ C^a",
    "step": "b of best steps, S ~ C^b",
    "loss": "c of the least loss, L ~ C^-c",
}

HOLLOW: dict[str, Any] = {"mfc": "none", "mew": 0.7}
"""Where the best may lie outside the grid: not fitted."""

EQUAL = 7
"""Amounts of compute whose losses are drawn against parameters."""

COMPUTE = "compute $C$ = 6$N$ · samples"


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw the compute axis of the online runs of a sweep over widths.

    Args:
        results: from ``open_results``. The runs are taken from the first that holds online runs of
            at least three widths.
        folder: where ``compute.png`` and ``compute.pdf`` are written.

    Returns:
        The paths written; the exponents of the best parameters, the best steps and the least loss
        against compute, with those of the theory; the law L(N, S), what it implies for these
        exponents, and how far it depends on the smallest and the largest of N and S.

    Raises:
        BadInput: if there are no such runs, they are of several tasks, or under three amounts of
            compute have their best width between the narrowest and the widest.
    """
    runs, found = first_of(results, lambda source: (source, scaling.frontier(source)))
    fits = scaling.fit_frontier(found)
    laws, refused = _laws(runs)
    figure, ((lines, equal, best),) = style.new_figure(style.PAGE, 2.9, 1, 3)
    _lines_panel(lines, found, fits["loss"])
    _equal_panel(equal, found, fits["loss"])
    _best_panel(best, found, fits, laws.get("all"))
    for panel, letter in zip((lines, equal, best), "abc", strict=True):
        style.panel_letter(panel, letter)
        panel.legend(
            loc="upper left", bbox_to_anchor=(-0.05, -0.22), frameon=False, handlelength=1.5
        )
    rows = [*_rows(found, fits), *_law_rows(laws, fits), *refused]
    if found.sizes["seed"] == 1:
        rows.append(
            Note("one seed: intervals are of points and networks that share samples: too narrow")
        )
    return Drawing(style.save(figure, folder, NAME), rows)


def _laws(runs: xr.Dataset) -> tuple[dict[str, Surface], list[Note]]:
    """The law L(N, S), with all values and without the ends of each; empty if there is none."""
    N, S, loss, groups = scaling.surface_points(runs)
    try:
        return surface.window_sensitivity({"N": N, "S": S}, loss, groups=groups), []
    except BadInput as error:
        return {}, [Note(f"no law L(N, S): {error}")]


def _lines_panel(axes: Axes, found: xr.Dataset, fit: Fit) -> None:
    """Every network's loss against compute, and the least of them."""
    n = found.n_params.to_numpy().astype(float)
    colours = style.shades(n[0], n[-1], log=True)
    C = found.operations.to_numpy()
    for place, size in enumerate(n):
        bits = found.loss_at.isel(n_params=place).mean("seed").to_numpy() / NATS_PER_BIT
        axes.loglog(C, bits, color=colours.to_rgba(size), lw=0.8)
    least = found.loss.mean("seed").to_numpy() / NATS_PER_BIT
    seen = found.seen.to_numpy()
    axes.plot(C[seen], least[seen], "o", ms=2.5, color="black", label="least loss", zorder=3)
    axes.plot(C[~seen], least[~seen], "o", ms=2.5, color="black", zorder=3, **HOLLOW)
    style.fit_line(axes, fit, r"C^{-c},\ c", NATS_PER_BIT)
    if (alpha := found.attrs["alpha"]) > 0:
        c = scaling.expected_exponents(alpha)["loss"]
        label = rf"theory, $\infty$ subtasks: {c:.2f}"
        style.theory_line(axes, fit, c, label, NATS_PER_BIT, shift=0.75)
    axes.set(xlabel=COMPUTE, ylabel="mean test loss (bits)")
    narrow, wide = found.width.to_numpy()[[0, -1]]
    axes.plot([], [], color=colours.to_rgba(n[0]), lw=0.8, label=f"width {narrow}")
    axes.plot([], [], color=colours.to_rgba(n[-1]), lw=0.8, label=f"width {wide}")
    style.plain_log_ticks(axes.yaxis)


def _equal_panel(axes: Axes, found: xr.Dataset, fit: Fit) -> None:
    """The loss against parameters at equal compute, with the minima."""
    low, high = fit.window
    C = found.operations.to_numpy()
    inside = np.flatnonzero((low * 0.999 <= C) & (high * 1.001 >= C))
    chosen = inside[np.unique(np.linspace(0, len(inside) - 1, EQUAL).round().astype(int))]
    colours = style.shades(C[chosen[0]], C[chosen[-1]], log=True, colours="plasma")
    for order, place in enumerate(chosen):
        one = found.isel(operations=place).mean("seed")
        colour = colours.to_rgba(C[place])
        ends = order in (0, len(chosen) - 1)
        label = f"$C$ = {style.number(float(f'{C[place]:.1e}'))}" if ends else None
        axes.loglog(
            one.n_params, one.loss_at / NATS_PER_BIT, ".-", ms=2.5, lw=0.8, color=colour,
            label=label,
        )  # fmt: skip
        axes.plot(
            one.best_n_params, one.loss / NATS_PER_BIT, "o", ms=3.5, mfc="none", color="black",
            zorder=3, label="minimum of a parabola" if order == len(chosen) - 1 else None,
        )  # fmt: skip
    axes.set(xlabel=SCALE_LABELS["n_params"], ylabel="mean test loss (bits)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)


def _best_panel(
    axes: Axes, found: xr.Dataset, fits: Mapping[str, Fit], law: Surface | None
) -> None:
    """The best parameters and steps against compute, with fits, the theory and the fitted law."""
    alpha = found.attrs["alpha"]
    expected = scaling.expected_exponents(alpha) if alpha > 0 else {}
    marks: dict[str, tuple[Any, str, str]] = {
        "n_params": (style.BLUE, "o", "N"),
        "step": (style.GREEN, "^", "S"),
    }
    for quantity, (colour, mark, letter) in marks.items():
        values = found[QUANTITIES[quantity]].mean("seed").to_numpy()
        fit = fits[quantity]
        label = rf"best ${letter}$: $C^{{{fit.slope:.2f}}}$"
        seen, C = found.seen.to_numpy(), found.operations.to_numpy()
        axes.loglog(C[seen], values[seen], mark, ms=3, color=colour, label=label)
        axes.plot(C[~seen], values[~seen], mark, ms=3, color=colour, **HOLLOW)
        inside = np.geomspace(*fit.window, 50)
        axes.plot(inside, fit.predict(inside), "-", color=style.ORANGE, lw=1)
        if quantity in expected:
            middle = np.sqrt(fit.window[0] * fit.window[1])
            line = fit.predict(middle) * (inside / middle) ** expected[quantity]
            axes.plot(inside, line, "--", color=style.GREY, lw=1)
    window = np.geomspace(*fits["n_params"].window, 50)
    if law is not None and all(a > 0 for a in law.prefactors):
        n = _best_of(law, window, found.attrs["batch_size"])
        for values in (n, window / (OPERATIONS * found.attrs["batch_size"] * n)):
            axes.plot(window, values, ":", color="black", lw=1.1, zorder=3)
        axes.plot([], [], ":", color="black", lw=1.1, label="of the fitted $L(N, S)$")
    axes.plot([], [], "-", color=style.ORANGE, lw=1, label="fit")
    if not found.seen.all():
        label = "hollow: the best may lie outside"
        axes.plot([], [], "o", ms=3, color=style.GREY, label=label, **HOLLOW)
    if expected:
        n_exponent, s_exponent = expected["n_params"], expected["step"]
        axes.plot(
            [], [], "--", color=style.GREY, lw=1,
            label=rf"theory: $C^{{{n_exponent:.2f}}}$, $C^{{{s_exponent:.2f}}}$",
        )  # fmt: skip
    axes.set(xlabel=COMPUTE, ylabel="best parameters $N$, best steps $S$")
    style.plain_log_ticks(axes.yaxis)


def _best_of(law: Surface, C: np.ndarray, batch: int) -> np.ndarray:
    """N at which the law is least for S = C / (6 N batch): α_N A_N N^-α_N = α_S A_S S^-α_S."""
    (one, two), (a, b) = law.exponents, law.prefactors
    steps = C / (OPERATIONS * batch)  # times N
    return np.asarray((one * a / (two * b) * steps**two) ** (1 / (one + two)))


def _rows(found: xr.Dataset, fits: Mapping[str, Fit]) -> list[Row]:
    """The exponents measured at the frontier, with the theory's."""
    alpha = found.attrs["alpha"]
    expected = scaling.expected_exponents(alpha) if alpha > 0 else {}
    finite = scaling.expected_finite(found, fits["loss"]) or {}
    rows: list[Row] = []
    for quantity, name in EXPONENTS.items():
        row = Measured.from_fit(name, fits[quantity], expected.get(quantity), finite.get(quantity))
        if quantity != "loss":  # these rise
            low, high = row.interval
            row = row._replace(exponent=-row.exponent, interval=(-high, -low))
        rows.append(row)
    return rows


def _law_rows(laws: Mapping[str, Surface], fits: Mapping[str, Fit]) -> list[Row]:
    """The law, what it implies for the frontier, and how it depends on the ends of the grid."""
    if not laws:
        return []
    law = laws["all"]
    rows: list[Row] = [Note(f"L(N, S) = {law} nats")]
    try:
        implied = law.allocation()
    except BadInput as error:
        return [*rows, Note(str(error))]
    window = fits["loss"].window
    for name, exponent, interval in zip(
        EXPONENTS.values(), implied.exponents, implied.intervals, strict=True
    ):
        rows.append(Measured(f"{name}, of L(N, S)", "", exponent, interval, window, law.n_points))
    each = np.array([one.exponents for one in laws.values()])
    low, high = np.nanmin(each, axis=0), np.nanmax(each, axis=0)
    rows.append(
        Note(
            "L(N, S) without the smallest or the largest N or S: alpha_N "
            f"{low[0]:.2f} to {high[0]:.2f}, alpha_S {low[1]:.2f} to {high[1]:.2f}"
        )
    )
    return rows
