"""When quanta emerge: mean losses of clusters over training and over model sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Note, Row, Share
from jquanta.figures.models import PARAMETERS, short_name, size_colours, size_name
from jquanta.qdg.questions.emergence import open_emergence
from jquanta.qdg.results import chosen_count
from jquanta.sweep.curves import NATS_PER_BIT

OF_CLUSTERS = "plasma"
"""Colours of clusters by rank, beside those of sizes, which are other ones."""

LARGEST = 12
"""Number of clusters whose curves are drawn."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw the mean losses (bits) of the largest clusters, and when clusters emerge.

    The clustering is the one whose number of clusters is nearest to the paper's 400. Losses over
    steps are those of the largest model with two checkpoints, losses over sizes those of each
    model's last checkpoint.

    Args:
        source: a folder of ``jquanta qdg`` with ``emergence.zarr``.
        folder: where ``quanta.png`` and ``quanta.pdf`` are written.

    Returns:
        The paths written; how many clusters each model learns, and the median step of emergence.

    Raises:
        BadInput: if there is no ``emergence.zarr``, or the losses are of one checkpoint only.
    """

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
    told = [Note(note) for note in found.attrs.get("notes", [])]
    rows = [_about(here, count), *told, *_rows(here)]
    return Drawing(style.save(figure, folder, "quanta"), rows)


def _columns(here: xr.Dataset, name: str) -> NDArray[np.int64]:
    """Indices of a model's checkpoints by step, without step 0 (the axis is logarithmic)."""
    step = here.step.to_numpy()
    own = np.flatnonzero((here.model_name.to_numpy() == name) & (step > 0))
    return own[np.argsort(step[own], kind="stable")]


def _last(here: xr.Dataset) -> list[int]:
    """Index of each model's last checkpoint, by size. ``main`` has no step and counts as last."""
    step = here.step.fillna(np.inf).to_numpy()
    names = here.model_name.to_numpy()
    return [
        max(np.flatnonzero(names == name).tolist(), key=lambda column: step[column])
        for name in here.series.to_numpy()
    ]


def _curves(axes: Axes, x: NDArray[Any], nats: Float[np.ndarray, "k M"]) -> None:
    """Draw the losses of the largest clusters, and the unweighted mean over all clusters."""
    shades = style.shades(0, LARGEST, colours=OF_CLUSTERS)
    for rank, curve in enumerate(nats[:LARGEST]):
        label = {0: "largest cluster", LARGEST - 1: f"{LARGEST}th largest"}.get(rank)
        axes.plot(
            x, curve / NATS_PER_BIT, "-", lw=0.8, color=shades.to_rgba(np.array(rank)), label=label
        )
    axes.plot(x, nats.mean(0) / NATS_PER_BIT, "--", color="black", label="mean over clusters")
    axes.set(xscale="log", ylabel="mean loss (bits)")
    axes.set_ylim(bottom=0)
    style.plain_log_ticks(axes.xaxis)


def _threshold(axes: Axes, here: xr.Dataset) -> None:
    """Draw the threshold, which was given in nats and is called by them, on the axis of bits."""
    nats = here.attrs["below_nats"]
    look: Any = {"color": style.GREY, "lw": 0.8, "ls": ":"}
    axes.axhline(nats / NATS_PER_BIT, label=f"learned: {nats:g} nats", **look)


def _steps_panel(axes: Axes, here: xr.Dataset, name: str) -> None:
    columns = _columns(here, name)
    _curves(axes, here.step.to_numpy()[columns], here.loss.to_numpy()[:, columns])
    _threshold(axes, here)
    size = int(here["size"][columns[0]])
    axes.set_title(f"$N$ = {size_name(size)}", fontsize=7, loc="right")
    axes.set_xlabel("steps")
    axes.legend(loc="best", frameon=False)


def _emergence_panel(axes: Axes, here: xr.Dataset, _: str) -> None:
    """Draw the share of clusters that each model has learned by a step and never loses again."""
    shades = size_colours([*here.series_size.to_numpy().tolist(), 1 + int(here["size"].max())])
    for i, (name, size) in enumerate(_series(here)):
        steps = here.step.to_numpy()[_columns(here, name)]
        if len(steps) < 2:
            continue
        own = here.emergence_step.isel(series=i).to_numpy()
        share = (own[:, None] <= steps).mean(0)  # NaN (never learned) compares as False
        label = f"$N$ = {size_name(size)}"
        look: Any = {"color": shades.to_rgba(np.array(size)), "ms": 2.5, "lw": 0.9}
        axes.plot(steps, share, "o-", clip_on=False, zorder=3, label=label, **look)
    axes.set(xscale="log", xlabel="steps", ylabel="share of clusters learned for good")
    axes.set_ylim(0, 1)
    style.plain_log_ticks(axes.xaxis)
    axes.legend(loc="upper left", frameon=False)


def _sizes_panel(axes: Axes, here: xr.Dataset, _: str) -> None:
    last = _last(here)
    _curves(axes, here["size"].to_numpy()[last], here.loss.to_numpy()[:, last])
    _threshold(axes, here)
    axes.set_title("last checkpoints", fontsize=7, loc="right")
    axes.set_xlabel(PARAMETERS)


def _series(here: xr.Dataset) -> list[tuple[str, int]]:
    names, sizes = here.series.to_numpy().tolist(), here.series_size.to_numpy().tolist()
    return list(zip(names, sizes, strict=True))


def _about(here: xr.Dataset, count: int) -> Note:
    below = here.attrs["below_nats"]
    return Note(f"{count} clusters; learned: mean loss below {below:g} nats")


def _rows(here: xr.Dataset) -> list[Row]:
    rows: list[Row] = []
    final = here.loss.to_numpy()[:, _last(here)]
    for i, (name, size) in enumerate(_series(here)):
        of = f"{short_name(name)} ({size:,} parameters)"
        learned = (final[:, i] < here.attrs["below_nats"]).sum()
        rows.append(
            Share.counted("clusters learned at the last checkpoint", of, learned, len(final))
        )
        steps = here.emergence_step.isel(series=i).dropna("cluster")
        if steps.size:
            rows.append(Amount("median step of emergence", of, float(steps.median()), "updates"))
    return rows
