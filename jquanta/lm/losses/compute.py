"""Compute the losses of models on a corpus: one column for each checkpoint.

A column is written as it is computed, and an interrupted one resumes after its last recorded
document.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array
from numpy.typing import NDArray

from jquanta.errors import BadInput, RunFailed
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.batches import Batch, Plan
from jquanta.lm.losses.column import (
    Column,
    group_name,
    label_of,
    make_root,
    read_column,
    require_whole,
)
from jquanta.lm.losses.gather import gather
from jquanta.lm.losses.job import (
    Checkpoint,
    Job,
    Share,
    make_job,
    part_of,
    require_fit,
    require_room,
    require_same,
)
from jquanta.lm.losses.legs import Leg, left_by
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.losses.rows import algorithm
from jquanta.lm.losses.ways import Way, placement_for, way_here
from jquanta.lm.models import cut
from jquanta.lm.models.config import COPIED, CUT, PLACEMENTS, LMConfig
from jquanta.lm.models.network import Params, count
from jquanta.lm.weights.load import (
    array_prints,
    fingerprint,
    read_on_host,
    warn_of_equals,
    warn_of_shared,
)
from jquanta.machine import devices, hosts
from jquanta.machine.memory import usable
from jquanta.run import together
from jquanta.run.environment import environment
from jquanta.run.files import PART, as_path, remove
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor, Part, Silence, Speed
from jquanta.run.shard import shards_in
from jquanta.run.stop import Interrupts, shortage_in_one_line

MEMORY_REMEDY = "give fewer --batch_tokens; then the same command continues"

AHEAD = 2
"""Batches in flight. JAX runs asynchronously: while a device computes, the host prepares the next
batches and writes the losses of earlier ones."""


def compute_losses(
    corpus: Corpus | Path | str,
    models: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    revisions: Sequence[str] = (),
    dtype: str = "float32",
    batch_tokens: int | None = None,
    placement: str | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Compute the loss of every prediction of a corpus under every checkpoint.

    The loss of a prediction is its cross-entropy, -log p(next token | tokens before it), in nats
    (paper, section 3). Documents are spread over all local devices. Finished columns are left
    alone and interrupted ones are continued, also on another kind of device. On the same devices,
    a continued column has the same bits as one computed without interruption.

    Args:
        corpus: a corpus or its folder.
        models: ids on the Hugging Face hub, or folders in Hugging Face layout.
        out: the folder for all losses on this corpus; later calls may add columns to it.
        revisions: revisions to compute of each model; the hub's ``main`` if none are given.
        dtype: ``float32`` or ``bfloat16``: dtype of the parameters and of the factors of matrix
            products. Losses are always summed and stored in float32.
        batch_tokens: positions of a batch on each device; by default chosen for the device.
        placement: of the parameters: ``copied`` to every local device, or ``cut``, so that each
            holds an equal share and gathers a block at a time. By default they are cut where a copy
            does not fit. An interrupted column may be continued either way.
        monitor: receives the progress.

    Returns:
        The columns of these models and revisions, read lazily: see ``jquanta.open_losses``.

    Raises:
        BadInput: if a model, the corpus or the folder cannot be used; its column is not begun.
        RunFailed: if the disk or a device's memory is full, or a loss is not finite.
        Interrupted: on Ctrl-C; the same call continues.
    """
    job = make_job(corpus, models, out, revisions, dtype)
    run_job(job, batch_tokens=batch_tokens, placement=placement, monitor=monitor)
    return open_losses(job.out, models=[checkpoint.label for checkpoint in job.checkpoints])


