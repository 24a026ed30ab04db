"""QDG on sparse parity, where the quanta are known: the subtasks (the paper's D.1).

Samples of the task on which a trained network's loss is about zero, the gradients of their losses
in all parameters, the cosines and the clusters: by the same code as for language models. The true
subtask of each sample is known, so the clusters can be compared with it.

Shapes: Q samples; letters of the task itself are those of ``jquanta.parity.task``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import nnx
from jaxtyping import Array, Float, Int, Int32, UInt32

from jquanta import streams
from jquanta.errors import BadInput
from jquanta.lm.models.heads import Piece
from jquanta.parity.task import Task, draw, parity, subtask_of, unpack
from jquanta.qdg.clusters.cluster import cluster, save_clusters
from jquanta.qdg.clusters.parts import compare_parts, save_parts
from jquanta.qdg.clusters.quality import agreement
from jquanta.qdg.config import PARITY_BELOW
from jquanta.qdg.cosines.blockwise import Rows, exact
from jquanta.qdg.cosines.partial import cells, partial_products
from jquanta.qdg.views.parameters import numbers_in
from jquanta.run import arrays
from jquanta.run.files import as_path, require_place
from jquanta.run.progress import Monitor, Silence
from jquanta.streams import Stream
from jquanta.sweep.store import load_run

TRUTH = "truth.zarr"

TRIED = 4
"""Samples drawn for each one wanted. With the paper's network nearly all have a small loss."""

BATCH = 256
"""Samples whose gradients are computed at once."""


class Learned(NamedTuple):
    """Samples that a network has learned, sorted by subtask and then by parity.

    Attributes:
        words: [Q, words] their task bits, packed.
        subtask: [Q] the subtask of each.
        label: [Q] the parity of each.
        loss: [Q] nats.
    """

    words: UInt32[Array, "Q words"]
    subtask: Int32[Array, " Q"]
    label: Int32[Array, " Q"]
    loss: Float[Array, " Q"]


