import copy
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS, RunConfig, to_values
from jquanta.sweep.config import load_config, varying
from tests.sweep.examples import RAGGED, TINY, toml


def column(field: str, runs: list[RunConfig]) -> list[Any]:
    return [to_values(run)[field] for run in runs]


# Runs


def test_nothing_configured_is_the_miniature_of_figure_2() -> None:
    """A width block and a data block of what two cores can do, without a word said."""
    config = load_config()
    runs = config.runs()
    assert config.name == "mini-fig2"
    online = [run for run in runs if run.online]
    assert len({run.network.width for run in online}) >= 5
    assert len({run.train.train_size for run in runs if not run.online}) >= 5
    assert {run.task.n_tasks for run in runs} == {32}


def test_defaults_are_the_papers_run() -> None:
    assert load_config({}).runs() == [RunConfig()]


def test_runs_are_the_product_the_last_field_fastest() -> None:
    runs = load_config(
        {"train": {"seed": [0, 1]}, "task": {"alpha": "0.1, 0.2"}, "network": {"width": [3, 5, 7]}}
    ).runs()
    points = list(
        zip(
            column("task.alpha", runs),
            column("network.width", runs),
            column("train.seed", runs),
            strict=True,
        )
    )
    assert points == [(a, w, s) for a in (0.1, 0.2) for w in (3, 5, 7) for s in (0, 1)]


def test_blocks_follow_one_another() -> None:
    config: dict[str, Any] = {
        "network": {"width": [3, 5]},
        "train": {"steps": 10},
        "sweep": [
            {"task.alpha": [0.1, 0.2]},
            {"network": {"width": 50}, "train": {"train_size": "log(100, 10000, 3)", "steps": 20}},
            {},
        ],
    }
    before = copy.deepcopy(config)
    runs = load_config(config).runs()
    assert column("network.width", runs) == [3, 5, 3, 5, 50, 50, 50, 3, 5]
    assert column("task.alpha", runs) == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert column("train.train_size", runs)[4:7] == [100, 1000, 10000]
    assert column("train.steps", runs) == [10] * 4 + [20] * 3 + [10] * 2
    assert config == before  # the caller's mapping is the caller's


def test_toml_and_mapping_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(toml(RAGGED))
    from_file, from_mapping = load_config(path), load_config(RAGGED)
    assert from_file == from_mapping == load_config(str(path))
    assert len(from_file.runs()) == 5


def test_dotted_keys_of_a_block_are_toml(tmp_path: Path) -> None:
    path = tmp_path / "dotted.toml"
    path.write_text('network.width = 3\n[[sweep]]\ntrain.seed = "0, 1"\n"task.alpha" = 0.1\n')
    runs = load_config(path).runs()
    assert column("train.seed", runs) == [0, 1]
    assert column("task.alpha", runs) == [0.1, 0.1]


def test_a_flag_replaces_the_field_everywhere() -> None:
    config = {
        "network": {"width": [3, 5]},
        "sweep": [{"train.lr": [0.1, 0.2]}, {"train.lr": 0.3, "network.width": 9}],
    }
    runs = load_config(config, flags={"train.lr": "0.01", "network.width": "1, 2"}).runs()
    # The blocks differ in nothing any more: both list the same two runs.
    assert column("network.width", runs) == [1, 2]
    assert column("train.lr", runs) == [0.01, 0.01]
    assert len(load_config(config, flags={"train.lr": "0.01"}).runs()) == 3


def test_mini_overrides_and_blocks_stay() -> None:
    config = {
        "name": "big",
        "train": {"steps": 1000, "batch_size": 64},
        "mini": {"train": {"steps": 10}, "task": {"n_tasks": 4}},
        "sweep": [{"network.width": [3, 5]}, {"train.train_size": 100}],
    }
    big, small = load_config(config), load_config(config, mini=True)
    assert (big.name, small.name) == ("big", "big-mini")
    assert column("train.steps", big.runs()) == [1000] * 3
    assert column("train.steps", small.runs()) == [10] * 3
    assert column("task.n_tasks", small.runs()) == [4] * 3
    assert column("train.batch_size", small.runs()) == [64] * 3
    assert column("network.width", small.runs()) == column("network.width", big.runs())
    flagged = load_config(config, mini=True, flags={"train.steps": 7})
    assert column("train.steps", flagged.runs()) == [7] * 3


def test_mini_blocks_take_the_place_of_the_others() -> None:
    config = {
        "sweep": [{"network.width": [300, 500]}],
        "mini": {"sweep": [{"network.width": 3}, {"train.train_size": 100}]},
    }
    assert column("network.width", load_config(config).runs()) == [300, 500]
    assert column("network.width", load_config(config, mini=True).runs()) == [3, 500]


def test_mini_without_its_table_is_refused() -> None:
    with pytest.raises(BadInput, match=r"--mini.*no \[mini\] table"):
        load_config({}, mini=True)


def test_a_repeated_run_is_trained_once_and_said() -> None:
    config = load_config(
        {"network": {"width": [3, 5]}, "sweep": [{}, {"network.width": [5, 7]}, {"train.seed": 0}]}
    )
    assert column("network.width", config.runs()) == [3, 5, 7]
    assert config.notes == ("6 runs are listed, 3 are distinct; each is trained once",)


def test_dropped_values_are_said() -> None:
    config = load_config({"network": {"width": "log(1, 5, 10)"}})
    assert column("network.width", config.runs()) == [1, 2, 3, 4, 5]
    assert config.notes == ("network.width: 5 distinct of 10 values given",)
    assert load_config(RAGGED).notes == ()


