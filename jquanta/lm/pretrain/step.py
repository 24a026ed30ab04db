"""The training step: a pure function of parameters, optimizer state and batch.

The models of one size, one for each seed, are trained together by vmap. Training is data parallel:
each device computes the gradients of its share of the windows, the gradients are averaged over the
devices, and every device applies the same update to its own copy of the parameters.

Shapes: R models (one for each seed), B windows in a batch, ``window`` = context + 1 tokens.
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
"""Tokens that a CPU processes at once, with gradient accumulation over the batch, so that the
activations stay in its caches. A step takes 0.7 to 0.8 of the time that 4,096 tokens at once would
take (2 cores, widths 32 to 128)."""

LAST = 0.1
"""The final learning rate as a share of the peak, as for Pythia."""


class State(NamedTuple):
    """The state of training; every array has an axis of R seeds first, except within vmap.

    Attributes:
        params: by name.
        optimizer: the state of the optax optimizer.
    """

    params: Params
    optimizer: Any


Step = Callable[[State, Int[Array, "R B window"]], tuple[State, Float[Array, " R"]]]
"""From the state and a batch to the next state and the loss of each model, in nats."""


def learning_rate(train: TrainConfig, peak: float) -> optax.Schedule:
    """The learning rate of each step: linear warmup to ``peak``, then cosine decay.

    The first step already has a learning rate above 0, the last step of the warmup has ``peak``,
    and the decay ends at the share ``LAST`` of it.
    """
    rise = max(1, round(train.warmup * train.steps))
    return optax.warmup_cosine_decay_schedule(
        peak / rise, peak, rise - 1, max(train.steps, rise), LAST * peak
    )


def optimizer(train: TrainConfig, peak: float) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm of the gradient.

    Weight decay applies to matrices, including embeddings, and not to biases and layer norms.
    """
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
    """The initial state, a function of the seeds and of the network's shape.

    Args:
        config: the networks' shape.
        train: the recipe, which lists the seeds.
        peak: learning rate.
    """
    shape = (config.layers, config.width, config.heads, config.vocab)
    keys = [streams.key(streams.Stream.WEIGHTS, seed, *shape) for seed in train.seed_list]

    def one(key: streams.Key) -> State:
        # The generator is named, so that the same seed gives the same weights even if a later JAX
        # changes its default.
        params = init(config, jax.random.wrap_key_data(key, impl="threefry2x32"))
        return State(params, optimizer(train, peak).init(params))

    # Not under jit: the small programs that JAX makes for each operation and shape compile faster
    # than one program for all parameters.
    return jax.vmap(one)(jnp.stack(keys))


def loss(config: LMConfig, params: Params, windows: Int[Array, "B window"]) -> Float[Array, ""]:
    """Mean cross-entropy of all tokens of the windows except the first of each, in nats.

    Args:
        config: the network's shape.
        params: by name.
        windows: [B, window] token ids.
    """
    with jax.default_matmul_precision(PRECISION):
        x = features(config, params, windows[:, :-1])
        return mean_cross_entropy(
            x.reshape(-1, x.shape[-1]), unembedding(config, params), windows[:, 1:].reshape(-1)
        )


def gradients(
    config: LMConfig, params: Params, windows: Int[Array, "B window"], at_once: int
) -> tuple[Float[Array, ""], Params]:
    """The loss and its gradients, accumulated over parts of the batch.

    Args:
        config: the network's shape.
        params: by name.
        windows: [B, window] token ids.
        at_once: windows in a part; a divisor of B.

    Returns:
        The mean loss in nats, and its gradient with respect to each parameter, by name.
    """
    of_part = jax.value_and_grad(partial(loss, config))
    parts = windows.reshape(-1, at_once, windows.shape[-1])
    if len(parts) == 1:
        return of_part(params, parts[0])

    def add(total: Any, part: Int[Array, "part window"]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_part(params, part)), None

    # Zeros in the shapes of the loss and its gradients, which eval_shape finds without computing.
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_part, params, parts[0])
    )
    total, _ = jax.lax.scan(add, nothing, parts)
    return jax.tree.map(lambda x: x / len(parts), total)


@cache
def make_step(config: LMConfig, train: TrainConfig, peak: float, mesh: Mesh) -> Step:
    """Compile the training step.

    The step donates the memory of the state that it is given to the state that it returns, so the
    old state must not be used again.

    Args:
        config: the networks' shape.
        train: the recipe.
        peak: learning rate.
        mesh: the devices, which share the windows of a batch equally.

    Returns:
        A function of the state and of windows [R, B, context + 1], which returns the next state and
        the loss [R] of each model before the update, in nats.
    """
    update = optimizer(train, peak).update
    share = train.batch // mesh.size
    at_once = part_of(share, train.context)

    def one(state: State, windows: Int[Array, "B window"]) -> tuple[State, Float[Array, ""]]:
        found = gradients(config, state.params, windows, at_once)
        # The shares are equal, so the mean over devices is the mean over the batch.
        value, slopes = jax.lax.pmean(found, DEVICES)
        changes, memory = update(slopes, state.optimizer, state.params)
        return State(optax.apply_updates(state.params, changes), memory), value

    cut = P(None, DEVICES)
    shared = jax.shard_map(
        jax.vmap(one), mesh=mesh, in_specs=(P(), cut), out_specs=(P(), P()), check_vma=False
    )
    return jax.jit(shared, donate_argnums=0)


def part_of(windows: int, context: int) -> int:
    """How many windows a device processes at once: a divisor of its share.

    On an accelerator that is the whole share; on a CPU about ``CPU_TOKENS`` tokens.

    Args:
        windows: the share of a device.
        context: tokens that are predicted in a window.
    """
    if jax.default_backend() != "cpu":
        return windows
    most = max(1, CPU_TOKENS // context)
    return next(n for n in range(min(most, windows), 0, -1) if windows % n == 0)
