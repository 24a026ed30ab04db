"""Make the pictures and numbers of the documents anew: ``make pictures``.

Runs the documents' commands in the folder runs/pictures, copies what they draw to docs/figures, and
stores what each printed, with its seconds, in docs/figures/numbers.json, beside commit, versions
and machine. What is done there is not run again: remove the folder to begin anew, or give words of
commands to run those once more, as in ``make pictures ARGS="fig11 mechanism"``. The word ``long``
adds the commands of LONG.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from jquanta.run.environment import commit

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "runs" / "pictures"
FIGURES = ROOT / "docs" / "figures"
NUMBERS = "numbers.json"
LARGEST = 200_000
"""Bytes of a picture from which its colours are made fewer."""

LOSSES, CORPUS = "runs/stdlib/losses", "runs/stdlib/corpus/test"
QUANTA = "runs/stdlib-quanta"
TEXT = "    def __init__(self, name):\n        super().__init__("

ELSEWHERE = ("step427", "step854", "113k", "336k", "kmeans")
"""Where the samples of the quanta are clustered, too: an earlier or smaller model, another seed."""

FEW = "20, 50, 100, 200, 400"

SUITE = {
    "pretrain": None,
    f"figures fig3 --losses {LOSSES}": "stdlib-fig3",
    f"figures fig11 --losses {LOSSES}": "stdlib-fig11",
    f"figures fig4 --losses {LOSSES} --corpus {CORPUS}": None,  # the paper's thresholds
    f"figures fig12 --losses {LOSSES} --corpus {CORPUS} --monogenic.above 3": "stdlib-fig12",
    "spectrum runs/stdlib": None,
    f"figures spectrum --losses {LOSSES}": "stdlib-spectrum",
    "qdg": None,
    f"figures fig5 --qdg {QUANTA}": "stdlib-fig5",
    f"emergence {QUANTA}": None,
    f"figures quanta --qdg {QUANTA}": "stdlib-emergence",
    f"mechanism {QUANTA}": None,
    f"figures mechanism --qdg {QUANTA}": "stdlib-mechanism",
    f'assign {QUANTA} --last 3 --text "{TEXT}"': None,
    f"stability {QUANTA}": None,
    f"figures stability --qdg {QUANTA}": "stdlib-stability",
    f"groups {QUANTA}": None,
    f"groups {QUANTA} --by local": None,
    f"figures groups --qdg {QUANTA}": "stdlib-groups",
    f"qdg --cluster.seed 1 --out {QUANTA}-kmeans": None,
    **{
        f'qdg --input.samples {QUANTA} --input.revision {step} --cluster.counts "{FEW}" '
        f"--out {QUANTA}-{step}": None
        for step in ("step427", "step854")
    },
    **{
        f"qdg --input.samples {QUANTA} --input.model runs/stdlib/models/{size} "
        f"--input.revision step1708 --out {QUANTA}-{size}": None
        for size in ("113k", "336k")
    },
    f"compare {QUANTA} {' '.join(f'{QUANTA}-{name}' for name in ELSEWHERE)}": None,
    f"figures comparison --qdg {QUANTA}": "stdlib-comparison",
    f"parts {QUANTA}": None,
    f"figures parts --qdg {QUANTA}": "stdlib-parts",
    f"explore {QUANTA}": None,  # the page, now with a line of stability
    f"explore {QUANTA} --beside {QUANTA}-336k --out beside.html": None,
}
"""Commands after ``jquanta``, and the names of their pictures in docs/figures."""

SWEEPS = {
    "sweep": "../mini-fig2",
    "figures subtask-spectrum --runs runs/mini-fig2": "mini-subtask-spectrum",
    "figures compute --runs runs/mini-fig2": None,
    "sweep compositional --mini": None,
    "figures compositional --runs runs/compositional-mini": "compositional-mini",
    "sweep fig7 --mini": None,
    "figures fig7 --runs runs/fig7-mini": "fig7-mini",
    "sweep fig10-width --mini": None,
    "sweep fig10-data --mini": None,
    "figures fig10 --runs runs/fig10-width-mini runs/fig10-data-mini": "fig10-mini",
    "sweep width-data --mini": None,
    "figures width-data --runs runs/width-data-mini": "width-data-mini",
    "sweep fig15 --mini": None,
    "known parity runs/fig15-mini --samples 2000 --out runs/fig15-quanta": None,
    "figures fig15 --qdg runs/fig15-quanta": "fig15-mini",
    "known parity runs/fig15-mini --samples 2000 --affinity absolute --out runs/fig15-abs": None,
    "known parity runs/fig15-mini --samples 2000 --parts --out runs/fig15-parts": None,
}

SEEDS = "runs/stdlib-seeds/losses"
COMPUTE = (
    "sweep fig2-width --mini --train.steps 12000 --eval.log_every 100 "
    '--network.width "log(6, 100, 11)" --train.seed "0, 1, 2" --out runs/compute'
)
LONG = {
    "pretrain stdlib-seeds": None,  # 88 minutes on 2 shared cores
    f"figures fig3 --losses {SEEDS}": "stdlib-seeds-fig3",
    f"figures fig11 --losses {SEEDS}": "stdlib-seeds-fig11",
    f"figures jumps --losses {SEEDS}": "stdlib-seeds-jumps",
    f"figures jumps --losses {SEEDS} --below 1": None,
    f"figures fig4 --losses {SEEDS} --corpus runs/stdlib-seeds/corpus/test": None,
    "sweep science-check": None,  # 25 minutes on 2 quiet cores
    "figures fig8 --runs runs/science-check": "science-check",
    COMPUTE: None,  # 22 minutes on 2 shared cores
    "figures compute --runs runs/compute": "compute",
    "known toy --restarts 3 --out runs/toy": None,  # 48 minutes
    "figures fig16 --qdg runs/toy": "fig16",
    "figures fig17 --qdg runs/toy": "fig17",
}


def main(words: list[str]) -> None:
    """Run what is not done, and what ``words`` name."""
    commands = SUITE | SWEEPS | (LONG if "long" in words else {})
    WORK.mkdir(parents=True, exist_ok=True)
    record = WORK / NUMBERS
    done = json.loads(record.read_text())["commands"] if record.exists() else {}
    for command, picture in commands.items():
        if command in done and not set(words) & set(command.split()):
            continue
        print(f"$ jquanta {command}", flush=True)
        done[command] = one = run(command)
        if command == f"explore {QUANTA}":
            one["page"] = photograph(WORK / QUANTA / "quanta.html")
        elif command.startswith("explore"):
            photograph_beside(WORK / "beside.html")
        stored = {**machine(), "commands": {c: done[c] for c in SUITE | SWEEPS | LONG if c in done}}
        record.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
        if picture:
            drawn = re.findall(r"\S+\.png", one["said"])[-1]
            store(Image.open(WORK / drawn), FIGURES / f"{picture}.png")
        shutil.copy(record, FIGURES / NUMBERS)


def run(command: str) -> dict[str, Any]:
    """Run ``jquanta`` with these words: its seconds, and what it printed but for its progress."""
    code = commit()
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.run(
        [sys.executable, "-m", "jquanta", *shlex.split(command)],
        cwd=WORK,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = [line for line in child.stdout.splitlines() if not re.match(r"\s*\d+%", line)]
    print("\n".join(lines), flush=True)
    return {
        "commit": code,
        "seconds": round(time.monotonic() - began),
        "processor_seconds": round(used),
        "said": "\n".join(lines),
    }


def store(image: Image.Image, path: Path) -> None:
    """Store a picture without transparency, and with 256 colours if it would be too large."""
    image = image.convert("RGB")
    image.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
    print(f"picture   {path.relative_to(ROOT)}, {path.stat().st_size / 1000:.0f} kB", flush=True)


def machine() -> dict[str, Any]:
    """What the numbers may depend on."""
    packages = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn", "tokenizers")
    cpu = Path("/proc/cpuinfo")  # Linux
    model = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


OF_PAGE = "stdlib-quantum", "stdlib-quanta-nine", "stdlib-beside"
"""Pictures of the page of quanta."""

OF_BENCHMARKS = ("scaling",)
"""Pictures of benchmarks, which ``python -m benchmarks.scale draw`` stores."""

PLAIN = """
header, aside, .copying, .notes, .steps, .key, #explain, .what, .more, #list > :nth-child(n + 3)
{ display: none !important }
main { padding: 0.75rem 0 !important }
.predicts { margin-bottom: 0.5rem }
"""


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    browsers = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, browsers)), None)
    with sync_playwright() as driver:
        yield driver.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )


MIDDLE = (
    "quanta.view.clusters.find((one) => one.tightness > 0.6 && Math.abs(one.beside - 0.5) < 0.1)"
)
"""The largest tight cluster of which the other clustering has about a half."""


def photograph_beside(page: Path) -> None:
    """The page of quanta with another clustering beside: a cluster that both have in part."""
    with browsing() as browser:
        tab = browser.new_page(viewport={"width": 1440, "height": 1000})
        tab.goto(f"{page.as_uri()}#count=400&cluster=0")
        tab.wait_for_selector("#bars li")
        cluster = tab.evaluate(f"{MIDDLE}.label")
        tab.evaluate(f"quanta.go({{cluster: {cluster}}})")
        tab.wait_for_function(
            f"document.getElementById('name').textContent === 'Cluster {cluster}'"
        )
        store(Image.open(io.BytesIO(tab.screenshot())), FIGURES / f"{OF_PAGE[2]}.png")


def photograph(page: Path) -> list[str]:
    """The page of quanta at the end of ``__init__``, and the tops of nine clusters.

    The nine: the largest of 400 clusters for each token that it predicts, those of line breaks with
    an indentation counted as one, and without clusters that are mixtures (a mean cosine of two
    samples below 0.3). Returns a line for each of the 50 largest clusters.
    """
    with browsing() as browser:

        def opened(width: int, height: int) -> Any:
            size: Any = {"width": width, "height": height}
            return browser.new_context(viewport=size, bypass_csp=True).new_page()

        def go(tab: Any, cluster: int) -> None:
            tab.goto(f"{page.as_uri()}#count=400&cluster={cluster}")
            tab.wait_for_function(
                f"document.getElementById('name').textContent === 'Cluster {cluster}'"
            )

        tab = opened(520, 570)
        lines: list[str] = []
        tops: dict[str, Image.Image] = {}
        shown = None
        for cluster in range(50):
            go(tab, cluster)
            token = tab.text_content("#predicts code")
            facts = str(tab.text_content("#facts")).replace("?", "").replace("−", "-")
            tight = float(facts.split(" two ")[1].split()[0])
            lines.append(
                f"{cluster}: {facts}; {tab.text_content('#predicts')}".strip(" ?").replace(
                    "\n", "↵"
                )
            )
            if shown is None and token == "__(":
                shown = cluster
            kind = token.strip() or ("body" if " " in token else "empty line")
            if len(tops) < 9 and tight >= 0.3 and kind not in tops:
                tab.add_style_tag(content=PLAIN)
                tops[kind] = Image.open(io.BytesIO(tab.screenshot()))
                print(f"picture   cluster {cluster} predicts {token!r}", flush=True)
        nine = Image.new("RGB", (3 * 540 - 20, 3 * 590 - 20), "white")
        for i, top in enumerate(tops.values()):
            nine.paste(top, (i % 3 * 540, i // 3 * 590))
        store(nine, FIGURES / f"{OF_PAGE[1]}.png")
        tab = opened(1440, 860)
        go(tab, shown or 0)
        store(Image.open(io.BytesIO(tab.screenshot())), FIGURES / f"{OF_PAGE[0]}.png")
        browser.close()
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
