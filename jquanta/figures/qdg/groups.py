"""Groups without a number of clusters: how sure they are, and which clusters of a run they are."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Note, Row, Share
from jquanta.qdg.clusters.cluster import open_clusters
from jquanta.qdg.clusters.quality import found_again
from jquanta.qdg.config import GROUPS
from jquanta.qdg.questions.groups import open_groups, store
from jquanta.qdg.questions.stability import FOUND, STORE, open_stability, recommended
from jquanta.qdg.results import chosen_count

LOOKS = dict(zip(GROUPS, ((style.BLUE, "o"), (style.ORANGE, "s")), strict=True))


def draw(source: Path, folder: Path) -> Drawing:
    """Draw what ``jquanta groups`` has found, by consensus, local, or both.

    Left, how sure each group is against its size. Middle, its score: how far it is from what sets
    of its size have in null models, in standard deviations of these; by consensus in how much more
    alike its samples are than they are to the rest, by local in conductance. Right, the largest
    Jaccard index of each group with a cluster of the run: of the count that ``jquanta stability``
    recommends, or else of the one that the page opens with.

    Args:
        source: a folder of ``jquanta qdg`` with groups of either kind.
        folder: where ``groups.png`` and ``groups.pdf`` are written.

    Returns:
        The paths written; the share of samples in a group, the share of groups that are a cluster
        (Jaccard index above 0.75), and how many groups null models offer.

    Raises:
        BadInput: if there are no groups of either kind, or none that chance does not offer.
    """
    kinds = [kind for kind in GROUPS if (source / store(kind)).exists()]
    every = [open_groups(source, kind) for kind in kinds or GROUPS[:1]]
    if not any(found.sizes["group"] for found in every):
        raise BadInput(f"{source}: no groups beyond chance were found; nothing to draw")
    clusters = open_clusters(source)
    stable = (source / STORE).exists()
    count = recommended(open_stability(source)).clusters if stable else chosen_count(clusters, None)
    label = clusters.label.sel(count=count).to_numpy()
    figure, ((left, middle, right),) = style.new_figure(style.PAGE, 2.5, 1, 3)
    rows: list[Row] = []
    for found in every:
        again = as_clusters(found, label)
        _kind(left, found, found.sure.to_numpy())
        _kind(middle, found, found.score.to_numpy())
        _kind(right, found, again)
        kind, null = found.attrs["kind"], found.attrs["null_found"]
        rows += [
            Share.counted(
                "samples in a group", kind, (found.label >= 0).sum(), found.sizes["sample"]
            ),
            Share.counted(
                f"groups that are one of {count} clusters", kind, (again > FOUND).sum(), len(again)
            ),
            Note(
                f"{kind}: {found.sizes['group']} groups beyond chance of {found.attrs['found']} "
                f"found; in null models {', '.join(map(str, null))}"
            ),
        ]
    right.axhline(FOUND, color=style.GREY, lw=1, ls=":", label=f"Jaccard index {FOUND:g}")
    for axes, name, top in (
        (left, "how sure", 1.05),
        (middle, "beyond chance (deviations)", None),
        (right, f"overlap with one of {count} clusters", 1.05),
    ):
        axes.set(xscale="log", xlabel="samples of a group", ylabel=name, ylim=(0, top))
        style.plain_log_ticks(axes.xaxis)
    for axes, letter in ((left, "a"), (middle, "b"), (right, "c")):
        style.panel_letter(axes, letter)
    style.shared_legend(figure, (left, middle, right), columns=4)
    return Drawing(style.save(figure, folder, "groups"), rows)


def as_clusters(found: xr.Dataset, label: np.ndarray) -> np.ndarray:
    """Of each group the largest Jaccard index with a cluster; samples in none are no group."""
    groups = found.sizes["group"]
    own = found.label.to_numpy()
    return found_again(np.where(own < 0, groups, own), label)[:groups]


def _kind(axes: Axes, found: xr.Dataset, values: np.ndarray) -> None:
    """Draw a number of each group against its size."""
    colour, marker = LOOKS[found.attrs["kind"]]
    if not len(values):
        return
    axes.plot(
        found["size"], values, marker, color=colour, ms=2.5, alpha=0.7, label=found.attrs["kind"]
    )
