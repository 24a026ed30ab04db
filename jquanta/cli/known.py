"""``jquanta known``: QDG where the quanta are known, on sparse parity and in a toy model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jquanta.cli import door
from jquanta.errors import BadInput

USAGE = """
usage: jquanta known parity RUNS --out DIR   on networks of a sweep (the paper's D.1, Figure 15)
       jquanta known toy --out DIR           in a toy model (D.2, Figures 16 and 17)

Quanta discovery from gradients where the quanta are known, so that what it finds can be checked.
Each tells more with --help.
""".strip()


@dataclass(frozen=True)
class ParityOptions:
    """Quanta discovery from gradients on a network that a sweep has trained (the paper's D.1).

    The quanta are known there: the subtasks. For each number of clusters the adjusted Rand index
    against them is printed, and Figure 15 is drawn from the folder.

    Example:
      python -m jquanta.sweep configs/fig15.toml --mini
      jquanta known parity runs/fig15-mini --samples 3000 --out runs/fig15-quanta
      jquanta figures fig15 --qdg runs/fig15-quanta

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    runs: Annotated[
        Path | None, tyro.conf.Positional, door.option("folder of a finished sweep", "RUNS")
    ] = None
    run: Annotated[int, door.option("number of the network on the run axis (default: 0)")] = 0
    samples: Annotated[int, door.option("samples (default: the paper's 10,000)", "INT")] = 10_000
    below: Annotated[float, door.option("nats: loss of a sample (default: 0.01)")] = 0.01
    affinity: Annotated[str, door.option("angular (default: the paper's), or absolute", "WORD")] = (
        "angular"
    )
    seed: Annotated[int, door.option("of samples and clusters (default: 0)", "INT")] = 0
    memory: Annotated[
        str | None, door.option("for gradients (default: most of what is free)", "'8 GB'")
    ] = None
    out: Annotated[Path | None, door.option("folder for the results", "DIR")] = None
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def parity(argv: Sequence[str]) -> None:
    """Parse, compute, print."""
    options = door.parse(ParityOptions, argv, "jquanta known parity")
    if options.runs is None:
        raise BadInput("RUNS is missing: give the folder of a finished sweep")
    if options.out is None:
        raise BadInput("--out is missing: give the folder for the results")
    import numpy as np

    from jquanta.qdg.known.parity import TRUTH, sparse_parity
    from jquanta.run.files import require_place
    from jquanta.run.progress import Bar

    require_place(options.out, TRUTH)
    with Bar() as line:
        found = sparse_parity(
            options.runs,
            options.run,
            samples=options.samples,
            below=options.below,
            affinity=options.affinity,
            seed=options.seed,
            memory=options.memory,
            out=options.out,
            monitor=line,
        )
    print(f"{found.sizes['sample']:,} samples of {len(np.unique(found.subtask))} subtasks")
    print("adjusted Rand index against true subtasks; with odd and even samples told apart")
    for count, ari, halves in zip(
        found["count"].values, found.ari.values, found.halves.values, strict=True
    ):
        print(f"  {count:5} clusters: {ari:.2f}  {halves:.2f}")
    print(f"results   {options.out}")


@dataclass(frozen=True)
class ToyOptions:
    """The toy model of QDG's bias (D.2): for Figures 16 and 17.

    Vectors of 1,000 subtasks of known sizes are clustered as gradients are, over dimensions, noise,
    numbers of clusters and exponents of the sizes. One file for each setting appears in DIR; the
    same command continues where it stopped.

    Example:
      jquanta known toy --mini --out runs/toy
      jquanta figures fig17 --qdg runs/toy

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    out: Annotated[Path | None, door.option("folder for the settings' files", "DIR")] = None
    mini: Annotated[
        bool, door.option("a fifth of the subtasks, sizes and counts: a minute on 2 cores")
    ] = False
    seeds: Annotated[
        tuple[int, ...], door.option("of independent repeats (default: 0)", "INT …")
    ] = (0,)
    restarts: Annotated[int, tyro.conf.arg(help="of k-means, each time", metavar="INT")] = 30
    debug: Annotated[bool, door.option("show the traceback of an error")] = False


def toy(argv: Sequence[str]) -> None:
    """Parse, compute, print."""
    options = door.parse(ToyOptions, argv, "jquanta known toy")
    if options.out is None:
        raise BadInput("--out is missing: give the folder for the cells")
    if options.restarts < 1:
        raise BadInput(f"--restarts {options.restarts}: give at least 1")
    from jquanta.qdg.known.toy import MINI, SUBTASKS, run
    from jquanta.run.progress import Bar

    with Bar() as line:
        found = run(
            options.out,
            subtasks=MINI if options.mini else SUBTASKS,
            seeds=options.seeds,
            n_init=options.restarts,
            monitor=line,
        )
    print(f"{options.out}: {len(found)} cells of {found[0].attrs['subtasks']:,} subtasks")


COMMANDS = {"parity": parity, "toy": toy}


def usage(argv: Sequence[str]) -> None:
    """Print what there is, or refuse."""
    if argv and argv[0] not in ("--help", "-h"):
        raise BadInput(f"unknown command known {argv[0]!r}; give one of {', '.join(COMMANDS)}")
    print(USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return door.enter(COMMANDS[argv[0]], argv[1:])
    return door.enter(usage, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
