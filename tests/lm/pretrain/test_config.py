"""Configurations: what the default is, what is read, and what is refused."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jquanta.errors import BadInput
from jquanta.lm.pretrain.config import SCHEMA, load_suite
from tests.lm.pretrain.examples import suite, table

CONFIGS = Path(__file__).parents[3] / "configs" / "lm"


def test_the_default_is_the_file_that_people_read() -> None:
    assert SCHEMA.default.read_bytes() == (CONFIGS / "stdlib.toml").read_bytes()


def test_the_default_is_what_was_asked_for() -> None:
    config = load_suite()
    sizes = [model.size for model in config.models]
    assert len(sizes) >= 4
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 30 * sizes[0]
    steps = config.train.checkpoint_steps
    assert len(steps) == 8
    assert steps[-1] == config.train.steps
    # Whole numbers near a geometric row: each within a step of half the next.
    assert all(0 <= b - 2 * a <= 1 for a, b in pairwise(steps))
    small = load_suite(mini=True)
    assert small.name == "stdlib-mini"
    assert small.train.tokens < config.train.tokens / 5
    assert len(small.models) == 3


def test_it_reads_back_what_it_writes(tmp_path: Path) -> None:
    for config in (
        load_suite(),
        load_suite(mini=True),
        suite(tmp_path, **{"train.seeds": [3, 1]}),
    ):
        (tmp_path / "config.toml").write_text(config.to_toml())
        assert load_suite(tmp_path / "config.toml") == config


def test_flags_replace_fields() -> None:
    flags = {"train.tokens": "1e6", "corpus.pattern": "[a-c]*", "train.seeds": "4, 5"}
    config = load_suite(flags=flags, mini=True)
    assert config.train.tokens == 1_000_000
    assert config.corpus.pattern == "[a-c]*"
    assert config.train.seed_list == (4, 5)
    assert config.names(config.models[0])[1].endswith("-seed5")
    assert load_suite(table(Path("x"), **{"train.seeds": 7})).train.seed_list == (7,)


def test_learning_rates_and_names() -> None:
    models = [{"layers": 4, "width": 32, "heads": 2}, {"layers": 1, "width": 128, "heads": 4}]
    models += [models[1] | {"lr": 0.5, "name": "own"}]
    config = suite(Path("x"), model=models, **{"train.lr": 0.01})
    assert [config.lr(model) for model in config.models] == [0.02, 0.01, 0.5]
    assert [model.label for model in config.models] == ["50.9k", "199k", "own"]


MODEL = {"layers": 1, "width": 16, "heads": 2}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"train.lrate": 1}, "unknown key 'train.lrate'.*did you mean train.lr"),
        ({"tokens": 1}, "unknown key 'tokens'.*did you mean train.tokens"),
        ({"train": 3}, r"train = 3.*under \[train\]"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"train.batch": 2.5}, "train.batch = 2.5: wrong type; give a whole number"),
        ({"train.lr": "fast"}, "train.lr = 'fast': wrong type; give a number"),
        ({"train.lr": 0.0}, "train.lr = 0.0: give more than 0"),
        ({"train.clip": float("inf")}, "train.clip = inf"),
        ({"train.warmup": 1.0}, "train.warmup = 1.0"),
        ({"train.weight_decay": -1.0}, "train.weight_decay = -1.0"),
        ({"train.seeds": "1, 1"}, "train.seeds = '1, 1': give different"),
        ({"train.seeds": "one"}, "train.seeds = 'one'"),
        ({"train.tokens": 63}, "train.tokens = 63: not one step of 4 windows of 16"),
        ({"train.checkpoints": 6}, "train.checkpoints = 6: 16 steps hold 5"),
        ({"corpus.test": 1}, "corpus.test = 1.0"),
        ({"corpus.vocab": 256}, "corpus.vocab = 256: give a whole number from 257 to"),
        ({"corpus.source": ""}, "corpus.source = ''"),
        ({"model": []}, "no models"),
        ({"model": MODEL}, r"under its own \[\[model\]\]"),
        ({"model": [{"layers": 1}]}, "has no width, heads"),
        ({"model": [MODEL | {"depth": 3}]}, r"unknown key 'depth' in \[\[model\]\]"),
        ({"model": [MODEL, MODEL]}, "two models are called 3.31k"),
        ({"model": [MODEL | {"heads": 3}]}, "heads = 3: does not divide the width 16"),
        ({"model": [MODEL | {"heads": 4}]}, "choose wider heads"),
        ({"model": [MODEL | {"layers": 0}]}, "layers = 0"),
        ({"model": [MODEL | {"lr": -1}]}, "lr = -1.0"),
        ({"model": [MODEL | {"name": "../x"}]}, "name = '../x'"),
        ({"mini": {"train.lrate": 1}}, r"unknown key 'train.lrate' in \[mini\]"),
        ({"mini": 1}, "mini = 1"),
        ({"mini": {"model": [{"depth": 3}]}}, r"unknown key 'depth' in \[\[model\]\]"),
        ({"smoke": {"train.tokens": 1}}, r"\[smoke\] is called \[mini\] now"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(BadInput, match=names) as caught:
        suite(Path("x"), **changes)
    assert "\n" not in str(caught.value)


def test_files_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such configuration.*configs/lm/"):
        load_suite(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(BadInput, match=r"bad\.toml: not valid TOML"):
        load_suite(tmp_path / "bad.toml")
    with pytest.raises(BadInput, match=r"has no \[mini\] table"):
        load_suite(table(tmp_path), mini=True)
