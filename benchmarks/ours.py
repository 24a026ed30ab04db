"""The packed trainer as the benchmarks call it. Free of torch, whose memory is not ours."""

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
    """What the benchmark times. Both calls return when the work is done."""

    def train(self, n_steps: int) -> None:
        """Updates by fresh batches."""

    def evaluate(self) -> object:
        """Losses and accuracies, of the mean and of every subtask."""


class Ours:
    """The packs that a sweep would make of the runs, one on each local device."""

    def __init__(self, runs: Sequence[RunConfig]):
        packs, devices = plan(runs, usable(), jax.local_device_count()), jax.local_devices()
        if len(packs) > len(devices):
            raise RunFailed(f"{len(packs)} packs: there is not enough memory to time them at once")
        members = ([runs[i] for i in pack.members] for pack in packs)
        self.parts = [_Part(runs, device) for runs, device in zip(members, devices, strict=False)]
        self.threads = ThreadPoolExecutor(len(self.parts))
        self.evaluations = 0

    def train(self, n_steps: int) -> None:
        """``n_steps`` updates of every network."""
        self._each(lambda part: part.train(n_steps))

    def evaluate(self) -> object:
        """The next evaluation of every network."""
        self.evaluations += 1
        return self._each(lambda part: part.pack.evaluate(part.state, self.evaluations))

    def _each(self, call: Callable[["_Part"], object]) -> object:
        def there(part: "_Part") -> object:
            with jax.default_device(part.device):
                return jax.block_until_ready(call(part))

        return list(self.threads.map(there, self.parts))


class _Part:
    """One pack, its state, and where they are."""

    def __init__(self, runs: Sequence[RunConfig], device: jax.Device):
        self.device = device
        with jax.default_device(device):
            self.pack = Packed(runs)
            self.state = self.pack.start()

    def train(self, n_steps: int) -> object:
        self.state = self.pack.advance(self.state, n_steps)
        return self.state
