"""jquanta: the Quantization Model of Neural Scaling (Michaud et al., 2023), in JAX.

Everything that a command does is one call::

    import jquanta as jq

    results = jq.run_sweep("configs/fig2-width.toml", out="runs/fig2-width")
    results = jq.open_results("runs/fig2-width")
    task, network, weights = jq.load_run("runs/fig2-width", run=0)

Names load on first use, so that importing the package stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jquanta import powerlaw, scaling, theory
    from jquanta.figures.catalogue import draw
    from jquanta.sweep.config import load_config
    from jquanta.sweep.drive import run_sweep
    from jquanta.sweep.store import load_run, open_results

__version__ = "0.1.0"

_HOMES = {
    "draw": "jquanta.figures.catalogue",
    "load_config": "jquanta.sweep.config",
    "load_run": "jquanta.sweep.store",
    "open_results": "jquanta.sweep.store",
    "run_sweep": "jquanta.sweep.drive",
}
_MODULES = ("powerlaw", "scaling", "theory")

__all__ = [
    "__version__",
    "draw",
    "load_config",
    "load_run",
    "open_results",
    "powerlaw",
    "run_sweep",
    "scaling",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"jquanta.{name}")
    raise AttributeError(f"module 'jquanta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
