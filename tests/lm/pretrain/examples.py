"""A source of text and a suite so small that it is trained in seconds."""

import random
from pathlib import Path
from typing import Any

from jquanta.lm.pretrain.config import SuiteConfig, load_suite

LINE = "def return self None import the of loss = ( ) : [ ] , . 0 17 for in x y"


def source(path: Path, files: int = 60) -> Path:
    """A folder of text files: words of which the frequent ones are learned in a few steps."""
    chance, known = random.Random(3), LINE.split()
    shares = [1 / (j + 1) for j in range(len(known))]
    path.mkdir(parents=True)
    for i in range(files):
        words = chance.choices(known, shares, k=40 + 7 * i % 90)
        (path / f"{i:03d}.py").write_text(" ".join(words) + "\n" * (i % 5 > 0))
    (path / "empty.py").touch()
    return path


def table(source: Path, **changes: Any) -> dict[str, Any]:
    """Two sizes, 16 steps, three checkpoints; with fields changed by their dotted names."""
    made: dict[str, Any] = {
        "name": "tiny",
        "corpus.source": str(source),
        "corpus.vocab": 300,
        "corpus.test": 0.2,
        "train.tokens": 16 * 4 * 16,
        "train.context": 16,
        "train.batch": 4,
        "train.checkpoints": 3,
        "train.lr": 3e-3,
        "model": [
            {"layers": 1, "width": 16, "heads": 2},
            {"layers": 1, "width": 32, "heads": 2},
        ],
    }
    return made | changes


def suite(source: Path, **changes: Any) -> SuiteConfig:
    """``table`` as a configuration."""
    return load_suite(table(source, **changes))


def content(folder: Path) -> dict[str, bytes]:
    """What a finished suite holds, but for times and places."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("record.json", "zarr.json", "sums.json")
    }
