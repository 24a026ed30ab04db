"""What parameters that are cut over devices take of each: ``python -m benchmarks.cut``. And what
similarities of large models take on eight H200s, by the arithmetic of ``jquanta qdg --plan``.

Programs are compiled for eight devices of a CPU and not run, so that no weights are needed. XLA
tells what each device holds and what a program takes beside that. It is for float32, since a CPU
widens bfloat16; a GPU plans other buffers for the same arrays.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from jquanta.errors import BadInput
from jquanta.lm.losses import ways
from jquanta.lm.losses.compute import _program as losses_program
from jquanta.lm.losses.rows import parameter_bytes
from jquanta.lm.models import cut
from jquanta.lm.models.config import CUT, LMConfig
from jquanta.lm.models.pythia import pythia
from jquanta.machine import devices
from jquanta.machine.computer import H200
from jquanta.qdg import estimate
from jquanta.qdg.views import factors, layered, sketch
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.parameters import chosen
from jquanta.qdg.views.per_sample import _program as views_program
from jquanta.qdg.views.ranks import ranks_of
from jquanta.qdg.views.sketch import Sketch

DEVICES, TOKENS, SAMPLES = 8, 1024, 10_000


def programs(config: LMConfig, mesh: Mesh) -> Iterator[tuple[str, Any]]:
    """What is computed of a row or a sample on each device, and its program, lowered."""
    shares, names = cut.abstract(config, jnp.float32, mesh), chosen(config)

    def like(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=devices.cut(mesh))

    row = like(mesh.size, TOKENS)
    yield "losses", losses_program(ways.way_here(CUT), config, mesh).lower(shares, row, row, row)
    key = jax.random.key(0)
    ranks = tuple(ranks_of(config, names, Factors().rank).items())
    around = jax.eval_shape(
        lambda: sketch._stacked(
            config, names, sketch.projections(config, names, Sketch().size, key)
        )
    )
    probes = jax.eval_shape(lambda: factors.probes_for(config, names, Factors().rank, 0))
    for mode, one, more in (
        (Activations.mode, layered.activation(config, config.layers), {}),
        (Sketch.mode, sketch._layered(config, names), around),
        (Factors.mode, factors._layered(config, names, ranks), probes),
        (Gradients.mode, layered.gradient(config, names), {}),
    ):
        program = views_program(one, mesh, False, True)
        yield mode, program.lower((shares, more), row, like(mesh.size), like(mesh.size))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="*", default=["2.8b", "12b"], help="of Pythia")
    sizes = parser.parse_args().size
    jax.config.update("jax_num_cpu_devices", DEVICES)
    mesh = devices.mesh()
    table = Table(title=f"GB on each of {mesh.size} devices, a row of {TOKENS:,} tokens on each")
    for name in ("Pythia", "a copy", "what", "held", "beside that", "given", "all"):
        table.add_column(name, justify="left" if name in ("Pythia", "what") else "right")
    for size in sizes:
        config = pythia(size)
        for what, lowered in programs(config, mesh):
            found = lowered.compile().memory_analysis()
            parts = (
                found.argument_size_in_bytes,
                found.temp_size_in_bytes,
                found.output_size_in_bytes,
            )
            numbers = (*parts, sum(parts))
            copy = parameter_bytes(config, "float32")
            table.add_row(size, f"{1e-9 * copy:.1f}", what, *(f"{1e-9 * x:.2f}" for x in numbers))
    Console(width=100).print(table, plans())


def plans() -> Table:
    """What 10,000 samples with prefixes of 1 to 1,023 tokens take, or why they do not fit."""
    names = "devices", "single", "triple", "half", "copy"
    cards = replace(H200, **{name: DEVICES * getattr(H200, name) for name in names})
    lengths = np.linspace(1, TOKENS - 1, SAMPLES).astype(int)
    table = Table(title=f"{SAMPLES:,} samples on {DEVICES} x {H200.name}")
    for name in ("Pythia", "what", "parameters", "hours", "GB in all, disk", "or why not"):
        table.add_column(name)
    for size in ("1.4b", "2.8b", "6.9b", "12b"):
        for view in (Gradients(), Factors(), Sketch()):
            config = pythia(size)
            lie = estimate.placement_on(view, lengths, config, cards)
            try:
                stages = estimate.similarity(view, lengths, config, cards, placement=lie)
            except BadInput as error:
                table.add_row(size, view.mode, lie, "", "", str(error))
                continue
            hours = sum(stage.seconds for stage in stages) / 3600
            memory, disk = max(stage.memory for stage in stages), stages[0].disk
            held = f"{1e-9 * memory:,.0f}, {1e-9 * disk:,.0f}"
            table.add_row(size, view.mode, lie, f"{hours:,.1f}", held, "")
    return table


if __name__ == "__main__":
    main()
