"""Loss and number learned against parameters, and loss against steps, by kind of subtask.

There is a line for each k, for uniform beside Zipf frequencies, or for each alpha.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured
from jquanta.figures.sweep.panels import SCALE_LABELS
from jquanta.figures.sweep.select import apart
from jquanta.powerlaw import Fit
from jquanta.sweep import emergence, scaling
from jquanta.sweep.curves import LEARNED_BELOW, NATS_PER_BIT

MOST = 10  # lines whose colours can be told apart


@dataclass(frozen=True)
class Kind:
    """The curves of one kind of subtask.

    Attributes:
        k: number of bits whose parity a subtask is.
        alpha: NaN for uniform frequencies, on which it has no effect.
        by_size, by_step: scaling curves of the mean loss against parameters and steps.
        counts: [n_params] number of subtasks learned at the last step, mean over seeds.
        fit: power law of ``by_size``; None for uniform frequencies or if it cannot be fitted.
    """

    k: int
    alpha: float
    by_size: xr.Dataset
    by_step: xr.Dataset
    counts: xr.DataArray
    fit: Fit | None

    @property
    def uniform(self) -> bool:
        """Whether all subtasks are equally frequent."""
        return math.isnan(self.alpha)


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw online width sweeps, a line for each kind of subtask.

    Args:
        results: from ``open_results``. Each kind is taken from the first that holds it.
        folder: where ``widths.png`` and ``widths.pdf`` are written.

    Returns:
        The paths written, and the fitted exponents.

    Raises:
        BadInput: if there is no width sweep, or there are more than ``MOST`` kinds.
    """
    kinds = find_kinds(results)
    if not kinds:
        raise BadInput("these results hold no width sweep")
    if len(kinds) > MOST:
        raise BadInput(f"{len(kinds)} lines are too many to tell apart; give fewer folders")
    figure, axes = style.new_figure(style.PAGE, 2.7, 1, 3)
    shades = style.shades(0, max(1, len(kinds) - 1))
    alone = sum(kind.uniform for kind in kinds) == 1
    measured = []
    for number, (kind, name) in enumerate(zip(kinds, _names(kinds), strict=True)):
        colour = style.ORANGE if kind.uniform and alone else shades.to_rgba(np.array(number))
        row = _measured(kind, name)
        _draw_kind(axes[0], kind, f"{name}: {_result(row)}", colour)
        measured += [row] if row else []
    _finish(axes[0], kinds)
    style.shared_legend(figure, axes[0], columns=2)
    return Drawing(style.save(figure, folder, "widths"), measured)


def find_kinds(results: Sequence[xr.Dataset]) -> list[Kind]:
    """The kinds of which ``results`` hold a width sweep, Zipf frequencies first."""
    found: dict[tuple[bool, int, float], Kind] = {}
    for source in results:
        plain = source.isel(run=(source.codes == "").to_numpy())
        for (frequencies, k, alpha), runs in apart(plain, "frequencies", "k", "alpha").items():
            uniform = frequencies == "uniform"
            key = uniform, int(k), 0.0 if uniform else float(alpha)
            if key not in found:
                with suppress(scaling.NoSuchRuns):
                    found[key] = _kind(runs)
    return [kind for _, kind in sorted(found.items())]


def _kind(runs: xr.Dataset) -> Kind:
    by_size = scaling.parameter_curve(runs)
    online = runs.isel(run=np.isinf(runs.train_size).to_numpy())
    counts = emergence.number_learned(online, "last").groupby("n_params").mean()
    alpha = by_size.attrs["alpha"]
    fit = None
    if not np.isnan(alpha):
        with suppress(BadInput):
            fit = scaling.fit_curve(by_size)
    return Kind(int(runs.k[0]), alpha, by_size, scaling.step_curve(runs), counts, fit)


def _names(kinds: list[Kind]) -> list[str]:
    """Legend labels that distinguish the kinds."""
    several_k = len({kind.k for kind in kinds}) > 1
    several_alpha = len({kind.alpha for kind in kinds if not kind.uniform}) > 1
    mixed = len({kind.uniform for kind in kinds}) > 1

    def name(kind: Kind) -> str:
        parts = [f"$k$ = {kind.k}"] if several_k else []
        if kind.uniform and (mixed or not parts):
            parts.append("uniform frequencies")
        elif not kind.uniform and (mixed or several_alpha or not parts):
            parts.append(rf"$\alpha$ = {kind.alpha:g}")
        return ", ".join(parts)

    return [name(kind) for kind in kinds]


def _measured(kind: Kind, name: str) -> Measured | None:
    if not kind.fit:
        return None
    expected = scaling.predicted(kind.by_size), scaling.predicted_finite(kind.by_size, kind.fit)
    return Measured.from_fit("alpha_N", kind.fit, *expected, style.plain(name))


def _result(row: Measured | None) -> str:
    """A fitted exponent in words for the legend."""
    if not row:
        return "no power law"
    low, high = row.interval
    theory = "" if row.theory is None else f", theory {row.theory:.2f}"
    finite = "" if row.finite is None else f" (finite: {row.finite:.2f})"
    return rf"$\alpha_N$ = {row.exponent:.2f} [{low:.2f}, {high:.2f}]{theory}{finite}"


def _draw_kind(axes: np.ndarray, kind: Kind, label: str, colour: object) -> None:
    by_size, by_step, counts = kind.by_size, kind.by_step, kind.counts
    sizes, learns, steps = axes
    points = "o" if kind.fit else "o-"
    sizes.plot(by_size.n_params, by_size.loss / NATS_PER_BIT, points, color=colour, label=label)
    if kind.fit:
        inside = np.geomspace(*kind.fit.window, 50)
        sizes.plot(inside, kind.fit.predict(inside) / NATS_PER_BIT, color=colour)
    learns.plot(counts.n_params, counts.where(counts > 0), "o-", lw=0.8, color=colour)
    steps.plot(by_step.step, by_step.loss / NATS_PER_BIT, color=colour)


def _finish(axes: np.ndarray, kinds: list[Kind]) -> None:
    """Set scales, labels and titles of the panels."""
    for panel, letter in zip(axes, "abc", strict=True):
        panel.set_xscale("log")
        panel.set_yscale("log")
        style.plain_log_ticks(panel.xaxis)
        style.plain_log_ticks(panel.yaxis)
        style.panel_letter(panel, letter)
    for panel in axes[:2]:
        panel.set_xlabel(SCALE_LABELS["n_params"])
        panel.set_title(f"after {_all(kinds, 'steps')} steps", fontsize=7, loc="right")
    axes[2].set_xlabel(SCALE_LABELS["step"])
    axes[2].set_title(f"width {_all(kinds, 'width')}", fontsize=7, loc="right")
    axes[0].set_ylabel("mean test loss (bits)")
    axes[1].set_ylabel(f"subtasks below {LEARNED_BELOW:g} bit")
    axes[2].set_ylabel("mean test loss (bits)")


def _all(kinds: list[Kind], name: str) -> str:
    """The values of an attribute of the curves, in words."""
    return " or ".join(f"{value:,}" for value in sorted({k.by_size.attrs[name] for k in kinds}))
