"""Cells of the toy model whose clusters have the sizes that the test gives."""

from pathlib import Path

import numpy as np

from jquanta.qdg.clusters.cluster import imported
from jquanta.qdg.clusters.ranks import rank_frequency
from jquanta.qdg.known import toy
from jquanta.run.arrays import save_dataset


def planted(folder: Path, error: dict[float, float], seeds: tuple[int, ...] = (0,)) -> Path:
    """All cells at 200 subtasks; envelopes fall as rank^-(a + error[a] + seed / 10)."""
    folder.mkdir()
    for cell in toy.cells(toy.MINI, seeds):
        exponent = cell.exponent + error[cell.exponent] + cell.seed / 10
        rows = []
        for count in cell.counts:
            size = np.ceil(1e4 * np.arange(1, count + 1) ** -exponent).astype(int)
            rows.append(np.repeat(np.arange(count), size))
        longest = max(map(len, rows))
        filled = [np.pad(row, (longest - len(row), 0)) for row in rows]  # into the largest cluster
        found = rank_frequency(imported(np.stack(filled))).assign(
            true_size=("subtask", toy.sizes(cell.exponent, cell.subtasks)),
            ari=("count", np.linspace(0.2, 0.8, len(cell.counts))),
        )
        save_dataset(found.assign_attrs(cell.attributes()), folder / cell.name)
    return folder
