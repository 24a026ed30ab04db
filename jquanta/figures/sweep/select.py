"""Selecting the runs that a figure is drawn from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from jquanta.errors import BadInput
from jquanta.sweep import scaling
from jquanta.sweep.scaling import NoSuchRuns

Selected = TypeVar("Selected")


def first_of(results: Sequence[xr.Dataset], select: Callable[[xr.Dataset], Selected]) -> Selected:
    """Apply a selection to the first of ``results`` that holds such runs.

    Args:
        results: from ``open_results``.
        select: raises ``NoSuchRuns`` if a Dataset does not hold what it selects.

    Raises:
        NoSuchRuns: if none of the results hold such runs (the error of the last one).
        BadInput: any other error of ``select`` ends the search.
    """
    missing = NoSuchRuns("no results")
    for source in results:
        try:
            return select(source)
        except NoSuchRuns as error:
            missing = error
    raise missing


def sweep_over(results: xr.Dataset, field: str, *free: str) -> xr.Dataset:
    """Return ``results`` if they are a sweep over ``field``.

    Args:
        results: from ``open_results``.
        field: a run coordinate.
        free: further run coordinates that may differ. The seed may always differ.

    Raises:
        NoSuchRuns: if all runs have the same value of ``field``.
        BadInput: if the runs differ in other coordinates.
    """
    if np.unique(results[field]).size < 2:
        raise NoSuchRuns(f"all runs have the same {field}: these results hold no sweep over it")
    scaling.refuse_mixed(results, field, *free)
    return results


def apart(results: xr.Dataset, *fields: str) -> dict[tuple[int | float | str, ...], xr.Dataset]:
    """Split the runs by their values of several run coordinates, in ascending order."""
    values = list(zip(*(results[name].to_numpy().tolist() for name in fields), strict=True))
    return {
        key: results.isel(run=[place for place, value in enumerate(values) if value == key])
        for key in sorted(set(values))
    }


def after_start(runs: xr.Dataset) -> xr.Dataset:
    """The evaluations after step 0, which cannot be shown on a logarithmic axis.

    Raises:
        NoSuchRuns: if they are fewer than two, too few for a curve.
    """
    runs = runs.sel(step=runs.step > 0).dropna("step", how="all", subset=["loss"])
    if runs.sizes["step"] < 2:
        raise NoSuchRuns("under two evaluations after step 0: lower eval.log_every")
    return runs


def refuse_several_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
    """Raise ``BadInput`` unless all ``tasks`` are equal.

    Args:
        tasks: from ``scaling.task_of``, or attributes of scaling curves.
    """
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