def run_job(
    job: Job,
    *,
    batch_tokens: int | None = None,
    placement: str | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Compute the unfinished columns of a job, one after another.

    Args:
        job: of ``make_job``.
        batch_tokens, placement, monitor: as in ``compute_losses``.

    Raises:
        BadInput, RunFailed, Interrupted: as ``compute_losses``.
    """
    require_placement(placement)
    monitor = monitor or Silence()
    left = []
    for checkpoint in job.checkpoints:
        if job.finished(checkpoint):
            require_whole(job.column(checkpoint))
            monitor.say(f"{checkpoint.label}: already computed; nothing to do")
        else:
            left.append(checkpoint)
    in_shards = [x for x in left if job.share is None and _in_shards(job, x)]
    alone = [x for x in left if x not in in_shards]
    if in_shards:
        parts = replace(job, checkpoints=tuple(in_shards))
        _compute_shards(parts, batch_tokens, placement, monitor)
    compute = partial(_compute, job, alone, batch_tokens, placement, monitor)
    if job.share is not None:
        compute()
    elif alone:
        together.by_first(job.out, compute)
    # The hub has been reported to serve the same weights for different revisions.
    stored = [read_column(job.column(checkpoint)) or {} for checkpoint in job.checkpoints]
    warn_of_equals([(label_of(column), column["weights"]) for column in stored])
    for name in dict.fromkeys(column["model"] for column in stored):
        warn_of_shared({label_of(of): of.get("arrays", {}) for of in stored if of["model"] == name})


def _compute(
    job: Job,
    checkpoints: Sequence[Checkpoint],
    batch_tokens: int | None,
    placement: str | None,
    monitor: Monitor,
) -> None:
    """Compute columns one after another, on the devices of this process."""
    # Each column gets a part of the progress bar in proportion to its cost.
    work = sum(_cost(checkpoint.config) for checkpoint in checkpoints)
    before = 0.0
    for checkpoint in checkpoints:
        own = _cost(checkpoint.config) / work
        add_column(
            job.out,
            job.corpus,
            checkpoint.model,
            checkpoint.revision,
            checkpoint.config,
            read_on_host(checkpoint.source, checkpoint.config, job.dtype),
            origin=checkpoint.origin,
            share=job.share,
            command=job.command(checkpoint),
            batch_tokens=batch_tokens,
            placement=placement,
            monitor=Part(monitor, before, own),
        )
        before += own


def _in_shards(job: Job, checkpoint: Checkpoint) -> bool:
    """Whether a column is computed in shards: in which it was begun, or since there are several
    processes, unless one process has begun it."""
    path = job.column(checkpoint)
    stored = read_column(path)
    if stored is not None and "gathered" not in stored:
        return False
    return hosts.here()[1] > 1 or any((x / path.name).exists() for x in shards_in(job.out))


def _compute_shards(
    job: Job, batch_tokens: int | None, placement: str | None, monitor: Monitor
) -> None:
    """Compute the shards that are missing of the columns of a job, and join them."""
    together.compute(
        job.out,
        int(np.count_nonzero(np.diff(job.corpus.starts))),
        lambda shard, part: run_job(
            part_of(job, shard), batch_tokens=batch_tokens, placement=placement, monitor=part
        ),
        lambda monitor: gather(
            shards_in(job.out), job.out, models=[x.label for x in job.checkpoints], monitor=monitor
        ),
        monitor,
    )


def add_column(
    out: Path | str,
    corpus: Corpus,
    model: str,
    revision: str,
    config: LMConfig,
    params: Params,
    *,
    origin: str = "",
    share: Share | None = None,
    command: str = "",
    batch_tokens: int | None = None,
    placement: str | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Compute one column from parameters that are in memory, or the missing part of it.

    Args:
        out: the folder for the losses.
        corpus: the corpus whose predictions are evaluated.
        model, revision: the name of the column, ``model@revision``.
        config: the network's shape.
        params: by name, as ``jquanta.load_model`` returns them; matrix products use their dtype.
        origin: a string that identifies the weights without reading them, such as the hub's
            commit; empty if there is none.
        share: the documents to compute; all by default.
        command: of a share, what computes this column, ``--shard`` and ``--out`` apart.
        batch_tokens: positions of a batch on each device; by default chosen for the device.
        placement: of the parameters, as in ``compute_losses``.
        monitor: receives the progress.

    Raises:
        BadInput, RunFailed, Interrupted: as ``compute_losses``.
    """
    monitor, out, label = monitor or Silence(), as_path(out), f"{model}@{revision}"
    path = out / group_name(model, revision)
    weights, dtype = fingerprint(params), str(next(iter(params.values())).dtype)
    require_fit(config, corpus, label)
    require_room(out, corpus)
    require_same(path, label, corpus, dtype, weights)
    _require_batch(batch_tokens)
    require_placement(placement)
    chosen = placement or placement_of(corpus, config, dtype, share)
    with RunFolder(out).locked(), shortage_in_one_line(MEMORY_REMEDY):
        make_root(out, corpus, None if share is None else str(share.shard))
        for begun in out.glob(f"*@*{PART}"):  # columns that were being made in a killed process
            remove(begun)
        if read_column(path) is None:
            total, size = count(config)
            identity = {
                "model": model,
                "revision": revision,
                "size": size,
                "parameters": total,
                "weights": weights,
                "arrays": array_prints(params),
                "origin": origin,
                "corpus": corpus.meta.corpus,
                "source": corpus.meta.source,
                "dtype": dtype,
                "precision": algorithm(dtype, devices.kind()),
            }
            if share is not None:
                identity |= share.attributes() | {"command": command}
            Column.create(path, corpus.n_predictions, environment() | identity)
        column = Column(path)
        if share is not None and column.attributes.get("documents") != list(share.documents):
            raise BadInput(
                f"{path}: begun by another version of jquanta, which cut the documents elsewhere; "
                "delete that folder"
            )
        if column.finished:
            require_whole(path)
            monitor.say(f"{label}: already computed; nothing to do")
            return
        if chosen == CUT and placement is None:
            words = cut.described(config, dtype, usable(), jax.local_device_count())
            monitor.say(f"{label}: {words}")
        _fill(column, label, corpus, config, params, share, batch_tokens, chosen, monitor)


def _fill(
    column: Column,
    label: str,
    corpus: Corpus,
    config: LMConfig,
    params: Params,
    share: Share | None,
    batch_tokens: int | None,
    placement: str,
    monitor: Monitor,
) -> None:
    """Compute and write the losses of all documents that a column still lacks."""
    dtype = next(iter(params.values())).dtype
    legs, plan = _leg_here(column.legs, corpus, config, dtype, share, batch_tokens, placement)
    *earlier, leg = legs
    before = sum(other.done for other in earlier)
    if done := before + leg.done:
        documents = np.count_nonzero(_predictions(corpus, share))
        monitor.say(f"{label}: continuing after {done:,} of {documents:,} documents")
    # Batches that are finished are skipped. One that was finished in part (with another batch size)
    # is computed again as a whole.
    left = [batch for batch in plan.batches if batch.done > leg.done]
    total = int(_predictions(corpus, share).sum())
    seen = total - sum(int(_counts(corpus, batch).sum()) for batch in left)
    speed = Speed("tokens")
    with Interrupts(f"interrupted; {column.path}: the same command continues") as interrupts:
        model = on_devices(config, params, placement)
        for batch, found in batch_losses(config, model, corpus, left, placement):
            _write(column, label, corpus, batch, found)
            leg = leg._replace(done=batch.done)
            seen += int(_counts(corpus, batch).sum())
            detail = f"{before + leg.done:,} documents  {speed(seen)}"
            monitor.work(label, seen / total, detail)
            # Progress is recorded now and then, and in any case before an interrupt ends the loop.
            if column.due or interrupts.asked:
                column.mark([*earlier, leg])
            interrupts.check()
    column.finish([*earlier, leg])


def _leg_here(
    legs: list[Leg],
    corpus: Corpus,
    config: LMConfig,
    dtype: DTypeLike,
    share: Share | None,
    batch_tokens: int | None,
    placement: str,
) -> tuple[list[Leg], Plan]:
    """The legs of the work including the one to continue now, and the batches of that one.

    The last stored leg is continued if this device takes documents in the same order; otherwise a
    new leg begins, with the documents that all stored legs left over.
    """
    if legs:
        plan = plan_for(corpus, config, batch_tokens, dtype, legs[:-1], share, placement)
        if plan.order == legs[-1].order:
            return legs, plan
    plan = plan_for(corpus, config, batch_tokens, dtype, legs, share, placement)
    return [*legs, Leg(plan.order, 0)], plan


def _write(column: Column, label: str, corpus: Corpus, batch: Batch, found: NDArray[Any]) -> None:
    """Write the losses of a batch to their places in the column.

    Args:
        column: where to.
        label: ``model@revision``, for the error message.
        corpus: gives the number of each document's first prediction.
        batch: which document lies where.
        found: [rows, length] losses in nats.

    Raises:
        RunFailed: if a loss is not finite.
    """
    places = zip(batch.documents.tolist(), batch.row.tolist(), batch.start.tolist(), strict=True)
    for document, row, start in places:
        first, last = corpus.starts[document : document + 2].tolist()
        losses = found[row, start : start + last - first]
        if not np.isfinite(losses).all():
            position = int(np.isfinite(losses).argmin())
            raise RunFailed(
                f"{label}: document {document}, position {position}: the loss is "
                f"{losses[position]}: the weights are not finite, or products overflow"
            )
        column.write(first, losses)


def plan_for(
    corpus: Corpus,
    config: LMConfig,
    batch_tokens: int | None = None,
    dtype: DTypeLike = "float32",
    legs: Sequence[Leg] = (),
    share: Share | None = None,
    placement: str = COPIED,
) -> Plan:
    """Plan the batches in which a model's losses on a corpus are computed on the local devices.

    Args:
        corpus: the corpus whose documents are evaluated.
        config: the model's shape.
        batch_tokens: positions of a batch on each device; by default chosen for the device.
        dtype: of parameters and of the factors of matrix products.
        legs: finished work; its documents are left out.
        share: the documents to take; all by default.
        placement: of the parameters.

    Raises:
        BadInput: if ``batch_tokens`` is less than 1.
    """
    _require_batch(batch_tokens)
    left = left_by(_predictions(corpus, share), legs)
    count = jax.local_device_count()
    return way_here(placement).plan(left, config, dtype, batch_tokens, count, usable())


def placement_of(
    corpus: Corpus, config: LMConfig, dtype: DTypeLike, share: Share | None = None
) -> str:
    """Where a model's parameters lie on the local devices, unless it is said: ``copied`` if that
    fits. The arguments are those of ``plan_for``."""
    longest = int(_predictions(corpus, share).max(initial=0))
    kind, count = jax.default_backend(), jax.local_device_count()
    return placement_for(config, dtype, longest, kind, usable(), count)


def _require_batch(tokens: int | None) -> None:
    if tokens is not None and tokens < 1:
        raise BadInput(f"--batch_tokens {tokens}: give 1 or more")


def require_placement(placement: str | None) -> None:
    """Raise ``BadInput`` unless parameters can lie so."""
    if placement is not None and placement not in PLACEMENTS:
        raise BadInput(f"--placement {placement}: give {' or '.join(PLACEMENTS)}")


def on_devices(config: LMConfig, params: Params, placement: str = COPIED) -> Any:
    """Parameters on the local devices, in the layout that ``batch_losses`` takes.

    Args:
        config: the network's shape.
        params: by name.
        placement: of the parameters.
    """
    return way_here(placement).prepare(config, params, devices.mesh())


def batch_losses(
    config: LMConfig,
    model: Any,
    corpus: Corpus,
    batches: Sequence[Batch],
    placement: str = COPIED,
) -> Iterator[tuple[Batch, NDArray[Any]]]:
    """Compute the losses of batches of documents, the rows of each spread over the local devices.

    Args:
        config: the network's shape.
        model: the parameters, as ``on_devices`` returns them.
        corpus: the corpus whose documents the batches name.
        batches: of ``plan_for``.
        placement: of the parameters.

    Yields:
        Each batch with its losses [rows, length] in nats, NaN where there is no prediction.
    """
    mesh = devices.mesh()
    program = _program(way_here(placement), config, mesh)
    sent: deque[tuple[Batch, Array]] = deque()
    # A queue of computations that were dispatched but not waited for: np.asarray blocks until the
    # losses of the oldest one are there.
    for batch in batches:
        arrays = jax.device_put(_arrays(corpus, batch), devices.cut(mesh))
        sent.append((batch, program(model, *arrays)))
        if len(sent) > AHEAD:
            batch, found = sent.popleft()
            yield batch, np.asarray(found)
    for batch, found in sent:
        yield batch, np.asarray(found)


@cache
def _program(way: Way, config: LMConfig, mesh: Mesh) -> Any:
    """The compiled program for the losses; each device computes its own rows of the batch.

    Cached by its arguments, so that all revisions of a model, which differ in parameters only,
    share one compilation.
    """
    rows = P(devices.DEVICES)
    return jax.jit(
        jax.shard_map(
            partial(way.losses, config),
            mesh=mesh,
            in_specs=(way.spec, rows, rows, rows),
            out_specs=rows,
            # Copied parameters connect the devices by no collective operation, so the check of
            # which values vary over the mesh is not needed; a loop may run a different number of
            # times on each device. Cut ones are gathered on all devices equally often.
            check_vma=False,
        )
    )


def _arrays(corpus: Corpus, batch: Batch) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The arrays of a batch, int32 [rows, length] each: inputs, targets, and document starts.

    Inputs are token ids. The target of a position is the id of the next token, or -1 where there
    is none. The start of a position is the position at which its document begins in the row; a
    position of padding has token 0, no target, and its own number as start, so that it is a
    document by itself and attends only to itself.
    """
    shape = batch.rows, batch.length
    inputs, targets = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    starts = np.tile(np.arange(batch.length, dtype=np.int32), (batch.rows, 1))
    for document, row, start in zip(batch.documents, batch.row, batch.start, strict=True):
        tokens = corpus.document(int(document))
        own = slice(start, start + len(tokens) - 1)
        inputs[row, own], targets[row, own], starts[row, own] = tokens[:-1], tokens[1:], start
    return inputs, targets, starts


def _predictions(corpus: Corpus, share: Share | None) -> NDArray[np.int64]:
    """[documents] number of predictions of each document, 0 for those of other shares."""
    counts = np.diff(corpus.starts)
    if share is not None:
        first, stop = share.documents
        counts[:first] = counts[stop:] = 0
    return counts


def _counts(corpus: Corpus, batch: Batch) -> NDArray[np.int64]:
    """[n] number of predictions of each document of a batch."""
    return corpus.starts[batch.documents + 1] - corpus.starts[batch.documents]


def _cost(config: LMConfig) -> int:
    """Multiplications for each token, without those of attention scores.

    The progress bar weighs columns of models of different size by it.
    """
    return count(config)[1] + config.vocab * config.width
