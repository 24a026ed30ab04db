"""``python -m benchmarks.families``: what losses and gradients of each family of decoders take."""

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import command, texts
from benchmarks.command import Head, say
from benchmarks.stopwatch import timed
from jquanta.run.settings import knob

if TYPE_CHECKING:
    from rich.console import Console

    from jquanta.lm.models.config import LMConfig


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        layers, width, heads, vocab: of every model; the embedding is the unembedding, too.
        documents, length: of the corpus, in tokens each.
        samples: whose gradients are made, each of a document's length.
        repeats: passes of each model, in turn.
    """

    layers: int
    width: int
    heads: int
    vocab: int
    documents: int
    length: int
    samples: int
    repeats: int


WORKLOADS = {
    "quick": Workload(2, 96, 6, 1000, 4, 128, 4, 3),
    "full": Workload(6, 288, 6, 32_000, 4, 512, 4, 7),
}


def models(work: Workload) -> "dict[str, LMConfig]":
    """A model of each family, with the same number of parameters but for norms and biases.

    An MLP of GPT-NeoX and GPT-2 has 8 D² numbers. One with a gate has three kernels, and so a
    hidden layer of 8/3 D. Grouped queries have 4/3 D² numbers less, which the hidden layer gets.
    """
    from jquanta.lm.models.config import GPTNeoXConfig
    from jquanta.lm.models.gemma import GemmaConfig
    from jquanta.lm.models.gpt2 import GPT2Config
    from jquanta.lm.models.llama import LlamaConfig
    from jquanta.lm.models.olmo2 import Olmo2Config
    from jquanta.lm.models.qwen import Qwen3Config

    sizes = work.layers, work.width, work.heads, work.vocab
    tied: dict[str, Any] = {"context": work.length, "tied": True}
    gated = tied | {"hidden": work.width * 8 // 3}
    grouped = tied | {"hidden": work.width * 28 // 9, "kv_heads": work.heads // 3}
    return {
        "gpt_neox": GPTNeoXConfig(*sizes, **tied),
        "gpt2": GPT2Config(*sizes, context=work.length),
        "llama": LlamaConfig(*sizes, **gated),
        "llama grouped": LlamaConfig(*sizes, **grouped),
        "qwen3 grouped": Qwen3Config(*sizes, **grouped),
        "olmo2": Olmo2Config(*sizes, **gated),
        "gemma": GemmaConfig(*sizes, **gated),
    }


@dataclass(frozen=True)
class Options(command.Options):
    """Time per-token losses and exact gradients of one size in every family of decoders.

    Random models of 15 million parameters, in float32, as jquanta losses and jquanta qdg compute
    them. All take turns, and on a CPU what counts is the processor's time in this process, all
    cores together: work of others delays it little. Compiling is apart.

    The last line gives each family's seconds divided by GPT-NeoX's in the same turn: the median
    over all turns, of losses and of gradients.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(False, "tiny models, to see that all runs: a minute on 2 cores")
    repeats: int | None = knob(None, "turns of which medians are taken (default: 7, quick 3)")
    out: Path | None = knob(
        None, "JSON file (default: benchmarks/records/families-DEVICE.json)", "FILE"
    )


@dataclass(frozen=True)
class Entry:
    """The results of one model.

    Attributes:
        name: its family, and how it differs.
        parameters: of the model.
        losses, gradients: seconds of each pass: of the processor on a CPU, else of the clock.
        losses_ratio, gradients_ratio: seconds over those of the first model in the same turn,
            median over turns.
    """

    name: str
    parameters: int
    losses: tuple[float, ...]
    gradients: tuple[float, ...]
    losses_ratio: float
    gradients_ratio: float


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    workload: dict[str, object]
    entries: tuple[Entry, ...]

    def summary(self) -> str:
        return " ".join(
            f"{e.name.replace(' ', '_')}={e.losses_ratio:.2f}/{e.gradients_ratio:.2f}"
            for e in self.entries
        )


def measure(options: Options) -> Record:
    """Time all families in turn."""
    from benchmarks import machine
    from jquanta.lm.models.network import count

    begun = machine.start()
    usual = WORKLOADS[options.mode]
    work = dataclasses.replace(usual, repeats=options.repeats or usual.repeats)
    shapes = models(work)
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        calls = {name: passes(config, work, Path(scratch)) for name, config in shapes.items()}
        for name, own in calls.items():
            first = [timed(call)[0] for call in own]
            say(f"{name}: first passes, which compile, took {sum(first):.0f} s")
        seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in shapes}
        for turn in range(work.repeats):
            say(f"turn {turn + 1} of {work.repeats}")
            for name, own in calls.items():
                seconds[name].append(tuple(map(spent, own)))
    base = next(iter(seconds.values()))
    entries = []
    for name, config in shapes.items():
        ratios = [
            statistics.median(
                one[i] / other[i] for one, other in zip(seconds[name], base, strict=True)
            )
            for i in range(2)
        ]
        losses, gradients = zip(*seconds[name], strict=True)
        entries.append(Entry(name, count(config)[0], losses, gradients, *ratios))
    return Record(
        benchmark="families",
        mode=options.mode,
        versions=machine.versions(),
        workload=dataclasses.asdict(work),
        entries=tuple(entries),
        hardware=machine.hardware(begun),
    )


def spent(call: Callable[[], None]) -> float:
    """Seconds of a call: of the processor on a CPU, else of the clock."""
    import jax

    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    start = clock()
    call()
    return clock() - start


def passes(
    config: "LMConfig", work: Workload, scratch: Path
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The losses of all documents, and the gradients of all samples, of a random model."""
    import jax
    import numpy as np

    from jquanta.lm.losses.compute import batch_losses, on_devices, plan_for
    from jquanta.lm.models.model import Model
    from jquanta.lm.models.network import init
    from jquanta.qdg.samples.predictions import given
    from jquanta.qdg.views.gradient import Gradients
    from jquanta.qdg.views.per_sample import view_of

    lengths = np.full(work.documents, work.length)
    corpus = texts.synthetic(scratch / "corpus", lengths, work.vocab)
    params = init(config, jax.random.key(0))
    model, plan = on_devices(config, params), plan_for(corpus, config)
    last = corpus.starts[1:] - 1  # of each document, whose prefix is all of it but a token
    picked = last[np.arange(work.samples) % len(last)] - np.arange(work.samples) // len(last)
    rows = view_of(Model(config, params), given(corpus, np.sort(picked)), Gradients())

    def losses() -> None:
        for _ in batch_losses(config, model, corpus, plan.batches):
            pass

    def gradients() -> None:
        for number in range(len(rows.batches)):
            jax.block_until_ready(rows(number))

    return losses, gradients


def show(record: Record, console: "Console") -> None:
    """Print the table."""
    from rich.table import Table

    work = record.workload
    table = Table(
        title=f"{work['documents']} documents of {work['length']} tokens, gradients of "
        f"{work['samples']} samples, float32, {record.hardware}"
    )
    for column in ("model", "parameters", "losses, s", "ratio", "gradients, s", "ratio"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for e in record.entries:
        table.add_row(
            e.name,
            f"{e.parameters:,}",
            f"{statistics.median(e.losses):.2f}",
            f"{e.losses_ratio:.2f}×",
            f"{statistics.median(e.gradients):.2f}",
            f"{e.gradients_ratio:.2f}×",
        )
    console.print(table)
    console.print(record.hardware.busy())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("families", Options, [], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
