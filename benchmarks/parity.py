"""``python -m benchmarks.parity``: the packed trainer compared with three rivals in PyTorch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import command
from benchmarks.command import say
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from benchmarks.contest import Entry
    from benchmarks.record import Record, Score
    from jquanta.parity.config import RunConfig

# The 30 networks of the paper's Figure 2. Everything else has the default of the configuration: 500
# subtasks of 3 out of 100 bits, alpha 0.4, batches of 20,000, an evaluation every 100 steps.
WORKLOAD: dict[str, Any] = {"network.width": "log(10, 500, 30)"}

QUICK_WIDTHS = (10, 70, 500)


@dataclass(frozen=True)
class Options(command.Options):
    """Time the 30 networks of Figure 2, ours and three rivals, in float32, in one process.

    reference: the paper's algorithm plainly in PyTorch, one network after another. tuned: the
    fastest PyTorch for one network. packed: all networks as one wide layer in PyTorch. The score
    is the seconds of one training step of all networks plus a hundredth of an evaluation. The last
    line gives the rivals' scores divided by ours, the share of the rate of a large matrix product
    that our step reaches, and our peak memory in GB.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(
        False,
        "reference and tuned at three widths with one evaluation each, the others interpolated",
    )
    repeats: int | None = knob(None, "samples of which medians are taken (default: 9, quick 4)")
    out: Path | None = knob(
        None, "JSON file (default: benchmarks/records/parity-DEVICE.json)", "FILE"
    )


def measure(options: Options) -> "Record":
    """Time all contestants on the runs of the workload, which differ in width only."""
    from benchmarks import contest, machine, memory, record
    from jquanta.machine.computer import device_name
    from jquanta.sweep.config import load_config
    from jquanta.sweep.plan import use_cores

    begun = machine.start()
    repeats = options.repeats or (4 if options.quick else 9)
    runs = sorted(load_config({}, flags=WORKLOAD).runs(), key=lambda run: run.network.width)
    use_cores(runs)  # the number of CPU devices, as in a sweep
    widths = tuple(run.network.width for run in runs)
    device = machine.torch_device()
    say("our peak memory, in a process of its own")
    peak_gb = memory.peak_gb(WORKLOAD)
    copy = contest.copy_rate()
    teams, matmul = compete(runs, device, options.quick, repeats)
    scores = scored(teams, runs)
    ours = scores["ours"]
    return record.Record(
        benchmark="parity",
        mode=options.mode,
        notes=notes(teams, len(runs), options.quick),
        versions=machine.versions(),
        hardware=machine.hardware(begun),
        dtype="float32",
        workload={
            "widths": widths,
            "batch_size": runs[0].batch_size,
            "log_every": runs[0].eval.log_every,
            "repeats": repeats,
            "jax_device": device_name(),
            "torch_device": str(device),
        },
        scores=tuple(scores.values()),
        ratios={n: s.total / ours.total for n, s in scores.items() if n != "ours"},
        bound=contest.bound(runs, matmul, copy, ours.step),
        peak_gb=peak_gb,
    )


def compete(
    runs: "Sequence[RunConfig]", device: "torch.device", quick: bool, repeats: int
) -> tuple[dict[str, "list[Entry]"], float]:
    """Time all contestants in turn.

    Args:
        runs: configurations of the networks.
        device: of torch.
        quick: whether to time only some widths, once.
        repeats: samples of each contestant.

    Returns:
        The entries of each contestant by its name, and the highest measured rate of a large matrix
        product, in floating-point operations per second.
    """
    from benchmarks import contest

    say("first calls of every contestant")
    matmul = contest.matmul_rate()
    teams = enter(runs, device, quick, repeats)
    for number in range(repeats):
        say(f"round {number + 1} of {repeats}")
        for entry in (entry for team in teams.values() for entry in team):
            entry.sample()
        matmul = max(matmul, contest.matmul_rate())
    return teams, matmul


