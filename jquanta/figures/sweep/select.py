"""Which runs a figure is drawn from: the first results that hold them, of one task."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jquanta.errors import BadInput
from jquanta.sweep import scaling
from jquanta.sweep.scaling import NoSuchRuns

if TYPE_CHECKING:
    import xarray as xr

Taken = TypeVar("Taken")


def first_of(results: "Sequence[xr.Dataset]", take: "Callable[[xr.Dataset], Taken]") -> Taken:
    """What ``take`` gives for the first of ``results`` that holds it.

    Raises:
        NoSuchRuns: if ``take`` raises it for all: that of the last.
        BadInput: whatever else ``take`` raises, at once.
    """
    missing = NoSuchRuns("no results")
    for source in results:
        try:
            return take(source)
        except NoSuchRuns as error:
            missing = error
    raise missing


def sweep_over(results: "xr.Dataset", field: str, *free: str) -> "xr.Dataset":
    """``results`` if they hold a sweep over ``field``: runs that differ in it and the seed only.

    Args:
        results: from ``open_results``.
        field: a run coordinate.
        free: others that may differ, too.

    Raises:
        NoSuchRuns: if all runs have one value of ``field``.
        BadInput: if the runs differ in something else.
    """
    if np.unique(results[field]).size < 2:
        raise NoSuchRuns(f"all runs have the same {field}: these results hold no sweep over it")
    scaling.refuse_mixed(results, field, *free)
    return results


def apart(results: "xr.Dataset", *fields: str) -> "dict[tuple[int | float | str, ...], xr.Dataset]":
    """Runs by their values of several ``fields``, run coordinates, in ascending order."""
    values = list(zip(*(results[name].to_numpy().tolist() for name in fields), strict=True))
    return {
        key: results.isel(run=[place for place, value in enumerate(values) if value == key])
        for key in sorted(set(values))
    }


def after_start(runs: "xr.Dataset") -> "xr.Dataset":
    """The evaluations after step 0, which a logarithmic axis has no place for, of any run.

    Raises ``NoSuchRuns`` if they are under two, no curve.
    """
    runs = runs.sel(step=runs.step > 0).dropna("step", how="all", subset=["loss"])
    if runs.sizes["step"] < 2:
        raise NoSuchRuns("under two evaluations after step 0: lower eval.log_every")
    return runs


def refuse_several_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
    """Raise ``BadInput`` unless all ``tasks`` (``scaling.task_of``, curves' attributes) are one."""
    if (
        len(
            {
                str([task[name] for name in ("alpha", "offset", "n_tasks", "n_bits", "k")])
                for task in tasks
            }
        )
        > 1
    ):
        raise BadInput("the folders hold different tasks; draw each by itself")
