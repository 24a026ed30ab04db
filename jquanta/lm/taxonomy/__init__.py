"""The losses of single tokens across models and checkpoints (paper, section 3).

Power laws of the mean loss, distributions of the losses, and the classification of tokens into
monogenic and polygenic ones::

    from jquanta.lm import taxonomy

    models = taxonomy.at_step(taxonomy.open_table(["losses/pile"]))  # one checkpoint per model
    found = taxonomy.distributions(models)  # p(L) in bits, means in nats
    law = taxonomy.fit_sizes(models["size"], found.mean)
    kinds = taxonomy.taxonomy(models, taxonomy.Monogenic(above=4.0))

    seeds = jq.by_seed(models)  # of several seeds: do tokens jump at the same size in each?
    taxonomy.agreement(seeds, seeds["size"].to_numpy()).icc

Each name is imported on first use, so that importing the package is fast.
"""

from typing import TYPE_CHECKING

from jquanta.lazy import attributes

if TYPE_CHECKING:
    from jquanta.lm.taxonomy.distribution import distributions
    from jquanta.lm.taxonomy.jumps import agreement
    from jquanta.lm.taxonomy.kinds import taxonomy
    from jquanta.lm.taxonomy.laws import fit_sizes, step_curves, step_window
    from jquanta.lm.taxonomy.tables import at_step, blocks, open_table
    from jquanta.lm.taxonomy.thresholds import Monogenic, Polygenic

_HOMES = {
    "Monogenic": "jquanta.lm.taxonomy.thresholds",
    "Polygenic": "jquanta.lm.taxonomy.thresholds",
    "agreement": "jquanta.lm.taxonomy.jumps",
    "at_step": "jquanta.lm.taxonomy.tables",
    "blocks": "jquanta.lm.taxonomy.tables",
    "distributions": "jquanta.lm.taxonomy.distribution",
    "fit_sizes": "jquanta.lm.taxonomy.laws",
    "open_table": "jquanta.lm.taxonomy.tables",
    "step_curves": "jquanta.lm.taxonomy.laws",
    "step_window": "jquanta.lm.taxonomy.laws",
    "taxonomy": "jquanta.lm.taxonomy.kinds",
}

__all__ = [
    "Monogenic",
    "Polygenic",
    "agreement",
    "at_step",
    "blocks",
    "distributions",
    "fit_sizes",
    "open_table",
    "step_curves",
    "step_window",
    "taxonomy",
]

__getattr__ = attributes(__name__, _HOMES)
