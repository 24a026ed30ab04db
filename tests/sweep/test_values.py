import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS
from jquanta.sweep.values import parse_values

INT, FLOAT, COUNT, BOOL, WORD = (
    "network.width",
    "task.alpha",
    "train.train_size",
    "train.early_stop",
    "task.frequencies",
)


def values(name: str, spec: object) -> list[object]:
    return list(parse_values(name, spec)[0])


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        (FLOAT, 0.4, [0.4]),
        (FLOAT, 1, [1.0]),
        (FLOAT, "0.4", [0.4]),
        (FLOAT, "0.1, 0.2", [0.1, 0.2]),
        (FLOAT, "0.1,0.2,", [0.1, 0.2]),
        (FLOAT, "1e-3", [0.001]),
        (FLOAT, "-0.5, .25", [-0.5, 0.25]),
        (FLOAT, [0.3, 0.1], [0.3, 0.1]),
        (FLOAT, ["0.1, 0.2", 0.5, "lin(0.6, 0.8, 3)"], [0.1, 0.2, 0.5, 0.6, 0.7, 0.8]),
        (FLOAT, "lin(0.1, 0.8, 8)", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        (FLOAT, "lin(-0.5, 0.5, 3)", [-0.5, 0.0, 0.5]),
        (FLOAT, "log(0.01, 1, 3), 5", [0.01, 0.1, 1.0, 5.0]),
        (FLOAT, " log( 1 , 100 , 3 ) ", [1.0, 10.0, 100.0]),
        (INT, 7, [7]),
        (INT, 7.0, [7]),
        (INT, "20_000", [20_000]),
        (INT, "5, log(10, 1000, 3), lin(1, 3, 3)", [5, 10, 100, 1000, 1, 2, 3]),
        (INT, "lin(0.6, 2.4, 2)", [1, 2]),
        (COUNT, "inf", [math.inf]),
        (COUNT, math.inf, [math.inf]),
        (COUNT, [1000, math.inf], [1000.0, math.inf]),
        (COUNT, "log(100, 10000, 3), inf", [100.0, 1000.0, 10000.0, math.inf]),
        (BOOL, True, [True]),
        (BOOL, "true", [True]),
        (BOOL, "false, true", [False, True]),
        (WORD, "zipf", ["zipf"]),
        (WORD, "zipf, uniform", ["zipf", "uniform"]),
        (WORD, ["uniform", "zipf"], ["uniform", "zipf"]),
    ],
)
def test_every_form(name: str, spec: object, expected: list[object]) -> None:
    found, dropped = parse_values(name, spec)
    assert (list(found), dropped) == (expected, 0)
    assert [type(value) for value in found] == [FIELDS[name].type] * len(found)


def test_the_widths_of_figure_2() -> None:
    """30 networks, 3,893 hidden units in all, as the paper's sweep has."""
    found, dropped = parse_values(INT, "log(10, 500, 30)")
    expected = 10 ** np.linspace(1, math.log10(500), 30)
    assert list(found) == np.rint(expected).astype(int).tolist()
    assert (len(found), sum(found), dropped) == (30, 3893, 0)


def test_integers_round_to_the_nearest() -> None:
    # 1, 2.15, 4.64, 10: rounding down would give 4, rounding up 3.
    assert values(INT, "log(1, 10, 4)") == [1, 2, 5, 10]
    assert values(COUNT, "log(1, 10, 4)") == [1.0, 2.0, 5.0, 10.0]


def test_duplicates_of_rounding_are_dropped_and_counted() -> None:
    assert parse_values(INT, "lin(1, 3, 9)") == ((1, 2, 3), 6)
    assert parse_values(INT, "3, 1, 3") == ((3, 1), 1)


@given(
    first=st.floats(1e-6, 1e6),
    ratio=st.floats(1.01, 1e6),
    count=st.integers(2, 40),
    kind=st.sampled_from(["log", "lin"]),
)
def test_ranges_of_numbers(first: float, ratio: float, count: int, kind: str) -> None:
    """Both ends are exact; 12 digits are kept of what lies between, and they are even."""
    last = first * ratio
    found = values(FLOAT, f"{kind}({first!r}, {last!r}, {count})")
    assert (found[0], found[-1]) == (first, last)
    spaced = np.geomspace if kind == "log" else np.linspace
    # Rounding to 12 digits moves a number by at most half of 1e-11 of itself.
    np.testing.assert_allclose(found, spaced(first, last, count), rtol=6e-12)


@given(first=st.integers(1, 1000), more=st.integers(1, 10_000), count=st.integers(2, 40))
def test_ranges_of_integers(first: int, more: int, count: int) -> None:
    found, dropped = parse_values(INT, f"log({first}, {first + more}, {count})")
    assert (found[0], found[-1]) == (first, first + more)
    assert len(found) + dropped == count
    assert list(found) == sorted(set(found))


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        (FLOAT, "zipf"),
        (FLOAT, True),
        (FLOAT, "true"),
        (FLOAT, [[0.1]]),
        (FLOAT, "0.1; 0.2"),
        (INT, 1.5),
        (INT, "1.5"),
        (INT, "wide"),
        (INT, False),
        (INT, math.inf),
        (INT, math.nan),
        (COUNT, "many"),
        (BOOL, 1),
        (BOOL, "yes"),
        (BOOL, "lin(0, 1, 2)"),
        (WORD, 3),
        (WORD, True),
    ],
)
def test_wrong_types_are_refused(name: str, spec: object) -> None:
    with pytest.raises(BadInput, match=rf"^{name} = .*wrong type|^{name} = .*cannot be read"):
        parse_values(name, spec)


@pytest.mark.parametrize("spec", ["", [], "   ", ",", "0.1,,0.2", [""]])
def test_nothing_is_refused(spec: object) -> None:
    with pytest.raises(BadInput, match=f"^{FLOAT}[ :]"):
        parse_values(FLOAT, spec)


@pytest.mark.parametrize("name", [INT, FLOAT, COUNT])
@pytest.mark.parametrize(
    "spec",
    [
        "log(500, 10, 30)",  # descending
        "lin(8, 1, 8)",
        "log(10, 10, 5)",  # empty
        "lin(3, 3, 2)",
        "log(10, 500, 0)",
        "log(10, 500, 1)",
        "log(10, 500, -3)",
        "log(10, 500, 2.5)",
        "log(10, 500, inf)",
        "log(10, 500, nan)",
        "lin(1, 2, 1e12)",
        "log(0, 500, 30)",
        "log(-1, 500, 30)",
        "lin(1, inf, 3)",
        "log(nan, 5, 3)",
        "log(10, 500)",
        "log(10, 500, 30, 2)",
        "log()",
        "log(a, b, c)",
        "log 10, 500, 30",
        "log(10, 500, 30",
        "exp(1, 2, 3)",
        "log((1), 2, 3)",
    ],
)
def test_ranges_that_make_no_sense_are_refused(name: str, spec: str) -> None:
    with pytest.raises(BadInput, match=f"^{name} = ") as error:
        parse_values(name, spec)
    assert len(str(error.value).splitlines()) == 1


@given(
    name=st.sampled_from([INT, FLOAT, COUNT, BOOL, WORD]),
    spec=st.text("0123456789.,-+einf() loglin", max_size=20),
)
def test_any_text_is_values_or_bad_input(name: str, spec: str) -> None:
    try:
        found, _ = parse_values(name, spec)
    except BadInput as error:
        message: str | None = str(error)
    else:
        message = None
        assert {type(value) for value in found} == {FIELDS[name].type}
    assert message is None or name in message