def test_varying_tells_what_differs() -> None:
    runs = load_config(TINY | {"task.alpha": [0.3, 0.1]}).runs()
    assert varying(runs) == {"task.alpha": [0.3, 0.1], "network.width": [3, 5]}
    assert varying(runs[:1]) == {}


# The resolved configuration

TOO_SLOW = settings(max_examples=60, deadline=None)

FIELD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "task.n_tasks": st.integers(1, 28),
    "task.n_bits": st.integers(8, 40),
    "task.k": st.integers(2, 6),
    "task.alpha": st.floats(-0.99, 5) | st.sampled_from(["lin(0.1, 0.8, 8)", "0.1, 0.3"]),
    "task.offset": st.floats(0, 1e3),
    "task.frequencies": st.sampled_from(["zipf", "uniform", "zipf, uniform"]),
    "task.codes": st.sampled_from(["", "0", "0*2.5", ["", "0"], "0, 0*2"]),
    "network.width": st.integers(1, 10**6) | st.sampled_from(["log(10, 500, 4)", "3, 5"]),
    "network.depth": st.integers(2, 6),
    "network.activation": st.sampled_from(["relu", "tanh", "sigmoid", "tanh, relu"]),
    "train.train_size": st.sampled_from([math.inf, 1, 5_000_000, "log(100, 1000, 3), inf"]),
    "train.batch_size": st.integers(1, 10**6),
    "train.steps": st.integers(1, 10**6) | st.lists(st.integers(1, 50), min_size=1, max_size=3),
    "train.lr": st.floats(1e-12, 1e3) | st.just("log(1e-5, 1e-1, 3)"),
    "train.weight_decay": st.floats(0, 10),
    "train.early_stop": st.booleans() | st.just([False, True]),
    "train.seed": st.integers(0, 2**32 - 1) | st.just("0, 1, 2"),
    "eval.log_every": st.integers(1, 10**6),
    "eval.points_per_task": st.integers(1, 10**6),
}


def test_every_field_is_tried() -> None:
    assert FIELD_VALUES.keys() == FIELDS.keys()


some_fields = st.lists(st.sampled_from(sorted(FIELD_VALUES)), unique=True, max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELD_VALUES[name] for name in names})
)
configurations = st.tuples(some_fields, st.lists(some_fields, max_size=3)).map(
    lambda parts: {"name": "any", **parts[0], "sweep": parts[1]}
)


@TOO_SLOW
@given(config=configurations)
def test_the_resolved_configuration_gives_the_same_runs(config: dict[str, Any]) -> None:
    base: dict[str, Any] = {"task.n_tasks": 28, "task.n_bits": 20, "task.k": 2}
    first = load_config(base | config)
    again = load_config(tomllib.loads(first.to_toml()))
    assert again.name == first.name
    assert again.runs() == first.runs()
    assert again.to_toml() == first.to_toml()  # the resolved form is final


# What is refused


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"network": {"widht": 3}}, r"unknown key 'network\.widht'.*did you mean network\.width\?"),
        ({"width": 3}, r"unknown key 'width'.*did you mean network\.width\?"),
        ({"train": {"width": 3}}, r"unknown key 'train\.width'.*did you mean network\.width\?"),
        ({"optimizer": {"name": "adam"}}, r"unknown key 'optimizer\.name'.*fields are task\."),
        ({"network": 3}, r"^network = 3 in .*write its fields under \[network\]"),
        ({"task": {"alpha": {"low": 1}}}, r"^(task\.alpha|unknown key 'task\.alpha)"),
        ({"sweep": [{"train.steps": 5, "train.stpes": 5}]}, r"'train\.stpes'.*\[\[sweep\]\]"),
        ({"mini": {"train.stpes": 5}}, r"'train\.stpes'.*\[mini\]"),
        ({"mini": {"sweep": [{"train.stpes": 5}]}}, r"'train\.stpes'"),
        ({"mini": 3}, "mini"),
        ({"sweep": {"train.steps": 5}}, r"^sweep.*\[\[sweep\]\]"),
        ({"sweep": [3]}, r"^sweep.*\[\[sweep\]\]"),
        ({"name": 3}, "^name = '3'"),
        ({"name": ""}, "^name = ''"),
        ({"name": "a/b"}, "^name = 'a/b'"),
        ({"name": ".."}, r"^name = '\.\.'"),
        ({"network": {"width": []}}, r"^network\.width"),
        ({"network": {"width": [3, "wide"]}}, r"^network\.width = 'wide'"),
        ({"network": {"width": [3, 0]}}, r"^network\.width = 0"),
        ({"sweep": [{}, {"train.lr": -1}]}, r"^train\.lr = -1"),
    ],
)
def test_what_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        load_config(config)
    assert len(str(error.value).splitlines()) == 1


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'train\.stpes'.*did you mean train\.steps"):
        load_config({}, flags={"train.stpes": 3})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[task\nn_tasks = 3\n", "not valid TOML"),
        (b"task.alpha = 0.1\ntask.alpha = 0.2\n", "not valid TOML"),
        (b"task.alpha = 0.4 0.5\n", "not valid TOML"),
        (b"name = '\xff\xfe'\n", "not valid TOML"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as error:
        load_config(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path / "none.toml", "no such configuration"),
        (tmp_path, "cannot be read"),
        (tmp_path / "file" / "below.toml", "cannot be read"),
    ]:
        with pytest.raises(BadInput, match=reason) as error:
            load_config(path)
        assert str(error.value).startswith(str(path))
