"""Figures 4 and 12: monogenic and polygenic tokens, loss against parameters beside the text.

The tokens are either given by number, or drawn at random from each kind without replacement, from
different documents as far as possible, and shown in the order of the corpus. If a kind has too few
tokens, those that come nearest to its thresholds follow, the nearest first.
"""

from collections.abc import Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Note, Row, Share, Token
from jquanta.figures.lm import panels, typeset
from jquanta.figures.models import size_name
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.seeds import told
from jquanta.lm.taxonomy.kinds import Kind, Taxonomy, lines, straight_by_chance, taxonomy
from jquanta.lm.taxonomy.repeats import counted, networks, same_seeds
from jquanta.lm.taxonomy.tables import at_step, require_text
from jquanta.lm.taxonomy.thresholds import MONOGENIC, POLYGENIC, Monogenic, Polygenic
from jquanta.sweep.curves import NATS_PER_BIT

ROW = 1.02  # height of a token's row, inches
TOP, BOTTOM, LEFT, RIGHT = 0.24, 0.36, 0.41, 0.04  # margins of the page, inches
WIDTHS = (1.15, 2.0), (1.15, 5.2)  # relative widths of plot and text: two columns, or one
GAP = 0.16  # relative width between two columns
EACH = {"fig4": 3, "fig12": 8}  # tokens of each kind
MOST = 24  # tokens on a page
BEFORE, AFTER = 160, 24  # tokens of context to read, more than there is room for


class Shown(NamedTuple):
    """A token on the page.

    Attributes:
        kind: monogenic, polygenic, both or neither, in words for the title.
        prediction: its number in the corpus.
        size: parameters of the first model that has learned a monogenic token; 0 for others.
        slope, r2: of the least-squares line of the loss (nats) on ln N.
    """

    kind: str
    prediction: int
    size: int
    slope: float
    r2: float


