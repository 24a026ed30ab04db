"""Train a sweep: all its packs, each of them resumable, into one Dataset."""

import dataclasses
import queue
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from jquanta.errors import BadInput, Interrupted
from jquanta.machine.memory import usable
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import Way
from jquanta.parity.packed import Packed
from jquanta.parity.solo import Metrics, Stack
from jquanta.parity.stopping import Endings
from jquanta.run import sums, together
from jquanta.run.files import remove
from jquanta.run.progress import Monitor, Silence
from jquanta.run.shard import Shard, parse, require_same_cut, shards_in
from jquanta.run.stop import Interrupts
from jquanta.sweep.config import SweepConfig, load_config
from jquanta.sweep.curves import NATS_PER_BIT
from jquanta.sweep.estimate import pack_operations, way_here
from jquanta.sweep.folder import SweepFolder
from jquanta.sweep.gather import gather
from jquanta.sweep.journal import STATES, Journal, read_evaluations
from jquanta.sweep.plan import Pack, members, plan, trainer_of
from jquanta.sweep.store import Store, environment_of, open_results, save_weights

DONE_MARK = "done"
"""Name of the file that marks a pack as trained."""

MEMORY_REMEDY = "sweep fewer or smaller runs at once; then the same command continues"

SLICE_SECONDS = 1.0
"""About how long one call to the device trains. Ctrl-C is answered between two calls."""


