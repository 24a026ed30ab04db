"""The look of all figures: widths of a two-column paper, colours for any vision, PNG and PDF."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from jquanta.errors import BadInput
from jquanta.figures.drawing import decimals
from jquanta.powerlaw import Fit
from jquanta.run.files import whole

COLUMN, PAGE = 3.3, 6.8  # widths of one column and of both, in inches

# The palette of Okabe and Ito (2008), distinguishable with any colour vision.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
GREEN, PINK, SKY, AMBER = "#009E73", "#CC79A7", "#56B4E9", "#E69F00"

LOSS_COLOURS = "cividis"  # perceptually uniform, with any colour vision and in grey

_SETTINGS: Any = {  # Any: matplotlib types each name of a setting by itself
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # TrueType, so that text can be searched and edited
}


def new_figure(width: float, height: float, rows: int, columns: int, **options: Any) -> Any:
    """A figure of ``width`` by ``height`` inches, and its axes as a 2-D array [rows, columns].

    The figure is made without pyplot: it needs no display, is garbage-collected when it goes out
    of scope, and the backend that a caller has chosen (in a notebook, say) stays.

    Args:
        options: passed on to ``matplotlib.figure.Figure.subplots``.
    """
    matplotlib.rcParams.update(_SETTINGS)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)  # becomes figure.canvas, so that the figure can be laid out and drawn
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, and return the two paths.

    Raises ``BadInput`` if the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as a file system that is mounted read-only
        raise BadInput(
            f"--out {folder}: cannot be written ({error.strerror}); give another folder"
        ) from None
    paths = [folder / f"{name}.{kind}" for kind in ("png", "pdf")]
    for path in paths:
        with whole(path) as part:
            figure.savefig(part, format=path.suffix[1:])
    return paths


def shades(low: float, high: float, log: bool = False, colours: str = "viridis") -> ScalarMappable:
    """A colour scale for lines that are ordered by a number, dark for ``low``.

    ``scale.to_rgba(7)`` is the colour of 7, and ``figure.colorbar(scale, ax=axes)`` draws the
    scale. It is a colour map without its pale end, which would be too pale for lines on white.

    Args:
        low, high: ends of the scale.
        log: whether the scale is logarithmic.
        colours: the colour map; another one for another quantity in the same figure.
    """

    shown = ListedColormap(colormaps[colours](np.linspace(0, 0.9, 256)))
    return ScalarMappable((LogNorm if log else Normalize)(low, high), shown)


def dense_lines(axes: Axes, x: np.ndarray, y: np.ndarray, colours: Any, **options: Any) -> None:
    """Draw many lines ``y`` [lines, E] over one ``x`` [E], the last on top.

    In the PDF they are an image: thousands of lines as vectors would take megabytes.
    """

    points = np.stack(np.broadcast_arrays(x, y), -1)
    axes.add_collection(LineCollection(list(points), colors=colours, rasterized=True, **options))
    axes.autoscale_view()


def fit_line(axes: Axes, fit: Fit, name: str, unit: float = 1.0, *, bends: bool = False) -> None:
    """Draw a fitted power law over its window, with its exponent and interval in the legend.

    Args:
        name: of the exponent, in TeX mathematics without dollar signs.
        unit: the fit's values are divided by it; ``NATS_PER_BIT`` draws nats in bits.
        bends: the curve is no power law, so that no interval is told.
    """
    low, high = fit.interval
    digits = decimals(fit.exponent)
    interval = "" if bends else f" [{low:.{digits}f}, {high:.{digits}f}]"
    label = rf"${name}$ = {fit.exponent:.{digits}f}{interval}"
    inside = np.geomspace(*fit.window, 50)
    axes.plot(inside, fit.predict(inside) / unit, "-", color=ORANGE, label=label)


def theory_line(
    axes: Axes, fit: Fit, exponent: float, label: str, unit: float = 1.0, shift: float = 1.0
) -> None:
    """Draw a power law with another exponent beside a fitted one.

    In the (geometric) middle of the window it is ``shift`` times the fitted law. ``unit`` is that
    of ``fit_line``.
    """
    inside = np.geomspace(*fit.window, 50)
    middle = np.sqrt(fit.window[0] * fit.window[1])
    anchor = shift * float(fit.predict(middle)) / unit
    axes.plot(inside, anchor * (inside / middle) ** -exponent, "--", color=GREY, label=label)


def exact_line(axes: Axes, x: np.ndarray, y: np.ndarray, label: str) -> None:
    """Draw a curve of theory that is no power law: thin, dotted, on top of what was measured."""
    axes.plot(x, y, ":", color="black", lw=1.1, label=label, zorder=3)


def shared_legend(figure: Figure, axes: Iterable[Axes], columns: int = 3) -> None:
    """Draw one legend below the panels that holds every label of ``axes`` once."""
    handles: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )


def log_edges(centres: np.ndarray) -> np.ndarray:
    """Edges [n + 1] of cells around ``centres`` [n], positive and ascending: geometric means."""
    logs = np.log(centres)
    middle = (logs[1:] + logs[:-1]) / 2
    ends = [2 * logs[0] - middle[0]], [2 * logs[-1] - middle[-1]]
    return np.exp(np.concatenate([ends[0], middle, ends[1]]))


def plain_log_ticks(axis: Any) -> None:
    """Label the decades of a logarithmic axis, and steps between them if it spans only a few."""

    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low)
    marks = np.floor(np.log10(high)) - np.ceil(np.log10(low)) + 1
    if decades > 1.5:
        subs: tuple[float, ...] = (1.0,) if marks > 1 else (1.0, 3.0)
    else:
        subs = (1.0, 2.0, 5.0) if decades > 0.5 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def power_of_two_ticks(axis: Any) -> None:
    """Label a few powers of 2 on a logarithmic axis."""

    axis.set_major_locator(LogLocator(base=2, numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{np.log2(value):.0f}}}$"))
    axis.set_minor_locator(NullLocator())


def number(value: float) -> str:
    """A number for a label: as it is below 10,000, otherwise with a power of ten (TeX)."""
    if value < 1e4:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    lead = value / 10**exponent
    power = f"10^{{{exponent}}}"
    return f"${power}$" if abs(lead - 1) < 1e-6 else f"${lead:.3g}\\times{power}$"


def plain(label: str) -> str:
    r"""A label without TeX, for JSON and the terminal: ``$\alpha$ = 0.4`` becomes ``alpha 0.4``."""
    return label.replace("$", "").replace("\\", "").replace(" = ", " ")


def panel_letter(axes: Axes, letter: str) -> None:
    """Write a bold letter at the upper left of a panel."""
    axes.set_title(letter, loc="left", fontweight="bold")
