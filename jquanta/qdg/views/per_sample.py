"""A function of one sample, computed for many: what all views are made of."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.models.config import COPIED, CUT, LMConfig
from jquanta.lm.models.cut import bytes_gathered, bytes_of_share, needed
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import count
from jquanta.machine.devices import DEVICES, copied, cut, mesh
from jquanta.machine.memory import usable
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.samples.prefixes import Batch, Prefixes, batches, prefixes
from jquanta.qdg.views import layered
from jquanta.qdg.views.programs import Programs
from jquanta.qdg.views.source import at_once, at_once_by, computed, is_wide
from jquanta.qdg.views.view import Cost, Function, OneSample, View
from jquanta.qdg.views.ways import CUT_WAY, Way, way_here, way_of

FLOAT = 4
"""Bytes of a float32 number."""


@dataclass(frozen=True, eq=False)
class PerSample:
    """The arrays that a function gives for each of Q samples, made batch by batch: a ``Source``.

    Attributes:
        function: of one sample.
        prefixes: and targets.
        plan: the batches, the longest prefixes first.
        programs: compiled for the shapes of the batches.
        working: bytes on all devices that making a batch takes, beside what it gives.
    """

    function: Function
    prefixes: Prefixes
    plan: tuple[Batch, ...]
    programs: Programs[Any]
    working: int

    @cached_property
    def batches(self) -> list[NDArray[np.int64]]:
        """The samples of each batch."""
        return [batch.samples for batch in self.plan]

    @cached_property
    def weights(self) -> list[int]:
        """See ``source.weights``: tokens, padding included."""
        return [len(batch.samples) * batch.length for batch in self.plan]

    @cached_property
    def row(self) -> Any:
        """Shapes and dtypes of one sample's arrays."""
        return _shapes_of_one(self.function)

    def __len__(self) -> int:
        return len(self.prefixes)

    def __call__(self, number: int) -> Any:
        """The arrays of a batch: a tree of [q, …]."""
        batch = self.plan[number]
        # Only the last batch can be short. It is filled up with copies of its last sample, which
        # are cut off again.
        own = len(batch.samples)
        filled = np.minimum(np.arange(batch.rows), own - 1)
        samples = batch.samples[filled]
        inputs = (
            self.prefixes.tokens(samples, batch.length),
            (self.prefixes.lengths[samples] - 1).astype(np.int32),
            self.prefixes.targets[samples],
        )
        program = self.programs(batch.rows, batch.length)
        found = program(self._placed, *jax.device_put(inputs, cut(mesh())))
        return found if own == batch.rows else _first(found, own)

    def with_constants(self, constants: Any) -> "PerSample":
        """The same with other constants of the same shapes, such as moved parameters. What is
        compiled is used again."""
        return dataclasses.replace(self, function=self.function._replace(constants=constants))

    def flat(self, names: Sequence[str], budget: int) -> Float32[np.ndarray, "Q P"]:
        """The arrays of each sample side by side, in one row.

        Args:
            names: of the arrays, in the order in which they are wanted.
            budget: bytes that the result may take.

        Raises:
            BadInput: if it would take more.
        """
        by_name = self.function.by_name
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), self.row)
        shapes = jax.eval_shape(by_name, one)
        shape = len(self), sum(math.prod(shapes[name].shape) for name in names)
        if 4 * math.prod(shape) > budget:
            raise BadInput(
                f"{shape[0]:,} rows of {shape[1]:,} numbers take {4e-9 * math.prod(shape):,.1f} GB "
                f"and there are {1e-9 * budget:,.1f} GB; select fewer samples, or ask for their "
                "similarity, which keeps only some rows at a time"
            )
        out = np.empty(shape, np.float32)
        for samples, batch in computed(self):
            found = by_name(batch)
            parts = [np.asarray(found[name]).reshape(len(samples), -1) for name in names]
            out[samples] = np.concatenate(parts, 1)
        return out

    def all(self) -> NDArray[Any]:
        """[Q, …] of a function that gives a single array."""
        out = np.empty((len(self), *self.row.shape), self.row.dtype)
        for samples, batch in computed(self):
            out[samples] = np.asarray(batch)
        return out

    @cached_property
    def _placed(self) -> Any:
        return jax.device_put(self.function.constants, _placement(self.function.cut))


