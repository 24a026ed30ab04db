"""The record of the parity benchmark."""

from dataclasses import dataclass

from benchmarks.command import Head


@dataclass(frozen=True)
class Timing:
    """The times of one contestant, or of one of its networks, in seconds.

    Attributes:
        widths: of the networks that were trained.
        variant: the implementation, where there was a choice.
        step: the median training step.
        step_samples: seconds of a step, one for each sample.
        evaluation: the median evaluation.
        evaluation_samples: seconds of each evaluation.
        first_calls: the first step and the first evaluation, which include compiling.
    """

    widths: tuple[int, ...]
    variant: str
    step: float
    step_samples: tuple[float, ...]
    evaluation: float
    evaluation_samples: tuple[float, ...]
    first_calls: float


@dataclass(frozen=True)
class Score:
    """The times of one contestant for the whole sweep, in seconds.

    Attributes:
        name: ours, reference, tuned or packed.
        step: a training step of all networks.
        evaluation: an evaluation of all networks.
        total: a step, plus an evaluation divided by the number of steps between two of them.
        timings: the measurements from which these follow.
    """

    name: str
    step: float
    evaluation: float
    total: float
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Bound:
    """A lower bound for the time of a training step on this machine (a roofline).

    Attributes:
        operations: floating-point operations of the two products with the task bits, which are
            4 · batch · n_bits · (sum of all widths).
        bytes: least memory traffic: weights and Adam's two moments, read and written once.
        operations_per_second: rate of a 2048³ float32 product.
        bytes_per_second: rate of a copy, read plus written.
        seconds: the longer of the two times that follow from these.
        matmul_fraction: time of the operations at that rate, divided by the time of our step.
    """

    operations: float
    bytes: float
    operations_per_second: float
    bytes_per_second: float
    seconds: float
    matmul_fraction: float


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    notes: tuple[str, ...]
    dtype: str
    workload: dict[str, object]
    scores: tuple[Score, ...]
    ratios: dict[str, float]  # each rival's seconds divided by ours
    bound: Bound
    peak_gb: float

    def summary(self) -> str:
        ratios = " ".join(f"{name}_ratio={value:.2f}" for name, value in self.ratios.items())
        fraction = f"matmul_fraction={self.bound.matmul_fraction:.3f}"
        return f"{ratios} {fraction} peak_gb={self.peak_gb:.3f}"
