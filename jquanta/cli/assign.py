"""``jquanta assign``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_run
from jquanta.errors import BadInput
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import xarray as xr

    from jquanta.lm.corpus.reader import Corpus
    from jquanta.qdg.results import Results

CONTEXT = 12
"""Tokens shown before a sample's target."""


@dataclass(frozen=True)
class Options:
    """Find to which quantum each token of a text belongs, by its gradient.

    RESULTS is a folder that jquanta qdg made. For each token but the first: its loss in nats, the
    cluster whose mean gradient is nearest (0 is the largest cluster), the cosine to it, a score,
    and the nearest samples in their text. The score is the share of the cluster's own samples that
    are further from its middle. 0 means that the token is further out than all of them: with a low
    cosine it fits no cluster.

    The gradients of all samples are computed again: a minute for 4,000 samples of the small suite.

    Examples:
      jquanta assign runs/stdlib-quanta --last 2 --text "class A: def __init__("
      jquanta assign runs/stdlib-quanta --index 123456 --count 100

    In Python: jquanta.qdg.assign.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    text: str | None = knob(None, "whose tokens are looked at; of a long one, the end")
    last: int | None = knob(None, "with --text: its last tokens only (default: all)")
    index: tuple[int, ...] = knob((), "instead: predictions of the corpus, by number", "INDEX")
    count: int | None = knob(None, "which clusters (default: the count nearest to 400)")
    nearest: int = knob(3, "samples shown of each token")
    memory: str | None = knob(
        None, "for the new gradients, such as '8 GB' (default: half of what is free)", "SIZE"
    )


def assign(options: Options) -> None:
    """Assign, and print."""
    require_run(options.results, written=False)
    if (options.text is None) == (not options.index):
        raise BadInput("give either --text or --index")
    from jquanta.qdg.questions import assignment
    from jquanta.qdg.results import open_run
    from jquanta.run.progress import Bar

    run = open_run(options.results)
    with Bar() as line:
        found = assignment.assign(
            run.model(),
            run.predictions,
            run.clusters,
            run.similarity,
            options.index if options.text is None else options.text,
            count=options.count,
            nearest=options.nearest,
            last=options.last,
            memory=options.memory,
            monitor=line,
        )
    print(table(found, run))


def table(found: "xr.Dataset", run: "Results") -> str:
    """What ``assignment.assign`` gives: a line a token, and one for each of its nearest samples."""
    clusters = f"of {found.attrs['count']} clusters of {len(run.predictions):,} samples"
    lines = [f"{'nats':>6}  {'cluster':>7}  {'cosine':>6}  {'score':>5}  token ({clusters})"]
    for i in range(found.sizes["token"]):
        token = found.isel(token=i)
        cluster, score = int(token.cluster), float(token.score)
        target = repr(str(token.target.item()))
        if cluster < 0:
            lines.append(f"{float(token.loss):6.2f}  {'none':>7}  {target}: no gradient")
            continue
        note = "  (further out than all its samples)" if score == 0 else ""
        lines.append(
            f"{float(token.loss):6.2f}  {cluster:7}  {float(token.cosine):6.2f}  {score:5.2f}  "
            f"{target}{note}"
        )
        lines += [
            f"{'':17}{cosine:6.2f}         {_shown(run.corpus, int(run.predictions.index[sample]))}"
            for sample, cosine in zip(
                token.nearest.to_numpy(), token.nearest_cosine.to_numpy(), strict=True
            )
            if sample >= 0
        ]
    return "\n".join(lines)


def _shown(corpus: "Corpus", prediction: int) -> str:
    """A sample in its text, on one line."""
    context = corpus.context(prediction, CONTEXT, 0)
    return f"{context.before!r} → {context.target!r}"


main = door.command("assign", Options, assign)

if __name__ == "__main__":
    sys.exit(main())