def view_of(
    model: Model,
    predictions: Predictions,
    view: View,
    batch_tokens: int | None = None,
    most: int | None = None,
    starts: Sequence[int] = (0,),
) -> PerSample:
    """A view of predictions.

    Args:
        model: that makes them.
        predictions: of a corpus of the model's own tokenizer.
        view: how to look at them.
        batch_tokens, most, starts: see ``per_sample``.

    Raises:
        BadInput: if model, predictions and view do not go together.
    """
    samples = prefixes(predictions, model.config)
    return per_sample(view.function(model), samples, model.config, batch_tokens, most, starts)


def per_sample(
    function: Function,
    prefixes: Prefixes,
    config: LMConfig,
    batch_tokens: int | None = None,
    most: int | None = None,
    starts: Sequence[int] = (0,),
) -> PerSample:
    """A function for every sample, on all local devices.

    Args:
        function: of one sample.
        prefixes: of all.
        config: the model's shape.
        batch_tokens: tokens of a batch on each device; one sample at least. What suits the devices
            by default.
        most: samples of a batch on each device, at most.
        starts: first samples of groups; no batch has samples of two, and those of the first group
            come first.
    """
    if batch_tokens is not None and batch_tokens < 1:
        raise BadInput(f"batch_tokens = {batch_tokens}: give 1 or more")
    made = sum(
        math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(_shapes_of_one(function))
    )
    way = CUT_WAY if function.cut else way_here()
    planned = partial(
        plan_for,
        config=config,
        made=made,
        operations=function.operations,
        way=way,
        devices=jax.local_device_count(),
        memory=usable(),
        inside=function.inside,
        batch_tokens=batch_tokens,
        most=most,
    )
    plan = tuple(
        dataclasses.replace(batch, samples=batch.samples + start)
        for start, lengths in zip(starts, np.split(prefixes.lengths, starts[1:]), strict=True)
        for batch in planned(lengths)
    )
    shapes = jax.eval_shape(lambda: function.constants)
    build = partial(_compiled, function.one, shapes, is_wide(), function.cut)
    programs = Programs(build, [(batch.rows, batch.length) for batch in plan], at_once())
    working = working_bytes(plan, config, made, way, jax.local_device_count(), function.inside)
    return PerSample(function, prefixes, plan, programs, working)


def plan_for(
    lengths: NDArray[np.int64],
    config: LMConfig,
    *,
    made: int,
    operations: float,
    way: Way,
    devices: int,
    memory: int,
    inside: float = 0.0,
    batch_tokens: int | None = None,
    most: int | None = None,
) -> tuple[Batch, ...]:
    """The batches in which a function of samples is computed. A function of its arguments only.

    Args:
        lengths: [Q] tokens of each prefix.
        config: the model's shape.
        made: bytes of what the function gives for a sample.
        operations: what a token costs, attention apart.
        way: how the devices compute.
        devices: how many.
        memory: bytes that may be used on each of them.
        inside: see ``Function``.
        batch_tokens, most: see ``per_sample``.
    """

    def fit(length: int) -> float:
        if batch_tokens:
            return min(most or math.inf, batch_tokens / length)
        size = sample_bytes(config, length, made, inside, way.cut)
        return min(most or math.inf, way.fit(length, size, memory))

    return batches(
        lengths,
        config.context,
        fit=fit,
        most=way.lengths,
        alignment=way.alignment,
        devices=devices,
        attention=bend(config),
        compile_tokens=way.compile_seconds * way.rate * devices / operations,
    )


def bend(config: LMConfig) -> float:
    """The cost of attention between two positions, in tokens without attention: the score of the
    pair, and the value that it weighs."""
    return 2.0 * config.layers * config.attended / count(config)[1]


def sample_bytes(
    config: LMConfig, length: int, made: int, inside: float = 0.0, cut: bool = False
) -> float:
    """Bytes that a sample of T tokens takes of a batch, where many are computed at once.

    In the backward pass the activations that were kept are freed as gradients are made, stacked by
    layer. At its end the gradients are copied into one row a sample: both copies exist at once, and
    no activations. ``inside`` is what a function takes at that end besides. Where parameters are
    cut, both are of one block at a time, beside the inputs of all (``layered``).
    """
    if cut:
        block = (kept(config, length) + inside) / config.layers
        return 2 * made + block + layered.kept(config, length)
    return made + max(made + inside, kept(config, length))


