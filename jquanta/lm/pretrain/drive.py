"""Pretrain a suite: one size after another, each resumable, with the losses of every checkpoint."""

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
from jquanta.run.checkpoint import Checkpoints, Due
from jquanta.run.files import remove
from jquanta.run.progress import Monitor, Part, Silence
from jquanta.run.stop import Interrupts

SAVE_SECONDS, SAVE_SHARE = 60.0, 0.05
"""Seconds of training that a crash may cost, and the share of the time that saving may take."""

MEMORY_REMEDY = "lower train.batch, and give another folder"

AHEAD = 2
"""Steps given to the devices before the first of them is waited for."""

DATA_SHARE = 0.02
"""Of the whole time, what the tokenizer and the corpora take, about."""


def pretrain(
    config: SuiteConfig | Mapping[str, Any] | Path | str | None = None,
    out: Path | str | None = None,
    *,
    mini: bool = False,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Train every size of a configuration, or continue where an earlier call stopped::

        losses = jq.pretrain("configs/lm/stdlib.toml")
        network, params, tokenizer = jq.load_model("runs/stdlib/models/793k", "step1708")

    Args:
        config: a ``SuiteConfig``, the path of a TOML file, its content as a mapping, or None for
            the embedded default, Python's standard library.
        out: the run folder; ``runs/NAME`` by default.
        mini: apply the configuration's ``[mini]`` table.
        monitor: is told of the progress.

    Returns:
        The losses of every checkpoint on the held-out text (``jquanta.open_losses``), columns
        ``SIZE@stepN``, nats. A finished folder is only opened.

    Raises:
        BadInput: for a wrong configuration, corpus or folder; nothing is written.
        RunFailed: if the disk or a device is full, or a loss is not finite. The same call resumes.
        Interrupted: after Ctrl-C or SIGTERM. The same call resumes, and on a CPU ends with the
            bits of a call that nothing interrupts.
    """
    if not isinstance(config, SuiteConfig):
        config = load_suite(config, mini=mini)
    folder = SuiteFolder(Path("runs") / config.name if out is None else out)
    folder.check(config)
    if not folder.done:
        made = folder.missing()
        with folder.locked():
            if not folder.done:  # another process may have finished before the lock was ours
                with folder.failures_recorded(MEMORY_REMEDY):
                    _finish(folder, config, monitor or Silence(), made)
    return open_losses(folder.losses)


def _finish(folder: SuiteFolder, config: SuiteConfig, monitor: Monitor, made: list[Path]) -> None:
    """Do what is missing."""
    began, fresh = time.monotonic(), not folder.begun
    folder.begin(config.name, config.to_toml())
    try:
        # Its stages each run from 0 to 1. Together they are DATA_SHARE, which is shown at the end.
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
    epochs = config.train.steps * config.train.batch / data.windows.count
    return (
        f"corpus    {data.windows.corpus.n_tokens:,} tokens to train on ({epochs:.2f} epochs), "
        f"{data.test.n_predictions:,} predictions to test on, vocabulary {data.vocab:,}"
    )


class _Work(NamedTuple):
    """What a size costs, in multiplications."""

    step: int
    column: int
    all: int


def _work(config: SuiteConfig, model: ModelConfig, data: Data) -> _Work:
    # What is no product of matrices weighs like about 1,000 numbers a token, layer and direction
    # of the stream: with it the measured times of sizes from 25k to 786k are in proportion.
    each = model.size + data.vocab * model.width + 1000 * model.layers * model.width
    train, seeds = config.train, len(config.train.seed_list)
    step = 3 * each * train.batch * train.context * seeds  # back costs twice what forward does
    column = each * data.test.n_predictions
    return _Work(step, column, step * train.steps + column * train.checkpoints * seeds)


class Size:
    """The models of one size, one for each seed, from where they stand to their last losses."""

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
        """Train what is missing."""
        if all(self.folder.has_losses(name, self.goals[-1]) for name in self.names):
            return  # the last losses are there, and so all others
        mesh = devices.mesh(self.train.batch)
        with Checkpoints(self.folder.size(self.label), Due(SAVE_SECONDS, SAVE_SHARE)) as saved:
            first, progress = self._begin(saved)
            state = jax.device_put(first, devices.copied(mesh))
            step = make_step(self.network, self.train, self.peak, mesh)

            def take(state: State, number: int) -> tuple[State, Array]:
                size = self.train.batch
                batches = [self.data.windows.batch(seed, number, size) for seed in self.seeds]
                return step(state, jax.device_put(np.stack(batches), devices.cut(mesh, 1)))

            for goal in (goal for goal in self.goals if goal >= progress.steps):
                message = f"interrupted; {self.folder.path}: the same command continues"
                with Interrupts(message) as interrupts:
                    state, progress = self._advance(take, saved, state, progress, goal, interrupts)
                    # First of all: whatever ends the process now, the model saved is this state's.
                    self._save(saved, state, progress)
                    interrupts.check()
                for i, name in enumerate(self.names):
                    self._publish(name, goal, {key: x[i] for key, x in state.params.items()})
        remove(self.folder.size(self.label))

    def _begin(self, saved: Checkpoints) -> tuple[State, Progress]:
        """The state on disk, or the first one."""
        first = initial(self.network, self.train, self.peak)
        state, progress, damaged = restore_state(saved, first)
        for line in damaged:
            self.monitor.say(f"{self.label}: {line}; going back to the one before")
        if progress.steps:
            self.monitor.say(
                f"{self.label}: continuing after {progress.steps:,} of {self.train.steps:,} steps"
            )
        for name in self.names:  # of a state that somebody deleted: to be made again
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
        """Train up to ``goal`` updates; a state is saved now and then, and when asked to stop."""
        began = time.monotonic()
        sent: deque[tuple[int, Array]] = deque()

        def now_at(steps: int) -> Progress:
            return Progress(steps, progress.seconds + time.monotonic() - began)

        def tell(steps: int, losses: Array) -> None:
            self._tell(steps, losses, (steps - progress.steps) / (time.monotonic() - began))

        for number in range(progress.steps, goal):
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
        save_state(saved, state, progress)
        others = self.folder.read_record().get("training_seconds", {})
        own = {self.label: round(progress.seconds, 1)}
        self.folder.update_record(training_seconds=others | own)

    def _tell(self, steps: int, losses: Array, rate: float) -> None:
        """Report ``steps`` updates in all, at ``rate`` a second, the last with these losses."""
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
        """Of the whole suite, when so many updates and columns of losses are made."""
        own = (self.work.step * steps + self.work.column * columns) / self.total
        return DATA_SHARE + (1 - DATA_SHARE) * (self.behind + own)

    def _publish(self, name: str, goal: int, params: Params) -> None:
        """Save a model and compute its losses, unless they are there."""
        if self.folder.has_losses(name, goal):
            return
        revision, test = f"step{goal}", self.data.test
        save_model(self.folder.model(name, goal), self.network, params, test.tokenizer)
        behind = len(self.names) * self.goals.index(goal) + self.names.index(name)
        before, after = self._share(goal, behind), self._share(goal, behind + 1)
        stage = f"{name}@{revision} losses"
        part = Part(self.monitor, before, after - before, stage, quiet=True)
        add_column(self.folder.losses, test, name, revision, self.network, params, monitor=part)
