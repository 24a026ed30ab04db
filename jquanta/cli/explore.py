"""``jquanta explore``."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_corpus, require_losses, require_quanta
from jquanta.errors import BadInput, RunFailed
from jquanta.qdg.config import GROUPS, PageConfig
from jquanta.run.settings import knob, same_knob

if TYPE_CHECKING:
    from jquanta.qdg.pages.page import Page


@dataclass(frozen=True)
class Options:
    """Show the clusters of a QDG run as a page to browse, or one of them as LaTeX.

    RESULTS is a folder that jquanta qdg made. The page is one HTML file that needs no server and no
    network. The corpus and the losses that belong to it are those that its config.toml names,
    unless given here. With losses the page shows how each cluster's mean loss falls over sizes and
    checkpoints.

    With --beside another run on the same corpus stands beside, as far as its samples are the same:
    another checkpoint, size or seed. For each cluster the page shows which clusters of the other
    run hold its samples, how much the likest one shares with it (the Jaccard index), and the
    samples of both, side by side. With --beside consensus or local these are the groups that
    jquanta groups has found of RESULTS.

    With --latex it writes samples of one cluster instead, the most central first, as in the paper's
    Figures 1, 13 and 14: a document that compiles, or with --fragment what goes into one.

    Examples:
      jquanta explore runs/stdlib-quanta --before 200
      jquanta explore runs/stdlib-quanta --beside runs/stdlib-seed1 --out beside.html
      jquanta explore runs/stdlib-quanta --latex --count 400 --cluster 50 --out quanta.tex

    In Python: jquanta.qdg.pages.data.page_from, jquanta.qdg.pages.render.render.
    """

    results: Path = argument("a folder that jquanta qdg made", "RESULTS")
    out: Path | None = knob(
        None, "the file to write (default: quanta.html, or quanta.tex, in RESULTS)", "FILE"
    )
    corpus: Path | None = knob(None, "the samples' corpus folder", "DIR")
    losses: tuple[Path, ...] = knob((), "folders of losses on that corpus", "DIR")
    model: tuple[str, ...] = knob((), "which of the losses (default: all)", "MODEL@REVISION")
    beside: Path | None = knob(
        None,
        f"what is to stand beside: another run of jquanta qdg, or {' or '.join(GROUPS)}",
        "OTHER",
    )
    before: int = same_knob(PageConfig, "before")
    after: int = same_knob(PageConfig, "after")
    title: str | None = knob(None, "title of the page")
    latex: bool = knob(False, "write LaTeX of one cluster")
    fragment: bool = knob(False, "with --latex: leave the document around it out")
    count: int | None = knob(None, "with --latex: the cluster count")
    cluster: int | None = knob(None, "with --latex: the cluster, from 0, the largest")
    samples: int = knob(12, "with --latex: how many samples")


def explore(options: Options) -> None:
    """Read the results, and write one file."""
    _require_latex(options)
    require_quanta(options.results)
    for path in options.losses:
        require_losses(path)
    if options.corpus is not None:
        require_corpus(options.corpus)
    if options.beside is not None and str(options.beside) not in GROUPS:
        require_quanta(options.beside, flag="--beside")
    out = options.out or options.results / ("quanta.tex" if options.latex else "quanta.html")
    if options.results.is_dir():
        _require_place(out)
    from jquanta.qdg.pages.data import page_from
    from jquanta.qdg.pages.render import render
    from jquanta.run.progress import Bar

    with Bar() as line:
        page = page_from(
            options.results,
            corpus=options.corpus,
            losses=options.losses,
            models=options.model or None,
            beside=options.beside,
            before=options.before,
            after=options.after,
            title=options.title,
            monitor=line,
        )
        text = _latex(page, options) if options.latex else render(page)
    _write(out, text)
    print(f"{out}: {len(text) / 1e6:.3g} MB")


def _require_latex(options: Options) -> None:
    given = {"--fragment": options.fragment, "--count": options.count is not None}
    given["--cluster"] = options.cluster is not None
    for flag, there in given.items():
        if there and not options.latex:
            raise BadInput(f"{flag}: goes with --latex; give both")
        if not there and options.latex and flag != "--fragment":
            raise BadInput(f"{flag} is missing: --latex writes one cluster; name it")
    if options.latex and options.beside is not None:
        raise BadInput(f"--beside {options.beside}: goes with the page; leave out --latex")
    if options.samples < 1:
        raise BadInput(f"--samples {options.samples}: give 1 or more")


def _require_place(out: Path) -> None:
    if out.is_dir():
        raise BadInput(f"--out {out}: is a folder; give a file, such as {out / 'page.html'}")
    nearest = next(path for path in out.absolute().parents if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"--out {out}: {nearest} cannot be written; give another place")


def _latex(page: "Page", options: Options) -> str:
    from jquanta.qdg.pages import latex
    from jquanta.qdg.pages.page import most_central, shown

    counts = page.counts.tolist()
    if options.count not in counts:
        listed = ", ".join(map(str, counts))
        raise BadInput(f"--count {options.count}: there are clusters for {listed}; give one")
    count = counts.index(options.count)
    last = int(page.labels[count].max())
    if options.cluster is None or not 0 <= options.cluster <= last:
        raise BadInput(f"--cluster {options.cluster}: there are clusters 0 to {last}; give one")
    members = most_central(page, count, options.cluster)
    samples = [shown(page, count, int(i)) for i in members[: options.samples]]
    title = (
        f"Cluster {options.cluster} of {options.count}: {len(samples)} of {len(members)} samples"
    )
    return (latex.fragment if options.fragment else latex.document)(samples, title)


def _write(path: Path, text: str) -> None:
    from jquanta.run.files import write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise RunFailed(f"{path}: {error.strerror}; nothing was written") from None


main = door.command("explore", Options, explore)

if __name__ == "__main__":
    sys.exit(main())