def working_bytes(
    plan: Sequence[Batch],
    config: LMConfig,
    made: int,
    way: Way,
    devices: int,
    inside: float = 0.0,
) -> int:
    """Bytes on all devices that making a batch takes, beside what it gives: the parameters, and on
    accelerators what ``sample_bytes`` counts. On a CPU each core makes one sample at a time."""
    own = 4 * count(config)[0] * devices
    if way.cut:
        held = bytes_of_share(config, jnp.float32, devices) + bytes_gathered(config, jnp.float32)
        own = devices * held
    if way.one_by_one:
        longest = max(batch.length for batch in plan)
        return own + int(at_once_by(way, devices) * kept(config, longest))
    each = (b.rows * (sample_bytes(config, b.length, made, inside, way.cut) - made) for b in plan)
    return own + int(max(each))


def kept(config: LMConfig, length: int) -> float:
    """Bytes of activations that a float32 backward pass needs of a sample of T tokens, about.

    In every layer: two arrays of attention weights, [H, T, T], and for each position the arrays of
    the MLP's hidden layer twice, and 10 as wide as the residual stream, [D]: queries, keys, values
    and normalised inputs. With the gradients, the memory that XLA plans for an H200 is 5% below to
    3% above what ``per_sample`` counts by this, at 14m, 70m and 1.4b with 512 and 1,024 tokens.
    """
    numbers = 2 * config.hidden_layers * config.hidden + 10 * max(config.width, config.attended)
    return 4.0 * config.layers * length * (2 * config.heads * length + numbers)


def _shapes_of_one(function: Function) -> Any:
    shapes = jax.eval_shape(lambda: function.constants)
    if function.cut:  # gathers, so that it is of all devices together
        count = mesh().size
        tokens, each = (jax.ShapeDtypeStruct(s, jnp.int32) for s in ((count, 1), (count,)))
        program = _program(function.one, mesh(), False, is_cut=True)
        found = jax.eval_shape(program, shapes, tokens, each, each)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), found)
    scalar, tokens = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((), (1,)))
    return jax.eval_shape(function.one, shapes, tokens, scalar, scalar)


def placement_for(
    cost: Cost, longest: int, config: LMConfig, kind: str, memory: int, devices: int
) -> str:
    """Where a model's parameters are to lie: copied, unless that does not fit.

    Args:
        cost: of the view.
        longest: tokens of the longest prefix.
        config: the model's shape.
        kind: of the devices.
        memory: bytes that may be used on each device.
        devices: how many.
    """
    one_by_one, made = way_of(kind).one_by_one, FLOAT * cost.numbers
    beside = made + kept(config, longest)
    if not one_by_one:
        beside = sample_bytes(config, longest, made, cost.inside)
    return CUT if needed(config, jnp.float32, beside, memory, devices) else COPIED


def _placement(is_cut: bool) -> Any:
    """How the constants of a function lie on the devices: a tree that begins as theirs."""
    return (cut(mesh(), 1), copied(mesh())) if is_cut else copied(mesh())


def _compiled(
    one: OneSample, constants: Any, wide: bool, is_cut: bool, rows: int, length: int
) -> Any:
    """The program for batches of a shape, and constants of these shapes."""
    shared = cut(mesh())

    def like(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def placed(where: NamedSharding, tree: Any) -> Any:
        return jax.tree.map(lambda x: like(x.shape, x.dtype, where), tree)

    constants = jax.tree.map(placed, _placement(is_cut), constants)
    tokens, each = like((rows, length), jnp.int32, shared), like((rows,), jnp.int32, shared)
    program = _program(one, mesh(), not is_cut and way_here().one_by_one, is_cut)
    with jax.enable_x64(wide):
        return program.lower(constants, tokens, each, each).compile()


@cache
def _program(one: OneSample, devices: Mesh, one_by_one: bool, is_cut: bool = False) -> Any:
    """All samples of a batch under jit, each device with its own.

    A core takes one sample after the other, so that its activations stay in the cache.
    """

    def each(constants: Any, *inputs: Array) -> Any:
        if one_by_one:
            return jax.lax.map(lambda sample: one(constants, *sample), inputs)
        return jax.vmap(one, in_axes=(None, 0, 0, 0))(constants, *inputs)

    batched = P(DEVICES)
    constants = (P(None, DEVICES), P()) if is_cut else P()
    return jax.jit(
        jax.shard_map(
            each,
            mesh=devices,
            in_specs=(constants, batched, batched, batched),
            out_specs=batched,
            check_vma=False,  # devices share nothing but the parameters that are gathered
        )
    )


@partial(jax.jit, static_argnums=1)
def _first(found: Any, count: int) -> Any:
    """The first rows of all arrays, by one program."""
    return jax.tree.map(lambda x: x[:count], found)
