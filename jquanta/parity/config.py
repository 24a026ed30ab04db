"""The configuration of one run: frozen dataclasses that check their fields when they are made.

These classes are the single source of every field's name, default, help text and check. The
sweep's TOML reader, the command line's flags and the run coordinates of the results are derived
from them. Every check raises ``BadInput``.
"""

import math
from dataclasses import dataclass

from jquanta.errors import BadInput
from jquanta.parity.codes import Code, parse_codes, refused
from jquanta.run.settings import MAX_SEED, fields_of, knob, require, require_count, require_one_of

Scalar = int | float | bool | str

FREQUENCIES = ("zipf", "uniform")

ACTIVATIONS = ("relu", "tanh", "sigmoid")

MAX_TRAIN_SIZE = 2**31  # dataset positions are uint32, with room for the last, short batch
MAX_BITS = 2**15 - 1  # subsets are stored as int16
MAX_TASKS = 1_000_000
MAX_WIDTH, MAX_DEPTH = 2**20, 1000
MAX_STEPS = MAX_BATCH = 2**32 - 1  # positions in a stream of samples are held in 32 bits
MAX_EVALUATIONS = 1_000_000
MAX_STORED = 10**9  # losses of a run, by evaluation and subtask: 4 GB
"""Several times what any experiment of the paper has. More is refused before it is built."""


@dataclass(frozen=True)
class TaskConfig:
    """Multitask sparse parity (paper, section 3), plain or compositional."""

    n_tasks: int = knob(500, "number of subtasks")
    n_bits: int = knob(100, "task bits of an input, the paper's n")
    k: int = knob(3, "bits in a subtask's parity")
    alpha: float = knob(0.4, "the paper's alpha; the Zipf exponent of the frequencies is alpha + 1")
    offset: float = knob(0.0, "frequencies fall as (i + offset)^-(alpha + 1)")
    frequencies: str = knob("zipf", "zipf or uniform (alpha and offset then have no effect)")
    codes: str = knob(
        "",
        'sets of subtasks to train on, such as "0 1 2 0+1+2*2.5" (numbered from 0; *2.5 is a '
        "weight; commas separate the codes of different runs); empty: every subtask by itself",
    )

    def __post_init__(self) -> None:
        require_count("task.n_tasks", self.n_tasks, MAX_TASKS)
        require(
            1 <= self.n_bits <= MAX_BITS, "task.n_bits", self.n_bits, f"give 1 to {MAX_BITS} bits"
        )
        require(self.k >= 1, "task.k", self.k, "give at least 1 bit a subtask")
        require(
            self.k <= self.n_bits,
            "task.k",
            self.k,
            f"a subtask cannot use more bits than task.n_bits = {self.n_bits}",
        )
        subsets = math.comb(self.n_bits, self.k)  # of up to 10,000 digits, which are not printed
        if self.n_tasks > subsets:
            raise BadInput(
                f"task.n_tasks = {self.n_tasks}: only {subsets} distinct subsets of {self.k} out "
                f"of {self.n_bits} bits exist; lower task.n_tasks or raise task.n_bits"
            )
        require(
            math.isfinite(self.alpha) and self.alpha > -1,
            "task.alpha",
            self.alpha,
            "give a finite number above -1 (the Zipf exponent is alpha + 1)",
        )
        require(
            math.isfinite(self.offset) and self.offset >= 0,
            "task.offset",
            self.offset,
            "give a finite number of at least 0",
        )
        require_one_of(FREQUENCIES, "task.frequencies", self.frequencies)
        for code in self.code_list:
            if code.members[-1] >= self.n_tasks:
                raise refused(
                    self.codes,
                    f"there is no subtask {code.members[-1]}; "
                    f"task.n_tasks = {self.n_tasks} are numbered from 0",
                )
        if self.composite and self.n_tasks * self.k > self.n_bits:
            raise refused(
                self.codes,
                f"subsets must be disjoint, and {self.n_tasks} of {self.k} bits need "
                f"{self.n_tasks * self.k} bits; raise task.n_bits",
            )

    @property
    def code_list(self) -> tuple[Code, ...]:
        """The codes in order; empty for the plain task. Results are indexed by code."""
        return parse_codes(self.codes)

    @property
    def n_codes(self) -> int:
        """Number C of codes trained and evaluated; for the plain task the number of subtasks."""
        return len(self.code_list) or self.n_tasks

    @property
    def composite(self) -> bool:
        """Whether a code has several members."""
        return any(len(code.members) > 1 for code in self.code_list)

    @property
    def longest_subset(self) -> int:
        """Number of task bits in the longest parity."""
        return self.k * max((len(code.members) for code in self.code_list), default=1)


