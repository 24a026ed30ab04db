"""A function of one sample, computed for many: what all three similarities are made of."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, count
from jquanta.machine import cores
from jquanta.qdg.samples.prefixes import Batch, Plan, Samples, plan
from jquanta.qdg.views.programs import Programs
from jquanta.qdg.views.ways import way_here

OneSample = Callable[[Any, Int[Array, " T"], Int[Array, ""], Int[Array, ""]], Any]
"""(constants, tokens, place of the prefix's last token, target) → a tree of arrays."""

SAMPLES = "samples"
"""The axis of the mesh over which rows are cut."""


Source = Callable[[int, int], Any]
"""(start, stop) → the rows start … stop: an array [q, P], or a tree of arrays [q, …]."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Arrays of many samples, made batch by batch: what ``exact`` takes as its source.

    Attributes:
        one: the function of one sample.
        constants: what it takes besides: the same for all samples.
        samples: prefixes and targets.
        plan: in what order and in which batches.
        programs: for the shapes of its batches.
        by_name: of a batch's arrays, the same under the names by which ``flat`` is asked for them.
    """

    one: OneSample
    constants: Any
    samples: Samples
    plan: Plan
    programs: Programs[Any]
    by_name: Callable[[Any], Any]

    @property
    def stops(self) -> list[int]:
        """Where batches end."""
        return [batch.stop for batch in self.plan.batches]

    @property
    def order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[Q] the sample that each row is."""
        return self.plan.order

    @cached_property
    def row(self) -> Any:
        """Shapes and dtypes of one sample's arrays."""
        scalar = jax.ShapeDtypeStruct((), jnp.int32)
        tokens = jax.ShapeDtypeStruct((self.plan.batches[0].length,), jnp.int32)
        return jax.eval_shape(self.one, self.constants, tokens, scalar, scalar)

    def __call__(self, start: int, stop: int) -> Any:
        """The arrays of rows ``start`` to ``stop``, a batch of the plan: a tree of [rows, …]."""
        return self._compute(self._batches[start, stop])

    def batches(self) -> Iterator[tuple[int, int, Any]]:
        """(start, stop, their arrays) of all rows, in order."""
        spans = [(batch.start, batch.stop) for batch in self.plan.batches]
        for span, found in zip(spans, in_order(self, spans), strict=True):
            yield *span, found

    def flat(self, names: Sequence[str], budget: int) -> np.ndarray[Any, Any]:
        """[Q, numbers] of a function that gives arrays by name: side by side, in the order of the
        samples.

        Args:
            names: of the arrays, in the order in which they are wanted.
            budget: bytes that the result may take.

        Raises:
            BadInput: if it would take more.
        """
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), self.row)
        shapes = jax.eval_shape(self.by_name, one)
        sizes = [math.prod(shapes[name].shape) for name in names]
        shape = len(self.order), sum(sizes)
        if 4 * math.prod(shape) > budget:
            raise BadInput(
                f"{shape[0]:,} rows of {shape[1]:,} numbers take {4e-9 * math.prod(shape):,.1f} GB "
                f"and there are {1e-9 * budget:,.1f} GB; select fewer samples, or ask for their "
                "similarity, which keeps only some rows at a time"
            )
        out = np.empty(shape, np.float32)
        for start, stop, batch in self.batches():
            found = self.by_name(batch)
            parts = [np.asarray(found[name]).reshape(stop - start, -1) for name in names]
            out[self.order[start:stop]] = np.concatenate(parts, 1)
        return out

    def all(self) -> np.ndarray[Any, Any]:
        """[Q, …] of a function that gives one array, in the order of the samples."""
        found = np.concatenate([np.asarray(batch) for _, _, batch in self.batches()])
        out = np.empty_like(found)
        out[self.order] = found
        return out

    @cached_property
    def _batches(self) -> dict[tuple[int, int], Batch]:
        return {(batch.start, batch.stop): batch for batch in self.plan.batches}

    @cached_property
    def _placed(self) -> Any:
        return jax.device_put(self.constants, NamedSharding(mesh(), P()))

    def _compute(self, batch: Batch) -> Any:
        # Only the last batch can be short. Its last sample fills it up, and is cut off again.
        rows = np.minimum(np.arange(batch.start, batch.start + batch.rows), batch.stop - 1)
        chosen = self.order[rows]
        inputs = (
            self.samples.prefixes(chosen, batch.length),
            (self.samples.lengths[chosen] - 1).astype(np.int32),
            self.samples.targets[chosen],
        )
        program = self.programs(batch.rows, batch.length)
        found = program(self._placed, *jax.device_put(inputs, NamedSharding(mesh(), P(SAMPLES))))
        count = batch.stop - batch.start
        return found if count == batch.rows else _first(found, count)


