"""The compute axis of a sweep over widths: the loss against parameters and steps together, and what
is best for each amount of compute.

Compute is C = 6 · N · samples seen, in floating-point operations, as studies of language models
count it (Kaplan et al., arXiv 2001.08361): two for each parameter and sample forward, four
backward. These networks do less, since one-hot inputs are looked up (``sweep.estimate``); but at a
given depth the operations, too, are proportional to the width, so that exponents are the same.

Each network is one line of loss against C, since it is evaluated all along its training. The least
of them at each C is the frontier (Hoffmann et al., arXiv 2203.15556, approaches 1 and 2).
"""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64

from jquanta import powerlaw, theory
from jquanta.errors import BadInput
from jquanta.powerlaw import Fit
from jquanta.surface import Surface, Windows
from jquanta.surface import fit as fit_law
from jquanta.sweep.curves import NATS_PER_BIT, ONSET, NoSuchRuns, runs_of, task_of

OPERATIONS = 6
"""Of a parameter and a sample: 2 forward, 4 backward."""

PER_DECADE = 8
"""Amounts of compute in a factor of 10: their noise is shared where they lie closer."""

STEPS_PER_DECADE = 12
"""Evaluations of a run that a surface is fitted to, in a factor of 10 of steps."""

ABOUT = 2
"""Widths on each side of the best one through which a parabola is laid."""

QUANTITIES = {"n_params": "best_n_params", "step": "best_step", "loss": "loss"}
"""What is fitted against compute, and the variables of ``frontier`` that hold it."""


def frontier(results: xr.Dataset) -> xr.Dataset:
    """The least loss at each amount of compute, and the parameters and steps that reach it.

    At a given C a network of N parameters has made C / (6 N · batch) steps; its loss there is
    interpolated between evaluations. The best N is the minimum of a parabola in ln N, laid through
    the five losses ln L around the smallest (fewer at the ends). Where the smallest is that of the
    narrowest or the widest network that was trained so far, the best may be yet narrower or wider:
    there is then no minimum, and NaN. Where that is so because narrower networks had ended, or
    there are no wider ones, a minimum at larger C is seen only where it happens to lie within the
    grid: ``seen`` is False from there on.

    Args:
        results: from ``open_results``, with online runs of at least three widths.

    Returns:
        A Dataset with the dimensions ``operations`` (C, 8 to a factor of 10), ``seed`` and
        ``n_params`` (with ``width``). Variables: ``loss`` (nats), ``best_n_params`` and
        ``best_step`` (updates), all [seed, operations]; ``seen`` [operations]; ``loss_at`` [seed,
        operations, n_params], nats, NaN where a network was not trained so far, or not evaluated
        yet. Attributes: those of the task in ``scaling.step_curve``, and ``batch_size``.

    Raises:
        BadInput: if there are no such runs, they differ in more than width and seed, or no amount
            of compute has its minimum between the narrowest and the widest.
    """
    losses, batch = _by_width(results)
    log_step = np.log(losses.step.to_numpy().astype(float))
    a_step = OPERATIONS * batch * losses.n_params.to_numpy().astype(float)  # operations [n_params]
    low, high = a_step[0] * losses.step.to_numpy()[0], a_step[-1] * losses.step.to_numpy()[-1]
    ends = np.ceil(PER_DECADE * np.log10(low)), np.floor(PER_DECADE * np.log10(high))
    compute = 10 ** (np.arange(ends[0], ends[1] + 1) / PER_DECADE)
    logs = np.log(losses.to_numpy())  # [seed, n_params, step]
    wanted = np.log(compute[:, None] / a_step)  # ln steps [operations, n_params]
    at = np.full((logs.shape[0], len(compute), len(a_step)), np.nan)
    for seed, width in np.ndindex(logs.shape[:2]):
        own = np.isfinite(logs[seed, width])
        if own.sum() > 1:
            at[seed, :, width] = np.interp(
                wanted[:, width], log_step[own], logs[seed, width, own], np.nan, np.nan
            )
    best = _minima(np.log(losses.n_params.to_numpy().astype(float)), at)
    best_n, least = np.exp(best[..., 0]), np.exp(best[..., 1])
    if not np.isfinite(least).any():
        raise BadInput(
            "at no amount of compute is the best width between the narrowest and the widest: train "
            "narrower networks for longer, or wider ones"
        )
    over = ("seed", "operations")
    found = xr.Dataset(
        {
            "loss": (over, least, {"units": "nats", "long_name": "least loss"}),
            "best_n_params": (over, best_n, {"units": "1", "long_name": "best parameters"}),
            "best_step": (
                over,
                compute / (OPERATIONS * batch * best_n),
                {"units": "updates", "long_name": "best steps"},
            ),
            "seen": ("operations", _seen(at, best_n)),
            "loss_at": ((*over, "n_params"), np.exp(at), {"units": "nats", "long_name": "loss"}),
        },
        {
            "operations": (
                "operations",
                compute,
                {"units": "1", "long_name": "compute: 6 N samples"},
            ),
            "seed": losses.seed.to_numpy(),
            "n_params": losses.n_params.to_numpy(),
            "width": ("n_params", losses.width.to_numpy()),
        },
    )
    return found.assign_attrs(losses.attrs, batch_size=batch)


