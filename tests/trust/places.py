"""One tiny folder of every kind, made by the commands that users type."""

from collections.abc import Collection
from pathlib import Path

from tests.lm.pretrain.examples import source

SWEEP = """
name = "tiny"
task = { n_tasks = 5, n_bits = 8, k = 2 }
network.width = [3, 5]
train = { batch_size = 16, steps = 60, train_size = [inf, 50] }
eval = { log_every = 10, points_per_task = 64 }
"""

SUITE = """
name = "tiny"
corpus = { source = "source", vocab = 300, test = 0.2 }
train = { tokens = 1024, context = 16, batch = 4, checkpoints = 3, lr = 3e-3 }
model = [{ layers = 1, width = 16, heads = 2 }, { layers = 1, width = 32, heads = 2 }]
"""

QDG = """
name = "tiny"
select = { threshold = 6.0, induction = "none", stride = 1, count = 40 }
cluster = { counts = [2, 5], n_init = 3 }

[input]
model = "suite/models/12.8k"
revision = "step16"
corpus = "suite/corpus/test"
losses = "suite/losses"
"""

COMMANDS = {
    "sweep": ["sweep", "sweep.toml"],
    "suite": ["pretrain", "suite.toml"],
    "corpus": ["corpus", "source", "--tokenizer", "suite/tokenizer.json", "--max-length", "16"],
    "losses": [
        *("losses", "--corpus", "suite/corpus/test", "--model", "suite/models/12.8k"),
        *("--revision", "step8", "step16", "--batch-tokens", "64"),
    ],
    "quanta": ["qdg", "qdg.toml"],
}
"""The command that makes each folder, without ``--out``; a suite comes before what needs one. Paths
are relative to the working directory."""


def prepare(place: Path) -> None:
    """Write what the commands read: text and configurations."""
    source(place / "source")
    for name, content in (("sweep", SWEEP), ("suite", SUITE), ("qdg", QDG)):
        (place / f"{name}.toml").write_text(content)


def with_needs(commands: Collection[str]) -> list[str]:
    """These commands and the suite that all but the sweep read, in an order that works."""
    wanted = {*commands, *({"suite"} if {"corpus", "losses", "quanta"} & {*commands} else ())}
    return [command for command in COMMANDS if command in wanted]
