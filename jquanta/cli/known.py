"""``jquanta known parity`` and ``jquanta known toy``."""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door
from jquanta.cli.flags import argument, needed
from jquanta.cli.places import require_sweep
from jquanta.errors import BadInput
from jquanta.qdg.config import PARITY_BELOW, ClusterConfig, SelectConfig
from jquanta.run.settings import knob, same_knob


@dataclass(frozen=True)
class Options:
    """Discover quanta where they are known, to check QDG: on sparse parity, or in a toy model.

    Examples:
      jquanta known parity RUNS --out DIR   on a network of a sweep (the paper's D.1, Figure 15)
      jquanta known toy --out DIR           in a toy model (D.2, Figures 16 and 17)
    Both have flags of their own: jquanta known parity --help, jquanta known toy --help.

    In Python: jquanta.qdg.known.parity.sparse_parity, jquanta.qdg.known.toy.run.
    """

    which: str | None = argument("the network or the model", "parity|toy", default=None)


@dataclass(frozen=True)
class ParityOptions:
    """Discover the quanta of a network that a sweep has trained, the subtasks (the paper's D.1).

    For each number of clusters the adjusted Rand index against the subtasks is printed, and Figure
    15 is drawn from the folder. With --parts the gradients are also restricted to each layer, to
    kernels or biases, and to the rows of control or task bits: which of them finds the subtasks
    best is printed and stored as parts.zarr.

    Example:
      jquanta sweep fig15 --mini
      jquanta known parity runs/fig15-mini --samples 3000 --out runs/fig15-quanta
      jquanta figures fig15 --qdg runs/fig15-quanta
      jquanta known parity runs/fig15-mini --samples 1000 --parts --out runs/fig15-parts
      jquanta figures parts --qdg runs/fig15-parts

    In Python: jquanta.qdg.known.parity.sparse_parity.
    """

    runs: Path = argument("the folder of a finished sweep", "RUNS")
    out: Path = needed("the folder for the results", "DIR")
    run: int = knob(0, "number of the network on the run axis")
    samples: int = knob(SelectConfig.count, "samples, by default as many as in the paper")
    below: float = knob(PARITY_BELOW, "nats: predictions of a loss below this are samples")
    affinity: str = same_knob(ClusterConfig, "affinity")
    parts: bool = knob(
        False, "compare parts of the network, too (of some thousand samples at most)"
    )
    seed: int = knob(0, "of samples and clusters")
    memory: str | None = knob(
        None, "for gradients, such as '8 GB' (default: most of what is free)", "SIZE"
    )


def parity(options: ParityOptions) -> None:
    """Compute, and print."""
    require_sweep(options.runs)
    import numpy as np

    from jquanta.qdg.known.parity import TRUTH, sparse_parity
    from jquanta.run.files import require_place
    from jquanta.run.progress import Bar

    require_place(options.out, TRUTH)
    with Bar() as line:
        found = sparse_parity(**vars(options), monitor=line)
    print(f"{found.sizes['sample']:,} samples of {len(np.unique(found.subtask))} subtasks")
    print("adjusted Rand index against true subtasks; with odd and even samples told apart")
    for count, ari, halves in zip(
        found["count"].values, found.ari.values, found.halves.values, strict=True
    ):
        print(f"  {count:5} clusters: {ari:.2f}  {halves:.2f}")
    if options.parts:
        from jquanta.qdg.clusters.parts import open_parts, table

        compared = open_parts(options.out)
        for truth in reversed(compared.truth.to_numpy().tolist()):
            print(table(compared, truth))
    print(f"results   {options.out}")


@dataclass(frozen=True)
class ToyOptions:
    """Discover quanta in a toy model, where the bias of QDG can be measured (the paper's D.2).

    Vectors of 1,000 subtasks of known sizes are clustered as gradients are, over dimensions, noise,
    numbers of clusters and exponents of the sizes. One file for each setting appears in DIR; the
    same command continues where it stopped. Figures 16 and 17 are drawn from the folder.

    Example:
      jquanta known toy --mini --out runs/toy
      jquanta figures fig17 --qdg runs/toy

    In Python: jquanta.qdg.known.toy.run.
    """

    out: Path = needed("the folder for the settings' files", "DIR")
    mini: bool = knob(False, "a fifth of the subtasks, sizes and counts: a minute on 2 cores")
    seeds: tuple[int, ...] = knob((0,), "of independent repeats")
    restarts: int = same_knob(ClusterConfig, "n_init")


def toy(options: ToyOptions) -> None:
    """Compute, and print."""
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


def neither(options: Options) -> None:
    """Print what there is, or refuse."""
    if options.which is None:
        print(inspect.cleandoc(Options.__doc__ or ""))
        return
    raise BadInput(f"known {options.which}: there is no such; give {' or '.join(MAINS)}")


MAINS = {
    "parity": door.command("known parity", ParityOptions, parity),
    "toy": door.command("known toy", ToyOptions, toy),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in MAINS:
        return MAINS[argv[0]](argv[1:])
    return door.command("known", Options, neither, computes=False)(argv)


if __name__ == "__main__":
    sys.exit(main())
