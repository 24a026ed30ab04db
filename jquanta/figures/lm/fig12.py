"""Figure 12: a page of monogenic and polygenic tokens, as in Figure 4."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jquanta.figures.drawing import Drawing
from jquanta.figures.lm.tokens import draw_page

if TYPE_CHECKING:
    import xarray as xr

EACH = 8  # tokens of each kind


def draw(losses: "xr.Dataset", folder: Path, **options: Any) -> Drawing:
    """Draw Figure 12: ``EACH`` tokens of each kind. Options and errors: see ``draw_page``."""
    return draw_page("fig12", EACH, losses, folder, **options)
