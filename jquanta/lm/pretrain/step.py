"""The training step: a pure function of parameters, optimizer state and batch.

The models of one size, one for each seed, are trained side by side by a vmap. Every step is
spread over the local devices by windows; its result is the same on each.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from jquanta import streams
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import PRECISION, Params, features, init, unembedding
from jquanta.lm.pretrain.config import TrainConfig
from jquanta.lm.pretrain.cross_entropy import mean_cross_entropy
from jquanta.machine.devices import DEVICES

CPU_TOKENS = 1024
"""Tokens that a CPU works through at once, adding up gradients, so that activations stay near the
caches: 0.7 to 0.8 of the time that 4,096 at once take (2 cores, widths 32 to 128)."""

LAST = 0.1
"""Share of the peak learning rate that is left at the end, as Pythia was trained."""


class State(NamedTuple):
    """What a step changes: arrays with an axis of seeds first."""

    params: Params
    optimizer: Any


Step = Callable[[State, Int[Array, "R B window"]], tuple[State, Float[Array, " R"]]]


def learning_rate(train: TrainConfig, peak: float) -> optax.Schedule:
    """Of each step: a linear rise up to ``peak``, then half a cosine down to ``LAST`` of it."""
    rise = max(1, round(train.warmup * train.steps))
    return optax.warmup_cosine_decay_schedule(
        peak / rise, peak, rise - 1, max(train.steps, rise), LAST * peak
    )


def optimizer(train: TrainConfig, peak: float) -> optax.GradientTransformation:
    """AdamW behind clipping by the gradient's norm; embeddings count as matrices."""
    return optax.chain(
        optax.clip_by_global_norm(train.clip),
        optax.adamw(
            learning_rate(train, peak),
            b1=0.9,
            b2=0.95,
            weight_decay=train.weight_decay,
            mask=lambda params: {name: x.ndim == 2 for name, x in params.items()},
        ),
    )


def initial(config: LMConfig, train: TrainConfig, peak: float) -> State:
    """Where training begins: a function of each seed and the network's shape."""
    shape = (config.layers, config.width, config.heads, config.vocab)
    keys = [streams.key(streams.Stream.WEIGHTS, seed, *shape) for seed in train.seed_list]

    def one(key: streams.Key) -> State:
        # The implementation is part of the stream: JAX's own default may be another.
        params = init(config, jax.random.wrap_key_data(key, impl="threefry2x32"))
        return State(params, optimizer(train, peak).init(params))

    # Not under jit: a program of its own for each shape of a parameter compiles sooner.
    return jax.vmap(one)(jnp.stack(keys))


def loss(config: LMConfig, params: Params, windows: Int[Array, "B window"]) -> Float[Array, ""]:
    """Mean cross-entropy of every token of the windows but their first, in nats."""
    with jax.default_matmul_precision(PRECISION):
        x = features(config, params, windows[:, :-1])
        return mean_cross_entropy(
            x.reshape(-1, x.shape[-1]), unembedding(config, params), windows[:, 1:].reshape(-1)
        )


def gradients(
    config: LMConfig, params: Params, windows: Int[Array, "B window"], at_once: int
) -> tuple[Float[Array, ""], Params]:
    """The loss and its gradients, ``at_once`` windows at a time (a divisor of their number)."""
    of_part = jax.value_and_grad(partial(loss, config))
    parts = windows.reshape(-1, at_once, windows.shape[-1])
    if len(parts) == 1:
        return of_part(params, parts[0])

    def add(total: Any, part: Int[Array, "b window"]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_part(params, part)), None

    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_part, params, parts[0])
    )
    total, _ = jax.lax.scan(add, nothing, parts)
    return jax.tree.map(lambda x: x / len(parts), total)


@cache
def make_step(config: LMConfig, train: TrainConfig, peak: float, mesh: Mesh) -> Step:
    """The compiled step. It takes the state's memory for the state that it returns.

    Args:
        config: the networks' shape.
        train: the recipe.
        peak: learning rate.
        mesh: devices that cut the windows of a batch into equal shares.

    Returns:
        A function of the state and of windows [seeds, batch, context + 1], which gives the next
        state and the loss of each network before the step, in nats.
    """
    update = optimizer(train, peak).update
    share = train.batch // mesh.size
    at_once = part_of(share, train.context)

    def one(state: State, windows: Int[Array, "B window"]) -> tuple[State, Float[Array, ""]]:
        found = gradients(config, state.params, windows, at_once)
        value, slopes = jax.lax.pmean(found, DEVICES)
        changes, memory = update(slopes, state.optimizer, state.params)
        return State(optax.apply_updates(state.params, changes), memory), value

    cut = P(None, DEVICES)
    shared = jax.shard_map(
        jax.vmap(one), mesh=mesh, in_specs=(P(), cut), out_specs=(P(), P()), check_vma=False
    )
    return jax.jit(shared, donate_argnums=0)


def part_of(windows: int, context: int) -> int:
    """How many windows of a device's share are worked through at once."""
    if jax.default_backend() != "cpu":
        return windows
    most = max(1, CPU_TOKENS // context)
    return next(n for n in range(min(most, windows), 0, -1) if windows % n == 0)
