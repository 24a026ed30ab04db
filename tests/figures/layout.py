"""Figures as they are saved, without files, and whether a reader can read them."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

from jquanta.figures import style
from jquanta.figures.drawing import Drawing

PIXEL = 1.0  # text is placed on whole pixels


def drawn(
    draw: Callable[..., Drawing],
    results: Sequence[xr.Dataset] | xr.Dataset,
    folder: Path,
    **options: Any,
) -> tuple[Figure, list[Any]]:
    """The figure that a function draws, laid out as it is saved, and its numbers."""
    figures: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", lambda figure, folder, name: figures.append(figure) or [])
        _, measured = draw(results, folder, **options)
    (figure,) = figures
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as panels that do not fit
        figure.canvas.draw()
    return figure, measured


def panels(figure: Figure) -> list[Any]:
    """The figure's axes without colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def labels(owner: Any) -> list[str]:
    """The texts of the legends of axes, or of a figure's own."""
    return [text.get_text() for legend in _legends(owner) for text in legend.get_texts()]


def assert_legible(figure: Figure) -> None:
    """Nothing is clipped, nothing covers something else's text, no panel is empty.

    For a figure that is laid out.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.bbox
    whole = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for axes, box in zip(figure.axes, whole, strict=True):
        assert axes.has_data(), "an empty panel"
        assert box.x0 >= page.x0 - PIXEL, f"clipped on the left by {page.x0 - box.x0}"
        assert box.y0 >= page.y0 - PIXEL, f"clipped below by {page.y0 - box.y0}"
        assert box.x1 <= page.x1 + PIXEL, f"clipped on the right by {box.x1 - page.x1}"
        assert box.y1 <= page.y1 + PIXEL, f"clipped above by {box.y1 - page.y1}"
        for axis in (axes.xaxis, axes.yaxis):
            _assert_apart(_tick_boxes(axis, renderer))
        _assert_apart(_text_boxes(axes, renderer))
        _assert_not_struck_through(axes, renderer)
    _assert_apart([("panel", box) for box in whole])


def _tick_boxes(axis: Axis, renderer: Any) -> list[tuple[str, Bbox]]:
    """The labels of the ticks that are drawn."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = [
        tick
        for tick in axis.get_major_ticks()
        if tick.label1.get_text() and low - slack <= tick.get_loc() <= high + slack
    ]
    return [(t.label1.get_text(), t.label1.get_window_extent(renderer)) for t in ticks]


def _text_boxes(axes: Any, renderer: Any) -> list[tuple[str, Bbox]]:
    """Titles, notes and legends of one panel."""
    titles = [axes.title, axes._left_title, axes._right_title]
    texts = [text for text in (*titles, *axes.texts) if text.get_text() and text.get_visible()]
    named = [(text.get_text(), text) for text in texts]
    named += [("legend", legend) for legend in _legends(axes)]
    return [(name, artist.get_window_extent(renderer)) for name, artist in named]


def _legends(owner: Any) -> list[Legend]:
    return [child for child in owner.get_children() if isinstance(child, Legend)]


def _assert_not_struck_through(axes: Any, renderer: Any) -> None:
    """No line passes through the text of a legend."""
    entries = [entry for legend in _legends(axes) for entry in legend.get_texts()]
    for line in axes.get_lines():
        path = line.get_transform().transform_path(line.get_path())
        for text in entries:
            covered = path.intersects_bbox(text.get_window_extent(renderer), filled=False)
            assert not covered, f"{line.get_label()!r} passes through {text.get_text()!r}"


def _assert_apart(boxes: list[tuple[str, Bbox]]) -> None:
    for number, (name, box) in enumerate(boxes):
        for other, another in boxes[number + 1 :]:
            common = Bbox.intersection(box, another)
            if common is not None:
                overlap = min(common.width, common.height)
                assert overlap <= PIXEL, f"{name!r} and {other!r} overlap by {overlap:.1f}"