def sparse_parity(
    runs: Path | str,
    run: int = 0,
    *,
    samples: int = 10_000,
    below: float = PARITY_BELOW,
    counts: Sequence[int] | None = None,
    affinity: str = "angular",
    parts: bool = False,
    seed: int = 0,
    out: Path | str | None = None,
    memory: int | str | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """QDG on a network that a sweep has trained.

    Args:
        runs: the sweep's folder.
        run: the network's number on the run axis.
        samples: how many; drawn as the task draws them, Zipf-distributed over subtasks.
        below: nats: only samples with a smaller loss are taken.
        counts: numbers of clusters; the paper's by default.
        affinity: ``angular`` (the paper) or ``absolute`` (the public code's), which ignores the
            sign of the gradient; see ``halves``.
        parts: also compare layers, kernels, biases and the rows of control and task bits: which
            finds the subtasks best (``network_parts``); stored as ``parts.zarr`` in ``out``.
        seed: of the samples and the clustering.
        out: folder for ``similarity.zarr``, ``clusters.zarr`` and ``truth.zarr``; nothing is
            stored by default.
        memory: for gradients, in bytes or as ``"8 GB"``; most of what is free by default.
        monitor: receives the progress.

    Returns:
        ``cosine`` (sample, other), ``label`` (count, sample), ``subtask`` (sample) in ascending
        order, and ``ari`` (count): the adjusted Rand index of labels and subtasks, 1 where they
        are the same, about 0 where they have nothing in common. ``halves`` (count): the same, with
        the odd and the even samples of each subtask as two groups. The gradients of odd and even
        samples of one subtask point in opposite directions, so that clustering by cosines separates
        them.

    Raises:
        BadInput: if there is no such run, or it has learned too few samples, or ``out`` holds
            something else.
    """
    monitor = monitor or Silence()
    absolute = affinity == "absolute"
    if samples < 1:
        raise BadInput(f"--samples {samples}: give 1 or more")
    if parts and out is None:
        raise BadInput("parts: they are stored in a folder; give out")
    if out is not None:
        out = as_path(out)
        require_place(out, TRUTH)
    task, module = load_run(runs, run)
    network, weights = nnx.split(module)
    learned = draw_learned(task, network, weights, samples, below, seed)
    rows = gradient_rows(task, network, weights, learned)
    found = exact(rows, samples, batch=BATCH, absolute=absolute, memory=memory, monitor=monitor)
    matrix = found["cosine_abs" if absolute else "cosine"]
    clusters = cluster(matrix, counts, affinity=affinity, seed=seed, monitor=monitor)
    subtask = np.asarray(learned.subtask)
    half = 2 * subtask + np.asarray(learned.label)
    labels = clusters.label.to_numpy()
    ari, halves = (
        agreement(np.broadcast_to(truth, labels.shape), labels) for truth in (subtask, half)
    )
    made_from = {"runs": str(Path(runs).name), "run": run, "below_nats": below}
    index = "adjusted Rand index against true subtasks"
    result = clusters.assign(
        cosine=(("sample", "other"), matrix, {"long_name": "cosine of gradients"}),
        subtask=("sample", subtask, {"long_name": "true subtask"}),
        ari=("count", ari, {"long_name": index}),
        halves=("count", halves, {"long_name": f"{index}, odd and even samples apart"}),
    ).assign_attrs(made_from)
    if out is not None:
        _save(result, out)
        if parts:
            compared = network_parts(
                task, network, weights, learned, seed=seed, memory=memory, monitor=monitor
            )
            save_parts(compared.assign_attrs(made_from), out)
    return result


def network_parts(
    task: Task,
    network: Any,
    weights: Any,
    learned: Learned,
    *,
    seed: int = 0,
    memory: int | str | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """How well the gradients of each part of the network find the subtasks, and their odd and even
    samples apart: as ``clusters.parts.compare_parts``, with ``numbers`` (part), parameters."""
    shapes = {name: x.shape for name, x in _by_name(weights).items()}
    made_of = parts_of(shapes, task.config.n_tasks)
    grams = partial_products(
        Rows(gradient_rows(task, network, weights, learned), _stops(len(learned.words))),
        len(learned.words),
        cells(shapes, {name: own for name, (_, own) in made_of.items()}),
        by_name=lambda leaves: dict(zip(shapes, leaves, strict=True)),
        memory=memory,
        monitor=monitor,
    )
    subtask, label = np.asarray(learned.subtask), np.asarray(learned.label)
    found = compare_parts(
        grams,
        {name: kind for name, (kind, _) in made_of.items()},
        {"subtask": subtask, "subtask, odd and even apart": 2 * subtask + label},
        seed=seed,
        monitor=monitor,
    )
    numbers = [numbers_in(shapes, own) for _, own in made_of.values()]
    return found.assign_coords(numbers=("part", numbers))


def parts_of(
    shapes: Mapping[str, tuple[int, ...]], n_tasks: int
) -> dict[str, tuple[str, list[Piece]]]:
    """Parts of a network by name: their kind and pieces. The first ``n_tasks`` rows of the first
    kernel belong to the control bits."""
    every = {name: Piece(name, 0, 0, shape[0]) for name, shape in shapes.items()}
    first = "layers.0.kernel"
    rows = shapes[first][0]
    found = {
        "everything": ("whole", list(every.values())),
        "kernels": ("role", [own for name, own in every.items() if name.endswith("kernel")]),
        "biases": ("role", [own for name, own in every.items() if name.endswith("bias")]),
        "control bits": ("rows of the first kernel", [Piece(first, 0, 0, n_tasks)]),
        "task bits": ("rows of the first kernel", [Piece(first, 0, n_tasks, rows)]),
    }
    for layer in sorted({name.rsplit(".", 1)[0] for name in shapes}):
        own = [piece for name, piece in every.items() if name.startswith(f"{layer}.")]
        found[layer.replace("layers.", "layer ")] = ("layer", own)
    return found


def _by_name(weights: Any) -> dict[str, Any]:
    """Arrays by names such as ``layers.0.kernel``, in the order of ``jax.tree.leaves``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(weights)
    names = [
        re.findall(r"layers|kernel|bias|\d+", jax.tree_util.keystr(path)) for path, _ in leaves
    ]
    return {".".join(name): leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def _stops(samples: int) -> list[int]:
    return [*range(BATCH, samples, BATCH), samples]


def draw_learned(
    task: Task, network: Any, weights: Any, count: int, below: float, seed: int = 0
) -> Learned:
    """The first ``count`` samples of a stream on which the network's loss is smaller than
    ``below`` (nats), sorted.

    Raises:
        BadInput: if there are fewer among the first ``TRIED`` times ``count`` samples.
    """
    n_bits = task.config.n_bits
    key = streams.fold(streams.key(Stream.VALIDATION, seed, n_bits), TRIED)
    drawn = draw(key, streams.at_index(jnp.arange(TRIED * count, dtype=jnp.uint32)), n_bits)
    subtask = subtask_of(jnp.asarray(task.thresholds), drawn.uniform)
    label = parity(drawn.words, jnp.asarray(task.masks)[subtask])
    loss = np.concatenate(
        [
            np.asarray(_losses(network, weights, *part))
            for part in zip(
                *(np.array_split(x, TRIED) for x in _host(drawn.words, subtask, label)),
                [_codes(task)] * TRIED,
                strict=True,
            )
        ]
    )
    passed = np.flatnonzero(loss < below)
    if len(passed) < count:
        raise BadInput(
            f"{len(passed):,} of {len(loss):,} samples have a loss below {below} nats, and "
            f"{count:,} are wanted; give fewer --samples, a higher --below, or a network that was "
            "trained for longer"
        )
    chosen = passed[:count]
    chosen = chosen[np.lexsort((np.asarray(label)[chosen], np.asarray(subtask)[chosen]))]
    return Learned(drawn.words[chosen], subtask[chosen], label[chosen], jnp.asarray(loss[chosen]))


def gradient_rows(
    task: Task, network: Any, weights: Any, learned: Learned
) -> Callable[[int, int], Any]:
    """A function that computes rows ``start`` to ``stop`` of the gradients: for each sample the
    gradient of its loss (nats) in all parameters, as a list of arrays [stop - start, …]."""
    codes = _codes(task)
    program = jax.jit(
        jax.vmap(jax.grad(_loss, argnums=1), in_axes=(None, None, 0, 0, 0, None)), static_argnums=0
    )

    def rows(start: int, stop: int) -> Any:
        part = (x[start:stop] for x in (learned.words, learned.subtask, learned.label))
        return jax.tree.leaves(program(network, weights, *part, codes))

    return rows


def _loss(
    network: Any,
    weights: Any,
    words: UInt32[Array, " words"],
    subtask: Int[Array, ""],
    label: Int[Array, ""],
    codes: Float[Array, "C S"] | None,
) -> Float[Array, ""]:
    """Cross-entropy (nats) of one sample: softplus of the wrong logit minus the right one.

    A softmax would lose small losses: where the probability of the right answer rounds to 1, its
    logarithm and the gradient are 0.
    """
    model = nnx.merge(network, weights)
    bits = unpack(words[None], model.layers[0].kernel.shape[0] - model.n_tasks, jnp.float32)
    logits = model.at(subtask[None], bits, codes)[0]
    return jax.nn.softplus((1 - 2 * label) * (logits[1] - logits[0]))


_losses = jax.jit(jax.vmap(_loss, in_axes=(None, None, 0, 0, 0, None)), static_argnums=0)


def _codes(task: Task) -> Float[Array, "C S"] | None:
    return None if task.codes is None else jnp.asarray(task.codes, jnp.float32)


def _host(*arrays: Array) -> list[np.ndarray]:
    return [np.asarray(array) for array in arrays]


def _save(result: xr.Dataset, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    truth = {
        "subtask": arrays.variable(("sample",), result.subtask.to_numpy(), **result.subtask.attrs),
        **{
            name: arrays.variable(("count",), result[name].to_numpy(), **result[name].attrs)
            for name in ("ari", "halves")
        },
    }
    # First what makes the folder one of ours: after a kill the same command may replace it.
    arrays.write(folder / TRUTH, truth, result.attrs)
    cosine = arrays.variable(("sample", "other"), result.cosine.to_numpy(), **result.cosine.attrs)
    arrays.write(folder / "similarity.zarr", {"cosine": cosine}, result.attrs)
    save_clusters(result[["label", "inertia"]].assign_attrs(result.attrs), folder)
