"""``jquanta qdg``."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from jquanta.cli import door, several
from jquanta.cli.flags import argument, configured
from jquanta.cli.places import require_corpus
from jquanta.qdg.config import SCHEMA, QDGConfig, load_qdg
from jquanta.run.settings import knob

if TYPE_CHECKING:
    import xarray as xr

LEAST_RANKS = 30
"""Ranks of the largest count from which on the slope of the envelope is fitted."""


@dataclass(frozen=True)
class Options:
    """Discover the quanta of a language model from its gradients (QDG), or continue.

    Takes predictions that the model makes well, the gradient of each one's loss, and the cosines of
    all pairs of gradients; clusters these for a list of counts; and writes a page, quanta.html, on
    which to browse the clusters. Losses that are missing are computed first. The same command on
    the same folder continues where it stopped; with other --cluster or --page settings, only
    clusters and page are made anew.

    For more samples than a matrix of all pairs takes (10,000 are 0.4 GB, 100,000 are 40), keep a
    sketch of each gradient and cluster those: --similarity.mode sketch --cluster.method spherical.

    Without CONFIG: the largest model of the suite that jquanta pretrain makes (in runs/stdlib).

    Examples:
      jquanta pretrain --mini && jquanta qdg --mini     # two minutes on two cores
      jquanta pretrain && jquanta qdg
      jquanta qdg --cluster.counts "50, 100, 200, 400"
      jquanta qdg pythia-70m --plan                     # time, memory and disk, here and on an H200
      jquanta qdg pythia-70m --out runs/pythia
      jquanta qdg pythia-70m-100k
      jquanta qdg pythia-70m --shard 1/2; jquanta qdg pythia-70m --shard 2/2; jquanta gather \\
        runs/pythia-70m

    Next: jquanta figures fig5 --qdg DIR, jquanta explore, emergence, assign and mechanism.
    In Python: jq.qdg.run(CONFIG), and each stage by itself.
    """

    config: Path | None = argument(
        "TOML file, or a name such as stdlib; jquanta configs lists them", "CONFIG", default=None
    )
    out: Path | None = knob(None, "run folder (default: runs/NAME, after the configuration)", "DIR")
    plan: bool = knob(
        False,
        "print each stage with its time, memory and disk, here and on an H200; compute nothing",
    )
    mini: bool = knob(False, "apply the configuration's [mini] table: a small variant")
    shard: str | None = knob(
        None, "compute this part of the similarity only, such as 2/8; jquanta gather joins", "I/N"
    )
    process: str | None = several.flag()
    fields: Mapping[str, str] = configured(SCHEMA)


def qdg(options: Options) -> None:
    """Run all stages, and print what came of them."""
    config = load_qdg(options.config, flags=options.fields, mini=options.mini)
    if not config.input.source:
        require_corpus(Path(config.input.corpus), flag="input.corpus =")
    out = options.out or Path("runs") / config.name
    if options.plan:
        from jquanta.qdg.forecast import plan

        print(plan(config, out))
        return
    with several.together(options.process, options.shard) as first:
        discover(config, out, options.shard, shown=first)


def discover(config: QDGConfig, out: Path, shard: str | None, *, shown: bool = True) -> None:
    """Run all stages, or compute a shard of the similarity; print what came of it.

    Of several processes the first, where ``shown`` is true, shows its progress.
    """
    from jquanta.qdg.pipeline import run, run_shard
    from jquanta.qdg.results import PAGE
    from jquanta.run.progress import Bar
    from jquanta.run.shard import parse

    with Bar(shown=shown) as line:
        if shard is not None:
            print(f"shard     {run_shard(config, out, parse(shard), monitor=line)}")
            print(f"next      jquanta gather {quote(str(out))}, when all shards are done")
            return
        clusters = run(config, out, monitor=line)
    print(summary(clusters))
    print(f"page      {out / PAGE}")


def summary(clusters: "xr.Dataset") -> str:
    """Sizes of the largest clusters, and the slope of the envelope, in lines."""
    from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, rank_sizes
    from jquanta.qdg.results import chosen_count

    counts = clusters["count"].to_numpy()
    count = chosen_count(clusters, None)
    sizes = rank_sizes(clusters.label.sel(count=count).to_numpy())
    of_counts = f"{len(counts)} counts from {counts[0]} to {counts[-1]}"
    if len(counts) == 1:
        of_counts = "1 count"
    lines = [
        f"clusters  {of_counts}; of {count} the largest "
        f"hold {', '.join(map(str, sizes[:8].tolist()))} of {clusters.sizes['sample']:,} samples"
    ]
    curves = rank_frequency(clusters)
    if curves.sizes["rank"] >= LEAST_RANKS:
        fit = envelope_slope(curves)
        low, high = fit.window
        lines.append(
            f"envelope  slope {-fit.exponent:.2f} over ranks {low:.0f} to {high:.0f} (the paper: "
            "-1.24 for Pythia-70m-v0, uncertain by 0.2 or more)"
        )
    return "\n".join(lines)


main = door.command("qdg", Options, qdg)

if __name__ == "__main__":
    sys.exit(main())
