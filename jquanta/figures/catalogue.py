"""The figures: what each shows, what it is drawn from, and the function that draws it.

The command line lists them, so this module imports nothing: a function is named, and imported when
a figure is drawn.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """A figure.

    Attributes:
        title: what it shows.
        function: full name of the function that draws it,
            ``function(opened, folder, **options) -> Drawing``.
        source: a key of ``SOURCES``: the flag that names the folders it is drawn from; empty if it
            needs none.
        experiments: names of the files in ``configs/`` whose sweeps it is drawn from.
        options: further flags that it takes, keyword arguments of ``function``.
    """

    title: str
    function: str
    source: str = ""
    experiments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Source(NamedTuple):
    """A kind of stored results.

    Attributes:
        what: the values of its flag, in words.
        made: how to make such results, in words.
    """

    what: str
    made: str


SOURCES = {
    "runs": Source("the folders of finished sweeps", "trained by jquanta sweep NAME"),
    "losses": Source(
        "folders of per-token losses, or an array of them (.npy)",
        "computed by jquanta losses or jquanta pretrain",
    ),
    "qdg": Source(
        "a folder of quanta discovery from gradients (fig5: or a .npy file of labels, "
        "counts × samples; fig16, fig17: of the toy model)",
        "made by jquanta qdg, those of the toy model by jquanta known toy",
    ),
}
"""What figures can be drawn from, by flag."""

_TOKENS = ("corpus", "token", "monogenic", "polygenic", "seed", "step")


def _sweep(title: str, module: str, *experiments: str) -> Entry:
    """A figure of sweeps, drawn by a module of ``jquanta.figures.sweep``."""
    return Entry(title, f"jquanta.figures.sweep.{module}.draw", "runs", experiments)


FIGURES = {
    "fig2": _sweep(
        "loss against parameters, steps and data, over heat maps of every subtask's loss",
        "fig2",
        "fig2-width",
        "fig2-data",
        "many-subtasks",
    ),
    "fig3": Entry(
        "mean loss of language models against parameters, and how their losses are distributed",
        "jquanta.figures.lm.fig3.draw",
        "losses",
        options=("fit", "step"),
    ),
    "fig4": Entry(
        "monogenic and polygenic tokens: loss against parameters beside the text",
        "jquanta.figures.lm.tokens.fig4",
        "losses",
        options=_TOKENS,
    ),
    "fig5": Entry(
        "similarity matrix by cluster, beside the clusters' sizes by rank, for every count",
        "jquanta.figures.qdg.fig5.draw",
        "qdg",
    ),
    "fig6": Entry(
        "L(n) where quanta cost -log p_k before they are learned, against one bit",
        "jquanta.figures.theory.fig6.draw",
    ),
    "fig7": _sweep(
        "every subtask's loss against steps, online and on finite data",
        "fig7",
        "fig7",
        "fig2-width",
        "fig2-data",
    ),
    "fig8": _sweep(
        "steps to convergence against frequency, and the mean loss against steps",
        "fig8",
        "fig2-width",
        "science-check",
    ),
    "fig9": _sweep(
        "number of subtasks learned against data, and its exponent against alpha",
        "fig9",
        "fig10-data",
        "data-alpha-k",
    ),
    "fig10": _sweep(
        "exponents of parameters, steps and data against alpha, under the curves",
        "fig10",
        "fig10-width",
        "fig10-data",
        "data-alpha-k",
    ),
    "fig11": Entry(
        "mean loss and distribution of losses of language models against training steps",
        "jquanta.figures.lm.fig11.draw",
        "losses",
        options=("fit", "step_tokens"),
    ),
    "fig12": Entry(
        "more tokens of both kinds, as in fig4",
        "jquanta.figures.lm.tokens.fig12",
        "losses",
        options=_TOKENS,
    ),
    "jumps": Entry(
        "is a token learned at the same size, and the same step, in every seed? "
        "(of losses of several seeds)",
        "jquanta.figures.lm.jumps.draw",
        "losses",
        options=("below", "step"),
    ),
    "spectrum": Entry(
        "when is each token learned, and does that make up the mean loss? (of six checkpoints, or "
        "six sizes)",
        "jquanta.figures.lm.spectrum.draw",
        "losses",
        options=("along", "below", "step"),
    ),
    "fig15": Entry(
        "QDG on sparse parity: similarity by true subtask, beside the clusters' sizes by rank",
        "jquanta.figures.qdg.fig15.draw",
        "qdg",
    ),
    "fig16": Entry(
        "a toy model of clusters' sizes, over dimension, noise and count",
        "jquanta.figures.qdg.fig16.draw",
        "qdg",
    ),
    "fig17": Entry(
        "slope of the envelope in the toy model against the exponent put in",
        "jquanta.figures.qdg.fig17.draw",
        "qdg",
    ),
    "quanta": Entry(
        "mean losses of clusters over training and sizes, and when they emerge "
        "(after jquanta emergence)",
        "jquanta.figures.qdg.quanta.draw",
        "qdg",
    ),
    "mechanism": Entry(
        "what a step against each cluster's mean gradient does to the others "
        "(after jquanta mechanism)",
        "jquanta.figures.qdg.mechanism.draw",
        "qdg",
    ),
    "stability": Entry(
        "which clusters are more than chance offers, and how many are found again, for every count "
        "(after jquanta stability)",
        "jquanta.figures.qdg.stability.draw",
        "qdg",
    ),
    "groups": Entry(
        "groups without a number of clusters: how sure, beside chance, and which clusters they are "
        "(after jquanta groups)",
        "jquanta.figures.qdg.groups.draw",
        "qdg",
    ),
    "comparison": Entry(
        "are the clusters of other runs the same? agreement beyond chance and beyond tokens, and "
        "the share of clusters found there (after jquanta compare)",
        "jquanta.figures.qdg.comparison.draw",
        "qdg",
    ),
    "parts": Entry(
        "which part of the network finds known groups: layers, roles, attention heads "
        "(after jquanta parts, or jquanta known parity --parts)",
        "jquanta.figures.qdg.parts.draw",
        "qdg",
    ),
    "fig18": Entry(
        "exponents of parameter and data scaling across studies",
        "jquanta.figures.theory.fig18.draw",
    ),
    "width-data": _sweep(
        "loss and number learned over width and data, with lines of equal loss",
        "width_data",
        "width-data",
    ),
    "compute": _sweep(
        "loss, best parameters and best steps against compute, beside the fitted L(N, S)",
        "compute",
        "fig2-width",
    ),
    "widths": _sweep(
        "loss and number learned against parameters, by k, or with uniform frequencies",
        "widths",
        "width-k",
        "width-uniform",
    ),
    "learning-rate": _sweep(
        "loss curves, final loss and accuracy against the learning rate",
        "learning_rate",
        "learning-rate",
    ),
    "weight-decay": _sweep(
        "test loss and number of subtasks learned against weight decay",
        "weight_decay",
        "weight-decay",
    ),
    "data-bits": _sweep(
        "how many samples one subtask takes, by task bits",
        "data_bits",
        "data-bits",
    ),
    "subtask-spectrum": _sweep(
        "when is each subtask learned, and does that make up the mean loss?",
        "spectrum",
        "fig2-width",
        "science-check",
    ),
    "compositional": _sweep(
        "loss of codes, and of their composite trained alone, against steps",
        "compositional",
        "compositional",
    ),
}
"""Every figure by the name that the command line gives it."""


def origin(figure: str) -> str:
    """In words, what to run before a figure can be drawn."""
    entry = FIGURES[figure]
    names = " or ".join(entry.experiments)
    made = SOURCES[entry.source].made
    return f"{figure} is drawn from {names}, {made}" if names else f"they are {made}"


def taken(figure: str) -> str:
    """In words, the flags that a figure takes."""
    entry = FIGURES[figure]
    flags = [entry.source] * bool(entry.source) + list(entry.options)
    return "it takes " + (", ".join(f"--{flag}" for flag in flags) or "none but --out")
