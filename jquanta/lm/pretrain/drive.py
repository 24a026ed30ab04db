"""Pretrain a suite of models: one size after another, with the losses of every checkpoint.

The state of the size that is being trained is saved now and then, so an interrupted run resumes.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array

from jquanta.errors import BadInput, RunFailed
from jquanta.lm.losses.compute import add_column
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.models.network import Params
from jquanta.lm.pretrain.config import ModelConfig, SuiteConfig, load_suite
from jquanta.lm.pretrain.data import Data, prepare
from jquanta.lm.pretrain.folder import SuiteFolder
from jquanta.lm.pretrain.state import Progress, restore_state, save_state
from jquanta.lm.pretrain.step import State, initial, make_step
from jquanta.lm.weights.save import save_model
from jquanta.machine import devices
from jquanta.run import sums
from jquanta.run.checkpoint import Checkpoints, Due
from jquanta.run.files import remove
from jquanta.run.progress import Monitor, Part, Silence
from jquanta.run.stop import Interrupts

SAVE_SECONDS, SAVE_SHARE = 60.0, 0.05
"""The state is saved every so many seconds (the work that a crash may lose), or less often where
saving would take more than this share of the time."""

MEMORY_REMEDY = "lower train.batch, and give another folder"

AHEAD = 2
"""Steps in flight: JAX runs asynchronously, and the host prepares further batches while the devices
compute. Their losses are read this many steps later."""

DATA_SHARE = 0.02
"""The share of the progress bar for the tokenizer and the corpora."""


def pretrain(
    config: SuiteConfig | Mapping[str, Any] | Path | str | None = None,
    out: Path | str | None = None,
    *,
    mini: bool = False,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Train the models of a suite, or continue where an earlier call stopped::

        losses = jq.pretrain("stdlib")
        model = jq.load_model("runs/stdlib/models/793k", "step1708")

    Args:
        config: a ``SuiteConfig``, the path of a TOML file, its content as a mapping, or None for
            the default configuration, which trains on Python's standard library.
        out: the run folder; ``runs/NAME`` by default.
        mini: apply the configuration's ``[mini]`` table, a small variant for a quick test.
        monitor: receives the progress.

    Returns:
        The losses of every checkpoint on the test documents, in nats, with columns ``SIZE@stepN``
        (see ``jquanta.open_losses``). A finished folder is only opened.

    Raises:
        BadInput: for a wrong configuration, corpus or folder; nothing is written.
        RunFailed: if the disk or a device's memory is full, or a loss is not finite. The same call
            resumes.
        Interrupted: after Ctrl-C or SIGTERM. The same call resumes, and on a CPU ends with the
            same bits as an uninterrupted one.
    """
    if not isinstance(config, SuiteConfig):
        config = load_suite(config, mini=mini)
    folder = SuiteFolder(Path("runs") / config.name if out is None else out)
    folder.check(config)
    if folder.done:
        folder.tidy()
    else:
        made = folder.missing()
        with folder.locked():
            if not folder.done:  # another process may have finished it while we waited for the lock
                with folder.failures_recorded(MEMORY_REMEDY):
                    _finish(folder, config, monitor or Silence(), made)
    return open_losses(folder.losses)


def _finish(folder: SuiteFolder, config: SuiteConfig, monitor: Monitor, made: list[Path]) -> None:
    """Do what is missing in a suite's folder.

    Args:
        folder: of the suite, locked by this process.
        config: the suite.
        monitor: receives the progress.
        made: folders that did not exist before; they are removed if the data cannot be used.
    """
    began, fresh = time.monotonic(), not folder.begun
    folder.begin(config.name, config.to_toml())
    try:
        # Each stage of the data reports a share from 0 to 1, so it gets none of the whole bar;
        # DATA_SHARE is added when training begins.
        stages = Part(monitor, 0.0, 0.0, quiet=True)
        data = prepare(config, folder.corpora, folder.tokenizer, stages)
    except BadInput:
        if fresh:
            folder.withdraw(made)
        raise
    try:
        monitor.say(_summary(config, data))
        works = [_work(config, model, data) for model in config.models]
        total, before = sum(work.all for work in works), 0
        for model, work in zip(config.models, works, strict=True):
            Size(folder, config, model, data, monitor, work, before / total, total).finish()
            before += work.all
    finally:
        folder.add_seconds(time.monotonic() - began)
    folder.finish()
    remove(folder.checkpoints)


