"""``python -m benchmarks.losses``: tokens per second of per-token losses, compared with torch."""

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import command, texts
from benchmarks.command import Head, say
from benchmarks.stopwatch import timed
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import numpy as np
    from jax.typing import DTypeLike
    from rich.console import Console

    from jquanta.lm.models.config import LMConfig

RIVAL_BATCHES = (1024, 4096)  # tokens in a batch of the rival; the faster of the two counts


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        tokens: in a pass, for each size of the Pythia suite.
        repeats: passes of which the median is taken.
    """

    tokens: dict[str, int]
    repeats: int


WORKLOADS = {
    ("cpu", "quick"): Workload({"14m": 8_000, "70m": 4_000}, 3),
    ("cpu", "full"): Workload({"14m": 60_000, "70m": 25_000}, 5),
    ("cuda", "quick"): Workload({"14m": 1_000_000, "70m": 1_000_000, "1.4b": 400_000}, 3),
    ("cuda", "full"): Workload({"14m": 4_000_000, "70m": 4_000_000, "1.4b": 2_000_000}, 5),
}


@dataclass(frozen=True)
class Options(command.Options):
    """Time per-token losses of random Pythia models, ours and torch's, in float32, in one process.

    single: transformers on torch, one document after another, as the paper's code does. batched:
    the same in batches of documents of similar length, padded to the longest, of 1,024 or 4,096
    tokens, whichever is faster. ours: what jquanta losses runs. All process the same documents, in
    turn; compiling is timed separately. On a GPU the 1.4b shape is timed in bfloat16, too, and
    compared with the rate of a large bfloat16 product.

    The last line gives, for each size, our tokens per second divided by the faster rival's, and
    our tokens per second at 14m; on a GPU also ours divided by single's, and the share of the
    bfloat16 rate that we reach.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(False, "few documents: under 2 minutes on 2 cores")
    repeats: int | None = knob(None, "passes of which medians are taken (default: 5, quick 3)")
    out: Path | None = knob(
        None, "JSON file (default: benchmarks/records/losses-DEVICE.json)", "FILE"
    )


@dataclass
class Entry:
    """A contestant on one model. The constructor makes a first pass, which compiles.

    Attributes:
        name: ours, single or batched.
        variant: how it was run, where there was a choice.
        run: makes a pass over all documents.
        first: seconds of the first pass.
        seconds: of each later pass.
    """

    name: str
    variant: str
    run: Callable[[], object] = field(repr=False)
    first: float = field(init=False)
    seconds: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.first = self.pass_()

    def pass_(self) -> float:
        """Seconds of one pass."""
        return timed(self.run)[0]


@dataclass(frozen=True)
class Timing:
    """The result of one contestant on one model.

    Attributes:
        name: ours, single or batched.
        variant: how it was run.
        tokens_per_second: number of predictions divided by the median of the samples.
        samples: seconds of each pass.
        first: seconds of the pass before them, which includes compiling.
    """

    name: str
    variant: str
    tokens_per_second: float
    samples: tuple[float, ...]
    first: float


@dataclass(frozen=True)
class Result:
    """The results of all contestants on one model.

    Attributes:
        size: of the Pythia suite.
        dtype: of parameters and of the factors of matrix products, for all contestants.
        documents, predictions: how many a pass has.
        plan: a description of our batches.
        timings: of each contestant.
        ratio: our tokens per second divided by the faster rival's; None if there was no rival.
        over_single: our tokens per second divided by those of ``single``.
        matmul_fraction: seconds that the operations of our pass would take at the rate of a large
            matrix product of this dtype, divided by our seconds.
    """

    size: str
    dtype: str
    documents: int
    predictions: int
    plan: str
    timings: tuple[Timing, ...]
    ratio: float | None
    over_single: float | None
    matmul_fraction: float


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    lengths: str
    results: tuple[Result, ...]

    def summary(self) -> str:
        ratios = [(f"ratio_{r.size}", r.ratio) for r in self.results]
        first = self.results[0].timings[0].tokens_per_second
        words = [f"{name}={ratio:.2f}" for name, ratio in ratios if ratio is not None]
        words += [f"tokens_per_s={first:.0f}"]
        if self.hardware.gpu:
            single = [(f"single_{r.size}", r.over_single) for r in self.results]
            words += [f"{name}={ratio:.2f}" for name, ratio in single if ratio is not None]
            words += [f"matmul_fraction={self.results[-1].matmul_fraction:.3f}"]
        return " ".join(words)


def measure(options: Options) -> Record:
    """Time all contestants on all sizes."""
    from benchmarks import machine

    begun = machine.start()
    workload = WORKLOADS[machine.torch_device().type, options.mode]
    repeats = options.repeats or workload.repeats
    results = []
    for size, tokens in workload.tokens.items():
        with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
            results.append(contest(size, tokens, repeats, Path(scratch)))
    return Record(
        benchmark="losses",
        mode=options.mode,
        versions=machine.versions("transformers"),
        hardware=machine.hardware(begun),
        lengths=f"log-normal, median {texts.MEDIAN}, sigma {texts.SIGMA}, cut at {texts.CUT}",
        results=tuple(results),
    )


