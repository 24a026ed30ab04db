"""``python -m benchmarks.spectrum``: what fitting a sigmoid to each of many loss curves takes."""

import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import command
from benchmarks.command import Head, say
from benchmarks.stopwatch import timed
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from jquanta.spectrum import Checkpoints


@dataclass(frozen=True)
class Workload:
    """How much is fitted.

    Attributes:
        curves, checkpoints: planted sigmoids with noise.
        single: of these, fitted one by one by SciPy.
        repeats: passes of ours, of which the median counts.
    """

    curves: int
    checkpoints: int
    single: int
    repeats: int


WORKLOADS = {"quick": Workload(20_000, 8, 20, 1), "full": Workload(1_000_000, 32, 300, 3)}


@dataclass(frozen=True)
class Options(command.Options):
    """Fit sigmoids to 10^6 loss curves at 32 checkpoints, and some of them by SciPy.

    What jquanta spectrum does to losses that are in memory: the fit, what kind of curve each is,
    and the sums of the spectrum. SciPy's curve_fit, with the analytic start that we find by a grid,
    and bounds, takes the same curves one by one.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(False, "few curves, to see that all runs: seconds")
    repeats: int | None = knob(None, "passes of which the median is taken (default: 3, quick 1)")
    out: Path | None = knob(
        None, "JSON file (default: benchmarks/records/spectrum-DEVICE.json)", "FILE"
    )


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark.

    Attributes:
        fit, sums: seconds of each pass, compiling apart.
        scipy: seconds a curve.
        further: the largest share of a curve's squared error that SciPy finds less than ours.
    """

    workload: dict[str, object]
    fit: tuple[float, ...]
    sums: tuple[float, ...]
    scipy: float
    further: float

    def summary(self) -> str:
        curves = self.workload["curves"]
        assert isinstance(curves, int)
        ratio = self.scipy * curves / statistics.median(self.fit)
        return f"fit={statistics.median(self.fit):.2f}s ratio={ratio:.0f}"


def planted(curves: int, checkpoints: int) -> "tuple[Checkpoints, np.ndarray]":
    """Sigmoids of random times, widths and levels, with noise of 0.3 nats."""
    import numpy as np
    from scipy.special import expit

    from jquanta.spectrum import Checkpoints

    chance = np.random.default_rng(0)
    found = Checkpoints(np.geomspace(16, 16_384, checkpoints))
    time = chance.uniform(found.x[1], found.x[-2], (curves, 1)).astype(np.float32)
    width = np.exp(chance.uniform(-2, 0, (curves, 1))).astype(np.float32)
    high, low = (chance.uniform(*of, (curves, 1)).astype(np.float32) for of in ((4, 9), (0, 3)))
    noise = chance.standard_normal((curves, checkpoints), np.float32)
    z = (found.x.astype(np.float32) - time) / width
    return found, np.asarray(high + (low - high) * expit(z) + np.float32(0.3) * noise, np.float32)


def measure(options: Options) -> Record:
    """Time our fit, and SciPy's."""
    from benchmarks import machine
    from jquanta.spectrum import Spectrum

    begun = machine.start()
    usual = WORKLOADS[options.mode]
    work = dataclasses.replace(usual, repeats=options.repeats or usual.repeats)
    checkpoints, losses = planted(work.curves, work.checkpoints)
    fits = checkpoints.fit(losses[:1], 0.3)  # compiles
    fit, sums = [], []
    for turn in range(work.repeats):
        say(f"pass {turn + 1} of {work.repeats}")
        seconds, fits = timed(lambda: checkpoints.fit(losses, 0.3))
        fit.append(seconds)
        sums.append(timed(lambda: Spectrum(checkpoints).add(losses, fits))[0])  # noqa: B023
    say(f"{work.single} curves by SciPy")
    alone, further = _scipy(checkpoints.x, losses[: work.single], fits)
    return Record(
        benchmark="spectrum",
        mode=options.mode,
        versions=machine.versions(),
        workload=dataclasses.asdict(work),
        fit=tuple(fit),
        sums=tuple(sums),
        scipy=alone,
        further=further,
        hardware=machine.hardware(begun),
    )


def _scipy(x: "np.ndarray", losses: "np.ndarray", fits: Any) -> tuple[float, float]:
    """Seconds a curve of ``curve_fit``, and how much less it leaves than ours, at most."""
    import numpy as np
    from scipy.optimize import curve_fit
    from scipy.special import expit

    from jquanta.spectrum import Fits, curves_of

    def sigmoid(x: np.ndarray, high: float, low: float, time: float, wide: float) -> np.ndarray:
        return np.asarray(high + (low - high) * expit((x - time) / np.exp(wide)))

    bounds = [-np.inf, 0, x[0], -6], [np.inf, np.inf, x[-1], 3]
    middle = float(x.mean())
    ours = curves_of(Fits(*(column[: len(losses)] for column in fits)), x)
    left = np.square(losses - ours).sum(1)
    found = np.full(len(losses), np.inf)

    def every(call: Callable[[int], None]) -> None:
        for row in range(len(losses)):
            call(row)

    def one(row: int) -> None:
        loss = losses[row].astype(float)
        start = loss[:2].mean(), max(loss[-2:].mean(), 0.1), middle, -1.0
        try:
            best, _ = curve_fit(sigmoid, x, loss, start, bounds=bounds)
        except RuntimeError:  # no solution within its number of evaluations
            return
        found[row] = np.square(loss - sigmoid(x, *best)).sum()

    seconds, _ = timed(lambda: every(one))
    return seconds / len(losses), float(np.max(1 - found / left, initial=0.0))


def show(record: Record, console: "Console") -> None:
    """Print the numbers."""
    work = record.workload
    console.print(f"{work['curves']:,} curves at {work['checkpoints']} checkpoints, float32")
    console.print(f"fit      {statistics.median(record.fit):.2f} s")
    console.print(f"sums     {statistics.median(record.sums):.2f} s")
    console.print(f"SciPy    {1e3 * record.scipy:.2f} ms a curve, of {work['single']}")
    console.print(f"squared error that SciPy leaves less than ours: {record.further:.2g} at most")
    console.print(record.hardware.busy())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("spectrum", Options, [], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