def draw_page(
    name: str,
    each: int,
    losses: xr.Dataset,
    folder: Path,
    *,
    corpus: Path | str | None = None,
    token: Sequence[int] = (),
    monogenic: Monogenic = MONOGENIC,
    polygenic: Polygenic = POLYGENIC,
    seed: int = 0,
    step: int | None = None,
) -> Drawing:
    """Draw a page of tokens of both kinds.

    Args:
        name: of the files, without suffix.
        each: at most so many tokens of each kind.
        losses: from ``open_table``, in nats. One checkpoint of each model is used.
        folder: where the files are written.
        corpus: folder of the corpus that the losses were computed on. Required.
        token: predictions to show instead, by number in the corpus.
        monogenic, polygenic: thresholds of the two kinds; the paper's by default.
        seed: of the random choice among the tokens of a kind.
        step: the checkpoint; by default each model's last.

    Returns:
        The paths written; the share of tokens of each kind, of those solved at one size the share
        that stays solved at all larger ones, and the tokens shown.

    Raises:
        BadInput: if there is no corpus, or it is not that of the losses, a token is not in it,
            there are fewer than three sizes, or a loss is not a finite number of at least 0.
    """

    if corpus is None:
        raise BadInput("--corpus is missing: give the folder of the corpus of these losses")
    text = open_corpus(corpus)
    require_text(losses, text)
    text.locate(list(token))  # raises BadInput for numbers beyond the end of the corpus
    if len(token) > MOST:
        raise BadInput(f"--token: {len(token)} given, and a page holds {MOST}")
    rules = monogenic, polygenic
    models = at_step(losses, step)
    with panels.watching(models) as monitor:
        kinds = taxonomy(models, *rules, monitor=monitor)
    rows = panels.mixed_steps(models) + _counts(kinds, models.sizes["model"], rules)
    rows += _by_seed(models, kinds, rules)
    if token:
        columns = [[_asked(int(index), kinds, models) for index in token]]
        if len(token) > each:
            half = -(-len(token) // 2)
            columns = [columns[0][:half], columns[0][half:]]
    else:
        columns = []
        for word, found, near in (
            ("monogenic", kinds.monogenic, kinds.near_monogenic),
            ("polygenic", kinds.polygenic, kinds.near_polygenic),
        ):
            if len(found) < each:
                rows.append(_few(word, found, near, kinds.predictions, rules))
            columns.append(_chosen(word, found, near, text, each, seed))
        if not any(columns):
            raise BadInput("; ".join(str(row) for row in rows if isinstance(row, Note)))
    for shown in [one for column in columns for one in column]:
        rows.append(_token(shown, models, text))
    return Drawing(_page(name, folder, [c for c in columns if c], models, text, rules), rows)


fig4 = partial(draw_page, "fig4", EACH["fig4"])
fig12 = partial(draw_page, "fig12", EACH["fig12"])
"""Draw Figure 4 or Figure 12. Arguments, results and errors are those of ``draw_page``."""


def _counts(kinds: Taxonomy, models: int, rules: tuple[Monogenic, Polygenic]) -> list[Row]:
    """The share of tokens of each kind, and the share of solved tokens that stay solved."""

    rows: list[Row] = []
    at = kinds.monogenic.size
    for size in kinds.sizes[1:].tolist():
        found = int((at == size).sum())
        rows.append(Share.counted("monogenic", f"N = {size:,}", found, kinds.predictions))
    rows.append(Share.counted("polygenic", "all N", len(kinds.polygenic), kinds.predictions))
    chance = straight_by_chance(models, rules[1].r2)
    rows.append(
        Note(
            f"of tokens without a trend, {chance:.1g} have R² above {rules[1].r2:g} by chance "
            f"through {models} points, half of them falling"
        )
    )
    for size, solved, lasting in zip(
        kinds.sizes[:-1].tolist(), kinds.solved, kinds.lasting, strict=False
    ):
        rows.append(Share.counted("stay solved", f"N = {size:,}", int(lasting), int(solved)))
    return rows


def _by_seed(models: xr.Dataset, kinds: Taxonomy, rules: tuple[Monogenic, Polygenic]) -> list[Row]:
    """The share of tokens of each kind that each seed alone has, and that all seeds have alone.

    None unless all sizes have the same seeds. (Tokens that are monogenic at one size in each seed
    are those that are monogenic for all models together.)
    """
    found = networks(models)
    if not same_seeds(found):
        return []
    rows: list[Row] = []
    seeds, alone = found[0].seeds, []
    for seed in seeds:
        own = models.isel(model=[one.columns[one.seeds.index(seed)] for one in found])
        with panels.watching(own) as monitor:
            alone.append(taxonomy(own, *rules, monitor=monitor))
    polygenic = [one.polygenic.index for one in alone]
    for kind, at, each, every in (
        ("monogenic", "any N", [one.monogenic.index for one in alone], len(kinds.monogenic)),
        ("polygenic", "all N", polygenic, len(reduce(np.intersect1d, polygenic))),
    ):
        for seed, index in zip(seeds, each, strict=True):
            name = f"{kind} by seed {told([seed])} alone"
            rows.append(Share.counted(name, at, len(index), kinds.predictions))
        same = " at the same size" if kind == "monogenic" else ""
        name = f"{kind}{same} in each of {counted(seeds)}, of those in any"
        rows.append(Share.counted(name, at, every, len(reduce(np.union1d, each))))
    return rows


def _few(
    kind: str, found: Kind, near: Kind, total: int, rules: tuple[Monogenic, Polygenic]
) -> Note:
    """A note that a kind has too few tokens: its thresholds, the nearest miss, and the remedy."""
    one, many = rules
    short = near.take(np.flatnonzero(near.short >= 0))
    if kind == "monogenic":
        rule = f"above {one.above:g}, then below {one.below:g} nats"
        lack = "".join(f"; the nearest falls {by:.2f} nats short" for by in short.short[:1])
        flags = "--monogenic.above --monogenic.below"
    else:
        rule = f"slope below {many.slope:g} nats, R² above {many.r2:g}"
        lack = "".join(f"; the nearest has R² {r2:.3f}" for r2 in short.r2[:1])
        flags = "--polygenic.slope --polygenic.r2"
    fact = f"{len(found) or 'no'} token{'s' * (len(found) > 1)} of {total:,} {kind} ({rule})"
    shown = ", and the nearest are shown, too" if lack else ""
    return Note(f"{fact}{lack}{shown}: other thresholds by {flags}")


def _chosen(kind: str, found: Kind, near: Kind, text: Corpus, count: int, seed: int) -> list[Shown]:
    """``count`` tokens of a kind; if it has too few, the nearest to its thresholds follow."""
    order = np.random.default_rng(seed).permutation(len(found))
    some = found.take(np.sort(_apart(found.index, order, text, count)))
    other = near.take(np.flatnonzero(near.short >= 0)[: count - len(some)])
    return [
        Shown(word, int(index), int(size), float(slope), float(r2))
        for word, tokens in ((kind, some), (f"nearest to {kind}", other))
        for index, size, slope, r2 in zip(
            tokens.index, tokens.size, tokens.slope, tokens.r2, strict=True
        )
    ]


def _apart(index: np.ndarray, order: np.ndarray, text: Corpus, count: int) -> np.ndarray:
    """``count`` entries of ``order``: first one for each document, then the others."""
    if not len(order):
        return order
    documents, _ = text.locate(index[order])
    first = np.unique(documents, return_index=True)[1]
    other = np.setdiff1d(np.arange(len(order)), first)
    return order[np.concatenate([np.sort(first), other])[:count]]


def _asked(index: int, kinds: Taxonomy, models: xr.Dataset) -> Shown:
    """A token that was asked for by number, with its kind."""

    values = models.loss[index : index + 1].to_numpy()
    slope, r2 = lines(values, np.log(models["size"].to_numpy().astype(float)))
    words, size = [], 0
    for kind, found in (("monogenic", kinds.monogenic), ("polygenic", kinds.polygenic)):
        place = np.flatnonzero(found.index == index)
        if len(place):
            words.append(kind)
            size = max(size, int(found.size[place[0]]))
    return Shown(" and ".join(words) or "neither kind", index, size, float(slope[0]), float(r2[0]))


def _token(shown: Shown, models: xr.Dataset, text: Corpus) -> Token:
    values = models.loss[shown.prediction].to_numpy().astype(float)
    return Token(
        shown.kind,
        shown.prediction,
        text.context(shown.prediction, 1, 0).target,
        tuple(models["size"].to_numpy().tolist()),
        tuple(values.tolist()),
        shown.slope,
        shown.r2,
    )


def _page(
    name: str,
    folder: Path,
    columns: list[list[Shown]],
    models: xr.Dataset,
    text: Corpus,
    rules: tuple[Monogenic, Polygenic],
) -> list[Path]:
    """Draw and save the page: every token has a plot, and its text at the right of it."""
    rows = max(map(len, columns))
    height = rows * ROW + TOP + BOTTOM
    # Each column is a plot and its text; two are separated by room for the second one's axis.
    widths = (*WIDTHS[0], GAP, *WIDTHS[0]) if len(columns) > 1 else WIDTHS[1]
    figure, axes = style.new_figure(
        style.PAGE,
        height,
        rows,
        len(widths),
        gridspec_kw={
            "left": LEFT / style.PAGE,
            "right": 1 - RIGHT / style.PAGE,
            "top": 1 - TOP / height,
            "bottom": BOTTOM / height,
            "hspace": 0.42,
            "wspace": 0.08,
            "width_ratios": widths,
        },
    )
    # The margins above are final. (A layout engine given as None when the figure is made would
    # be replaced by the constrained layout of the settings.)
    figure.set_layout_engine("none")
    losses = models.loss[[shown.prediction for column in columns for shown in column]].to_numpy()
    top = 1.08 * float(losses.max()) / NATS_PER_BIT
    for place, column in enumerate(columns):
        pairs = axes[:, 3 * place : 3 * place + 2]
        for row, shown in enumerate(column):
            _curve(pairs[row, 0], pairs[row, 1], shown, models, rules, top)
            typeset.draw_context(pairs[row, 1], text.context(shown.prediction, BEFORE, AFTER))
            last = row == len(column) - 1
            pairs[row, 0].tick_params(labelbottom=last)
            if last:
                pairs[row, 0].set_xlabel("$N$", labelpad=1)
        for empty in (*pairs[len(column) :].ravel(), *axes[:, 3 * place + 2 : 3 * place + 3].flat):
            empty.remove()
    for row in range(rows):
        axes[row, 0].set_ylabel("loss (bits)", fontsize=7)
    return style.save(figure, folder, name)


def _curve(
    axes: Axes,
    beside: Axes,
    shown: Shown,
    models: xr.Dataset,
    rules: tuple[Monogenic, Polygenic],
    top: float,
) -> None:
    """Draw one token's loss against N, with the thresholds or the line that define its kind.

    The second half of the title stands above the text, in the axes ``beside``.
    """
    sizes = models["size"].to_numpy().astype(float)
    bits = models.loss[shown.prediction].to_numpy().astype(float) / NATS_PER_BIT
    every = np.unique(sizes)
    line: Any = {"color": style.GREY, "lw": 0.7}
    if shown.size:
        for threshold in (rules[0].above, rules[0].below):
            axes.axhline(threshold / NATS_PER_BIT, ls=":", **line)
        result = f"learned at $N$ = {size_name(shown.size)}"
    else:
        middle = bits.mean() - shown.slope / NATS_PER_BIT * np.log(sizes).mean()
        axes.plot(every, middle + shown.slope / NATS_PER_BIT * np.log(every), "--", **line)
        result = f"slope {shown.slope:.2f}, $R^2$ {shown.r2:.3f}".replace("-", "−")
    means = [bits[sizes == size].mean() for size in every]
    axes.plot(every, means, "-", color=style.BLUE, lw=0.9)
    several = [one.columns for one in networks(models) if len(one.seeds) > 1]
    for columns in several:
        axes.plot(sizes[list(columns)], bits[list(columns)], "_", color=style.BLUE, ms=4, mew=0.5)
    alone = sorted(set(range(len(bits))).difference(*several))
    axes.plot(sizes[alone], bits[alone], "o", color=style.BLUE, ms=2.4, mew=0)
    axes.set_xscale("log")
    axes.set_ylim(-0.03 * top, top)
    axes.margins(x=0.08)
    style.plain_log_ticks(axes.xaxis)
    axes.tick_params(labelsize=6, pad=1.5)
    axes.set_title(shown.kind, fontsize=6.5, loc="left", pad=2.5)
    beside.set_title(result, fontsize=6.5, loc="left", pad=2.5)
