"""``jquanta losses``."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from jquanta.cli import door, several
from jquanta.cli.flags import needed
from jquanta.cli.places import require_corpus, require_model
from jquanta.lm.losses import DTYPES
from jquanta.lm.models.config import PLACEMENTS
from jquanta.run.settings import knob


@dataclass(frozen=True)
class Options:
    """Compute the loss of every prediction of a corpus, a column for each model and revision.

    Losses are cross-entropies in nats, float32. Documents go through in batches, on all local
    devices: on a CPU padded to a few lengths, elsewhere packed into rows of one length. The same
    command continues where it stopped; columns that are finished are left alone, and further ones
    may join them later.

    A model is an id on the hub (pythia-19m and other old names mean today's -v0 models;
    pythia-14m-seed3 is of PolyPythias) or a folder in Hugging Face layout, whose revisions are
    subfolders. Its tokenizer must be the corpus' own, and its context must take the longest
    document. Models that are called NAME-seedN are repeats of one network: figures show their
    means, and intervals over seeds.

    A model of which a device cannot hold a copy is cut: each local device holds an equal share of
    its parameters, and gathers a block from the others when it needs one. Losses are the same.

    Examples:
      jquanta losses --corpus corpora/pile --out losses/pile \\
        --model EleutherAI/pythia-70m-v0 EleutherAI/pythia-160m-v0
      jquanta losses --corpus corpora/pile --out losses/steps \\
        --model EleutherAI/pythia-70m-v0 --revision step1000 step10000 step143000
      jquanta losses --corpus corpora/pile --out losses/seeds --revision step143000 \\
        --model pythia-{14m,31m,70m}-seed{1..9}
      jquanta losses --corpus corpora/pile --out losses/big --shard 2/5 \\
        --model EleutherAI/pythia-6.9b-v0; jquanta gather losses/big

    Next: jquanta figures fig3 --losses DIR. In Python: jq.open_losses(DIR).
    """

    corpus: Path = needed("a corpus folder, made by jquanta corpus", "DIR")
    out: Path = needed("the folder for the losses", "DIR")
    model: tuple[str, ...] = needed("models on the hub, or folders that hold one", "ID|DIR")
    revision: tuple[str, ...] = knob((), "revisions of each model (default: main)", "NAME")
    dtype: str = knob(DTYPES[0], "of weights and products", "|".join(DTYPES))
    batch_tokens: int | None = knob(
        None, "tokens of a batch on each device (default: 512; what fits a GPU)"
    )
    placement: str | None = knob(
        None,
        "of parameters: a copy on each device, or cut into equal shares (default: cut where a copy "
        "does not fit)",
        "|".join(PLACEMENTS),
    )
    shard: str | None = knob(
        None, "compute this part of the documents only, such as 2/5; jquanta gather joins", "I/N"
    )
    process: str | None = several.flag()
    plan: bool = knob(False, "print columns, batches, time, memory and disk; compute nothing")


def losses(options: Options) -> None:
    """Print the plan, and compute."""
    require_corpus(options.corpus)
    for model in options.model:
        require_model(model, options.revision)
    with several.together(options.process, options.shard) as first:
        compute(options, shown=first)


def compute(options: Options, *, shown: bool = True) -> None:
    """Do it; of several processes the first, where ``shown`` is true, shows the progress."""
    import numpy as np

    from jquanta.lm.corpus.reader import open_corpus
    from jquanta.lm.losses.compute import placement_of, plan_for, require_placement, run_job
    from jquanta.lm.losses.estimate import estimate, placement_on, plan_on
    from jquanta.lm.losses.job import make_job
    from jquanta.lm.models import cut
    from jquanta.lm.models.config import CUT
    from jquanta.lm.models.network import count
    from jquanta.machine.computer import H200, here
    from jquanta.machine.prices import noted
    from jquanta.run.progress import Bar
    from jquanta.run.shard import parse

    require_placement(options.placement)
    with Bar(shown=shown) as line, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: line.say(f"warning: {message}")
        job = make_job(
            open_corpus(options.corpus),
            options.model,
            options.out,
            options.revision,
            options.dtype,
            None if options.shard is None else parse(options.shard),
        )
        if job.share:
            first, stop = job.share.predictions
            print(f"shard {options.shard}: predictions {first:,} to {stop:,}")
        for checkpoint in job.checkpoints:
            size = count(checkpoint.config)[1]
            print(f"{checkpoint.label}: {size:,} parameters without embeddings, {job.dtype}")
        plans = {}
        for config in {checkpoint.config for checkpoint in job.checkpoints}:
            plans[config] = plan_for(
                job.corpus,
                config,
                options.batch_tokens,
                job.dtype,
                share=job.share,
                placement=options.placement
                or placement_of(job.corpus, config, job.dtype, job.share),
            )
        print(*sorted(set(map(str, plans.values()))), sep="\n", flush=True)
        if options.plan:
            first, stop = job.share.documents if job.share else (0, job.corpus.n_documents)
            predictions = np.diff(job.corpus.starts[first : stop + 1])
            for computer in (here(), H200):
                print(f"{computer.name}, {computer.measured}:")
                for checkpoint in job.checkpoints:
                    config, tokens = checkpoint.config, options.batch_tokens
                    own = options.placement or placement_on(
                        computer, predictions, config, job.dtype
                    )
                    batches = plan_on(computer, predictions, config, job.dtype, tokens, own)
                    told = estimate(config, batches, job.dtype, computer, own)
                    print(f"  {checkpoint.label}: {told}")
                    if own == CUT and computer.devices > 1:
                        held = job.dtype, computer.memory, computer.devices
                        print(f"    {cut.described(config, *held)}")
        else:
            with noted():
                run_job(
                    job,
                    batch_tokens=options.batch_tokens,
                    placement=options.placement,
                    monitor=line,
                )
    if not options.plan:
        print(f"losses    {job.out}")
        if job.share:
            print(f"next      jquanta gather {quote(str(options.out))}, when all shards are done")


main = door.command("losses", Options, losses)

if __name__ == "__main__":
    sys.exit(main())
