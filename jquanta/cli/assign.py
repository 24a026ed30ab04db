"""``jquanta assign``: to which quantum the tokens of a text belong."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jquanta.cli import door
from jquanta.errors import BadInput

if TYPE_CHECKING:
    import xarray as xr

    from jquanta.lm.corpus.reader import Corpus
    from jquanta.qdg.results import Results

CONTEXT = 12
"""Tokens shown before a sample's target."""


@dataclass(frozen=True)
class Options:
    """To which quantum each token of a text belongs, by its gradient.

    RESULTS is a folder that jquanta qdg made. For each token but the first: its loss in nats, the
    cluster whose mean gradient is nearest (0 is the largest cluster), the cosine to it, a score,
    and the nearest samples in their text. The score is the share of the cluster's own samples that
    are further from its middle. 0 says that the token is further out than all of them: with a low
    cosine it fits no cluster.

    The gradients of all samples are computed again: a minute for 4,000 samples of the small suite.

    Examples:
      jquanta assign runs/stdlib-quanta --text "def __init__(self"
      jquanta assign runs/stdlib-quanta --index 123456 --count 100

    In Python: jquanta.qdg.assign. Exit codes: 0 done, 2 bad input, 1 failed, 130 interrupted.
    """

    results: Annotated[
        Path | None, tyro.conf.Positional, door.option("folder of a QDG run", "RESULTS")
    ] = None
    text: Annotated[
        str | None, door.option("whose tokens are looked at; of a long one, the end", "TEXT")
    ] = None
    last: Annotated[
        int | None, door.option("with --text: its last tokens only (default: all)", "INT")
    ] = None
    index: Annotated[
        tuple[int, ...], door.option("instead: predictions of the corpus", "INDEX …")
    ] = ()
    count: Annotated[
        int | None, door.option("which clusters (default: the count nearest to 400)", "INT")
    ] = None
    nearest: Annotated[int, tyro.conf.arg(help="samples shown of each token", metavar="INT")] = 3
    memory: Annotated[
        str | None,
        door.option(
            "for the new gradients, such as '8 GB' (default: half of what is free)", "TEXT"
        ),
    ] = None
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def command(argv: Sequence[str]) -> None:
    """Parse, ask, and print."""
    options = door.parse(Options, argv, "jquanta assign")
    if (options.text is None) == (not options.index):
        raise BadInput("give either --text or --index")
    from jquanta.qdg.questions.assignment import assign
    from jquanta.qdg.results import open_run
    from jquanta.run.progress import Bar

    run = open_run(options.results)
    with Bar() as line:
        found = assign(
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
    print(told(found, run))


def told(found: "xr.Dataset", run: "Results") -> str:
    """What ``assign`` gives, in lines."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
