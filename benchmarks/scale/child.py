"""``python -m benchmarks.scale.child JOB``: one measurement in a process of its own.

JOB is a JSON object; the answer is one line of JSON. Seconds are those of the processor in this
process, all threads together, so that work of others on the machine delays them little. Everything
is done twice, and timed the second time, when its programs are compiled.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.memory import resident
from jquanta.machine import malloc
from jquanta.run.files import remove

if TYPE_CHECKING:
    from jquanta.sweep.config import SweepConfig

VOCAB, CONTEXT = 512, 128
"""Of the model whose losses are computed, and the tokens of each document."""

SWEEP: dict[str, Any] = {
    "task.n_tasks": 100,
    "task.n_bits": 100,
    "task.k": 2,
    "train.batch_size": 1000,
    "eval.points_per_task": 100,
}
"""As in Figure 2: runs share their bits, and train together."""


def sweep_config(runs: int, width: int, steps: int, **more: Any) -> "SweepConfig":
    """So many networks of one width, with different learning rates."""
    from jquanta.sweep.config import load_config

    fields = {"network.width": width, "train.steps": steps, "eval.log_every": steps}
    rates = {"train.lr": f"log(1e-4, 1e-2, {runs})" if runs > 1 else 1e-3}
    return load_config({}, flags={**SWEEP, **fields, **rates, **more})


def sweep(place: Path, runs: int, width: int, steps: int, parts: int, **more: Any) -> list[float]:
    """Seconds of each shard of a sweep, and last of joining them; of the whole where there is one
    part."""
    from jquanta.run.shard import Shard, shards_in
    from jquanta.sweep.drive import run_sweep
    from jquanta.sweep.gather import gather

    def go(out: Path, steps: int) -> list[float]:
        config = sweep_config(runs, width, steps, **more)
        if parts == 1:
            return [spent(partial(run_sweep, config, out))]
        shards = Shard(parts, 1).all()
        each = [spent(partial(run_sweep, config, out, shard=shard)) for shard in shards]
        return [*each, spent(partial(gather, shards_in(out), out))]

    go(place / "first", 2)
    return go(place / "second", steps)


def costs(place: Path, sizes: list[list[int]], repeats: int) -> list[list[float]]:
    """Seconds of sweeps of several (runs, width, steps): of all steps but one, and of a sweep of
    one step, which evaluates and stores as much. Each is the least of some."""
    from jquanta.sweep.drive import run_sweep

    def least(runs: int, width: int, steps: int) -> float:
        config, name = sweep_config(runs, width, steps), f"{runs}-{width}-{steps}"
        outs = [place / f"{name}-{turn}" for turn in range(repeats)]
        return min(spent(partial(run_sweep, config, out)) for out in outs)

    found = []
    for runs, width, steps in sizes:
        run_sweep(sweep_config(runs, width, 1), place / f"{runs}-{width}-{steps}-first")
        one = least(runs, width, 1)
        found.append([least(runs, width, steps) - one, one])
        remove(place)
        place.mkdir()
    return found


def losses(place: Path, tokens: int, parts: int) -> list[float]:
    """The same of a model's losses on so many tokens."""
    import jax

    from jquanta.lm.losses.compute import run_job
    from jquanta.lm.losses.gather import gather
    from jquanta.lm.losses.job import make_job
    from jquanta.lm.models.config import GPTNeoXConfig
    from jquanta.lm.models.network import init
    from jquanta.lm.weights.save import save_model
    from jquanta.run.shard import Shard, shards_in

    config = GPTNeoXConfig(layers=2, width=64, heads=4, vocab=VOCAB, context=CONTEXT)
    save_model(place / "model", config, init(config, jax.random.key(0)))
    few = 8 * parts * jax.local_device_count() * CONTEXT
    for name, size in (("few", min(few, tokens)), ("all", tokens)):
        write_corpus(place / name, size)

    def go(name: str) -> list[float]:
        def one(shard: Shard | None) -> None:
            run_job(make_job(place / name, place / "model", place / f"{name}-losses", shard=shard))

        out = place / f"{name}-losses"
        if parts == 1:
            return [spent(partial(one, None))]
        each = [spent(partial(one, shard)) for shard in Shard(parts, 1).all()]
        return [*each, spent(partial(gather, shards_in(out), out))]

    go("few")
    return go("all")


def spent(call: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def write_corpus(path: Path, tokens: int) -> None:
    """A corpus folder of random tokens, in documents of ``CONTEXT``."""
    import numpy as np

    from jquanta.lm.corpus.layout import META, OFFSETS, TOKENIZER, TOKENS, Meta, Recipe
    from jquanta.run.sums import sha256_of

    path.mkdir(parents=True)
    documents = max(1, tokens // CONTEXT)
    offsets = np.arange(documents + 1, dtype=np.int64) * CONTEXT
    drawn = np.random.default_rng(0).integers(0, VOCAB, int(offsets[-1])).astype(np.uint16)
    np.save(path / TOKENS, drawn)
    np.save(path / OFFSETS, offsets)
    (path / TOKENIZER).write_bytes(b"{}")
    meta = Meta(
        schema=1,
        jquanta="",
        documents=documents,
        tokens=len(drawn),
        predictions=documents * (CONTEXT - 1),
        vocab_size=VOCAB,
        source="random tokens",
        corpus=sha256_of(path / TOKENS, path / OFFSETS),
        recipe=Recipe("", hashlib.sha256(b"{}").hexdigest(), CONTEXT, None),
    )
    (path / META).write_text(meta.to_json(), encoding="utf-8")


def main() -> None:
    """Measure, and print."""
    import warnings

    job = json.loads(sys.argv[1])
    malloc.keep_freed()  # as the command line does
    warnings.simplefilter("ignore")  # the model has no tokenizer
    measure = {"sweep": sweep, "losses": losses, "costs": costs}[job.pop("what")]
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        seconds = measure(Path(scratch), **job)  # type: ignore[operator]
    print(json.dumps({"seconds": seconds, "peak": resident()["VmHWM"]}))


if __name__ == "__main__":
    main()