def _summary(config: SuiteConfig, data: Data) -> str:
    """The sizes of the data in one line."""
    epochs = config.train.steps * config.train.batch / data.windows.count
    return (
        f"corpus    {data.windows.corpus.n_tokens:,} tokens to train on ({epochs:.2f} epochs), "
        f"{data.test.n_predictions:,} predictions to test on, vocabulary {data.vocab:,}"
    )


class _Work(NamedTuple):
    """The cost of a size, in multiplications, for the progress bar.

    Attributes:
        step: of one training step of all seeds.
        column: of the losses of one model.
        all: of everything.
    """

    step: int
    column: int
    all: int


def _work(config: SuiteConfig, model: ModelConfig, data: Data) -> _Work:
    # Multiplications for each token. All operations besides matrix products (layer norms, softmax
    # and so on) are counted as 1,000 for each layer and component of the residual stream: with that
    # number the measured times of sizes from 25k to 786k parameters are in proportion.
    each = model.size + data.vocab * model.width + 1000 * model.layers * model.width
    train, seeds = config.train, len(config.train.seed_list)
    step = (
        3 * each * train.batch * train.context * seeds
    )  # the backward pass costs two forward passes
    column = each * data.test.n_predictions
    return _Work(step, column, step * train.steps + column * train.checkpoints * seeds)


