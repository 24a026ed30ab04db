"""``python -m benchmarks.sketch``: the errors of sketches of gradients, and their cost."""

import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import command
from benchmarks.command import Head, say
from benchmarks.stopwatch import timed
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from jquanta.lm.models.model import Model
    from jquanta.qdg.samples.predictions import Predictions
    from jquanta.qdg.views.per_sample import PerSample

PREFIX = 64  # longest prefix, in tokens: multiplying sketches takes as long for any prefix


@dataclass(frozen=True)
class Workload:
    """How much is computed.

    Attributes:
        samples: number of samples for each Pythia shape; exact gradients of all are in memory.
        trained: number of samples of a trained model.
        sizes: of the sketches, the package's default among them.
        seeds: number of random projections of the default size, to estimate the bias.
        repeats: passes of which the median is taken.
    """

    samples: Mapping[str, int]
    trained: int
    sizes: tuple[int, ...]
    seeds: int
    repeats: int


WORKLOADS = {
    "quick": Workload({"14m": 64}, 64, (8, 16, 32), 8, 1),
    "full": Workload({"14m": 100, "31m": 100}, 200, (4, 8, 16, 32, 64), 20, 3),
}


@dataclass(frozen=True)
class Options(command.Options):
    """Compare sketches of gradients with exact gradients: error, bias, bytes and seconds, float32.

    Models with the shapes of Pythia and random weights; random predictions after up to 64 tokens.
    For each size of the sketch: the root mean square error of the cosines of all pairs, the bytes
    of a sample's sketch, and the seconds to compute all sketches and to multiply all pairs of
    them, without compiling. For the default size, over several seeds: the mean error of inner
    products, in each module and in total, in units of its standard error, which is about 1 if
    there is no bias.

    With --qdg: the model of a configuration of jquanta qdg, and predictions that it selects.

    The last line gives, for each model, the error of the cosines at the default size, and the bias
    in total.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    quick: bool = knob(False, "64 samples of one shape: a minute on 2 cores")
    repeats: int | None = knob(None, "passes of which medians are taken (default: 3, quick 1)")
    out: Path | None = knob(
        None, "JSON file (default: benchmarks/records/sketch-DEVICE.json)", "FILE"
    )
    qdg: Path | None = knob(
        None, "TOML file, such as jquanta/qdg/default.toml: a trained model", "FILE"
    )


class Subject(NamedTuple):
    """A model, and the predictions whose gradients are computed."""

    name: str
    model: "Model"
    predictions: "Predictions"


@dataclass(frozen=True)
class Entry:
    """The results for exact gradients, or for sketches of one size.

    Attributes:
        size: of the sketch; None for exact gradients.
        cosine_error: root mean square error over all pairs, for seed 0.
        row_bytes: bytes of one sample's gradient or sketch.
        making: seconds to compute those of all samples.
        products: seconds to multiply all pairs of them.
    """

    size: int | None
    cosine_error: float
    row_bytes: int
    making: float
    products: float


@dataclass(frozen=True)
class Bias:
    """The bias of inner products, as z: the mean error over seeds divided by its standard error.

    Attributes:
        module: a linear layer, or ``sum`` for all of them.
        pairs: root mean square of z over all pairs of different samples.
        squares: root mean square of z over the squared lengths, each sample with itself.
        resolution: root mean square of the relative standard error of the squared lengths.
    """

    module: str
    pairs: float
    squares: float
    resolution: float


@dataclass(frozen=True)
class Result:
    """The results for one model.

    Attributes:
        model: a Pythia shape, or the name of a trained model.
        parameters: number of parameters with respect to which gradients are taken.
        samples: number of samples.
        mean_prefix: mean number of tokens before a prediction.
        cosines: root mean square of the exact cosines of all pairs.
        entries: exact gradients, then sketches of each size.
        seeds: number of seeds for the biases.
        biases: of each module, and last of the sum, at the default size.
    """

    model: str
    parameters: int
    samples: int
    mean_prefix: float
    cosines: float
    entries: tuple[Entry, ...]
    seeds: int
    biases: tuple[Bias, ...]

    @property
    def unbiased(self) -> float:
        """The expected root mean square of z without bias: z has a Student's t distribution.

        Its variance with n - 1 degrees of freedom is (n - 1) / (n - 3).
        """
        return ((self.seeds - 1) / (self.seeds - 3)) ** 0.5


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    workload: dict[str, object]
    results: tuple[Result, ...]

    def summary(self) -> str:
        from jquanta.qdg.views.sketch import SIZE

        words = []
        for result in self.results:
            (own,) = (entry for entry in result.entries if entry.size == SIZE)
            words += [f"cosine_error_{result.model}={own.cosine_error:.4f}"]
            words += [f"bias_{result.model}={result.biases[-1].pairs:.2f}"]
        return " ".join(words)


def measure(options: Options) -> Record:
    """Compare sketches and exact gradients for every model."""
    from benchmarks import machine

    begun = machine.start()
    usual = WORKLOADS[options.mode]
    workload = dataclasses.replace(usual, repeats=options.repeats or usual.repeats)
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        if options.qdg:
            results = [compare(trained(options.qdg, workload.trained), workload)]
        else:
            results = [
                compare(untrained(shape, samples, Path(scratch)), workload)
                for shape, samples in workload.samples.items()
            ]
    return Record(
        benchmark="sketch",
        mode=options.mode,
        versions=machine.versions(),
        hardware=machine.hardware(begun),
        workload=dataclasses.asdict(workload),
        results=tuple(results),
    )


def untrained(shape: str, samples: int, scratch: Path) -> Subject:
    """A model with a Pythia shape and random weights, and predictions of random tokens."""
    import jax
    import numpy as np

    from benchmarks import texts
    from jquanta.lm.models.model import Model
    from jquanta.lm.models.network import init
    from jquanta.lm.models.pythia import pythia
    from jquanta.qdg.samples.predictions import given

    config = pythia(shape)
    corpus = texts.synthetic(scratch / shape, np.full(samples, PREFIX + 1))
    picked = np.random.default_rng(2).choice(corpus.n_predictions, samples, replace=False)
    model = Model(config, init(config, jax.random.key(0)))
    return Subject(shape, model, given(corpus, picked))


def trained(path: Path, samples: int) -> Subject:
    """The model of a configuration of ``jquanta qdg``, and some of the predictions it selects."""
    import numpy as np

    import jquanta as jq
    from jquanta.lm.losses.job import open_checkpoint
    from jquanta.lm.models.model import Model
    from jquanta.lm.weights.load import read_params
    from jquanta.qdg.config import load_qdg
    from jquanta.qdg.samples.predictions import given
    from jquanta.qdg.samples.selection import select

    wanted = load_qdg(path)
    corpus = jq.open_corpus(wanted.input.corpus)
    own = open_checkpoint(wanted.input.model, wanted.input.revision or None, corpus)
    rule: dict[str, Any] = {
        "threshold": wanted.select.threshold,
        "induction": wanted.select.induction,
    }
    losses = jq.open_losses(wanted.input.losses)
    passed = select(corpus, losses, own.label, stride=1, count=None, **rule).index
    picked = np.random.default_rng(2).choice(passed, min(samples, len(passed)), replace=False)
    model = Model(own.config, read_params(own.source, own.config))
    return Subject(own.label, model, given(corpus, picked))


def compare(subject: Subject, workload: Workload) -> Result:
    """Compare sketches of every size with exact gradients, for one model."""
    import numpy as np

    from benchmarks.similarity import off_diagonal
    from jquanta.qdg.views.gradient import Gradients
    from jquanta.qdg.views.parameters import chosen, count
    from jquanta.qdg.views.per_sample import view_of
    from jquanta.qdg.views.sketch import SIZE, Sketch

    name, model, predictions = subject
    say(f"{name}: exact gradients")
    gradients = view_of(model, predictions, Gradients())

    def sketches(size: int, seed: int = 0) -> "PerSample":
        return view_of(model, predictions, Sketch(size=size, seed=seed))

    exact = inner(gradients)
    wanted = cosines(exact)
    entries = [Entry(None, 0.0, *costs(gradients, workload.repeats))]
    for size in workload.sizes:
        say(f"{name}: sketches of {size} × {size}")
        rows = sketches(size)
        error = off_diagonal(cosines(inner(rows)), wanted)
        entries.append(Entry(size, error, *costs(rows, workload.repeats)))
    say(f"{name}: {workload.seeds} seeds of {SIZE} × {SIZE}")
    drawn = [inner(sketches(SIZE, seed)) for seed in range(workload.seeds)]
    biases = [bias(m, exact[m], np.stack([found[m] for found in drawn])) for m in exact]
    return Result(
        model=name,
        parameters=count(model.config, chosen(model.config)),
        samples=len(predictions),
        mean_prefix=float(gradients.prefixes.lengths.mean()),
        cosines=off_diagonal(wanted, np.zeros_like(wanted)),
        entries=tuple(entries),
        seeds=workload.seeds,
        biases=tuple(biases),
    )


def costs(rows: "PerSample", repeats: int) -> tuple[int, float, float]:
    """The cost of gradients or sketches, for programs that are compiled already.

    Returns:
        Bytes of one sample's row; median seconds to compute the rows of all samples; median seconds
        to multiply all pairs of them.
    """
    making, multiplying = [], []
    for _ in range(repeats):
        seconds, made = timed(partial(rows_of, rows))
        making.append(seconds)
        multiplying.append(timed(partial(grams, made))[0])
        row_bytes = sum(x.nbytes // len(x) for x in made.values())
        del made  # frees the memory before the next pass allocates as much
    return row_bytes, statistics.median(making), statistics.median(multiplying)


def inner(rows: "PerSample") -> "dict[str, np.ndarray]":
    """``grams`` in the order of the samples; ``rows`` computes them in an order of its own."""
    import numpy as np

    place = np.ix_(*2 * (np.argsort(np.concatenate(rows.batches)),))
    return {module: gram[place] for module, gram in grams(rows_of(rows)).items()}


def rows_of(rows: "PerSample") -> "dict[str, Any]":
    """The rows of all samples, by name of the parameter: [Q, n] each."""
    import jax
    import jax.numpy as jnp

    from jquanta.qdg.views.source import computed

    parts = [dict(rows.function.by_name(found)) for _, found in computed(rows)]
    flat = {
        name: jnp.concatenate([part.pop(name) for part in parts]).reshape(len(rows), -1)
        for name in list(parts[0])
    }
    return jax.block_until_ready(flat)


def grams(made: "Mapping[str, Any]") -> "dict[str, np.ndarray]":
    """Inner products [Q, Q] of all pairs, float64: of each linear layer, and their ``sum``."""
    import jax.numpy as jnp
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for name, x in made.items():
        module = name.removesuffix(".kernel").removesuffix(".bias")
        product = np.asarray(jnp.matmul(x, x.T, precision="highest"), np.float64)
        found[module] = found.get(module, 0) + product
    return found | {"sum": np.sum(list(found.values()), axis=0)}


def cosines(inner: "Mapping[str, np.ndarray]") -> "np.ndarray":
    """[Q, Q] cosines of whole gradients, from their inner products."""
    import numpy as np

    total = inner["sum"]
    length = np.sqrt(np.diagonal(total))
    return total / np.outer(length, length)


def bias(module: str, exact: "np.ndarray", drawn: "np.ndarray") -> Bias:
    """The bias of the inner products of a module.

    Args:
        module: its name.
        exact: [Q, Q] inner products of exact gradients.
        drawn: [seeds, Q, Q] inner products of sketches.
    """
    import numpy as np

    # The standard error of the mean over seeds, from the sample standard deviation.
    error = drawn.std(axis=0, ddof=1) / len(drawn) ** 0.5
    z = (drawn.mean(axis=0) - exact) / error
    same = np.eye(len(exact), dtype=bool)

    def root(x: "np.ndarray") -> float:
        return float(np.sqrt(np.mean(x**2)))

    return Bias(module, root(z[~same]), root(z[same]), root((error / exact)[same]))


def show(record: Record, console: "Console") -> None:
    """Print a table and the biases of each model."""
    from rich.table import Table

    for result in record.results:
        table = Table(
            title=f"{result.model}: {result.samples} samples, {result.parameters:,} parameters, "
            f"{record.hardware}"
        )
        for column in ("rows", "error of cosines", "bytes a sample", "making, s", "products, s"):
            table.add_column(column, justify="right")
        for e in result.entries:
            size, error = (
                ("exact", "") if e.size is None else (str(e.size), f"{e.cosine_error:.4f}")
            )
            table.add_row(size, error, f"{e.row_bytes:,}", f"{e.making:.2f}", f"{e.products:.4f}")
        console.print(table)
        console.print(f"exact cosines: {result.cosines:.3f} (root mean square)")
        *modules, total = result.biases
        for what in ("pairs", "squares"):
            each = sorted(getattr(module, what) for module in modules)
            console.print(
                f"mean error of {what} over {result.seeds} seeds, in standard errors: "
                f"{getattr(total, what):.2f} in sum, {each[0]:.2f} to {each[-1]:.2f} in "
                f"{len(each)} layers; {result.unbiased:.2f} where there is no bias"
            )
        console.print(f"standard error of a squared length: {total.resolution:.1%}")
    console.print(record.hardware.busy())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return command.run("sketch", Options, ["torch"], measure, show, argv)


if __name__ == "__main__":
    sys.exit(main())
