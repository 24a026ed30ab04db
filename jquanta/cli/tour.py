"""``jquanta tour``."""

import contextlib
import io
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jquanta.cli import door
from jquanta.run.settings import knob
from jquanta.version import __version__

PAGE = "index.html"
RECORD = "tour.json"
"""What is done: for each command its seconds and what it printed."""

TEXT = "class Shape:\n    def __init__(self, name):\n        if name is None:\n            raise"


@dataclass(frozen=True)
class Options:
    """See everything once, small, on one page: sweep, language models, quanta. 5 minutes, 2 cores.

    Runs the commands below one after another, each as you would type it, and writes a page,
    index.html, that shows all results and opens from disk without a network: a sweep of sparse
    parity, a suite of three language models on the source of Python's standard library, the quanta
    of the largest, when they were learned, whether they are mechanisms, and to which of them the
    tokens of a new text belong.

    Examples:
      jquanta tour
      jquanta tour --out runs/another

    The same command on the same folder continues where it stopped. In Python: jq.run_sweep,
    jq.pretrain, jq.qdg.run and jq.draw.
    """

    out: Path = knob(Path("runs/tour"), "folder for everything, the page included", "DIR")


class Stop(NamedTuple):
    """A part of the tour.

    Attributes:
        title: its heading.
        sentence: what is to be seen.
        command: the words after ``jquanta``.
        pictures: files under the tour's folder, without their suffix, of which there are PNG and
            PDF.
        links: other files there, with a text.
    """

    title: str
    sentence: str
    command: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(["jquanta", *self.command])

    @property
    def files(self) -> list[str]:
        """What it makes under the tour's folder, as far as the page shows it."""
        return [f"{name}.png" for name in self.pictures] + [path for path, _ in self.links]


def stops(out: Path) -> list[Stop]:
    """The tour in the folder ``out``."""
    from jquanta.lm.pretrain.config import load_suite
    from jquanta.qdg.config import load_qdg

    parity, suite, quanta = str(out / "parity"), out / "suite", str(out / "quanta")
    config = load_suite(mini=True)
    largest = max(config.models, key=lambda model: model.size)
    revision = f"step{config.train.steps}"
    assert load_qdg(mini=True).input.model.endswith(f"/{largest.label}")
    inputs: tuple[str, ...] = (
        "--input.model",
        str(suite / "models" / largest.label),
        "--input.revision",
        revision,
    )
    corpus, losses = str(suite / "corpus" / "test"), str(suite / "losses")
    inputs += ("--input.corpus", corpus, "--input.losses", losses)
    falls = ("--monogenic.above", "2", "--monogenic.below", "0.5")
    return [
        Stop(
            "Sparse parity: many subtasks, one power law",
            "Nineteen networks learn 32 subtasks, the i-th of which is seen less often than the one"
            " before. Above, the mean loss falls like a power law of parameters, steps and data."
            " Below, every row is one subtask: each is learned abruptly, the frequent ones first,"
            " and their sum is the smooth curve. With so few subtasks it bends, as their theory"
            " does (dotted), and its slope is not the one of infinitely many (dashed).",
            ("sweep", "--out", parity),
            ("parity/figures/fig2",),
        ),
        Stop(
            "A suite of language models",
            "Three models of the same shape as Pythia read the source of Python's standard library"
            ", the same tokens in the same order. The loss of each of six checkpoints on every"
            " token of held-out files is stored.",
            ("pretrain", "--mini", "--out", str(suite)),
        ),
        Stop(
            "Loss against size",
            "The mean loss falls with the number of parameters (left), while the losses of single"
            " tokens (right) range from nearly none to more than ten bits: a mean of tokens that"
            " are known and tokens that are not.",
            ("figures", "fig3", "--losses", losses),
            ("suite/losses/figures/fig3",),
        ),
        Stop(
            "Loss against steps",
            "The same over the course of training: the longer, the more tokens move from the bump"
            " of what is not known to the peak near zero.",
            ("figures", "fig11", "--losses", losses),
            ("suite/losses/figures/fig11",),
        ),
        Stop(
            "Tokens learned at one size, and little by little",
            "Left, tokens whose loss falls at one size from above 2 nats to below half a nat, as if"
            " they needed a single quantum; right, tokens that every size predicts a little better."
            " Models as small as these have few of the first kind.",
            ("figures", "fig4", "--losses", losses, "--corpus", corpus, *falls),
            ("suite/losses/figures/fig4",),
        ),
        Stop(
            "Quanta, discovered from gradients",
            "Predictions that the largest model makes well are compared by the gradient of each"
            " one's loss, and clustered: tokens that need the same knowledge lie together. Browse"
            " the page, and read what the samples of a cluster have in common.",
            ("qdg", "--mini", *inputs, "--out", quanta),
            links=(("quanta/quanta.html", "Browse the quanta"),),
        ),
        Stop(
            "How alike, how large",
            "The cosines between the gradients of all samples, ordered by cluster: the squares on"
            " the diagonal are the clusters. Beside it their sizes by rank, for every number of"
            " clusters.",
            ("figures", "fig5", "--qdg", quanta),
            ("quanta/figures/fig5",),
        ),
        Stop(
            "When each was learned",
            "The mean loss of each cluster under every checkpoint of every size. What a small model"
            " never learns, a larger one does.",
            ("emergence", quanta),
        ),
        Stop(
            "When each was learned, drawn",
            "Every cluster's loss over steps, and by which step and size it is learned.",
            ("figures", "quanta", "--qdg", quanta),
            ("quanta/figures/quanta",),
        ),
        Stop(
            "Are they mechanisms?",
            "A small step that lowers the loss of half a cluster also lowers that of its other half"
            ", and hardly that of other clusters. The separation is how often a sample of the"
            " cluster gains more than one of another: 0.5 would be chance.",
            ("mechanism", quanta, "--largest", "12"),
        ),
        Stop(
            "Mechanisms, drawn",
            "Row by row, whom a step for one cluster helps: blue on the diagonal is the cluster"
            " itself.",
            ("figures", "mechanism", "--qdg", quanta),
            ("quanta/figures/mechanism",),
        ),
        Stop(
            "A new text",
            "The gradient of any token tells its nearest cluster. A score of 0 says that it is"
            " further out than all of the cluster's own samples, and belongs to none.",
            ("assign", quanta, "--last", "8", "--text", TEXT),
        ),
    ]


