"""The text of a sweep's plan: runs, what varies between them, memory and time."""

from collections.abc import Sequence

import jax

from jquanta.machine import devices
from jquanta.machine.computer import H200, Computer, device_name, here, product_rate
from jquanta.machine.memory import usable
from jquanta.parity.config import RunConfig, Scalar
from jquanta.parity.layout import packable, way_of
from jquanta.run.progress import duration
from jquanta.run.shard import Shard
from jquanta.sweep import estimate, plan
from jquanta.sweep.config import SweepConfig, varying
from jquanta.sweep.forecast import forecast
from jquanta.sweep.plan import Pack

SHOWN_VALUES = 6


def print_plan(config: SweepConfig, memory: int | None = None, shard: Shard | None = None) -> None:
    """Print what the sweep would train, and what it would take here. Trains nothing.

    Args:
        config: the sweep.
        memory: bytes that a pack may take on a device; most of what is free if None.
        shard: the part of the sweep to plan for.
    """
    describe(config)
    every = config.runs()
    runs = [every[number] for number in plan.members(every, shard)]
    if shard is not None:
        print(f"shard     {shard}: {len(runs)} of the {len(every)} networks")
    plan.use_cores(runs, memory)
    memory = memory or usable()
    packs = _packed(runs, plan.plan(runs, memory, jax.local_device_count()))
    most = max(map(estimate.pack_bytes, packs))
    about = "at most" if any(run.train.early_stop for run in runs) else "about"
    print(
        f"packs     {_sizes([len(pack) for pack in packs])}; "
        f"{1 - estimate.useful_share(runs):.1%} of what is computed is padding"
    )
    for line in dict.fromkeys(map(_way, packs)):
        print(f"way       {line}")
    print(
        f"memory    about {_bytes(most)} of arrays in the largest pack, of {_bytes(memory)} to use"
    )
    print(f"results   about {_bytes(estimate.stored_bytes(runs))} on disk")
    if devices.kind() == "gpu":
        card = here()
        seconds = sum(estimate.card_seconds(pack, card) for pack in packs)
        print(
            f"time      {about} {duration(seconds / jax.local_device_count())} here "
            f"({device_name()}), and compiling {estimate.programs(packs, 'gpu')} programs"
            f"\n          {_rates(card)}"
        )
        return
    rate = product_rate()
    print(
        f"time      {about} {duration(estimate.cpu_seconds(packs, rate))} here, within a factor "
        f"of two or three ({device_name()}, {rate / 1e9:,.0f} Gflop/s in a matrix product)"
    )
    card = H200
    there = forecast(runs, card)
    print(
        f"GPU       {about} {duration(there.seconds)} on one {card.name}, "
        f"and compiling {there.programs} programs; "
        f"packs: {_sizes(there.packs)}, up to {_bytes(there.memory)}\n          {_rates(card)}"
    )


def _way(pack: list[RunConfig]) -> str:
    """How a pack is computed here, and why."""
    if packable(pack[0]):
        way, why = way_of(pack[0], devices.kind())
        return f"{way.value}: {why}"
    return "networks stacked by equal shape: they are not of one hidden layer of ReLUs"


def _rates(card: Computer) -> str:
    """What an estimate for a GPU rests on."""
    scaled = "" if card == H200 else f", scaled by the rates of {card.name}"
    return (
        f"(from times measured on an H200{scaled}: "
        f"{card.half / 1e12:.0f} Tflop/s in float16, {card.single / 1e12:.0f} in float32, "
        f"{card.copy / 1e12:.1f} TB/s)"
    )


def _packed(runs: list[RunConfig], packs: list[Pack]) -> list[list[RunConfig]]:
    return [[runs[i] for i in pack.members] for pack in packs]


def _sizes(packs: Sequence[int]) -> str:
    """Packs by their numbers of runs."""
    least, most = min(packs), max(packs)
    return f"{len(packs)}, of {least}{f' to {most}' if most > least else ''} run{'s' * (most > 1)}"


def describe(config: SweepConfig) -> None:
    """Print the runs, what varies between them, and what a reader should know."""
    runs = config.runs()
    params = sorted(run.n_params for run in runs)
    span = f"{params[0]:,}" + (f" to {params[-1]:,}" if params[-1] > params[0] else "")
    print(f"{config.name}: {len(runs)} network{'s' * (len(runs) > 1)} of {span} parameters")
    for field, values in varying(runs).items():
        print(f"  {field:18} {_values(values)}")
    print(f"  {_fixed(runs)}")
    for note in config.notes:
        print(f"  note: {note}")


def _values(values: list[Scalar]) -> str:
    few = values if len(values) <= SHOWN_VALUES else [*values[: SHOWN_VALUES - 1], "…", values[-1]]
    shown = ", ".join(f"{v:,g}" if isinstance(v, float) else f"{v}" or "none" for v in few)
    return f"{shown}  ({len(values)} values)"


def _fixed(runs: list[RunConfig]) -> str:
    """The main numbers of the runs, in a line."""

    def span(numbers: set[float]) -> str:
        low, high = min(numbers), max(numbers)
        return f"{low:,g}" if low == high else f"{low:,g} to {high:,g}"

    codes = {float(r.task.n_codes) for r in runs if r.task.code_list}
    alphas = {r.task.alpha for r in runs if r.task.frequencies == "zipf"}
    return "; ".join(
        [
            f"{span({r.task.n_tasks for r in runs})} subtasks of {span({r.task.k for r in runs})} "
            f"out of {span({r.task.n_bits for r in runs})} bits",
            *([f"{span(codes)} codes"] if codes else []),
            *([f"alpha {span(alphas)}"] if alphas else []),
            f"{span({r.train.steps for r in runs})} steps of "
            f"{span({r.batch_size for r in runs})} samples",
        ]
    )


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
