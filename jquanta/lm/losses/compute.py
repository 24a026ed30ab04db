"""Compute losses: checkpoints × corpus → columns, each resumable at any document."""

from collections import deque
from collections.abc import Iterator, Sequence
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
from jquanta.lm.losses.column import Column, group_name, label_of, make_root, read_attributes
from jquanta.lm.losses.job import Checkpoint, Job, make_job, require_fit, require_room, require_same
from jquanta.lm.losses.legs import Leg, left_by
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.losses.rows import algorithm
from jquanta.lm.losses.ways import Way, way_here
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, count
from jquanta.lm.weights.load import fingerprint, read_params, warn_of_equals
from jquanta.machine import devices
from jquanta.run.environment import environment
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor, Part, Silence, Speed
from jquanta.run.stop import Interrupts, shortage_in_one_line

MEMORY_REMEDY = "give fewer --batch_tokens; then the same command continues"

AHEAD = 2
"""Batches given to the devices before the first of them is waited for."""


def compute_losses(
    corpus: Corpus | Path | str,
    models: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    revisions: Sequence[str] = (),
    dtype: str = "float32",
    batch_tokens: int | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Losses of every prediction of a corpus under every checkpoint, or what is missing of them.

    Documents are spread over all local devices. Columns that are finished are left alone. One
    that was interrupted continues, on devices of another kind, too; on the same devices it ends
    with the same bits.

    Args:
        corpus: a corpus or its folder.
        models: ids on the hub, or folders in Hugging Face layout.
        out: the folder for the losses on this corpus; further columns may join later.
        revisions: of each model; what the hub calls ``main`` if there are none.
        dtype: ``float32`` or ``bfloat16``, of parameters and products. Losses are float32.
        batch_tokens: positions of a batch on each device.
        monitor: is told of the progress.

    Returns:
        The columns asked for, lazily: see ``jquanta.open_losses``.

    Raises:
        BadInput: if a model, the corpus or the folder will not do; its column is not begun.
        RunFailed: if the disk or a device is full, or a loss is not finite.
        Interrupted: on Ctrl-C; the same call continues.
    """
    job = make_job(corpus, models, out, revisions, dtype)
    run_job(job, batch_tokens=batch_tokens, monitor=monitor)
    return open_losses(job.out, models=[checkpoint.label for checkpoint in job.checkpoints])


def run_job(job: Job, *, batch_tokens: int | None = None, monitor: Monitor | None = None) -> None:
    """Compute the columns of a job that are not finished, one after another."""
    monitor = monitor or Silence()
    left = []
    for checkpoint in job.checkpoints:
        if job.finished(checkpoint):
            monitor.say(f"{checkpoint.label}: already computed; nothing to do")
        else:
            left.append(checkpoint)
    work = sum(_cost(checkpoint.config) for checkpoint in left)
    before = 0.0
    for checkpoint in left:
        own = _cost(checkpoint.config) / work
        add_column(
            job.out,
            job.corpus,
            checkpoint.model,
            checkpoint.revision,
            checkpoint.config,
            _read_on_host(checkpoint, job.dtype),
            origin=checkpoint.origin,
            batch_tokens=batch_tokens,
            monitor=Part(monitor, before, own),
        )
        before += own
    stored = [read_attributes(job.column(checkpoint)) or {} for checkpoint in job.checkpoints]
    warn_of_equals([(label_of(column), column["weights"]) for column in stored])


def add_column(
    out: Path | str,
    corpus: Corpus,
    model: str,
    revision: str,
    config: LMConfig,
    params: Params,
    *,
    origin: str = "",
    batch_tokens: int | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Compute the losses of parameters at hand, or what is missing of them.

    Args:
        out: the folder for the losses.
        corpus: whose predictions.
        model, revision: what the column is called.
        config: the network's shape.
        params: by name, as ``jquanta.load_model`` gives them; products have their dtype.
        origin: where the weights are from, if that says for sure which they are.
        batch_tokens: positions of a batch on each device.
        monitor: is told of the progress.

    Raises:
        BadInput, RunFailed, Interrupted: as ``compute_losses``.
    """
    monitor, out, label = monitor or Silence(), Path(out).expanduser(), f"{model}@{revision}"
    path = out / group_name(model, revision)
    weights, dtype = fingerprint(params), str(next(iter(params.values())).dtype)
    require_fit(config, corpus, label)
    require_room(out, corpus)
    require_same(path, label, corpus, dtype, weights)
    _require_batch(batch_tokens)
    with RunFolder(out).locked(), shortage_in_one_line(MEMORY_REMEDY):
        make_root(out, corpus)
        if read_attributes(path) is None:
            total, size = count(config)
            identity = {
                "model": model,
                "revision": revision,
                "size": size,
                "parameters": total,
                "weights": weights,
                "origin": origin,
                "corpus": corpus.meta.corpus,
                "source": corpus.meta.source,
                "dtype": dtype,
                "precision": algorithm(dtype, devices.kind()),
            }
            Column.create(path, corpus.n_predictions, environment() | identity)
        column = Column(path)
        if column.finished:
            monitor.say(f"{label}: already computed; nothing to do")
            return
        _fill(column, label, corpus, config, params, batch_tokens, monitor)


def _fill(
    column: Column,
    label: str,
    corpus: Corpus,
    config: LMConfig,
    params: Params,
    batch_tokens: int | None,
    monitor: Monitor,
) -> None:
    """Write what is missing of a column."""
    dtype = next(iter(params.values())).dtype
    legs, plan = _leg_here(column.legs, corpus, config, dtype, batch_tokens)
    *earlier, leg = legs
    before = sum(other.done for other in earlier)
    if done := before + leg.done:
        documents = np.count_nonzero(np.diff(corpus.starts))
        monitor.say(f"{label}: continuing after {done:,} of {documents:,} documents")
    left = [batch for batch in plan.batches if batch.done > leg.done]
    seen = corpus.n_predictions - sum(int(_counts(corpus, batch).sum()) for batch in left)
    speed = Speed("tokens")
    with Interrupts(f"interrupted; {column.path}: the same command continues") as interrupts:
        for batch, found in batch_losses(config, on_devices(config, params), corpus, left):
            _write(column, label, corpus, batch, found)
            leg = leg._replace(done=batch.done)
            seen += int(_counts(corpus, batch).sum())
            detail = f"{before + leg.done:,} documents  {speed(seen)}"
            monitor.work(label, seen / corpus.n_predictions, detail)
            if column.due or interrupts.asked:
                column.mark([*earlier, leg])
            interrupts.check()
    column.finish([*earlier, leg])


def _leg_here(
    legs: list[Leg],
    corpus: Corpus,
    config: LMConfig,
    dtype: DTypeLike,
    batch_tokens: int | None,
) -> tuple[list[Leg], Plan]:
    """The legs of the work, of which the last goes on here, and that one's batches."""
    if legs:
        plan = plan_for(corpus, config, batch_tokens, dtype, legs[:-1])
        if plan.order == legs[-1].order:
            return legs, plan
    plan = plan_for(corpus, config, batch_tokens, dtype, legs)
    return [*legs, Leg(plan.order, 0)], plan


def _write(column: Column, label: str, corpus: Corpus, batch: Batch, found: NDArray[Any]) -> None:
    """Put the losses of a batch in their places. Raise ``RunFailed`` if one is not finite."""
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
) -> Plan:
    """The batches in which a model's losses on a corpus are computed on the local devices.

    Args:
        corpus: whose documents.
        config: the model's shape.
        batch_tokens: positions of a batch on each device; by default what suits the devices.
        dtype: of parameters and products.
        legs: whose documents are left out.
    """
    _require_batch(batch_tokens)
    left = left_by(np.diff(corpus.starts), legs)
    return way_here().plan(left, config, dtype, batch_tokens, jax.local_device_count())


