"""Figure 9: number of subtasks learned against data for every alpha, and its exponents."""

from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured
from jquanta.figures.sweep import alphas
from jquanta.figures.sweep.alphas import Column, Line
from jquanta.figures.sweep.panels import SCALE_LABELS
from jquanta.figures.sweep.select import first_of, refuse_several_tasks
from jquanta.sweep import emergence
from jquanta.sweep.scaling import LEARNED_BELOW, NoSuchRuns, task_of, widest


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 9 from sweeps over alpha and train size, with a column for each k.

    A subtask counts as learned if its loss is below 0.1 bit at any evaluation, even at one after
    the mean loss was lowest.

    Args:
        results: from ``open_results``.
        folder: where ``fig9.png`` and ``fig9.pdf`` are written.

    Returns:
        The paths written, and the fitted exponents.

    Raises:
        BadInput: if there are no runs on finite data, or of a single alpha, or none can be fitted.
    """
    columns = find_columns(results)
    if not columns:
        raise BadInput("these results hold no data sweep of Zipf frequencies")
    figure, measured = alphas.draw_columns(columns)
    return Drawing(style.save(figure, folder, "fig9"), measured)


def find_columns(results: Sequence[xr.Dataset]) -> list[Column]:
    """A column for every k that ``results`` hold: the number learned against data."""
    tasks = alphas.by_task(results)
    columns = []
    for k, of_alpha in tasks.items():
        found = []
        for sources in of_alpha.values():
            with suppress(NoSuchRuns):
                found.append(first_of(sources, _data_runs))
        if found:
            columns.append(_column(found, f"$k$ = {k}" if len(tasks) > 1 else ""))
    return columns


def _column(found: list[xr.Dataset], kind: str) -> Column:
    refuse_several_tasks([task_of(runs) | {"alpha": 0} for runs in found])
    return Column(
        exponent="exponent of subtasks learned",
        x=SCALE_LABELS["train_size"],
        y=f"subtasks below {LEARNED_BELOW:g} bit",
        note=f"width {int(found[0].width[0])}, at any evaluation",
        window="fit: some but not all",
        lines=[_line(runs, kind) for runs in found],
        expected=attrgetter("learned"),
        kind=kind,
    )


def _data_runs(results: xr.Dataset) -> xr.Dataset:
    return widest(results, online=False)


def _line(runs: xr.Dataset, kind: str) -> Line:
    runs = runs[["subtask_loss", "frequency"]].load()
    counts = emergence.number_learned(runs)
    mean = counts.groupby("train_size").mean()
    alpha, x, y = float(runs.alpha[0]), mean.train_size.to_numpy(), mean.to_numpy()
    try:
        fit = emergence.fit_learned(counts)
    except BadInput:
        return Line(alpha, x, y)
    row = emergence.learned_exponent(runs)
    measured = Measured(
        "exponent of the number learned",
        alphas.named(kind, alpha),
        float(row.exponent),
        (float(row.low), float(row.high)),
        fit.window,
        fit.n_points,
        None if row.theory.isnull() else float(row.theory),
    )
    return Line(alpha, x, y, measured, fit.predict)