def contest(size: str, tokens: int, repeats: int, scratch: Path) -> Result:
    """Time all contestants on one size: a first pass of each, then ``repeats`` passes in turn.

    Args:
        size: of the Pythia suite; the weights are random.
        tokens: about how many a pass has.
        repeats: passes of which the median is taken.
        scratch: a folder for the rival's model.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks.torch_losses import Rival
    from jquanta.lm.losses.compute import batch_losses, on_devices, plan_for
    from jquanta.lm.models.network import init
    from jquanta.lm.models.pythia import pythia

    config = pythia(size)
    dtype = jnp.bfloat16 if size == "1.4b" else jnp.float32
    params = init(config, jax.random.key(0), dtype)
    corpus = texts.synthetic(scratch / "corpus", texts.lengths(tokens))
    documents = [corpus.document(i).astype(np.int64) for i in range(corpus.n_documents)]
    plan = plan_for(corpus, config)
    say(f"{size}: {plan}")
    model = on_devices(config, params)

    def ours() -> None:
        for _ in batch_losses(config, model, corpus, plan.batches):
            pass

    entries = [Entry("ours", "", ours)]
    say(f"{size}: ours has compiled in {entries[0].first:.0f} s")
    rival = Rival(config, params, scratch / "model")
    entries.append(Entry("single", "", lambda: rival.single(documents)))
    batched = [
        Entry("batched", f"{count} tokens", lambda n=count: rival.batched(documents, n))  # type: ignore[misc]
        for count in RIVAL_BATCHES
    ]
    entries.append(min(batched, key=lambda entry: entry.first))
    rate = matmul_rate(dtype)
    for number in range(repeats):
        say(f"{size}: round {number + 1} of {repeats}")
        for entry in entries:
            entry.seconds.append(entry.pass_())
        rate = max(rate, matmul_rate(dtype))
    timings = tuple(timing(entry, corpus.n_predictions) for entry in entries)
    mine, single, *others = (t.tokens_per_second for t in timings)
    return Result(
        size=size,
        dtype=jnp.dtype(dtype).name,
        documents=corpus.n_documents,
        predictions=corpus.n_predictions,
        plan=str(plan),
        timings=timings,
        ratio=mine / max(single, *others),
        over_single=mine / single,
        matmul_fraction=operations(config, np.diff(corpus.starts))
        / rate
        / statistics.median(entries[0].seconds),
    )


def timing(entry: Entry, predictions: int) -> Timing:
    """The result of a contestant, whose rate is that of the median pass."""
    rate = predictions / statistics.median(entry.seconds)
    return Timing(entry.name, entry.variant, rate, tuple(entry.seconds), entry.first)


def operations(config: "LMConfig", predictions: "np.ndarray") -> float:
    """Floating-point operations of the matrix products that a pass needs at least.

    Two for each multiplication; of attention only the causal half.

    Args:
        config: the model's shape.
        predictions: [documents] number of predictions of each document.
    """
    import numpy as np

    from jquanta.lm.models.network import count

    counts = predictions.astype(np.float64)
    dense = 2 * counts.sum() * (count(config)[1] + config.vocab * config.width)
    return float(dense + 2 * config.layers * config.width * (counts**2).sum())


def matmul_rate(dtype: "DTypeLike") -> float:
    """Floating-point operations per second of a large matrix product of this dtype."""
    import jax
    import jax.numpy as jnp

    from jquanta.lm.models.network import PRECISION

    side = 2048 if jax.default_backend() == "cpu" else 8192
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda x: jnp.matmul(x, a, precision=PRECISION))
    product(a).block_until_ready()
    return 2 * side**3 / min(timed(lambda: product(a).block_until_ready())[0] for _ in range(8))


def show(record: Record, console: "Console") -> None:
    """Print the table, our batches, and how busy the machine was."""
    from rich.table import Table

    table = Table(title=f"per-token losses, {record.hardware}")
    table.add_column("model")
    for column in ("tokens a second", "ours over it", "first pass, s"):
        table.add_column(column, justify="right")
    for result in record.results:
        mine = result.timings[0].tokens_per_second
        for t in result.timings:
            table.add_row(
                f"{result.size} {result.dtype} {t.name} {t.variant}".strip(),
                f"{t.tokens_per_second:,.0f}",
                f"{mine / t.tokens_per_second:.2f}×" if t.name != "ours" else "",
                f"{t.first:.1f}",
            )
    console.print(table)
    for result in record.results:
        console.print(
            f"{result.size}: {result.plan}; {result.matmul_fraction:.0%} of the rate of a large "
            "product"
        )
    console.print(record.hardware.busy())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("losses", Options, ["torch", "transformers"], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