def _require_batch(tokens: int | None) -> None:
    if tokens is not None and tokens < 1:
        raise BadInput(f"--batch_tokens {tokens}: give 1 or more")


def on_devices(config: LMConfig, params: Params) -> Any:
    """Parameters as ``batch_losses`` takes them: a copy on each local device."""
    put = partial(jax.device_put, device=devices.copied(devices.mesh()))
    return way_here().prepare(config, params, put)


def batch_losses(
    config: LMConfig, model: Any, corpus: Corpus, batches: Sequence[Batch]
) -> Iterator[tuple[Batch, NDArray[Any]]]:
    """The losses of batches of documents, spread over all local devices.

    Args:
        config: the network's shape.
        model: what ``on_devices`` gives.
        corpus: whose documents.
        batches: of ``plan_for``.

    Yields:
        each batch with its losses [rows, length] in nats, NaN where there is no prediction.
    """
    mesh = devices.mesh()
    program = _program(way_here(), config, mesh)
    sent: deque[tuple[Batch, Array]] = deque()
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
    """The losses under jit, each device with its own rows. One a shape of model: revisions share
    what is compiled."""
    rows = P(devices.DEVICES)
    return jax.jit(
        jax.shard_map(
            partial(way.losses, config),
            mesh=mesh,
            in_specs=(P(), rows, rows, rows),
            out_specs=rows,
            check_vma=False,  # devices share nothing: loops may run a different number of times
        )
    )


def _arrays(corpus: Corpus, batch: Batch) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Inputs, targets and the start of each position's document, [rows, length] each.

    Positions of padding are documents of their own, with token 0 and no target.
    """
    shape = batch.rows, batch.length
    inputs, targets = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    starts = np.tile(np.arange(batch.length, dtype=np.int32), (batch.rows, 1))
    for document, row, start in zip(batch.documents, batch.row, batch.start, strict=True):
        tokens = corpus.document(int(document))
        own = slice(start, start + len(tokens) - 1)
        inputs[row, own], targets[row, own], starts[row, own] = tokens[:-1], tokens[1:], start
    return inputs, targets, starts


def _counts(corpus: Corpus, batch: Batch) -> NDArray[np.int64]:
    """Predictions of each document of a batch."""
    return corpus.starts[batch.documents + 1] - corpus.starts[batch.documents]


def _read_on_host(checkpoint: Checkpoint, dtype: str) -> Params:
    """A model's parameters in the machine's own memory where JAX can hold them there.

    They are made ready before they go to the devices, which then hold them once.
    """
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to use one kind of device only
        host = jax.local_devices()[0]
    with jax.default_device(host):
        return read_params(checkpoint.source, checkpoint.config, dtype)


def _cost(config: LMConfig) -> int:
    """Multiplications a token, but for attention's: what columns of unequal size are weighed by."""
    return count(config)[1] + config.vocab * config.width
