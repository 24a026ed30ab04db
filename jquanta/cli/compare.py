"""``jquanta compare``."""

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

    from jquanta.lm.corpus.reader import Corpus

BEST, WORST = 10, 5
"""Clusters whose matches are printed: those that are most and least alike."""


@dataclass(frozen=True)
class Options:
    """Compare clusters with those of the same samples elsewhere: are they the same quanta?

    RESULTS and each OTHER are folders that jquanta qdg made, on one corpus, whose samples are at
    least in part the same predictions: of another checkpoint, size, seed, view, or features of any
    kind. The table has a row for each OTHER and number of clusters:

      ARI           adjusted Rand index of the two clusterings: 1 equal, 0 chance; with its 95%
                    interval (jackknife over samples)
      by tokens     what it would be if both knew the predicted token and shared nothing else
      one token     the index of pairs of samples that predict one token: 1 if both cut the samples
                    of every token alike, 0 if they have nothing in common beyond tokens
      AMI           mutual information, adjusted for chance: 1 equal, 0 chance
      with tokens   ARI of RESULTS' clusters, and of OTHER's, with the predicted tokens
      other seeds   ARI of RESULTS, and of OTHER, with itself at other seeds of k-means: the
                    ceiling, as jquanta stability has stored it
      found         clusters of RESULTS that OTHER has, too: of a Jaccard index above 0.5 with the
                    cluster they are matched with, more than chance gives to any of them

    Below, for the count nearest to 400 or --count, the clusters that are most and least alike.
    Stored as comparison.zarr in RESULTS, for all counts, in place of an earlier one.

    Example:
      jquanta qdg --cluster.seed 1 --out runs/stdlib-quanta-seed1   # the same samples
      jquanta compare runs/stdlib-quanta runs/stdlib-quanta-seed1

    Next: jquanta figures comparison --qdg RESULTS. In Python: jq.qdg.compare.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    others: tuple[Path, ...] = argument("the runs that it is compared with", "OTHER")
    count: int | None = knob(
        None, "only this number of clusters (default: the fewest, twice, four times, … as many)"
    )


def compare(options: Options) -> None:
    """Compute, store and print."""
    require_run(options.results)
    for folder in options.others:
        require_run(folder, written=False)
    from jquanta.qdg.questions import comparison
    from jquanta.qdg.questions.stability import few_counts
    from jquanta.qdg.results import chosen_count, open_run
    from jquanta.run.progress import Bar

    run = open_run(options.results)
    with Bar() as line:
        found = comparison.compare(run, [open_run(path) for path in options.others], monitor=line)
    count = chosen_count(found, options.count)
    replaced = ", in place of an earlier one" * (run.path / comparison.STORE).exists()
    path = comparison.save_comparison(found, run.path)
    shown = few_counts(found) if options.count is None else [count]
    print(table(found, shown), sep="\n")
    for other in found.other.to_numpy().tolist():
        print(*clusters(found.sel(other=other, count=count), run.corpus), sep="\n")
    print(f"{path}{replaced}")


def table(found: "xr.Dataset", counts: list[int]) -> str:
    """A row for each other and count, in lines."""
    from jquanta.qdg.questions.comparison import elsewhere

    there, given = elsewhere(found).sum("cluster"), found.p.notnull().sum("cluster")
    lines = [
        f"{'clusters':>8}  {'ARI [95%]':>17}  {'by tokens':>9}  {'one token [95%]':>17}  "
        f"{'AMI':>4}  {'with tokens':>11}  {'other seeds':>11}  {'found':>10}  OTHER"
    ]
    for name in found.other.to_numpy().tolist():
        for count in counts:
            here = found.sel(other=name, count=count)
            of = int(given.sel(other=name, count=count))
            if not of:
                continue  # this one lacks the count
            share = f"{int(there.sel(other=name, count=count))} of {of}"
            lines.append(
                f"{count:8}  {_interval(here, 'ari'):>17}  {_told(here.by_tokens):>9}  "
                f"{_interval(here, 'within'):>17}  {_told(here.ami):>4}  "
                f"{_both(here, 'with_tokens'):>11}  {_both(here, 'seed_ari'):>11}  "
                f"{share:>10}  {name}"
            )
    for i, name in enumerate(found.other.to_numpy().tolist()):
        one = found.isel(other=i)
        differs = one.differs.item() or "the settings of RESULTS"
        lines.append(f"{name}: {int(one.samples):,} samples in both; {differs}")
    if bool(found[["seed_ari", "other_seed_ari"]].to_array().isnull().any()):
        lines.append("–: not known; jquanta stability RESULTS, and OTHER, tell how far seeds agree")
    return "\n".join(lines)


def clusters(here: "xr.Dataset", corpus: "Corpus") -> list[str]:
    """The clusters that are most and least alike, of one other and count, in lines."""
    import numpy as np

    from jquanta.qdg.questions.comparison import elsewhere, of_a_token

    name, count = here.other.item(), int(here["count"])
    size, jaccard = here.cluster_size.to_numpy(), here.jaccard.to_numpy()
    known = np.flatnonzero(size > 0)
    if not len(known):
        return [f"{name}: has no {count} clusters"]
    found = elsewhere(here).to_numpy()
    tokens = int((found & of_a_token(here).to_numpy()).sum())
    lines = [
        f"{name}, {count} clusters: {found.sum()} of {len(known)} found; {tokens} of these are "
        "about all samples of one token (Jaccard index above 0.5)",
        f"{'cluster':>7}  {'samples':>7}  {'match':>5}  {'samples':>7}  {'in both':>7}  "
        f"{'Jaccard':>7}  {'p':>7}  predicts",
    ]
    # The most alike first; of equal ones the largest.
    order = known[np.lexsort((-size[known], -jaccard[known]))]
    # The least alike last, those with the most samples the last of all.
    least = order[BEST:]
    least = least[~found[least]]  # those that are found are not shown as what is not
    least = least[np.lexsort((size[least], -jaccard[least]))][-WORST:]
    lines += [_row(here.isel(cluster=k), corpus) for k in order[:BEST].tolist()]
    if len(least) and len(known) > BEST + len(least):
        lines.append("…")
    return lines + [_row(here.isel(cluster=k), corpus) for k in least.tolist()]


def _row(one: "xr.Dataset", corpus: "Corpus") -> str:
    """A cluster beside its match."""
    token = repr(corpus.decode([int(one.token)]))
    of, number = int(one.cluster_size), int(one.token_samples)
    predicts = token if number == of else f"{token} ({number} of {of})"
    match, there = ("–", "–") if one.match < 0 else (f"{int(one.match)}", f"{int(one.match_size)}")
    return (
        f"{int(one.cluster):7}  {of:7}  {match:>5}  {there:>7}  {int(one.both):7}  "
        f"{float(one.jaccard):7.2f}  {float(one.p):7.1g}  {predicts}"
    )


def _told(value: "xr.DataArray") -> str:
    """Two decimals; a dash for what is not known."""
    # Adding 0 makes 0 of -0.
    return f"{round(float(value), 2) + 0.0:.2f}" if bool(value.notnull()) else "–"


def _interval(here: "xr.Dataset", name: str) -> str:
    """A value with its interval."""
    low, high = (_told(here[f"{name}_{end}"]) for end in ("low", "high"))
    return _told(here[name]) + (f" [{low}, {high}]" if low != "–" else "")


def _both(here: "xr.Dataset", name: str) -> str:
    """A number of RESULTS, and of OTHER."""
    return f"{_told(here[name])}, {_told(here[f'other_{name}'])}"


main = door.command("compare", Options, compare)


if __name__ == "__main__":
    sys.exit(main())
