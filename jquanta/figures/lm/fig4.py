"""Figure 4: monogenic and polygenic tokens, loss against parameters beside the text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jquanta.figures.drawing import Drawing
from jquanta.figures.lm.tokens import draw_page

if TYPE_CHECKING:
    import xarray as xr

EACH = 3  # tokens of each kind


def draw(losses: "xr.Dataset", folder: Path, **options: Any) -> Drawing:
    """Draw Figure 4: ``EACH`` tokens of each kind. Options and errors: see ``draw_page``."""
    return draw_page("fig4", EACH, losses, folder, **options)