class Size:
    """The training of one size: its models, one for each seed, up to their last losses.

    Args:
        folder, config: of the suite.
        model: the size.
        data: of the suite.
        monitor: receives the progress.
        work: the cost of this size.
        behind: share of the suite's cost that was done before this size.
        total: the cost of the whole suite.
    """

    def __init__(
        self,
        folder: SuiteFolder,
        config: SuiteConfig,
        model: ModelConfig,
        data: Data,
        monitor: Monitor,
        work: _Work,
        behind: float,
        total: int,
    ):
        self.folder, self.train, self.label, self.data = folder, config.train, model.label, data
        self.names, self.seeds = config.names(model), config.train.seed_list
        self.goals = config.train.checkpoint_steps
        self.network = model.network(data.vocab, config.train.context)
        self.peak = config.lr(model)
        self.monitor, self.work, self.behind, self.total = monitor, work, behind, total

    def finish(self) -> None:
        """Train from the saved state on, and compute the losses of every checkpoint."""
        if all(self.folder.has_losses(name, self.goals[-1]) for name in self.names):
            return  # checkpoints are made in order: the last one is there, so all are
        mesh = devices.mesh(self.train.batch)
        with Checkpoints(self.folder.size(self.label), Due(SAVE_SECONDS, SAVE_SHARE)) as saved:
            first, progress = self._begin(saved)
            state = jax.device_put(first, devices.copied(mesh))
            step = make_step(self.network, self.train, self.peak, mesh)

            # One training step: the windows of every seed [R, B, context + 1], cut over the devices
            # along B.
            def take(state: State, number: int) -> tuple[State, Array]:
                size = self.train.batch
                batches = [self.data.windows.batch(seed, number, size) for seed in self.seeds]
                return step(state, jax.device_put(np.stack(batches), devices.cut(mesh, 1)))

            for goal in (goal for goal in self.goals if goal >= progress.steps):
                message = f"interrupted; {self.folder.path}: the same command continues"
                with Interrupts(message) as interrupts:
                    state, progress = self._advance(take, saved, state, progress, goal, interrupts)
                    # The state is saved before the model: if the process ends between the two,
                    # the run resumes from exactly this state and publishes the same model.
                    self._save(saved, state, progress)
                    interrupts.check()
                for i, name in enumerate(self.names):
                    self._publish(name, goal, {key: x[i] for key, x in state.params.items()})
        remove(self.folder.size(self.label))

    def _begin(self, saved: Checkpoints) -> tuple[State, Progress]:
        """The newest saved state, or the initial one, and how far it is.

        Models and losses of later steps are removed: they come from a state that no longer exists.
        """
        first = initial(self.network, self.train, self.peak)
        state, progress, damaged = restore_state(saved, first)
        for line in damaged:
            self.monitor.say(f"{self.label}: {line}; going back to the one before")
        if progress.steps:
            self.monitor.say(
                f"{self.label}: continuing after {progress.steps:,} of {self.train.steps:,} steps"
            )
        for name in self.names:
            for goal in (goal for goal in self.goals if goal > progress.steps):
                remove(self.folder.model(name, goal))
                remove(self.folder.column(name, goal))
        return state, progress

    def _advance(
        self,
        take: Callable[[State, int], tuple[State, Array]],
        saved: Checkpoints,
        state: State,
        progress: Progress,
        goal: int,
        interrupts: Interrupts,
    ) -> tuple[State, Progress]:
        """Train until ``goal`` updates are made.

        The state is saved when it is due, and when the user interrupts.

        Args:
            take: one training step, of the state and the number of the step; returns the next
                state and the loss of each seed, in nats.
            saved: the checkpoints of this size.
            state: where training begins, after ``progress.steps`` updates.
            progress: updates made so far and their time.
            goal: number of updates.
            interrupts: whether the user wants to stop.
        """
        began = time.monotonic()
        sent: deque[tuple[int, Array]] = deque()

        def now_at(steps: int) -> Progress:
            return Progress(steps, progress.seconds + time.monotonic() - began)

        def tell(steps: int, losses: Array) -> None:
            self._tell(steps, losses, (steps - progress.steps) / (time.monotonic() - began))

        for number in range(progress.steps, goal):
            # This only dispatches the step. Its losses are waited for when AHEAD further steps have
            # been dispatched, so that the devices never wait for the host.
            state, losses = take(state, number)
            sent.append((number + 1, losses))
            if len(sent) > AHEAD:
                tell(*sent.popleft())
            if interrupts.asked or saved.due:
                self._save(saved, jax.block_until_ready(state), now_at(number + 1))
                interrupts.check()
        for steps, losses in sent:
            tell(steps, losses)
        return state, now_at(goal)

    def _save(self, saved: Checkpoints, state: State, progress: Progress) -> None:
        """Save the state, and note the time of training in the run's record."""
        save_state(saved, state, progress)
        others = self.folder.read_record().get("training_seconds", {})
        own = {self.label: round(progress.seconds, 1)}
        self.folder.update_record(training_seconds=others | own)

    def _tell(self, steps: int, losses: Array, rate: float) -> None:
        """Report progress. Raise ``RunFailed`` if the loss is not finite.

        Args:
            steps: number of updates made.
            losses: [R] of the last step, one for each seed, in nats.
            rate: updates per second.
        """
        loss = float(np.asarray(losses).mean())
        if not np.isfinite(loss):
            raise RunFailed(
                f"{self.label}: the loss is {loss} at step {steps:,}: lower train.lr, and give "
                "another folder"
            )
        tokens = rate * self.train.batch * self.train.context * len(self.seeds)
        columns = len(self.names) * sum(goal < steps for goal in self.goals)
        self.monitor.work(
            f"{self.label} step {steps:,}/{self.train.steps:,}",
            self._share(steps, columns),
            f"{tokens:,.0f} tokens/s  loss {loss:.2f} nats",
        )

    def _share(self, steps: int, columns: int) -> float:
        """The share of the whole suite that is done after some updates and columns of losses."""
        own = (self.work.step * steps + self.work.column * columns) / self.total
        return DATA_SHARE + (1 - DATA_SHARE) * (self.behind + own)

    def _publish(self, name: str, goal: int, params: Params) -> None:
        """Save a model and compute its losses on the test corpus, unless they are there."""
        if self.folder.has_losses(name, goal):
            return
        revision, test = f"step{goal}", self.data.test
        place = self.folder.model(name, goal)
        save_model(place, self.network, params, test.tokenizer)
        sums.write(place)
        # Columns of this size that are finished: all names of earlier goals, then earlier names.
        behind = len(self.names) * self.goals.index(goal) + self.names.index(name)
        before, after = self._share(goal, behind), self._share(goal, behind + 1)
        stage = f"{name}@{revision} losses"
        part = Part(self.monitor, before, after - before, stage, quiet=True)
        add_column(self.folder.losses, test, name, revision, self.network, params, monitor=part)