def per_sample(
    one: OneSample,
    constants: Any,
    samples: Samples,
    config: LMConfig,
    operations: float,
    batch_tokens: int | None = None,
    by_name: Callable[[Any], Any] = lambda found: found,
) -> Rows:
    """``one`` for every sample, on all local devices.

    Args:
        one: pure. What is compiled is kept for the same function, so make it once a setting.
        constants: its first argument.
        samples: prefixes and targets.
        config: the model's shape.
        operations: of ``one``, a token, attention apart: it weighs padding against compiling.
        batch_tokens: tokens of a batch on each device; one sample at least. What suits the devices
            by default.
        by_name: see ``Rows``.
    """
    if batch_tokens is not None and batch_tokens < 1:
        raise BadInput(f"batch_tokens = {batch_tokens}: give 1 or more")
    way, devices = way_here(), jax.local_device_count()
    shapes = jax.eval_shape(lambda: constants)
    like = jax.ShapeDtypeStruct((), jnp.int32)
    row = jax.eval_shape(one, shapes, jax.ShapeDtypeStruct((1,), jnp.int32), like, like)
    made = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(row))

    def fit(length: int) -> float:
        if batch_tokens:
            return batch_tokens / length
        # While what is kept goes, gradients come, stacked by layer. In the end they are copied into
        # rows, where memory is free again.
        return way.fit(length, made + max(made, kept(config, length)))

    found = plan(
        samples.lengths,
        config.context,
        fit=fit,
        most=way.lengths,
        alignment=way.alignment,
        devices=devices,
        bend=2.0 * config.layers * config.width / count(config)[1],  # scores, and sums by them
        price=way.compile_seconds * way.rate * devices / operations,
    )
    batches = [(batch.rows, batch.length) for batch in found.batches]
    build = partial(_compiled, one, shapes, _wide())
    programs = Programs(build, batches, at_once())
    return Rows(one, constants, samples, found, programs, by_name)


def kept(config: LMConfig, length: int) -> float:
    """Bytes of a sample that a float32 backward pass needs of the way there, about.

    In every layer and for every position, two arrays of attention's weights [H, T], and 26 numbers
    for each of the stream's D: four arrays of the MLP's 4·D, queries, keys, values and norms.
    With the gradients, XLA plans 5% less to 3% more than ``per_sample`` counts by this, for an H200
    at 14m, 70m and 1.4b with 512 and with 1,024 tokens.
    """
    return 4.0 * config.layers * length * (2 * config.heads * length + 26 * config.width)


def at_once() -> int:
    """Batches that are computed at once: one on accelerators, one on each core of a CPU.

    A sample's products are too small for several cores to share.
    """
    whole = way_here().one_by_one and jax.local_device_count() == 1
    return cores.count() if whole else 1


def in_order(source: Source, spans: Iterable[tuple[int, int]]) -> Iterator[Any]:
    """``source`` of each span, ``at_once`` of them computed while the last is used."""
    workers, waiting = at_once(), deque[Any]()
    if workers == 1:  # JAX itself computes while the caller goes on
        yield from (source(*span) for span in spans)
        return
    wide = _wide()

    def computed(start: int, stop: int) -> Any:
        with jax.enable_x64(wide):
            return jax.block_until_ready(source(start, stop))

    with ThreadPoolExecutor(workers) as pool:
        for span in spans:
            waiting.append(pool.submit(computed, *span))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _wide() -> bool:
    """Whether JAX has float64: a setting of the thread, to be handed on to others."""
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def mesh() -> Mesh:
    """All local devices, in a line."""
    return Mesh(np.array(jax.local_devices()), (SAMPLES,))


def _compiled(one: OneSample, constants: Any, wide: bool, rows: int, length: int) -> Any:
    """The program for batches of a shape, and constants of these shapes."""
    everywhere, cut = (NamedSharding(mesh(), spec) for spec in (P(), P(SAMPLES)))

    def like(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    constants = jax.tree.map(lambda x: like(x.shape, x.dtype, everywhere), constants)
    tokens, each = like((rows, length), jnp.int32, cut), like((rows,), jnp.int32, cut)
    with jax.enable_x64(wide):
        return (
            _program(one, mesh(), way_here().one_by_one)
            .lower(constants, tokens, each, each)
            .compile()
        )


@cache
def _program(one: OneSample, devices: Mesh, one_by_one: bool) -> Any:
    """All samples of a batch under jit, each device with its own.

    A core takes one after the other: what is made of one sample stays in its cache.
    """

    def each(constants: Any, *inputs: Array) -> Any:
        if one_by_one:
            return jax.lax.map(lambda sample: one(constants, *sample), inputs)
        return jax.vmap(one, in_axes=(None, 0, 0, 0))(constants, *inputs)

    batched = P(SAMPLES)
    return jax.jit(
        jax.shard_map(
            each,
            mesh=devices,
            in_specs=(P(), batched, batched, batched),
            out_specs=batched,
            check_vma=False,  # devices share nothing
        )
    )


@partial(jax.jit, static_argnums=1)
def _first(found: Any, count: int) -> Any:
    """The first rows of all arrays, by one program."""
    return jax.tree.map(lambda x: x[:count], found)


def require_float32(params: Params) -> None:
    """Raise ``BadInput`` if parameters are narrower: gradients below 0.1 nats are tiny."""
    for name, x in params.items():
        if x.dtype.itemsize < 4:
            raise BadInput(f"{name} is {x.dtype}: gradients need float32; load the model in it")
