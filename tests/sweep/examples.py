"""Small sweeps, written as flat tables of dotted fields, and what helps to look at folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Config = dict[str, Any]

TINY: Config = {
    "name": "tiny",
    "task.n_tasks": 5,
    "task.n_bits": 8,
    "task.k": 2,
    "network.width": [3, 5],
    "train.batch_size": 16,
    "train.steps": 30,
    "eval.log_every": 10,
    "eval.points_per_task": 256,
}
"""Two online networks; seconds to train, nearly all of it compilation."""

FINITE: Config = {
    "network.width": 24,
    "train.train_size": [50, 100],  # 50 = 3 * 16 + 2: the last batch of an epoch is short
    "train.steps": 45,
    "train.lr": 0.02,
    "eval.log_every": 20,  # 45 is no multiple: the last interval is short
}

RAGGED: Config = TINY | {
    "name": "ragged",
    "sweep": [
        {},
        FINITE,
        {
            "task.n_tasks": 7,
            "task.n_bits": 9,
            "task.k": 3,
            "task.offset": 1.5,
            "network.width": 4,
            "network.depth": 3,
            "network.activation": "tanh",
            "train.steps": 25,
            "train.seed": 3,
            "train.weight_decay": 0.01,
        },
    ],
}
"""Five runs that share neither their steps nor their subtasks: online, finite and deep."""


def toml(config: Mapping[str, Any]) -> str:
    """A flat configuration as a TOML document."""
    import tomli_w

    nested: Config = {}
    for field, value in config.items():
        if "." in field:
            table, name = field.split(".")
            nested.setdefault(table, {})[name] = value
        elif isinstance(value, Mapping):
            nested[field] = dict(value)
        else:
            nested[field] = value
    return tomli_w.dumps(nested)


def flags(config: Mapping[str, Any]) -> list[str]:
    """The fields of a flat configuration as flags of the command line."""
    words: list[str] = []
    for field, value in config.items():
        if "." in field:
            values = value if isinstance(value, list) else [value]
            words += [f"--{field}", ", ".join(map(str, values))]
    return words


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below ``folder`` with its time of change and, for files, its content."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }
