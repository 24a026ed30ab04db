"""How every figure looks: sizes of a two-column paper, colour-blind-safe colours, PNG and PDF."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jquanta.errors import BadInput
from jquanta.figures.drawing import decimals
from jquanta.run.files import remove

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from jquanta.powerlaw import Fit

COLUMN, PAGE = 3.3, 6.8  # inches: one column, and both

# Okabe & Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
GREEN, PINK, SKY, AMBER = "#009E73", "#CC79A7", "#56B4E9", "#E69F00"

LOSS_COLOURS = "cividis"  # even for colour-blind readers, and in print

_SETTINGS: Any = {  # matplotlib types its names one by one
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
    "pdf.fonttype": 42,  # text stays text
}


def new_figure(width: float, height: float, rows: int, columns: int, **options: Any) -> Any:
    """A figure of ``width`` by ``height`` inches and its axes, always a 2-D array."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update(_SETTINGS)
    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write PNG and PDF, each whole or not at all; their paths. Raises ``BadInput``."""
    import matplotlib.pyplot as plt

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as a file system that permissions say nothing about
        raise BadInput(
            f"--out {folder}: cannot be written ({error.strerror}); give another folder"
        ) from None
    paths = [folder / f"{name}.{kind}" for kind in ("png", "pdf")]
    for path in paths:
        part = path.with_name(f".{path.name}.part")
        try:
            figure.savefig(part, format=path.suffix[1:])
            part.replace(path)
        finally:
            remove(part)
    plt.close(figure)
    return paths


def shades(low: float, high: float, log: bool = False) -> "ScalarMappable":
    """Colours for lines that are ordered by a number, dark for ``low``: ``to_rgba`` tells them.

    Viridis without its yellow end, which is too pale for lines on white. A colour bar takes it
    as it is: ``figure.colorbar(shades(1, 500, log=True), ax=axes)``.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))
    return ScalarMappable((LogNorm if log else Normalize)(low, high), colours)


def dense_lines(axes: "Axes", x: np.ndarray, y: np.ndarray, colours: Any, **options: Any) -> None:
    """Many lines ``y`` [lines, E] over one ``x`` [E], as pixels in the PDF; the last are on top."""
    from matplotlib.collections import LineCollection

    points = np.stack(np.broadcast_arrays(x, y), -1)
    axes.add_collection(LineCollection(list(points), colors=colours, rasterized=True, **options))
    axes.autoscale_view()


def fit_line(axes: "Axes", fit: "Fit", name: str, unit: float = 1.0) -> None:
    """A fitted law over its window; ``name`` (maths) with exponent and interval in the legend.

    ``unit``: what the fit's values are divided by, such as ``NATS_PER_BIT``.
    """
    low, high = fit.interval
    digits = decimals(fit.exponent)
    label = rf"${name}$ = {fit.exponent:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    inside = np.geomspace(*fit.window, 50)
    axes.plot(inside, fit.predict(inside) / unit, "-", color=ORANGE, label=label)


def theory_line(
    axes: "Axes", fit: "Fit", exponent: float, label: str, unit: float = 1.0, shift: float = 1.0
) -> None:
    """A law with another exponent beside a fit's line, ``shift`` times it in the middle."""
    inside = np.geomspace(*fit.window, 50)
    middle = np.sqrt(fit.window[0] * fit.window[1])
    anchor = shift * float(fit.predict(middle)) / unit
    axes.plot(inside, anchor * (inside / middle) ** -exponent, "--", color=GREY, label=label)


def shared_legend(figure: "Figure", axes: "Iterable[Axes]", columns: int = 3) -> None:
    """One legend below the panels for the labels of all ``axes``, each once."""
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
    """Edges of cells around positive, ascending centres, halfway in the logarithm."""
    logs = np.log(centres)
    middle = (logs[1:] + logs[:-1]) / 2
    ends = [2 * logs[0] - middle[0]], [2 * logs[-1] - middle[-1]]
    return np.exp(np.concatenate([ends[0], middle, ends[1]]))


def plain_log_ticks(axis: Any) -> None:
    """Decades, or steps between where an axis spans few of them, in plain numbers up to 10,000."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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
    """A few powers of 2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(base=2, numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{np.log2(value):.0f}}}$"))
    axis.set_minor_locator(NullLocator())


def number(value: float) -> str:
    """A plain number under 10,000, else as a power of ten in maths."""
    if value < 1e4:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    lead = value / 10**exponent
    power = f"10^{{{exponent}}}"
    return f"${power}$" if abs(lead - 1) < 1e-6 else f"${lead:.3g}\\times{power}$"


def plain(label: str) -> str:
    r"""A label without its maths: ``$\alpha$ = 0.4`` as ``alpha 0.4``."""
    return label.replace("$", "").replace("\\", "").replace(" = ", " ")


def panel_letter(axes: "Axes", letter: str) -> None:
    """A bold letter at the panel's upper left."""
    axes.set_title(letter, loc="left", fontweight="bold")
