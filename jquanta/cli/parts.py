"""``jquanta parts``."""

import sys
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_run
from jquanta.run.settings import knob


@dataclass(frozen=True)
class Options:
    """Find which part of the network tells quanta apart: a layer, a role, an attention head.

    RESULTS is a folder that jquanta qdg made. Gradients of some of its samples are restricted to
    each part of the model, and clustered by their cosines. What is known of a sample is the token
    that it predicts, so the table tells how well each part's clusters agree with the predicted
    tokens (adjusted Rand index: 1 equal, 0 chance), for some numbers of clusters and seeds of
    k-means. Two columns need no clusters: the share of samples whose nearest other predicts the
    same token, and how often two samples of one token are more alike than two of different tokens.
    The last one is the part's share of the squared length. Stored as parts.zarr in RESULTS, in
    place of an earlier one, with what to write for each part as similarity.parameters of jquanta
    qdg, such as layers.3.head.5.

    Cost: one pass over whole gradients, then a clustering for each part, seed and count: some
    minutes for 1,000 samples and 35 parts on 2 cores; one that was stopped starts anew. Memory: 4
    bytes for each part and pair of samples.

    Example:
      jquanta parts runs/stdlib-quanta --samples 500

    Next: jquanta figures parts --qdg RESULTS. In Python: jquanta.qdg.parts.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    samples: int = knob(1000, "take so many of the samples, evenly spaced")
    counts: tuple[int, ...] = knob(
        (), "numbers of clusters (default: as many as tokens, half and twice as many)", "INT"
    )
    seeds: int = knob(3, "seeds of k-means")
    memory: str | None = knob(None, "such as '8 GB' (default: most of what is free)", "SIZE")


def parts(options: Options) -> None:
    """Compute, store and print."""
    require_run(options.results)
    from jquanta.qdg.clusters.parts import STORE, save_parts, table
    from jquanta.qdg.questions import parts
    from jquanta.qdg.results import open_run
    from jquanta.run.progress import Bar

    run = open_run(options.results)
    with Bar() as line:
        found = parts.parts(
            run.model(),
            run.predictions,
            samples=options.samples,
            counts=sorted(set(options.counts)) or None,
            seeds=options.seeds,
            memory=options.memory,
            monitor=line,
        )
    replaced = ", in place of an earlier one" * (run.path / STORE).exists()
    path = save_parts(found, run.path)
    print(table(found, parts.TOKEN), f"{path}{replaced}", sep="\n")


main = door.command("parts", Options, parts)


if __name__ == "__main__":
    sys.exit(main())
