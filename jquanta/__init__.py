"""jquanta: the Quantization Model of Neural Scaling (Michaud et al., 2023), in JAX.

Everything that a command does is one call::

    import jquanta as jq

    results = jq.run_sweep("configs/fig2-width.toml", out="runs/fig2-width")
    results = jq.open_results("runs/fig2-width")
    task, network, weights = jq.load_run("runs/fig2-width", run=0)

Names load on first use, so that importing the package stays quick.
"""

from typing import TYPE_CHECKING

from jquanta.lazy import attributes
from jquanta.version import __version__

if TYPE_CHECKING:
    from jquanta import powerlaw, theory
    from jquanta.figures.dispatch import draw
    from jquanta.lm.corpus.build import build_corpus
    from jquanta.lm.corpus.reader import open_corpus
    from jquanta.lm.losses.compute import compute_losses
    from jquanta.lm.losses.reader import open_losses
    from jquanta.lm.pretrain.drive import pretrain
    from jquanta.lm.weights.load import load_model
    from jquanta.sweep import emergence, scaling
    from jquanta.sweep.config import load_config
    from jquanta.sweep.drive import run_sweep
    from jquanta.sweep.store import load_run, open_results
_HOMES = {
    "build_corpus": "jquanta.lm.corpus.build",
    "compute_losses": "jquanta.lm.losses.compute",
    "draw": "jquanta.figures.dispatch",
    "emergence": "jquanta.sweep.emergence",
    "load_config": "jquanta.sweep.config",
    "load_model": "jquanta.lm.weights.load",
    "load_run": "jquanta.sweep.store",
    "open_corpus": "jquanta.lm.corpus.reader",
    "open_losses": "jquanta.lm.losses.reader",
    "open_results": "jquanta.sweep.store",
    "powerlaw": "jquanta.powerlaw",
    "pretrain": "jquanta.lm.pretrain.drive",
    "run_sweep": "jquanta.sweep.drive",
    "scaling": "jquanta.sweep.scaling",
    "theory": "jquanta.theory",
}

__all__ = [
    "__version__",
    "build_corpus",
    "compute_losses",
    "draw",
    "emergence",
    "load_config",
    "load_model",
    "load_run",
    "open_corpus",
    "open_losses",
    "open_results",
    "powerlaw",
    "pretrain",
    "run_sweep",
    "scaling",
    "theory",
]

__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