def run_sweep(
    config: SweepConfig | Mapping[str, Any] | Path | str | None = None,
    out: Path | str | None = None,
    *,
    mini: bool = False,
    shard: Shard | str | None = None,
    memory: int | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Train every run of a configuration, or continue where an earlier call stopped.

    If JAX runs several processes (``jax.distributed``), all make the same call with a folder that
    all of them see. Each trains a shard, and the first one joins them.

    Args:
        config: a ``SweepConfig``, the path of a TOML file, its content as a mapping, or None for
            the embedded miniature of Figure 2.
        out: the run folder. If None, the Dataset is returned in memory and no files remain.
        mini: apply the configuration's ``[mini]`` table.
        shard: train a part of the runs only, such as ``"2/5"``, in a folder of its own within
            ``out``, of which the Dataset is then; ``gather`` joins the parts.
        memory: bytes that a pack may take on a device; if None, a large share of what is free.
        monitor: receives the progress; if there are several devices, from several threads.

    Returns:
        The results, as from ``open_results``: losses in nats. A finished sweep is not trained
        again, only opened.

    Raises:
        BadInput: for a wrong configuration or folder. Nothing is written then.
        RunFailed: if the disk or the memory is full. The same call resumes.
        Interrupted: after Ctrl-C or SIGTERM, once a checkpoint is written. The same call resumes.
    """
    if not isinstance(config, SweepConfig):
        config = load_config(config, mini=mini)
    shard = parse(shard) if isinstance(shard, str) else shard
    if out is None:
        if shard is not None:
            raise BadInput(f"shard {shard}: a part is for others to find; give a folder (out)")
        with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
            folder = SweepFolder(Path(scratch) / "run")
            _train_here(folder, config, None, memory, monitor or Silence())
            return open_results(folder.path).load()
    folder, monitor = place_of(config, out, shard), monitor or Silence()
    if folder.done:
        folder.tidy()
    elif shard is not None:
        _train_here(folder, config, shard, memory, monitor)
    elif folder.begun and not folder.gathered:  # by one process, which had no shards
        together.by_first(folder.path, lambda: _train_here(folder, config, None, memory, monitor))
    elif together.in_shards(folder.path):
        together.compute(
            folder.path,
            len(config.runs()),
            lambda shard, part: run_sweep(config, out, shard=shard, memory=memory, monitor=part),
            lambda monitor: gather(shards_in(folder.path), folder.path, monitor=monitor),
            monitor,
        )
    else:
        _train_here(folder, config, None, memory, monitor)
    return open_results(folder.path)


def _train_here(
    folder: SweepFolder,
    config: SweepConfig,
    shard: Shard | None,
    memory: int | None,
    monitor: Monitor,
) -> None:
    """Train what is missing of a folder, on the devices of this process."""
    with folder.locked():
        if not folder.done:  # another process may have finished it just before we got the lock
            with folder.failures_recorded(MEMORY_REMEDY):
                _train_all(folder, config, shard, memory, monitor)
        remove(folder.checkpoints)


def place_of(config: SweepConfig, out: Path | str, shard: Shard | None) -> SweepFolder:
    """The folder in which a sweep, or a part of it, is trained. Writes nothing.

    Raises:
        BadInput: if it holds something else, or there are fewer runs than parts.
    """
    whole = SweepFolder(out)
    if whole.begun and whole.shard is not None:
        raise BadInput(
            f"--out {whole.path}: is shard {whole.shard} of a sweep; to go on with it: "
            f"{whole.command()}"
        )
    if shard is None:
        whole.check(config)
        return whole
    runs = len(config.runs())
    if shard.of > runs:
        raise BadInput(f"--shard {shard}: there are {runs} networks; give at most so many parts")
    if whole.begun and not whole.gathered:
        raise BadInput(
            f"--out {whole.path}: holds a whole sweep, and no shards of one; give another folder"
        )
    require_same_cut(whole.path, shard)
    folder = SweepFolder(shard.folder(whole.path))
    folder.check(config)
    return folder


def _train_all(
    folder: SweepFolder,
    config: SweepConfig,
    shard: Shard | None,
    memory: int | None,
    monitor: Monitor,
) -> None:
    """Train all packs, then write the Dataset. ``folder`` is locked."""
    runs = config.runs()
    packs = _begin(folder, config, runs, shard, memory)
    began = time.monotonic()
    message = f"interrupted; {folder.path} holds a checkpoint: the same command continues"
    with Interrupts(message) as interrupts:
        try:
            _train_packs(folder, packs, runs, monitor, interrupts)
        finally:
            folder.add_seconds(time.monotonic() - began)
        attributes = environment_of(folder.read_record())
        store = Store(folder, config, attributes, sorted(i for pack in packs for i in pack.members))
        # Evaluations lie in the packs' journals. Early stopping is applied to them again here, as
        # a run that stops early goes on with its pack, and its later evaluations do not count.
        for pack in packs:
            interrupts.check()
            evaluations = read_evaluations(folder.checkpoints / pack.name)
            endings = Endings([runs[i] for i in pack.members])
            for loss in evaluations.loss:
                endings.see(loss)
            for place, number in enumerate(pack.members):
                own = Metrics(*(column[:, place] for column in evaluations))
                store.add(number, runs[number], own, int(endings.last[place]))
        sums.write(folder.weights)
        store.publish()
        folder.finish()


def _train_packs(
    folder: SweepFolder,
    packs: Sequence[Pack],
    runs: Sequence[RunConfig],
    monitor: Monitor,
    interrupts: Interrupts,
) -> None:
    """Train every pack: one at a time on each local device, the largest packs first.

    Packs are independent, so that devices never wait for each other. If a pack fails, the others
    write a checkpoint and stop.
    """
    training = Training(monitor)
    work = {pack: pack_operations([runs[i] for i in pack.members]) for pack in packs}
    shares = {pack: operations / sum(work.values()) for pack, operations in work.items()}
    # The free devices: a thread takes one for each pack and puts it back afterwards.
    devices: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
    for device in jax.local_devices():
        devices.put(device)

    def train(pack: Pack) -> None:
        device = devices.get()
        try:
            interrupts.check()
            with jax.default_device(device):
                PackRun(folder, pack, runs, shares[pack], training, interrupts).finish()
        except BaseException:
            interrupts.asked = True  # the other packs write a checkpoint and stop
            raise
        finally:
            devices.put(device)

    if jax.local_device_count() == 1:
        for pack in packs:
            train(pack)
        return
    with ThreadPoolExecutor(jax.local_device_count()) as pool:
        futures = [pool.submit(train, pack) for pack in sorted(packs, key=lambda p: -shares[p])]
    # Report what made the work stop before the ``Interrupted`` that it caused in other packs.
    errors = [error for future in futures if (error := future.exception())]
    causes = [error for error in errors if not isinstance(error, Interrupted)]
    for error in causes or errors:
        raise error


def _begin(
    folder: SweepFolder,
    config: SweepConfig,
    runs: Sequence[RunConfig],
    shard: Shard | None,
    memory: int | None,
) -> list[Pack]:
    """Plan the packs and write configuration and record, or continue with the packs of the record.

    Checkpoints belong to packs, so that a sweep keeps those with which it was started.

    Raises:
        BadInput: if a pack was started with another implementation.
    """
    stored = folder.read_record().get("packs") if folder.begun else None
    packs = [Pack(p["name"], tuple(p["members"]), p.get("way")) for p in stored or []]
    for pack in packs:
        _require_way(folder, pack, way_here(runs[pack.members[0]]))
    packs = packs or _plan(runs, members(runs, shard), memory or usable())
    entries: dict[str, Any] = {"packs": [dataclasses.asdict(pack) for pack in packs]}
    if shard is not None:
        entries["shard"] = str(shard)
    folder.begin(config.name, config.to_toml(), **entries)
    return packs


def _plan(runs: Sequence[RunConfig], own: Sequence[int], memory: int) -> list[Pack]:
    """The packs of some of the runs, whose numbers stay those of all."""
    packs = plan([runs[i] for i in own], memory, jax.local_device_count()) if own else []
    return [
        dataclasses.replace(pack, members=tuple(own[i] for i in pack.members)) for pack in packs
    ]


def _require_way(folder: SweepFolder, pack: Pack, here: Way | None) -> None:
    """Raise ``BadInput`` if the pack was started with another implementation.

    Implementations divide and pad arrays differently, so that one cannot read the checkpoints of
    another. A pack that is trained has none to read.
    """
    done = (folder.checkpoints / pack.name / DONE_MARK).exists()
    # Records of older versions do not contain the implementation: it is None.
    if here and pack.way not in (None, here.name) and not done:
        begun = Way[pack.way].value if pack.way in Way.__members__ else pack.way
        raise BadInput(
            f"--out {folder.path}: begun with {begun}; this device would go on with "
            f"{here.value}, which cannot read those checkpoints; continue on a device like the "
            "first, or give another folder"
        )


class Training:
    """The joint progress of all packs, which may train in several threads.

    Args:
        monitor: receives the progress.
    """

    def __init__(self, monitor: Monitor):
        self.monitor, self.lock = monitor, threading.Lock()
        self.share, self.detail = 0.0, ""

    def add(self, share: float, loss: float | None) -> None:
        """Add to the share of the whole work that is done.

        Args:
            share: of the whole work, done since the last call.
            loss: the latest mean test loss in nats; None for work that was restored from disk.
        """
        with self.lock:
            self.share += share
            if loss is not None:
                self.detail = f"mean loss {loss / NATS_PER_BIT:.3f} bits"
            measured = loss is not None
            self.monitor.work("training", self.share, self.detail, measured=measured)


class PackRun:
    """The training of one pack, from its newest checkpoint to its last evaluation.

    Args:
        folder: of the sweep.
        pack: to be trained.
        runs: all runs of the sweep.
        share: the pack's share of the work of the sweep.
        training: the joint progress.
        interrupts: checked after every slice of updates.
    """

    def __init__(
        self,
        folder: SweepFolder,
        pack: Pack,
        runs: Sequence[RunConfig],
        share: float,
        training: Training,
        interrupts: Interrupts,
    ):
        self.folder, self.pack, self.share = folder, pack, share
        self.runs = [runs[i] for i in pack.members]
        self.steps = self.runs[0].evaluation_steps
        self.training, self.interrupts = training, interrupts
        self.endings = Endings(self.runs)
        self.path = folder.checkpoints / pack.name
        self.done_mark = self.path / DONE_MARK
        self.slice = 1  # updates in one call to the device; ``_advance`` adapts it

    def finish(self) -> None:
        """Train the pack, or what is left of it, and mark it as done."""
        if self.done_mark.exists():
            self.training.add(self.share, None)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        trainer = trainer_of(self.runs)
        with Journal(self.path) as journal:
            self._train(trainer, journal)
        self.done_mark.touch()
        remove(self.path / STATES)

    def _train(self, trainer: Packed | Stack, journal: Journal) -> None:
        """Restore the newest checkpoint, then alternate training and evaluation to the end."""
        start = trainer.start()
        found, damaged = journal.restore(start)
        for line in damaged:
            self.training.monitor.say(f"{line}; going back to the one before")
        state, updates = start, 0
        if found:
            state, updates = jax.tree.map(jax.numpy.asarray, found.state), found.updates
            # The state of early stopping follows from the losses, and is not stored.
            for loss in journal.evaluations().loss:
                self.endings.see(loss)
            self.training.add(self.share * updates / self.steps[-1], None)
        while not self.endings.all_reached:
            number = self.endings.evaluations
            state, updates = self._advance(trainer, journal, state, updates, self.steps[number])
            metrics = trainer.evaluate(state, number)
            journal.record(metrics)
            self.endings.see(np.asarray(metrics.loss))
            # A run that ends is trained on with its pack; its final weights are those of now.
            for place in self.endings.ending_now.tolist():
                file = self.folder.weight_file(self.pack.members[place])
                save_weights(file, trainer.weights(state, place))
            if journal.checkpoints.due:
                journal.save(state, updates)
        # Where all runs stopped early, the updates that were not needed count as done.
        self.training.add(self.share * (1 - updates / self.steps[-1]), self.endings.latest)
        journal.save(state, updates)

    def _advance(
        self, trainer: Packed | Stack, journal: Journal, state: Any, updates: int, goal: int
    ) -> tuple[Any, int]:
        """Train up to ``goal`` updates, in slices between which the user may interrupt.

        Returns:
            The new state and ``goal``.
        """
        while updates < goal:
            count = min(self.slice, goal - updates)
            began = time.monotonic()
            state = jax.block_until_ready(trainer.advance(state, count))
            seconds = time.monotonic() - began
            updates += count
            # Aim at SLICE_SECONDS, at most doubling: the first call is slow, as it compiles.
            if count == self.slice:
                self.slice = max(1, int(count * min(2.0, SLICE_SECONDS / max(seconds, 1e-3))))
            self.training.add(self.share * count / self.steps[-1], self.endings.latest)
            if self.interrupts.asked:
                journal.save(state, updates)
                self.interrupts.check()
        return state, updates
