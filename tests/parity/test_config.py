import dataclasses
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jquanta.errors import BadInput
from jquanta.parity.config import (
    FIELDS,
    NetworkConfig,
    RunConfig,
    Scalar,
    TaskConfig,
    TrainConfig,
    from_values,
    to_values,
)

CONTRACT = """
    task.n_tasks task.n_bits task.k task.alpha task.offset task.frequencies task.codes
    network.width network.depth network.activation
    train.train_size train.batch_size train.steps train.lr train.weight_decay train.early_stop
    train.seed eval.log_every eval.points_per_task
"""


def test_fields_are_those_of_the_contract() -> None:
    assert list(FIELDS) == CONTRACT.split()


def test_every_field_explains_itself() -> None:
    for name, field in FIELDS.items():
        assert len(field.metadata["help"]) > 5, name


def test_defaults_are_those_of_the_paper() -> None:
    """Section 3: what Figure 2 keeps fixed."""
    run = RunConfig()
    assert (run.task.n_tasks, run.task.n_bits, run.task.k) == (500, 100, 3)
    assert (run.task.alpha, run.task.offset, run.task.frequencies) == (0.4, 0.0, "zipf")
    assert (run.network.depth, run.network.activation) == (2, "relu")
    assert (run.train.batch_size, run.train.lr, run.train.weight_decay) == (20_000, 1e-3, 0.0)
    assert run.train.train_size == math.inf
    assert run.eval.points_per_task >= 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task.n_tasks", 0),
        ("task.n_tasks", 161_701),  # comb(100, 3) + 1
        ("task.n_bits", 0),
        ("task.k", 0),
        ("task.k", 101),
        ("task.alpha", -1.0),
        ("task.alpha", math.nan),
        ("task.alpha", math.inf),
        ("task.offset", -0.5),
        ("task.offset", math.nan),
        ("task.frequencies", "zpif"),
        ("network.width", 0),
        ("network.width", -3),
        ("network.depth", 1),
        ("network.activation", "gelu"),
        ("train.train_size", 0),
        ("train.train_size", -5),
        ("train.train_size", 10.5),
        ("train.train_size", math.nan),
        ("train.train_size", -math.inf),
        ("train.train_size", 2**31 + 1),
        ("train.batch_size", 0),
        ("train.steps", 0),
        ("train.steps", -1),
        ("train.lr", 0.0),
        ("train.lr", -1e-3),
        ("train.lr", math.nan),
        ("train.lr", math.inf),
        ("train.weight_decay", -0.1),
        ("train.weight_decay", math.nan),
        ("train.weight_decay", math.inf),
        ("train.seed", -1),
        ("train.seed", 2**32),
        ("eval.log_every", 0),
        ("eval.points_per_task", 0),
    ],
)
def test_nonsense_is_refused_in_one_line(field: str, value: Scalar) -> None:
    with pytest.raises(BadInput) as refusal:
        from_values({field: value})
    message = str(refusal.value)
    shown = repr(value) if isinstance(value, str) else str(value)
    assert re.fullmatch(rf"{re.escape(field)} = {re.escape(shown)}: .{{8,}}", message)


@pytest.mark.parametrize(
    "values",
    [
        {"task.n_tasks": 161_700},
        {"task.n_tasks": 1, "task.n_bits": 1, "task.k": 1},
        {"task.alpha": -0.999},
        {"network.width": 1},
        {"train.train_size": 1},
        {"train.train_size": 2**31},
        {"train.seed": 2**32 - 1},
        {"eval.log_every": 10**6},
    ],
)
def test_the_extremes_are_accepted(values: dict[str, Scalar]) -> None:
    kept = to_values(from_values(values))
    assert {name: kept[name] for name in values} == values


def test_an_unknown_field_is_not_dropped() -> None:
    with pytest.raises(BadInput, match="widht"):
        from_values({"network.widht": 7})


def test_configs_are_frozen_and_equal_by_value() -> None:
    run = from_values({"train.lr": 0.5})
    assert run == from_values({"train.lr": 0.5})
    assert hash(run) == hash(from_values({"train.lr": 0.5}))
    assert run != RunConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.train.lr = 1.0  # type: ignore[misc]


runs = st.builds(
    RunConfig,
    st.builds(
        TaskConfig,
        n_tasks=st.integers(1, 10),
        n_bits=st.integers(5, 200),
        k=st.integers(2, 3),
        alpha=st.floats(-0.99, 5),
        offset=st.floats(0, 100),
        frequencies=st.sampled_from(["zipf", "uniform"]),
    ),
    st.builds(
        NetworkConfig,
        width=st.integers(1, 1000),
        depth=st.integers(2, 5),
        activation=st.sampled_from(["relu", "tanh", "sigmoid"]),
    ),
    st.builds(
        TrainConfig,
        train_size=st.just(math.inf) | st.integers(1, 2**31),
        batch_size=st.integers(1, 10**6),
        steps=st.integers(1, 1000),
        early_stop=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    ),
)


@given(runs)
def test_values_make_the_same_run_again(run: RunConfig) -> None:
    values = to_values(run)
    assert list(values) == list(FIELDS)
    assert from_values(values) == run


@given(runs, st.integers(1, 300))
def test_evaluation_steps(run: RunConfig, log_every: int) -> None:
    """At 0, at every multiple of log_every, and after the last update; each once, rising."""
    run = replace(run, eval=replace(run.eval, log_every=log_every))
    steps, last = run.evaluation_steps, run.train.steps
    assert steps == sorted({s for s in range(last + 1) if s % log_every == 0 or s == last})


@given(runs)
def test_a_batch_is_at_most_the_dataset(run: RunConfig) -> None:
    assert isinstance(run.batch_size, int)
    assert run.online == (run.train.train_size == math.inf)
    whole_dataset = run.batch_size == run.train.train_size
    assert run.batch_size == run.train.batch_size or whole_dataset
    assert run.batch_size <= min(run.train.batch_size, run.train.train_size)
