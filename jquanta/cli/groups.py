"""``jquanta groups``."""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_run
from jquanta.errors import BadInput
from jquanta.qdg.config import CONSENSUS, GROUPS
from jquanta.run.settings import knob, require_one_of

if TYPE_CHECKING:
    import xarray as xr

    from jquanta.qdg.results import Results

ROWS, TOKENS = 20, 3
"""Groups that the table shows, the largest; predicted tokens of each, the most frequent."""


@dataclass(frozen=True)
class Options:
    """Find groups without a number of clusters; samples in no group are left out.

    RESULTS is a folder that jquanta qdg made. By consensus: its samples are clustered with many
    counts and seeds, and groups are what holds together over most of them. By local: around each
    sample a set is grown out of which least of the graph of nearest neighbours leads (its
    conductance). Null models, the same similarities rotated so that no groups are left, are
    searched in the same way, and groups as good as what these offer are dropped.

    The table tells of each group its samples, what they predict, and how sure it is: by consensus
    the mean share of clusterings in which two of its samples are together; by local how nearly the
    set that grows around each of its samples is the group (1: the same). The last column is the
    share of groups as good as this one that chance would have offered.

    Stored in RESULTS as groups-consensus.zarr or groups-local.zarr, in place of an earlier one of
    the same kind.

    Cost: by consensus 3 × seeds × counts clusterings of a single start each; all pairs of up to
    20,000 samples in memory, about 50 bytes for each pair. By local three sweeps from every sample,
    minutes for 10,000 samples. One that was stopped starts anew.

    Example:
      jquanta groups runs/stdlib-quanta
      jquanta groups runs/stdlib-quanta --by local
      jquanta figures groups --qdg runs/stdlib-quanta

    In Python: jquanta.qdg.consensus, jquanta.qdg.local_clusters, jquanta.qdg.open_groups.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    by: str = knob(CONSENSUS, " or ".join(GROUPS))
    counts: tuple[int, ...] = knob(
        (), "by consensus: numbers of clusters (default: those of jquanta stability)", "INT"
    )
    seeds: int | None = knob(None, "by consensus: clusterings into each count (default: 20)")
    neighbours: int | None = knob(
        None, "by local: nearest others that a sample is joined to (default: 10)"
    )

    def __post_init__(self) -> None:
        require_one_of(GROUPS, "--by", self.by)
        other = {"counts": self.counts, "seeds": self.seeds}
        if self.by == CONSENSUS:
            other = {"neighbours": self.neighbours}
        for name, value in other.items():
            if value not in (None, ()):
                needs = GROUPS[self.by == CONSENSUS]
                raise BadInput(f"--{name}: is of groups by {needs}; leave it out, or --by {needs}")


def groups(options: Options) -> None:
    """Compute, store and print."""
    require_run(options.results)
    from jquanta.qdg.clusters.likeness import likeness_of
    from jquanta.qdg.questions import groups
    from jquanta.qdg.results import open_run
    from jquanta.run.progress import Bar
    from jquanta.run.stop import shortage_in_one_line

    run = open_run(options.results)
    known = likeness_of(run.similarity, run.clusters.attrs.get("affinity") == "absolute")
    with Bar() as line, shortage_in_one_line("cluster fewer samples"):
        if options.by == CONSENSUS:
            found = groups.consensus(
                known,
                run.clusters,
                counts=options.counts or None,
                seeds=groups.SEEDS if options.seeds is None else options.seeds,
                monitor=line,
            )
        else:
            found = groups.local_clusters(
                known,
                run.clusters,
                neighbours=groups.NEIGHBOURS if options.neighbours is None else options.neighbours,
                monitor=line,
            )
    replaced = ", in place of an earlier one" * (run.path / groups.store(options.by)).exists()
    path = groups.save_groups(found, run.clusters, run.path)
    print(table(found, run), f"{path}{replaced}", sep="\n")


def table(found: "xr.Dataset", run: "Results") -> str:
    """The result in lines: the largest groups, a row each."""
    import numpy as np

    corpus, label = run.corpus, found.label.to_numpy()
    targets = run.predictions.targets
    groups = found.sizes["group"]
    null = sum(found.attrs["null_found"]) / len(found.attrs["null_found"])
    if not groups:
        return (
            f"no groups ({found.attrs['kind']}): {found.attrs['found']:,} were found, and null "
            f"models offer as good ones, {null:,.0f} on average"
        )
    tokens = [len(np.unique(targets[label == number])) for number in range(groups)]
    lines = [
        f"{int((label >= 0).sum()):,} of {len(label):,} samples are in {groups:,} groups "
        f"({found.attrs['kind']}); {found.attrs['found']:,} were found, {null:,.0f} in a null "
        f"model on average; {tokens.count(1):,} predict one token each",
        f"{'group':>5}  {'samples':>7}  {'sure':>4}  {'cosine within':>13}  {'conductance':>11}  "
        f"{'null':>5}  {'chance':>6}  predicts",
    ]
    for number in range(min(groups, ROWS)):
        own = found.isel(group=number)
        common = Counter(targets[label == number].tolist()).most_common(TOKENS)
        words = "  ".join(f"{corpus.decode([token])!r} {count}" for token, count in common)
        lines.append(
            f"{number:5}  {int(own['size']):7}  {float(own.sure):4.2f}  {float(own.within):13.2f}  "
            f"{float(own.conductance):11.3f}  {float(own.null_conductance):5.3f}  "
            f"{float(own.chance):6.3f}  {words}"
        )
    if groups > ROWS:
        lines.append(f"… and {groups - ROWS:,} smaller ones")
    graph = "all pairs" if found.attrs["kind"] == CONSENSUS else "the graph of nearest neighbours"
    lines += [
        "sure: 1 where all agree; chance: the share of groups as good as this one that null models",
        f"offer (0: none of theirs is as good); conductance: on {graph}, and beside it of",
        "sets of the same size in null models",
    ]
    return "\n".join(lines)


main = door.command("groups", Options, groups)


if __name__ == "__main__":
    sys.exit(main())
