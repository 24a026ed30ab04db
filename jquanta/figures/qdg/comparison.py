"""The same quanta elsewhere: agreement with other runs, and clusters that are found there."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.figures import style
from jquanta.figures.drawing import Agreed, Amount, Drawing, Note, Row, Share
from jquanta.qdg.questions.comparison import checkpoints, elsewhere, open_comparison
from jquanta.qdg.results import chosen_count

COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.PINK, style.SKY, style.AMBER)
"""Of the other runs, from the first on again after the last."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw what ``jquanta compare`` has found.

    Against the number of clusters, a line for each other run: (a) the adjusted Rand index, with its
    95% interval, between what tokens alone would give (dotted) and the run's agreement with itself
    at other seeds, where that is known; (b) the index of pairs of samples that predict one token;
    (c) the share of the run's clusters that are found elsewhere. Where two or more of the others
    differ from the run in the checkpoint alone, (d): at the count nearest to the paper's 400, all
    of these and the adjusted mutual information against training step.

    Args:
        source: a folder of ``jquanta qdg`` with ``comparison.zarr``.
        folder: where ``comparison.png`` and ``comparison.pdf`` are written.

    Returns:
        The paths written; for each other run and the count nearest to 400, the indices and the
        share of clusters found.

    Raises:
        BadInput: if there is no ``comparison.zarr``, or clusters have changed since.
    """
    found = open_comparison(source)
    trained = checkpoints(found)
    trained = trained.isel(other=np.flatnonzero((trained.step > 0).to_numpy()))  # a log axis
    rows = 2 if trained.sizes["other"] > 1 else 1
    columns = 2 if rows > 1 else 3
    figure, grid = style.new_figure(style.PAGE, 2.5 * rows, rows, columns)
    panels = grid.ravel().tolist()
    _agreement(panels[0], found, "ari", "ARI with the other run")
    _by_tokens(panels[0], found)
    _ceiling(panels[0], found)
    _agreement(panels[1], found, "within", "ARI within tokens")
    _shares(panels[2], found)
    if rows > 1:
        _steps(panels[3], trained)
    for axes, letter in zip(panels, "abcd", strict=False):
        style.panel_letter(axes, letter)
    style.shared_legend(figure, panels, columns=4)
    return Drawing(style.save(figure, folder, "comparison"), _rows(found))


def _agreement(axes: Axes, found: xr.Dataset, name: str, label: str) -> None:
    """Draw an index with its interval against the number of clusters."""
    for i in range(found.sizes["other"]):
        one = found.isel(other=i)
        one = one.isel(count=np.flatnonzero(one[name].notnull().to_numpy()))
        value = one[name].to_numpy()
        error = np.abs([one[f"{name}_{end}"].to_numpy() - value for end in ("low", "high")])
        axes.errorbar(one["count"].to_numpy(), value, error, **_look(found, i), elinewidth=0.7)
    axes.axhline(0, color="black", lw=0.6)
    _counts(axes, label)


def _by_tokens(axes: Axes, found: xr.Dataset) -> None:
    """Draw what the index would be if runs shared nothing but the tokens, dotted."""
    for i in range(found.sizes["other"]):
        own = found.by_tokens.isel(other=i).dropna("count")
        look = _look(found, i) | {"marker": "", "label": "by tokens alone" if not i else None}
        axes.plot(own["count"], own, ls=":", **look)


def _ceiling(axes: Axes, found: xr.Dataset) -> None:
    """Draw how well the run agrees with itself at another seed."""
    known = found.seed_ari.max("other").dropna("count")
    if known.sizes["count"]:
        axes.plot(
            known["count"], known, "x--", color=style.GREY, ms=4, lw=0.8, label="itself, other seed"
        )


def _shares(axes: Axes, found: xr.Dataset) -> None:
    """Draw the share of clusters that are found in each other run."""
    told = found.p.notnull().sum("cluster")
    share = elsewhere(found).sum("cluster") / told.where(told > 0)
    for i in range(found.sizes["other"]):
        own = share.isel(other=i).dropna("count")
        axes.plot(own["count"], own, **_look(found, i))
    axes.set_ylim(-0.03, 1.03)
    _counts(axes, "share of clusters found")


def _steps(axes: Axes, trained: xr.Dataset) -> None:
    """Draw one count against training step."""
    count = chosen_count(trained, None)
    here = trained.sel(count=count)
    told = here.p.notnull().sum("cluster")
    share = elsewhere(trained).sel(count=count).sum("cluster") / told.where(told > 0)
    for values, look, label in (
        (here.ari, {"color": "black", "marker": "o"}, "ARI"),
        (here.ami, {"color": "black", "marker": "s", "ls": ":"}, "AMI"),
        (here.within, {"color": style.GREY, "marker": "^"}, "ARI within tokens"),
        (share, {"color": style.GREY, "marker": "v", "ls": "--"}, "share found"),
    ):
        known: Any = look
        axes.plot(here.step, values, ms=3, lw=1, label=label, **known)
    axes.set(xscale="log", xlabel="training step of the other run", ylabel=f"of {count} clusters")
    style.plain_log_ticks(axes.xaxis)
    axes.set_ylim(min(-0.03, float(here.within.min()) - 0.03), 1.03)


def _look(found: xr.Dataset, i: int) -> dict[str, Any]:
    """Of an other run's lines."""
    look = {"color": COLOURS[i % len(COLOURS)], "marker": "o", "ms": 3, "lw": 1}
    return {**look, "label": str(found.other.to_numpy()[i])}


def _counts(axes: Axes, label: str) -> None:
    """Label the axes of a panel over numbers of clusters."""
    axes.set(xscale="log", xlabel="number of clusters", ylabel=label)
    style.plain_log_ticks(axes.xaxis)


def _rows(found: xr.Dataset) -> list[Row]:
    """What is told of each other run, at the count nearest to 400 that it has."""
    rows: list[Row] = []
    there, given = elsewhere(found).sum("cluster"), found.p.notnull().sum("cluster")
    for i, name in enumerate(found.other.to_numpy().tolist()):
        own = found.isel(other=i)
        own = own.isel(count=np.flatnonzero(own.p.notnull().any("cluster").to_numpy()))
        count = chosen_count(own, None)
        here, samples = own.sel(count=count), int(own.samples)
        of = f"{name}, {count} clusters"
        for variable, title in (("ari", "ARI"), ("within", "ARI within tokens")):
            value, low, high = (float(here[f"{variable}{end}"]) for end in ("", "_low", "_high"))
            if not np.isnan(value):  # no token is cut by either
                rows.append(Agreed(title, of, value, (low, high), 0.0, samples, samples))
        rows.append(Amount("ARI by tokens alone", of, float(here.by_tokens), ""))
        rows.append(Amount("AMI", of, float(here.ami), ""))
        rows.append(
            Share.counted(
                "clusters found elsewhere",
                of,
                there.isel(other=i).sel(count=count),
                given.isel(other=i).sel(count=count),
            )
        )
        if bool(here.seed_ari.notnull()):
            rows.append(Note(f"{count} clusters at another seed: ARI {float(here.seed_ari):.3f}"))
    return rows
