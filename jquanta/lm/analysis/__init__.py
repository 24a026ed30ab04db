"""Losses of single tokens across models and checkpoints: laws, distributions, and kinds::

    from jquanta.lm import analysis

    models = analysis.at_step(analysis.open_table(["losses/pile"]))  # one checkpoint a model
    found = analysis.distributions(models)  # p(L) in bits, means in nats
    law = analysis.fit_sizes(models["size"], found.mean)
    kinds = analysis.taxonomy(models, analysis.Monogenic(above=4.0))

Names load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jquanta.lm.analysis.distribution import distributions
    from jquanta.lm.analysis.kinds import taxonomy
    from jquanta.lm.analysis.laws import fit_sizes, step_curves, step_window
    from jquanta.lm.analysis.tables import at_step, blocks, open_table
    from jquanta.lm.analysis.thresholds import Monogenic, Polygenic

_HOMES = {
    "Monogenic": "thresholds",
    "Polygenic": "thresholds",
    "at_step": "tables",
    "blocks": "tables",
    "distributions": "distribution",
    "fit_sizes": "laws",
    "open_table": "tables",
    "step_curves": "laws",
    "step_window": "laws",
    "taxonomy": "kinds",
}

__all__ = [
    "Monogenic",
    "Polygenic",
    "at_step",
    "blocks",
    "distributions",
    "fit_sizes",
    "open_table",
    "step_curves",
    "step_window",
    "taxonomy",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
