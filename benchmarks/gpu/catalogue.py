"""The list of parts, the most important first."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.gpu.record import Row
from jquanta.errors import BadInput


@dataclass(frozen=True)
class Part:
    """Something that is measured in a separate process.

    Attributes:
        name: of the part, for --parts and for its files.
        what: a description in one line.
        seconds: time limit, including the start of Python and JAX.
        module: the module of this package whose ``measure(small, *arguments)`` yields the rows.
        arguments: further arguments of ``measure``.
        needs: libraries that are not dependencies of this project.
        shares: whether other libraries or processes use the GPU, too; then JAX must not allocate
            most of its memory at the start.
        cache: the part whose compilation cache it uses; by default its own, which is empty.
        spare: whether it is run only if time is left after all others.
    """

    name: str
    what: str
    seconds: float
    module: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    shares: bool = False
    cache: str | None = None
    spare: bool = False

    def measure(self, small: bool) -> Iterator[Row]:
        """Measure, and yield each row as soon as it is known. ``small`` is for a quick test."""
        rows: Iterator[Row] = importlib.import_module(f"benchmarks.gpu.{self.module}").measure(
            small, *self.arguments
        )
        return rows


# The limits of the parts that are not spare add up to eight minutes.
PARTS = (
    Part("rates", "products of several precisions, and a copy", 45, "rates"),
    Part("step", "a step and an evaluation of Figure 2's 30 networks", 30, "trainer", ("step",)),
    Part(
        "rivals", "step against three rivals in torch", 60, "rivals", needs=("torch",), shares=True
    ),
    Part(
        "figure2",
        "Figure 2 by its command: 2,000 steps twice, then 12,000",
        60,
        "figure2",
        shares=True,
    ),
    Part("grid", "a pack of the 480-run grid", 35, "trainer", ("grid",)),
    Part("losses-14m", "per-token losses, 14m, float32", 30, "losses", ("14m",)),
    Part("losses-70m", "per-token losses, 70m, float32", 30, "losses", ("70m",)),
    Part("losses-1.4b", "per-token losses, 1.4b, bfloat16", 35, "losses", ("1.4b",)),
    Part("gradients-70m", "QDG's gradients, 70m", 50, "gradients", ("70m",)),
    Part("similarity", "exact similarity of 1,000 samples, 70m", 45, "similarity", ("1000",)),
    Part("kmeans", "thirty cluster counts of 10,000 samples", 60, "kmeans"),
    Part("products", "products of panels: rates and errors", 90, "products", spare=True),
    Part("kernels", "packed training against solo: errors", 90, "kernels", spare=True),
    Part("stacks", "a step of stacked networks by several algorithms", 40, "stacks", spare=True),
    Part("gradients-14m", "QDG's gradients, 14m", 30, "gradients", ("14m",), spare=True),
    Part(
        "losses-70m-highest",
        "the same without matrix units, and how far apart losses are",
        90,
        "losses",
        ("70m", "highest"),
        spare=True,
    ),
    Part(
        "losses-70m-again",
        "a second process: what the compilation cache saves",
        25,
        "losses",
        ("70m",),
        cache="losses-70m",
        spare=True,
    ),
    Part(
        "similarity-factors",
        "similarity of 1,000 samples by factors, 70m",
        90,
        "similarity",
        ("1000", "factors"),
        spare=True,
    ),
    Part(
        "similarity-10000",
        "exact similarity of 10,000 samples, 70m",
        200,
        "similarity",
        ("10000",),
        spare=True,
    ),
    Part("spectrum", "sigmoids of a million loss curves", 60, "spectrum", spare=True),
    Part(
        "many", "100,000 samples without a matrix, 70m: sketches, clusters", 180, "many", spare=True
    ),
)


def asked_for(names: str | None, parts: Sequence[Part] = PARTS) -> list[Part]:
    """The parts of a list such as ``"rates, step"``, in the order of the catalogue.

    Args:
        names: separated by commas; None for all parts.
        parts: to choose from.

    Raises:
        BadInput: for a name that no part has.
    """
    if names is None:
        return list(parts)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [part.name for part in parts]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise BadInput(f"--parts {names}: give one or more of {', '.join(known)}")
    return [part for part in parts if part.name in wanted]
