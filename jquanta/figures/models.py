"""How figures name language models, and which colours stand for their sizes."""

from collections.abc import Sequence

from matplotlib.cm import ScalarMappable

from jquanta.figures import style

PARAMETERS = "non-embedding parameters $N$"
"""Label of an axis of sizes."""


def short_name(name: str) -> str:
    """A model's name without its owner: ``pythia-70m`` of ``EleutherAI/pythia-70m``."""
    return name.rsplit("/", 1)[-1]


def size_name(size: int) -> str:
    """A number of parameters in three digits, such as 25.3k or 1.21B."""
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:.3g}{word}"
    return str(size)


def size_colours(sizes: Sequence[int]) -> ScalarMappable:
    """Colours of sizes on a logarithmic scale, dark for small ones (see ``style.shades``)."""
    return style.shades(min(sizes), max(sizes), log=True)
