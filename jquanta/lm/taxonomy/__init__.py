"""Losses of single tokens across models and checkpoints: laws, distributions, and kinds::

    from jquanta.lm import analysis

    models = analysis.at_step(analysis.open_table(["losses/pile"]))  # one checkpoint a model
    found = analysis.distributions(models)  # p(L) in bits, means in nats
    law = analysis.fit_sizes(models["size"], found.mean)
    kinds = analysis.taxonomy(models, analysis.Monogenic(above=4.0))

Names load on first use.
"""

from typing import TYPE_CHECKING

from jquanta.lazy import attributes

if TYPE_CHECKING:
    from jquanta.lm.taxonomy.distribution import distributions
    from jquanta.lm.taxonomy.kinds import taxonomy
    from jquanta.lm.taxonomy.laws import fit_sizes, step_curves, step_window
    from jquanta.lm.taxonomy.tables import at_step, blocks, open_table
    from jquanta.lm.taxonomy.thresholds import Monogenic, Polygenic

_HOMES = {
    "Monogenic": "jquanta.lm.taxonomy.thresholds",
    "Polygenic": "jquanta.lm.taxonomy.thresholds",
    "analysis": "jquanta.lm",
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
    "analysis",
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