def fit_frontier(found: xr.Dataset, window: powerlaw.Window | None = None) -> dict[str, Fit]:
    """Power laws of the best parameters, the best steps and the least loss against compute.

    Args:
        found: of ``frontier``.
        window: bounds on C. By default all that is ``seen``, from where the least loss first is
            below 0.95 bit.

    Returns:
        ``n_params``, ``step`` and ``loss``: fits whose ``slope`` is the exponent of C. Intervals
        are between seeds where there are several; else from the points of one frontier, which share
        noise, and are too narrow.

    Raises:
        BadInput: if fewer than three amounts of compute have a minimum in the window.
    """
    inside = found.seen
    if window is not None:
        inside = (found.operations >= window[0]) & (found.operations <= window[1])
    kept = found.where(inside & (found.loss < ONSET * NATS_PER_BIT))
    kept = kept.dropna("operations", how="all", subset=["loss"])
    kept = kept.dropna("seed", how="all", subset=["loss"])
    if kept.sizes["operations"] < 3:
        raise BadInput(
            f"{kept.sizes['operations']} amounts of compute have their best width between the "
            "narrowest and the widest, and 3 are needed; train more widths, or for longer"
        )
    groups = kept.seed.to_numpy()[:, None] if kept.sizes["seed"] > 1 else None
    return {
        name: powerlaw.fit(
            kept.operations.to_numpy(),
            kept[variable].transpose("seed", "operations").to_numpy(),
            groups=groups,
        )
        for name, variable in QUANTITIES.items()
    }


def loss_surface(results: xr.Dataset, windows: Windows | None = None) -> Surface:
    """Fit L(N, S) = E + A_N N^-α_N + A_S S^-α_S to the online runs of a sweep, in nats.

    Fitted are some 12 evaluations in a factor of 10 of steps, of those below 0.95 bit: neighbours
    share their noise, and most would lie at the end.

    Args:
        results: from ``open_results``, with online runs of at least three widths.
        windows: bounds on ``N`` and ``S``.

    Returns:
        The law, in N (parameters) and S (updates). Intervals are between seeds where there are
        several, else between networks; these share samples, so that they are too narrow.

    Raises:
        BadInput: as ``frontier`` and ``surface.fit``.
    """
    N, S, loss, groups = surface_points(results)
    return fit_law({"N": N, "S": S}, loss, windows, groups=groups)


def surface_points(
    results: xr.Dataset,
) -> tuple[
    Float64[np.ndarray, "widths 1"],
    Float64[np.ndarray, " steps"],
    Float64[np.ndarray, "seeds widths steps"],
    np.ndarray,
]:
    """What ``loss_surface`` fits, for ``surface.fit`` and ``surface.window_sensitivity``.

    Returns:
        N, S, the loss in nats (NaN where it is not fitted), and the groups.
    """
    losses, _ = _by_width(results)
    steps = losses.step.to_numpy().astype(float)
    count = int(np.ceil(STEPS_PER_DECADE * np.log10(steps[-1] / steps[0]))) + 1
    spaced = np.geomspace(steps[0], steps[-1], count)
    chosen = np.unique(np.abs(np.log(steps) - np.log(spaced)[:, None]).argmin(1))
    some = losses.isel(step=chosen)
    loss = some.where(some < ONSET * NATS_PER_BIT).to_numpy().astype(float)
    N = losses.n_params.to_numpy().astype(float)[:, None]
    seeds = losses.seed.to_numpy()
    groups = seeds[:, None, None] if len(seeds) > 1 else np.arange(len(N))[:, None]
    return N, steps[chosen], loss, groups


def expected_exponents(alpha: float) -> dict[str, float]:
    """What the paper's α_N = α and α_S = α/(α+1) imply: N ∝ C^{1/(α+2)}, S ∝ C^{(α+1)/(α+2)}, and a
    loss that falls as C^{-α/(α+2)} (``theory.compute_exponent``)."""
    return {
        "n_params": 1 / (alpha + 2),
        "step": (alpha + 1) / (alpha + 2),
        "loss": theory.compute_exponent(alpha),
    }