def tour(options: Options) -> None:
    """Make every stop that is not made yet, with the page after each."""
    from jquanta.run.files import require_place
    from jquanta.run.progress import duration

    out = options.out
    require_place(out, RECORD)
    out.mkdir(parents=True, exist_ok=True)
    done, route = read_record(out), stops(out)
    write(out, route, done)  # first of all, so that the folder is known again after a kill
    began = time.monotonic()
    for i, stop in enumerate(route, 1):
        print(f"\n[{i}/{len(route)}] {stop.title}\n$ {stop.line}", flush=True)
        if stop.line in done and all((out / name).exists() for name in stop.files):
            print(f"done before, in {duration(done[stop.line]['seconds'])}")
            continue
        done[stop.line] = make(stop)
        write(out, route, done)
        print(f"took      {duration(done[stop.line]['seconds'])}", flush=True)
    write(out, route, done)
    print("\ntime went into")
    for stop in sorted(route, key=lambda stop: -done[stop.line]["seconds"]):
        share = f"{duration(done[stop.line]['seconds']):>9}"
        print(f"{share}  jquanta {' '.join(stop.command[: 1 + (stop.command[0] == 'figures')])}")
    print(f"{duration(time.monotonic() - began):>9}  in all, this time")
    print(f"page      {out / PAGE}")


def make(stop: Stop) -> dict[str, Any]:
    """Run a command; its seconds and what it printed. Exits as the command does if it fails."""
    name, *words = stop.command
    began, said = time.monotonic(), _Twice(sys.stdout)
    with contextlib.redirect_stdout(said):
        code = door.module(name).main(words)
    if code:
        print("jquanta tour continues here, with the same command", file=sys.stderr)
        raise SystemExit(code)
    return {"seconds": round(time.monotonic() - began, 1), "said": said.getvalue().rstrip()}


class _Twice(io.StringIO):
    """Text that is kept and also written elsewhere."""

    def __init__(self, other: Any):
        super().__init__()
        self.other = other

    def write(self, text: str) -> int:
        self.other.write(text)
        self.other.flush()
        return super().write(text)


def read_record(out: Path) -> dict[str, dict[str, Any]]:
    """What is done in a tour's folder, by command; nothing where another version did it."""
    from jquanta.run.parse import read_json

    try:
        found = read_json(out / RECORD)
        return dict(found["done"]) if found["version"] == __version__ else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write(out: Path, route: list[Stop], done: dict[str, dict[str, Any]]) -> None:
    """Write the record and the page."""
    from jquanta.run.files import write_whole

    own = {stop.line: done[stop.line] for stop in route if stop.line in done}
    write_whole(out / RECORD, json.dumps({"version": __version__, "done": own}, indent=1) + "\n")
    write_whole(out / PAGE, page(route, own))


def page(route: list[Stop], done: dict[str, dict[str, Any]]) -> str:
    """The page of a tour as HTML, which shows what is done."""
    from jinja2 import Environment, StrictUndefined

    from jquanta.run.progress import duration

    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string((files(__package__) / "tour.html").read_text(encoding="utf-8"))
    seconds = sum(one["seconds"] for one in done.values())
    return template.render(
        stops=list(_shown(route, done)),
        total=len(route),
        time=duration(seconds),
        version=__version__,
    )


def _shown(route: list[Stop], done: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from jquanta.run.progress import duration

    for i, stop in enumerate(route, 1):
        if stop.line in done:
            one = done[stop.line]
            yield {
                **stop._asdict(),
                "number": i,
                "line": stop.line,
                "said": one["said"],
                "time": duration(one["seconds"]),
                "open": not stop.files,
            }


main = door.command("tour", Options, tour)

if __name__ == "__main__":
    sys.exit(main())
