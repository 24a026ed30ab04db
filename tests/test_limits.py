"""Whatever is too much is refused in one line, before it is built."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.pretrain.config import load_suite
from jquanta.parity.config import TaskConfig
from jquanta.qdg.config import load_qdg
from jquanta.run import parse
from jquanta.run.files import write_whole
from jquanta.run.settings import as_bytes, as_kind, parse_bytes
from jquanta.sweep.config import MAX_RUNS

DIGITS = "9" * 5000
MODEL = {"model": [{"layers": 1, "width": 64, "heads": 1}]}
INPUT = {"input": {"model": "m", "corpus": "c", "losses": "l"}}


def sweep(**fields: Any) -> Callable[[], Any]:
    return lambda: jq.load_config(
        flags={
            name.replace("__", " ").replace("_", ".", 1).replace(" ", "_"): x
            for name, x in fields.items()
        }
    )


def suite(**train: Any) -> Callable[[], Any]:
    return lambda: load_suite(MODEL | {"train": train})


def block(**model: Any) -> Callable[[], Any]:
    return lambda: load_suite({"model": [MODEL["model"][0] | model]})


def qdg(table: str, **fields: Any) -> Callable[[], Any]:
    return lambda: load_qdg(INPUT | {table: fields})


TOO_MUCH: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: jq.load_config(
            {"task": {"alpha": "lin(0.1, 0.8, 100000)"}, "train": {"seed": "lin(0, 99999, 100000)"}}
        ),
        f"10,000,000,000 runs are listed, and a sweep has at most {MAX_RUNS:,}",
    ),
    (sweep(train_seed=", ".join(["lin(0, 99999, 100000)"] * 3)), "more than 100,000 values"),
    (
        sweep(train_steps=4 * 10**9, eval_log__every=1),
        "would be evaluated 4,000,000,001 times, .* at most 1,000,000 times",
    ),
    (sweep(network_depth=10**9), "network.depth = 1000000000: give a whole number from 2 to 1,000"),
    (sweep(network_width=10**9), "network.width = 1000000000: give a whole number from 1 to"),
    (sweep(task_n__tasks=4 * 10**9), "task.n_tasks = 4000000000: give a whole number from 1 to"),
    (sweep(train_lr=DIGITS), "train.lr = 9+…: too large"),
    (sweep(train_train__size=DIGITS), "train.train_size = 9+…: too large"),
    (sweep(train_lr=10**400), "train.lr = 10+…: too large"),
    (sweep(train_steps="1e400"), "train.steps = 1e400: too large"),
    (sweep(train_steps=10**5000), "train.steps = a number of thousands of digits: too large"),
    (sweep(task_alpha="lin(-1e308, 1.7e308, 5)"), "too wide a range"),
    (sweep(train_lr="log(1e-300, 1e300, 5)"), "too wide a range"),
    (suite(tokens=10**18), "train.tokens = 1000000000000000000: give a whole number from 1 to"),
    (suite(seeds=list(range(2000))), "at most 1000 of them"),
    (block(layers=10**9), "layers = 1000000000: give a whole number from 1 to 1,000"),
    (block(width=10**400), "width = 10+…: too large"),
    (qdg("cluster", n_init=10**9), "cluster.n_init = 1000000000: give a whole number from 1 to"),
    (qdg("select", count=10**15), "select.count = 1000000000000000: give a whole number from 1 to"),
    (lambda: parse_bytes(DIGITS + " GB"), "give a size such as"),
    (lambda: as_bytes(10**400), "give bytes, or a size"),
    (lambda: as_kind("--title", str, "a\udcff"), r"--title = .*: not UTF-8"),
]


@pytest.mark.parametrize(("call", "message"), TOO_MUCH)
def test_too_much_is_refused_with_the_number_and_the_limit(
    call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        call()
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_infinity_is_a_number_where_it_is_written() -> None:
    assert jq.load_config({"train": {"train_size": "inf"}}).runs()[0].online
    assert parse.parse_toml("a = inf", "here")["a"] == float("inf")


def test_subsets_of_many_bits_are_counted_and_not_printed() -> None:
    assert TaskConfig(n_tasks=500, n_bits=32_767, k=16_000).k == 16_000


TEXTS: list[tuple[Callable[[str], Any], str, str]] = [
    (parse.parse_json, "[" * 100_000, "nested too deeply"),
    (parse.parse_json, f"[{DIGITS}]", "not valid JSON"),
    (parse.parse_json, "[1e999]", "too large for a number"),
    (parse.parse_json, '{"a": ["\\udc00"]}', "half of a surrogate pair"),
    (parse.parse_json, '{"\\udc00": 1}', "half of a surrogate pair"),
    (parse.parse_json, "{", "not valid JSON"),
    (parse.parse_toml, "a = " + "[" * 100_000, "nested too deeply"),
    (parse.parse_toml, f"a = {DIGITS}", "not valid TOML"),
    (parse.parse_toml, "a = 1e999", "too large for a number"),
    (parse.parse_toml, "a = ", "not valid TOML"),
]


@pytest.mark.parametrize(("parsed", "text", "message"), TEXTS)
def test_what_a_parser_cannot_take(
    parsed: Callable[[str, str], Any], text: str, message: str
) -> None:
    with pytest.raises(BadInput, match=f"here: .*{message}"):
        parsed(text, "here")


def test_what_a_parser_can_take() -> None:
    assert parse.parse_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}', "here") == {"a": "😀"}
    assert parse.parse_toml(b"\xef\xbb\xbfa = 1", "here") == {"a": 1}
    with pytest.raises(BadInput, match="not valid JSON"):
        parse.parse_json(b"\xff", "here")


def test_half_a_character_is_written_nowhere(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="half of a character"):
        write_whole(tmp_path / "page.html", "a\ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_table_of_settings_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(list(range(100))))
    monkeypatch.setattr(parse, "MOST_BYTES", 50)
    with pytest.raises(BadInput, match="at most 50 are read"):
        parse.read_json(path)
