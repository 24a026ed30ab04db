"""When quanta emerge: mean losses of clusters over training and sizes, and their steps."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Note, Row, Share
from jquanta.figures.lm import losses as parts
from jquanta.sweep.scaling import NATS_PER_BIT

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LARGEST = 12
"""Clusters whose curves are drawn."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw mean losses of the largest clusters, over steps and sizes, and when clusters emerge.

    Of the count nearest to the paper's 400. Over steps: the largest model with two checkpoints.
    Over sizes: each model's last checkpoint.

    Args:
        source: a folder of ``jquanta qdg`` with ``emergence.zarr``.
        folder: where ``quanta.png`` and ``quanta.pdf`` go.

    Returns:
        The paths written; how many clusters each model learns, and the median step.

    Raises:
        BadInput: if there is no ``emergence.zarr``, or the losses are of one checkpoint only.
    """
    from jquanta.qdg.questions.emergence import open_emergence
    from jquanta.qdg.results import chosen_count

    found = open_emergence(source)
    count = chosen_count(found, None)
    here = found.sel(count=count)
    here = here.isel(cluster=(here.samples > 0).to_numpy())
    trained = [name for name in here.series.to_numpy().tolist() if len(_columns(here, name)) > 1]
    grown = _last(here)
    panels = [_steps_panel, _emergence_panel] * bool(trained)
    panels += [_sizes_panel] * (len(np.unique(here["size"][grown])) > 1)
    if not panels:
        raise BadInput(
            f"{source}: losses of a single model and checkpoint, so nothing emerges; compute those "
            "of more, and run jquanta emergence again"
        )
    width = style.PAGE if len(panels) > 1 else style.COLUMN
    figure, (axes,) = style.new_figure(width, 2.6, 1, len(panels))
    for panel, (drawn, letter) in zip(axes, zip(panels, "abc", strict=False), strict=True):
        drawn(panel, here, trained[-1] if trained else "")
        style.panel_letter(panel, letter)
    return Drawing(style.save(figure, folder, "quanta"), [_about(here, count), *_rows(here)])


def _columns(here: "xr.Dataset", name: str) -> NDArray[np.int64]:
    """A model's checkpoints in the order of their steps; step 0 has no place on the axis."""
    step = here.step.to_numpy()
    own = np.flatnonzero((here.model_name.to_numpy() == name) & (step > 0))
    return own[np.argsort(step[own], kind="stable")]


def _last(here: "xr.Dataset") -> list[int]:
    """Each model's last checkpoint, from the smallest model on; ``main`` comes after all steps."""
    step = here.step.fillna(np.inf).to_numpy()
    names = here.model_name.to_numpy()
    return [
        max(np.flatnonzero(names == name).tolist(), key=lambda column: step[column])
        for name in here.series.to_numpy()
    ]


def _curves(axes: "Axes", x: NDArray[np.float64], nats: Float[np.ndarray, "k M"]) -> None:
    """The largest clusters, and the mean of all with each counted once."""
    shades = style.shades(0, LARGEST)
    for rank, curve in enumerate(nats[:LARGEST]):
        label = {0: "largest cluster", LARGEST - 1: f"{LARGEST}th largest"}.get(rank)
        axes.plot(
            x, curve / NATS_PER_BIT, "-", lw=0.8, color=shades.to_rgba(np.array(rank)), label=label
        )
    axes.plot(x, nats.mean(0) / NATS_PER_BIT, "--", color="black", label="mean over clusters")
    axes.set(xscale="log", ylabel="mean loss (bits)")
    axes.set_ylim(bottom=0)
    style.plain_log_ticks(axes.xaxis)


def _threshold(axes: "Axes", here: "xr.Dataset") -> None:
    below = here.attrs["below_nats"] / NATS_PER_BIT
    axes.axhline(below, color=style.GREY, lw=0.8, ls=":", label=f"learned: {below:.2f} bits")


def _steps_panel(axes: "Axes", here: "xr.Dataset", name: str) -> None:
    columns = _columns(here, name)
    _curves(axes, here.step.to_numpy()[columns], here.loss.to_numpy()[:, columns])
    _threshold(axes, here)
    size = int(here["size"][columns[0]])
    axes.set_title(f"$N$ = {parts.size_name(size)}", fontsize=7, loc="right")
    axes.set_xlabel("steps")
    axes.legend(loc="best", frameon=False)


def _emergence_panel(axes: "Axes", here: "xr.Dataset", _: str) -> None:
    """How many clusters each model has learned by a step, and keeps."""
    shades = parts.size_colours(
        [*here.series_size.to_numpy().tolist(), 1 + int(here["size"].max())]
    )
    for i, (name, size) in enumerate(_series(here)):
        steps = here.step.to_numpy()[_columns(here, name)]
        if len(steps) < 2:
            continue
        own = here.emergence_step.isel(series=i).to_numpy()
        share = (own[:, None] <= steps).mean(0)  # never is NaN, and no less than anything
        label = f"$N$ = {parts.size_name(size)}"
        axes.plot(steps, share, "o-", ms=2.5, lw=0.9, color=shades.to_rgba(size), label=label)
    axes.set(xscale="log", xlabel="steps", ylabel="share of clusters learned for good")
    axes.set_ylim(0, 1)
    style.plain_log_ticks(axes.xaxis)
    axes.legend(loc="upper left", frameon=False)


def _sizes_panel(axes: "Axes", here: "xr.Dataset", _: str) -> None:
    last = _last(here)
    _curves(axes, here["size"].to_numpy()[last], here.loss.to_numpy()[:, last])
    _threshold(axes, here)
    axes.set_title("last checkpoints", fontsize=7, loc="right")
    axes.set_xlabel(parts.PARAMETERS)


def _series(here: "xr.Dataset") -> list[tuple[str, int]]:
    names, sizes = here.series.to_numpy().tolist(), here.series_size.to_numpy().tolist()
    return list(zip(names, sizes, strict=True))


def _about(here: "xr.Dataset", count: int) -> Note:
    below = here.attrs["below_nats"]
    return Note(f"{count} clusters; learned: mean loss below {below:g} nats")


def _rows(here: "xr.Dataset") -> list[Row]:
    rows: list[Row] = []
    final = here.loss.to_numpy()[:, _last(here)]
    for i, (name, size) in enumerate(_series(here)):
        of = f"{parts.short(name)} ({size:,} parameters)"
        learned = (final[:, i] < here.attrs["below_nats"]).sum()
        rows.append(
            Share.counted("clusters learned at the last checkpoint", of, learned, len(final))
        )
        steps = here.emergence_step.isel(series=i).dropna("cluster")
        if steps.size:
            rows.append(Amount("median step of emergence", of, float(steps.median()), "updates"))
    return rows
