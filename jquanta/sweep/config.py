"""A sweep's configuration: TOML and flags in, a list of runs out.

The runs are the product of the several-valued fields. Each ``[[sweep]]`` block overrides fields
and gives its own product; blocks follow one another on the run axis. ``[mini]`` overrides what is
needed to run a paper-size experiment small, its own ``[[mini.sweep]]`` blocks in place of the
others.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS, SECTIONS, RunConfig, Scalar, from_values, to_values
from jquanta.run import settings
from jquanta.sweep.values import parse_values

Values = dict[str, tuple[Scalar, ...]]

MAX_RUNS = 100_000
"""Of a sweep: 60 times as many as the paper's largest. They are counted before they are listed."""

SCHEMA = settings.Schema(
    name="sweep",
    default=Path(__file__).with_name("default.toml"),
    folder="configs/",
    tables=SECTIONS,
    blocks="sweep",
)


@dataclass(frozen=True)
class SweepConfig:
    """A resolved configuration.

    Attributes:
        name: of the experiment, and of its default run folder.
        blocks: for each block, every field's values.
        notes: what a reader should be told, such as duplicates dropped by rounding.
    """

    name: str
    blocks: tuple[Values, ...]
    notes: tuple[str, ...] = ()

    def runs(self) -> list[RunConfig]:
        """All runs in order: blocks one after another, the last field varying fastest.

        A run that a block repeats is left out. Raises ``BadInput`` for a run that makes no sense.
        """
        every = (
            from_values(dict(zip(block, point, strict=True)))
            for block in self.blocks
            for point in itertools.product(*block.values())
        )
        return list(dict.fromkeys(every))

    def differences(self, other: "SweepConfig") -> list[str]:
        """In what another sweep's runs differ: names of fields, or their order; empty if in
        nothing."""
        own, others = self.runs(), other.runs()
        if own == others:
            return []
        values, theirs = _seen(own), _seen(others)
        return [f for f in FIELDS if values[f] != theirs[f]] or ["combination of values"]

    def to_toml(self) -> str:
        """The resolved configuration as TOML: fields of one value for all in the tables, the
        others in the blocks. Reading it back gives the same runs."""
        shared = {
            field: self.blocks[0][field]
            for field in FIELDS
            if all(block[field] == self.blocks[0][field] for block in self.blocks)
        }
        document: dict[str, Any] = {"name": self.name}
        document |= settings.nest({field: _plain(values) for field, values in shared.items()})
        if len(shared) < len(FIELDS):
            document["sweep"] = [
                settings.nest({f: _plain(given) for f, given in block.items() if f not in shared})
                for block in self.blocks
            ]
        return tomli_w.dumps(document)


def load_config(
    source: settings.Source = None,
    *,
    flags: Mapping[str, Any] | None = None,
    mini: bool = False,
) -> SweepConfig:
    """Read and check a configuration.

    Args:
        source: path of a TOML file, its content as a mapping, or None for the embedded default,
            a miniature of the paper's Figure 2.
        flags: dotted field names to values; each replaces the field everywhere.
        mini: apply the configuration's ``[mini]`` table.

    Raises:
        BadInput: naming the file, key or field, and the remedy.
    """
    found = settings.load(SCHEMA, source, flags=flags, mini=mini)
    notes: dict[str, None] = {}

    def resolved(block: Mapping[str, Any]) -> Values:
        specs = found.values | dict(block) | dict(flags or {})  # a flag replaces what blocks say
        values: Values = {}
        for field, knob in FIELDS.items():
            values[field], dropped = parse_values(field, specs.get(field, knob.default))
            if dropped:
                kept = len(values[field])
                notes[f"{field}: {kept} distinct of {kept + dropped} values given"] = None
        return values

    config = SweepConfig(found.name, tuple(resolved(block) for block in found.blocks or [{}]))
    listed = sum(math.prod(map(len, block.values())) for block in config.blocks)
    if listed > MAX_RUNS:
        raise BadInput(
            f"{listed:,} runs are listed, and a sweep has at most {MAX_RUNS:,}; give fewer values, "
            "or several sweeps"
        )
    runs = config.runs()  # also checks every run
    if len(runs) < listed:
        notes[f"{listed} runs are listed, {len(runs)} are distinct; each is trained once"] = None
    return SweepConfig(config.name, config.blocks, tuple(notes))


def varying(runs: list[RunConfig]) -> dict[str, list[Scalar]]:
    """The fields that differ between runs, each with its distinct values in order."""
    return {field: values for field, values in _seen(runs).items() if len(values) > 1}


def _seen(runs: list[RunConfig]) -> dict[str, list[Scalar]]:
    """The distinct values of every field, in order."""
    tables = [to_values(run) for run in runs]
    return {field: list(dict.fromkeys(table[field] for table in tables)) for field in FIELDS}


def _plain(values: tuple[Scalar, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)
