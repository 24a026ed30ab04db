"""The packed trainer as a contestant. Does not import torch, whose memory must not be counted."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import jax

from jquanta.errors import RunFailed
from jquanta.machine.memory import usable
from jquanta.parity.config import RunConfig
from jquanta.parity.packed import Packed
from jquanta.sweep.plan import plan


class Contestant(Protocol):
    """What the benchmark times. Both methods return when the computation has finished."""

    def train(self, n_steps: int) -> None:
        """Make ``n_steps`` updates, each with a new batch."""

    def evaluate(self) -> object:
        """Evaluate losses and accuracies: the mean, and those of every subtask."""


class Ours:
    """The packed trainer: the runs are packed as in a sweep, one pack on each local device.

    Raises ``RunFailed`` if there are more packs than devices.
    """

    def __init__(self, runs: Sequence[RunConfig]):
        packs, devices = plan(runs, usable(), jax.local_device_count()), jax.local_devices()
        if len(packs) > len(devices):
            raise RunFailed(f"{len(packs)} packs: there is not enough memory to time them at once")
        # Each pack trains on a device of its own; threads dispatch them at the same time.
        members = ([runs[i] for i in pack.members] for pack in packs)
        self.parts = [_Part(runs, device) for runs, device in zip(members, devices, strict=False)]
        self.threads = ThreadPoolExecutor(len(self.parts))
        self.evaluations = 0

    def train(self, n_steps: int) -> None:
        """Make ``n_steps`` updates of every network."""
        self._each(lambda part: part.train(n_steps))

    def evaluate(self) -> object:
        """Evaluate every network, with new points at each call."""
        self.evaluations += 1
        return self._each(lambda part: part.pack.evaluate(part.state, self.evaluations))

    def _each(self, call: Callable[["_Part"], object]) -> object:
        """Call a function for each pack, in one thread for each device, and wait for all."""

        def there(part: "_Part") -> object:
            with jax.default_device(part.device):
                return jax.block_until_ready(call(part))

        return list(self.threads.map(there, self.parts))


class _Part:
    """One pack and its training state on a device."""

    def __init__(self, runs: Sequence[RunConfig], device: jax.Device):
        self.device = device
        with jax.default_device(device):
            self.pack = Packed(runs)
            self.state = self.pack.start()

    def train(self, n_steps: int) -> object:
        self.state = self.pack.advance(self.state, n_steps)
        return self.state
