"""``python -m jquanta.lm.losses``: per-token losses of language models on a corpus."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jquanta.cli import door
from jquanta.errors import BadInput


@dataclass(frozen=True)
class Options:
    """Compute the loss of every prediction of a corpus, a column for each model and revision.

    Losses are cross-entropies in nats, float32. Documents go through in batches, on all local
    devices: on a CPU padded to a few lengths, elsewhere packed into rows of one. The same command
    continues where it stopped; columns that are finished are left alone, and further ones may join
    them later. In Python: jq.open_losses(DIR).

    A model is an id on the hub (pythia-19m and other old names mean today's -v0 models) or a
    folder in Hugging Face layout, whose revisions are subfolders. Its tokenizer must be the
    corpus' own, and its context must take the longest document.

    Examples:
      jquanta losses --corpus corpora/pile --out losses/pile
        --model EleutherAI/pythia-70m-v0 EleutherAI/pythia-160m-v0
      jquanta losses --corpus corpora/pile --out losses/steps
        --model EleutherAI/pythia-70m-v0 --revision step1000 step10000 step143000

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    corpus: Annotated[
        Path | None, door.option("a corpus folder, made by jquanta corpus", "DIR")
    ] = None
    model: Annotated[
        tuple[str, ...], door.option("models on the hub, or folders that hold one", "ID|DIR …")
    ] = ()
    revision: Annotated[
        tuple[str, ...], door.option("revisions of each model (default: main)", "NAME …")
    ] = ()
    out: Annotated[Path | None, door.option("folder for the losses on this corpus", "DIR")] = None
    dtype: Annotated[
        str, tyro.conf.arg(help="of weights and products: float32 or bfloat16", metavar="DTYPE")
    ] = "float32"
    batch_tokens: Annotated[
        int | None,
        door.option("tokens of a batch on each device (default: 512; what fits a GPU)", "INT"),
    ] = None
    plan: Annotated[
        bool, door.option("print columns, batches, time, memory and disk; compute nothing")
    ] = False
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def command(argv: Sequence[str]) -> None:
    """Parse, check, tell the plan, and compute."""
    options = door.parse(Options, argv, "python -m jquanta.lm.losses")
    if options.corpus is None:
        raise BadInput("--corpus is missing: give a corpus folder, made by jquanta corpus")
    if options.out is None:
        raise BadInput("--out is missing: give the folder for the losses")
    import jax

    from jquanta.lm.corpus.reader import open_corpus
    from jquanta.lm.losses.compute import plan_for, run_job
    from jquanta.lm.losses.estimate import estimate, product_rate
    from jquanta.lm.losses.job import make_job
    from jquanta.lm.models.network import count
    from jquanta.run.progress import Bar

    with Bar() as line, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: line.say(f"warning: {message}")
        job = make_job(
            open_corpus(options.corpus), options.model, options.out, options.revision, options.dtype
        )
        for checkpoint in job.checkpoints:
            size = count(checkpoint.config)[1]
            print(f"{checkpoint.label}: {size:,} parameters without embeddings, {job.dtype}")
        plans = {
            checkpoint.config: plan_for(
                job.corpus, checkpoint.config, options.batch_tokens, job.dtype
            )
            for checkpoint in job.checkpoints
        }
        print(*sorted(set(map(str, plans.values()))), sep="\n", flush=True)
        if options.plan:
            rate = product_rate(job.dtype)
            kind = jax.local_devices()[0].device_kind
            print(f"{jax.local_device_count()} x {kind}: {rate:.1e} operations a second measured")
            for checkpoint in job.checkpoints:
                config = checkpoint.config
                taken = estimate(config, plans[config], job.dtype, rate)
                print(f"{checkpoint.label}: {taken}")
        else:
            run_job(job, batch_tokens=options.batch_tokens, monitor=line)
    if not options.plan:
        print(f"losses    {job.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
