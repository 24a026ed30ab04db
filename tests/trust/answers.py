"""What each kind of folder tells whoever opens it, as bytes that can be compared."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

import jquanta as jq
from jquanta import qdg

Answer = dict[str, bytes]


def _arrays(prefix: str, dataset: xr.Dataset) -> Answer:
    return {
        f"{prefix}.{name}": np.ascontiguousarray(
            array.to_numpy().astype("U" if array.dtype.kind in "OT" else array.dtype)
        ).tobytes()
        for name, array in dataset.load().variables.items()
    }


def _leaves(prefix: str, tree: Any) -> Answer:
    leaves = jax.tree.leaves(tree)
    return {f"{prefix}.{i}": np.asarray(leaf).tobytes() for i, leaf in enumerate(leaves)}


def sweep(folder: Path) -> Answer:
    """Results and the final weights of every run."""
    from flax import nnx

    results = jq.open_results(folder)
    answer = _arrays("results", results)
    for run in range(results.sizes["run"]):
        answer |= _leaves(f"run{run}", nnx.state(jq.load_run(folder, run)[1]))
    return answer


def suite(folder: Path) -> Answer:
    """Losses, and every model at every revision."""
    answer = _arrays("losses", jq.open_losses(folder / "losses"))
    for model in sorted(path for path in (folder / "models").iterdir() if path.is_dir()):
        for revision in sorted(path.name for path in model.iterdir() if path.is_dir()):
            loaded = jq.load_model(str(model), revision)
            answer |= _leaves(f"{model.name}@{revision}", loaded.params)
    return answer


def corpus(folder: Path) -> Answer:
    """Every document."""
    found = jq.open_corpus(folder)
    documents = {str(i): found.document(i).tobytes() for i in range(found.n_documents)}
    return {"n": str(found.n_documents).encode(), **documents}


def losses(folder: Path) -> Answer:
    """All losses."""
    return _arrays("losses", jq.open_losses(folder))


def quanta(folder: Path) -> Answer:
    """Samples, cosines and clusters."""
    run = qdg.open_run(folder)
    return {
        "index": np.asarray(run.predictions.index).tobytes(),
        **_arrays("clusters", run.clusters),
        **_arrays("similarity", run.similarity),
    }


ANSWERS: Mapping[str, Callable[[Path], Answer]] = {
    "sweep": sweep,
    "suite": suite,
    "corpus": corpus,
    "losses": losses,
    "quanta": quanta,
}
"""By the names of ``places.COMMANDS``."""