def scored(teams: dict[str, "list[Entry]"], runs: "Sequence[RunConfig]") -> dict[str, "Score"]:
    """The score of each contestant, by its name."""
    from benchmarks.contest import score

    widths, log_every = [run.network.width for run in runs], runs[0].eval.log_every
    return {
        name: score(name, [entry.timing() for entry in team], widths, log_every)
        for name, team in teams.items()
    }


def enter(
    runs: "Sequence[RunConfig]", device: "torch.device", quick: bool, repeats: int
) -> dict[str, "list[Entry]"]:
    """Make the entries of every contestant, which compiles them: see ``compete``."""
    from benchmarks.contest import Entry, fastest
    from benchmarks.lookup import Lookup, Variant, variants
    from benchmarks.ours import Ours
    from benchmarks.rivals import Reference

    alone = chosen(runs) if quick else list(runs)
    few = 1 if quick else min(3, repeats)
    many = max(2, min(3, repeats))

    def lookup(name: str, members: "Sequence[RunConfig]", evaluations: int) -> Entry:
        widths = tuple(run.network.width for run in members)

        def make(variant: Variant) -> Entry:
            rival = Lookup(members, device, variant)
            return Entry(name, widths, rival, str(variant), evaluations)

        say(f"{name}: {len(members)} networks, {sum(widths)} units")
        choices = variants(members, device, thorough=not quick)
        return fastest(name, [partial(make, variant) for variant in choices])

    every = tuple(run.network.width for run in runs)
    return {
        "ours": [Entry("ours", every, Ours(runs), evaluations=many)],
        "reference": [
            Entry("reference", (run.network.width,), Reference(run, device), evaluations=few)
            for run in alone
        ],
        "tuned": [lookup("tuned", [run], few) for run in alone],
        "packed": [lookup("packed", runs, 1 if quick else 2)],
    }


def chosen(runs: "Sequence[RunConfig]") -> "list[RunConfig]":
    """The runs of the quick mode: the narrowest, the widest, and one between them."""
    middle = min(runs, key=lambda run: abs(run.network.width - QUICK_WIDTHS[1]))
    return list(dict.fromkeys((runs[0], middle, runs[-1])))


def notes(teams: dict[str, "list[Entry]"], count: int, quick: bool) -> tuple[str, ...]:
    """Remarks that a reader needs to understand the numbers."""
    said = [
        f"{name}: {'; '.join(dict.fromkeys(entry.variant for entry in teams[name]))}"
        for name in ("tuned", "packed")
    ]
    if quick:
        measured = ", ".join(str(entry.widths[0]) for entry in teams["reference"])
        said += [
            f"reference and tuned are timed at widths {measured} with one evaluation each; the "
            f"{count} widths are interpolated from these, piecewise linearly in the width",
            "rivals compiled by torch.compile take part in the full mode only",
        ]
    return tuple(said)


def show(record: "Record", console: "Console") -> None:
    """Print the table and the notes."""
    from rich.table import Table

    table = Table(title=f"{len(record.workload['widths'])} networks, float32, {record.hardware}")  # type: ignore[arg-type]
    for column in ("seconds", "a step", "an evaluation", "a step with its share", "over ours"):
        table.add_column(column, justify="left" if column == "seconds" else "right")
    table.add_column("first calls", justify="right")
    for score in record.scores:
        ratio = record.ratios.get(score.name)
        table.add_row(
            score.name,
            f"{score.step:.4g}",
            f"{score.evaluation:.4g}",
            f"{score.total:.4g}",
            "" if ratio is None else f"{ratio:.2f}×",
            f"{sum(timing.first_calls for timing in score.timings):.1f}",
        )
    console.print(table)
    bound = record.bound
    console.print(
        f"matrix rate {bound.operations_per_second / 1e9:.0f} Gflop/s, memory "
        f"{bound.bytes_per_second / 1e9:.1f} GB/s: a step takes {bound.seconds:.4g} s at least; "
        f"{record.hardware.busy()}"
    )
    for note in record.notes:
        console.print(note)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("parity", Options, ["torch"], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
