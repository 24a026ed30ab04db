"""The results Dataset as data: every variable with its dimensions, type, unit and meaning."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import xarray as xr

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Variable:
    """One array of the Dataset. ``missing`` marks what was not reached or does not exist."""

    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    missing: float = float("nan")


VARIABLES: dict[str, Variable] = {
    "loss": Variable(("run", "step"), "float32", "nats", "mean test loss"),
    "accuracy": Variable(("run", "step"), "float32", "1", "mean test accuracy"),
    "validation_loss": Variable(("run", "step"), "float32", "nats", "mean validation loss"),
    "subtask_loss": Variable(("run", "step", "subtask"), "float32", "nats", "subtask test loss"),
    "subtask_accuracy": Variable(
        ("run", "step", "subtask"), "float32", "1", "subtask test accuracy"
    ),
    "frequency": Variable(("run", "subtask"), "float64", "1", "share of samples of the subtask"),
    "subset": Variable(
        ("run", "subtask", "position"), "int16", "1", "bits in the subtask's parity", -1
    ),
}
"""Data variables. Means are over the exact frequencies of the subtasks.

The subtasks of a run with codes (``task.codes``) are its codes, in their order.
"""

RUN_COORDINATES: dict[str, Variable] = {
    "n_params": Variable(("run",), "int64", "1", "trainable parameters N", -1),
    "last_step": Variable(("run",), "int64", "updates", "last evaluated step", -1),
    "diverged_at": Variable(
        ("run",), "int64", "updates", "first step whose mean test loss is not finite, or -1", -1
    ),
}

_TYPES = {int: "int64", float: "float64", bool: "bool", str: "str"}


def field_coordinates() -> dict[str, Variable]:
    """One run coordinate for every configuration field, named without its table."""
    return {
        name.split(".")[1]: Variable(
            ("run",),
            _TYPES[_python_type(knob)],
            "updates" if name in ("train.steps", "eval.log_every") else "1",
            knob.metadata["help"],
        )
        for name, knob in FIELDS.items()
    }


def check(dataset: xr.Dataset, where: str = "results") -> None:
    """Raise ``BadInput`` unless ``dataset`` keeps to this schema."""
    version = dataset.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"{where}: schema version {version}, this jquanta reads {SCHEMA_VERSION}; "
            "open it with the jquanta version in its attributes"
        )
    wanted = VARIABLES | RUN_COORDINATES | field_coordinates()
    for name, variable in wanted.items():
        array = dataset.get(name)
        if array is None:
            raise BadInput(f"{where}: {name} is missing")
        kind = "str" if array.dtype.kind in "OUT" else str(array.dtype)
        got = Variable(
            tuple(map(str, array.dims)),
            kind,
            array.attrs.get("units", ""),
            variable.long_name,  # its wording may change from version to version
            variable.missing,
        )
        if got != variable and repr(got) != repr(variable):  # NaN differs from itself
            raise BadInput(f"{where}: {name} is {got}, the schema says {variable}")


def _python_type(knob: dataclasses.Field[Any]) -> type:
    assert isinstance(knob.type, type)
    return knob.type