def expected_finite(found: xr.Dataset, fit: Fit) -> dict[str, float] | None:
    """The exponents that the solvable model of emergence has with as many subtasks as there are
    (``theory.frontier``), fitted where its loss is that of the measured frontier.

    Args:
        found: of ``frontier``.
        fit: of its loss.

    Returns:
        As ``expected_exponents``; None where the theory expects no power law (uniform frequencies,
        codes, alpha ≤ 0), or its loss passes the window in under three points.
    """
    task = found.attrs
    if not task["alpha"] > 0:
        return None
    p = powerlaw.zipf(task["n_tasks"], task["alpha"], task["offset"])
    C = np.geomspace(1 / p[0], 4 * len(p) / p[-1], 100)
    best = theory.frontier(C, p)
    ends = sorted(fit.predict(np.array(fit.window)) / NATS_PER_BIT)
    inside = (best.loss >= ends[0]) & (best.loss <= ends[1])
    if inside.sum() < 3:
        return None
    C, n, loss = C[inside], best.n[inside], best.loss[inside]
    return {
        "n_params": powerlaw.fit(C, n).slope,
        "step": powerlaw.fit(C, C / n).slope,
        "loss": powerlaw.fit(C, loss).exponent,
    }


def _by_width(results: xr.Dataset) -> tuple[xr.DataArray, int]:
    """The online runs' losses [seed, n_params, step], nats, after step 0, with ``width`` and the
    task as attributes; and the batch size."""
    runs = runs_of(results, online=True)
    widths = np.unique(runs.n_params)
    if len(widths) < 3:
        raise NoSuchRuns(
            f"online runs of {len(widths)} widths: a frontier needs at least 3; give several to "
            "network.width"
        )
    loss = runs.loss.load()
    loss = loss.isel(step=(loss.step > 0).to_numpy()).dropna("step", how="all")
    if loss.sizes["step"] < 3:
        raise NoSuchRuns("under three evaluations after step 0: lower eval.log_every")
    seeds = np.unique(loss.seed)
    steps = loss.step.to_numpy()
    table = np.full((len(seeds), len(widths), len(steps)), np.nan)
    rows = np.searchsorted(seeds, loss.seed), np.searchsorted(widths, loss.n_params)
    table[rows] = loss.transpose("run", "step").to_numpy()
    by_width = dict(zip(runs.n_params.to_numpy().tolist(), runs.width.to_numpy(), strict=True))
    found = xr.DataArray(
        table,
        {
            "seed": seeds,
            "n_params": widths,
            "step": steps,
            "width": ("n_params", [int(by_width[n]) for n in widths.tolist()]),
        },
        ("seed", "n_params", "step"),
        attrs=task_of(runs),
    )
    return found, int(runs.batch_size[0])


def _seen(
    at: Float64[np.ndarray, "seeds operations widths"],
    best: Float64[np.ndarray, "seeds operations"],
) -> Bool[np.ndarray, " operations"]:
    """Whether each amount of compute is below the first, after some minimum, at which a narrower
    network than those that were trained so far, or a wider one than there is, would be the best."""
    there = np.isfinite(at)
    least = np.where(there, at, np.inf).argmin(-1)
    widths = np.arange(at.shape[-1])
    # Before its first evaluation a wide network is not compared, a narrow one not after its last.
    begun = np.maximum.accumulate(there, axis=1)
    ended = (begun & ~there & (widths < least[..., None])).any(-1) & (least == there.argmax(-1))
    widest = np.where(there.any(1), widths, 0).max(-1)
    # The widest but one, with a parabola whose minimum lies further out, is at the end, too.
    at_end = (ended | (least >= widest[:, None] - 1)) & there.any(-1) & ~np.isfinite(best)
    at_end &= np.maximum.accumulate(np.isfinite(best), axis=1)
    return np.asarray(~np.maximum.accumulate(at_end.any(0)))


def _minima(
    log_n: Float64[np.ndarray, " widths"], at: Float64[np.ndarray, "seeds operations widths"]
) -> Float64[np.ndarray, "seeds operations 2"]:
    """(ln N, ln L) at the minimum of ln L [seed, operations, width]; NaN where it is at an end."""
    best = np.full((*at.shape[:2], 2), np.nan)
    for place in np.ndindex(at.shape[:2]):
        line = at[place]
        there = np.flatnonzero(np.isfinite(line))
        if len(there) < 3:
            continue
        least = int(np.argmin(line[there]))
        if least in (0, len(there) - 1):
            continue
        near = there[max(least - ABOUT, 0) : least + ABOUT + 1]
        middle = log_n[there[least]]
        square, slope, height = np.polyfit(log_n[near] - middle, line[near], 2)
        if square <= 0:
            continue
        move = -slope / (2 * square)
        if log_n[near[0]] <= middle + move <= log_n[near[-1]]:
            best[place] = middle + move, height - slope**2 / (4 * square)
    return best
