"""``jquanta stability``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_run
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import xarray as xr

    from jquanta.qdg.questions.stability import Recommended


@dataclass(frozen=True)
class Options:
    """Measure how stable the clusters are: with other seeds, on other samples, beside chance.

    RESULTS is a folder that jquanta qdg made. Its samples are clustered again with other seeds of
    k-means, and subsets of 80% of them. The table tells how well each clustering agrees with that
    of RESULTS: the adjusted Rand index, 1 for equal partitions and 0 for chance. Beside it stands a
    null model, the same similarities rotated so that no clusters are left: what lies well above it
    is in the data.

    Each cluster is compared with sets of its size that a sample of the null model and those nearest
    to it make. Where more than 5% of them are as much more alike than they are to the rest, the
    cluster is named: no quantum. The recommended count is that with the most clusters that chance
    does not offer and that other seeds and samples find again.

    Stored as stability.zarr in RESULTS, in place of an earlier one; the page quanta.html then tells
    it of each cluster (make it anew: jquanta explore RESULTS), and a figure shows it (jquanta
    figures stability --qdg RESULTS).

    Cost: 2 × seeds + subsamples + 1 clusterings (16 by default) into each of the counts, which is
    13 minutes of processor time for 4,000 samples and counts up to 800; one that was stopped starts
    anew. Memory: about 60 bytes for each pair of samples, 6 GB for 10,000 samples.

    Example:
      jquanta stability runs/stdlib-quanta --counts 100 400

    In Python: jquanta.qdg.stability.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    counts: tuple[int, ...] = knob(
        (),
        "numbers of clusters (default: the fewest, about twice, four times, … as many, nearest to "
        "400, the most)",
        "INT",
    )
    seeds: int = knob(5, "other seeds of k-means")
    subsamples: int = knob(5, "subsets of 80% of the samples")


def stability(options: Options) -> None:
    """Compute, store and print."""
    require_run(options.results)
    from jquanta.qdg.clusters.likeness import likeness_of
    from jquanta.qdg.questions import stability
    from jquanta.qdg.results import chosen_count, open_run
    from jquanta.run.progress import Bar
    from jquanta.run.stop import shortage_in_one_line

    run = open_run(options.results)
    counts = [chosen_count(run.clusters, count) for count in sorted(set(options.counts))]
    chosen = run.clusters.sel(count=counts or stability.few_counts(run.clusters))
    absolute = chosen.attrs.get("affinity") == "absolute"
    with Bar() as line, shortage_in_one_line("cluster fewer samples"):
        found = stability.stability(
            likeness_of(run.similarity, absolute),
            chosen,
            seeds=options.seeds,
            subsamples=options.subsamples,
            monitor=line,
        )
    replaced = ", in place of an earlier one" * (run.path / stability.STORE).exists()
    path = stability.save_stability(found, run.clusters, run.path)
    print(table(found, chosen.sizes["sample"]), f"{path}{replaced}", sep="\n")


def table(found: "xr.Dataset", samples: int) -> str:
    """The result in lines: a row for each count, means over seeds and subsamples; the clusters that
    are no quantum, and the recommended count."""
    from jquanta.qdg.questions import stability
    from jquanta.qdg.results import chosen_count
    from jquanta.run.shown import listed

    lines = [
        f"{samples:,} samples, clustered again: agreement with the clusters of this run (adjusted "
        "Rand index: 1 equal, 0 chance)",
        f"{'':8}  {'agreement of clusterings':^35}  {'mean cosine within':^18}  "
        f"{'how many clusters':^26}",
        f"{'clusters':>8}  {'other seed':>10}  {'subsample':>9}  {'null model':>12}  "
        f"{'clusters':>8}  {'null':>8}  {'beyond chance':>13}  {'found again':>11}",
    ]
    best = stability.recommended(found)
    beyond = stability.trusted(found).sum("cluster").to_numpy().tolist()
    counts: list[int] = found["count"].to_numpy().tolist()
    shown = chosen_count(found, None)
    for count, number, again in zip(counts, beyond, best.found, strict=True):
        here = found.sel(count=count).mean()
        lines.append(
            f"{count:8}  {float(here.ari_seed):10.2f}  {float(here.ari_subsample):9.2f}  "
            f"{float(here.null_ari_seed):12.2f}  {float(here.tightness):8.2f}  "
            f"{float(here.null_tightness):8.2f}  {number:13}  {again:11.1f}"
        )
    lines += [
        "null model: the same similarities without clusters, and how well two clusterings of it",
        "agree that differ in the seed. Clusters that are in the data lie well above it.",
        "beyond chance: clusters tighter than 95% of sets of their size in the null model;",
        "found again: of these, how many a clustering with another seed or of other samples has.",
        f"no quantum among {shown} clusters: {listed(stability.no_quanta(found, shown)) or 'none'}",
        *recommendation(best, counts),
    ]
    return "\n".join(lines)


def recommendation(best: "Recommended", counts: list[int]) -> list[str]:
    """The recommended count in lines."""
    if len(counts) == 1:
        return ["no count is recommended: give several, --counts 100 200 400"]
    interval = f"{best.low} to {best.high}" if best.low < best.high else f"{best.low} alone"
    others, more = ", ".join(map(str, counts)), " or more" * (best.high == counts[-1])
    lines = [
        f"recommended: {best.clusters} clusters{more} "
        f"(by 95% of resampled clusterings: {interval});",
        f"no other of {others} has more that are beyond chance and found again",
    ]
    if more:
        lines.append(f"{best.high} are the most that were looked at: what comes after is not known")
    return lines


main = door.command("stability", Options, stability)


if __name__ == "__main__":
    sys.exit(main())
