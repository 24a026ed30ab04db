"""How every figure looks: sizes of a two-column paper, colour-blind-safe colours, PNG and PDF."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jquanta.errors import BadInput
from jquanta.sweep.folder import remove

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = 6.8  # inches: both columns

# Okabe & Ito's palette, distinguishable with any colour vision.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"

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


def log_edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around positive, ascending centres, halfway in the logarithm."""
    logs = np.log(centres)
    middle = (logs[1:] + logs[:-1]) / 2
    ends = [2 * logs[0] - middle[0]], [2 * logs[-1] - middle[-1]]
    return np.exp(np.concatenate([ends[0], middle, ends[1]]))


def plain_log_ticks(axis: Any) -> None:
    """Decades, or 1-2-5 steps where an axis spans few of them, in plain numbers up to 10,000."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 1.5 else (1.0, 2.0, 5.0) if decades > 0.5 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: object) -> str:
    if value < 1e4:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    lead = value / 10**exponent
    power = f"10^{{{exponent}}}"
    return f"${power}$" if abs(lead - 1) < 1e-6 else f"${lead:g}\\times{power}$"


def panel_letter(axes: "Axes", letter: str) -> None:
    """A bold letter at the panel's upper left."""
    axes.set_title(letter, loc="left", fontweight="bold")
