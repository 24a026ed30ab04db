"""What the benchmark of parity leaves behind."""

from dataclasses import dataclass

from benchmarks.command import Head


@dataclass(frozen=True)
class Timing:
    """Medians of one contestant, or of one of its networks, in seconds.

    Attributes:
        widths: of the networks that were trained.
        variant: how it is written, where there was a choice.
        step: a training step, from ``step_samples``.
        evaluation: one evaluation, from ``evaluation_samples``.
        first_calls: compiling and all else that only a first step and evaluation need.
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
    """One contestant on the whole sweep, in seconds.

    Attributes:
        name: ours, reference, tuned or packed.
        step: all networks' training step.
        evaluation: all networks' evaluation.
        total: a step with its share of an evaluation.
        timings: what was measured.
    """

    name: str
    step: float
    evaluation: float
    total: float
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Bound:
    """What no implementation of the step can beat on this machine.

    Attributes:
        operations: of the two products with the task bits, 4·batch·n_bits·ΣW.
        bytes: least traffic, weights and Adam's two moments read and written once.
        operations_per_second: of a 2048³ float32 product.
        bytes_per_second: of an array read, and one written.
        seconds: the longer of the two.
        matmul_fraction: the operations' seconds over our step's.
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
    ratios: dict[str, float]  # a rival's seconds over ours
    bound: Bound
    peak_gb: float

    def summary(self) -> str:
        ratios = " ".join(f"{name}_ratio={value:.2f}" for name, value in self.ratios.items())
        fraction = f"matmul_fraction={self.bound.matmul_fraction:.3f}"
        return f"{ratios} {fraction} peak_gb={self.peak_gb:.3f}"
