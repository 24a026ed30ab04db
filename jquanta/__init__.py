"""jquanta: the Quantization Model of Neural Scaling (Michaud et al., 2023), in JAX.

Everything that a command does is one call::

    import jquanta as jq

    results = jq.run_sweep("fig2-width", out="runs/fig2-width")
    results = jq.open_results("runs/fig2-width")
    task, network = jq.load_run("runs/fig2-width", run=0)

Names load on first use, so that importing the package stays quick.
"""

from typing import TYPE_CHECKING

from jquanta.lazy import attributes
from jquanta.version import __version__

if TYPE_CHECKING:  # what follows is for type checkers and editors
    from jquanta import powerlaw as powerlaw
    from jquanta import qdg as qdg
    from jquanta import spectrum as spectrum
    from jquanta import surface as surface
    from jquanta import theory as theory
    from jquanta.figures.dispatch import draw as draw
    from jquanta.integrity import check as check
    from jquanta.lm.corpus.build import build_corpus as build_corpus
    from jquanta.lm.corpus.reader import open_corpus as open_corpus
    from jquanta.lm.losses.compute import compute_losses as compute_losses
    from jquanta.lm.losses.reader import open_losses as open_losses
    from jquanta.lm.losses.seeds import by_seed as by_seed
    from jquanta.lm.pretrain.drive import pretrain as pretrain
    from jquanta.lm.taxonomy.learning import learning_times as learning_times
    from jquanta.lm.taxonomy.learning import open_learning_times as open_learning_times
    from jquanta.lm.weights.load import load_model as load_model
    from jquanta.sweep import emergence as emergence
    from jquanta.sweep import scaling as scaling
    from jquanta.sweep.config import load_config as load_config
    from jquanta.sweep.drive import run_sweep as run_sweep
    from jquanta.sweep.store import load_run as load_run
    from jquanta.sweep.store import open_results as open_results

_HOMES = {
    "build_corpus": "jquanta.lm.corpus.build",
    "by_seed": "jquanta.lm.losses.seeds",
    "check": "jquanta.integrity",
    "compute_losses": "jquanta.lm.losses.compute",
    "draw": "jquanta.figures.dispatch",
    "emergence": "jquanta.sweep.emergence",
    "learning_times": "jquanta.lm.taxonomy.learning",
    "load_config": "jquanta.sweep.config",
    "load_model": "jquanta.lm.weights.load",
    "load_run": "jquanta.sweep.store",
    "open_corpus": "jquanta.lm.corpus.reader",
    "open_learning_times": "jquanta.lm.taxonomy.learning",
    "open_losses": "jquanta.lm.losses.reader",
    "open_results": "jquanta.sweep.store",
    "powerlaw": "jquanta.powerlaw",
    "pretrain": "jquanta.lm.pretrain.drive",
    "qdg": "jquanta.qdg",
    "run_sweep": "jquanta.sweep.drive",
    "scaling": "jquanta.sweep.scaling",
    "spectrum": "jquanta.spectrum",
    "surface": "jquanta.surface",
    "theory": "jquanta.theory",
}

__all__ = ["__version__", *_HOMES]

__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