@dataclass(frozen=True)
class NetworkConfig:
    """The MLP (paper, section 3)."""

    width: int = knob(500, "hidden units of each hidden layer")
    depth: int = knob(2, "linear layers; 2 means one hidden layer")
    activation: str = knob("relu", ", ".join(ACTIVATIONS))

    def __post_init__(self) -> None:
        require_count("network.width", self.width, MAX_WIDTH)
        require_count("network.depth", self.depth, MAX_DEPTH, least=2)
        require_one_of(ACTIVATIONS, "network.activation", self.activation)


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation (paper, section 3 and appendix)."""

    train_size: float = knob(math.inf, "training samples D; inf draws a fresh batch every step")
    batch_size: int = knob(20_000, "samples a step, at most train_size")
    steps: int = knob(200_000, "updates")
    lr: float = knob(1e-3, "learning rate of Adam")
    weight_decay: float = knob(0.0, "decoupled weight decay (AdamW); 0 is Adam")
    early_stop: bool = knob(
        False, "stop after ten consecutive rises of the mean test loss past step 4,000"
    )
    seed: int = knob(0, "seed of every random stream")

    def __post_init__(self) -> None:
        size = self.train_size
        require(
            size == math.inf or (1 <= size <= MAX_TRAIN_SIZE and size == int(size)),
            "train.train_size",
            size,
            f"give a whole number from 1 to {MAX_TRAIN_SIZE}, or inf for online training",
        )
        require_count("train.batch_size", self.batch_size, MAX_BATCH)
        require_count("train.steps", self.steps, MAX_STEPS)
        require(
            math.isfinite(self.lr) and self.lr > 0, "train.lr", self.lr, "give a number above 0"
        )
        require(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "train.weight_decay",
            self.weight_decay,
            "give a number of at least 0",
        )
        require(
            0 <= self.seed <= MAX_SEED,
            "train.seed",
            self.seed,
            f"give a whole number from 0 to {MAX_SEED}",
        )


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation: before the first update, every ``log_every`` updates, and after the last."""

    log_every: int = knob(100, "updates between evaluations")
    points_per_task: int = knob(1000, "fresh test points of each subtask in each evaluation")

    def __post_init__(self) -> None:
        require_count("eval.log_every", self.log_every, MAX_STEPS)
        require_count("eval.points_per_task", self.points_per_task, MAX_BATCH)


@dataclass(frozen=True)
class RunConfig:
    """Everything that the result of one run depends on: equal configurations give equal results."""

    task: TaskConfig = TaskConfig()
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        evaluations = self.train.steps // self.eval.log_every + 1
        losses = evaluations * self.task.n_codes
        require(
            evaluations <= MAX_EVALUATIONS and losses <= MAX_STORED,
            "eval.log_every",
            self.eval.log_every,
            f"{self.train.steps:,} updates would be evaluated {evaluations:,} times, with "
            f"{losses:,} losses of single subtasks; at most {MAX_EVALUATIONS:,} times and "
            f"{MAX_STORED:,} losses are allowed: raise eval.log_every",
        )

    @property
    def batch_size(self) -> int:
        """Samples in one step: the batch size, or the whole dataset where that is smaller."""
        return int(min(self.train.train_size, self.train.batch_size))

    @property
    def online(self) -> bool:
        """Whether every step draws a fresh batch (D = inf)."""
        return self.train.train_size == math.inf

    @property
    def n_params(self) -> int:
        """Number of trainable parameters: (n_tasks + n_bits + 3) * width + 2 at depth 2."""
        w = self.network.width
        # First layer with biases, the hidden layers between, and the two output logits.
        inner = (self.network.depth - 2) * (w + 1) * w
        return (self.task.n_tasks + self.task.n_bits + 1) * w + inner + 2 * w + 2

    @property
    def evaluation_steps(self) -> list[int]:
        """Number of updates made before each evaluation: 0, every ``log_every``, and all."""
        return [*range(0, self.train.steps, self.eval.log_every), self.train.steps]


SECTIONS: dict[str, type] = {
    "task": TaskConfig,
    "network": NetworkConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}

FIELDS = fields_of(SECTIONS)
"""Every field of a run by its dotted name, such as ``train.lr``, in the order of the classes."""


def from_values(values: dict[str, Scalar]) -> RunConfig:
    """The run with the given values by dotted name, other fields at their defaults.

    Raises:
        BadInput: for an unknown name, or a value that its field does not allow.
    """
    for name in values.keys() - FIELDS.keys():
        raise BadInput(f"unknown field {name!r}; fields are {', '.join(FIELDS)}")
    parts = {
        section: cls(
            **{
                name.split(".")[1]: value
                for name, value in values.items()
                if name.startswith(f"{section}.")
            }
        )
        for section, cls in SECTIONS.items()
    }
    return RunConfig(**parts)


def to_values(run: RunConfig) -> dict[str, Scalar]:
    """The value of every field of a run, by dotted name: the inverse of ``from_values``."""
    return {name: getattr(getattr(run, name.split(".")[0]), name.split(".")[1]) for name in FIELDS}
