"""The schema of the results Dataset: dimensions, type, unit and meaning of every variable."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import xarray as xr

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Variable:
    """One array of the Dataset.

    Attributes:
        dims: names of its dimensions.
        dtype: of its values.
        units: such as ``nats``; ``1`` for numbers without a unit.
        long_name: meaning.
        missing: value where a run did not get to, or of a subtask that it does not have.
    """

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
"""Data variables. Means over subtasks are weighted by their exact frequencies.

For a run with codes (``task.codes``) the dimension ``subtask`` counts its codes, in their order.
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
    """One run coordinate for every configuration field: ``train.lr`` has the name ``lr``."""
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
    """Check that a Dataset follows this schema.

    Args:
        dataset: results of a sweep.
        where: name of the results, for messages.

    Raises:
        BadInput: naming the first difference.
    """
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
        # Strings may be stored as Python objects (O), fixed width (U) or variable width (T).
        kind = "str" if array.dtype.kind in "OUT" else str(array.dtype)
        got = Variable(
            tuple(map(str, array.dims)),
            kind,
            array.attrs.get("units", ""),
            variable.long_name,  # not compared: its wording may differ between versions
            variable.missing,
        )
        # By repr, too, since a missing value of NaN is not equal to itself.
        if got != variable and repr(got) != repr(variable):
            raise BadInput(f"{where}: {name} is {got}, the schema says {variable}")


def _python_type(knob: dataclasses.Field[Any]) -> type:
    """The type of a configuration field."""
    assert isinstance(knob.type, type)
    return knob.type
