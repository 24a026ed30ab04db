"""The network: an MLP on a control vector and task bits, with two logits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int

from jquanta import streams
from jquanta.parity.config import RunConfig
from jquanta.streams import Key, Stream

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}

# Plain float32 products everywhere: JAX's default on recent GPUs would be TF32.
PRECISION = jax.lax.Precision.HIGHEST


class MLP(nnx.Module):
    """``depth`` linear layers with an activation between them (paper, section 3).

    Kernels and biases start uniform in ±1/√fan_in, as PyTorch's linear layers do.

    Args:
        n_tasks: length S of the control vector.
        n_bits: number N of task bits.
        width: hidden units W.
        depth: linear layers, at least 2.
        activation: ``relu``, ``tanh`` or ``sigmoid``.
        key: the stream of initial weights; None leaves zeros, to be filled in.
        dtype: of the weights; the numbers drawn are float32 at any precision.
    """

    def __init__(
        self,
        n_tasks: int,
        n_bits: int,
        width: int,
        depth: int = 2,
        activation: str = "relu",
        *,
        key: Key | None,
        dtype: DTypeLike = jnp.float32,
    ):
        self.n_tasks = n_tasks
        self.activation = activation
        sizes = [n_tasks + n_bits, *[width] * (depth - 1), 2]
        self.layers = nnx.List(
            _linear(key if key is None else streams.fold(key, i), sizes[i], sizes[i + 1], dtype)
            for i in range(depth)
        )

    def __call__(self, x: Float[Array, "B S_plus_N"]) -> Float[Array, "B 2"]:
        """Logits of whole inputs, the control vector first."""
        return self.head(self.layers[0](x))

    def at(
        self,
        subtask: Int[Array, " B"],
        bits: Float[Array, "B N"],
        codes: Float[Array, "C S"] | None = None,
    ) -> Float[Array, "B 2"]:
        """Logits without forming control vectors: their product is a lookup of rows."""
        return self.head(self.rows_of(codes)[subtask] + self.bits_part(bits))

    def rows_of(self, codes: Float[Array, "C S"] | None) -> Float[Array, "C W"]:
        """What each control vector of ``codes`` adds to the first layer's sums.

        One-hot vectors (None) add a kernel row each.
        """
        rows = self.layers[0].kernel[: self.n_tasks]
        return rows if codes is None else jnp.matmul(codes, rows, precision=PRECISION)

    def bits_part(self, bits: Float[Array, "B N"]) -> Float[Array, "B W"]:
        """What the task bits and the bias add to the first layer's sums."""
        kernel, bias = self.layers[0].kernel[self.n_tasks :], self.layers[0].bias
        assert bias is not None  # for the type checker: nnx.Linear can go without
        return jnp.matmul(bits, kernel, precision=PRECISION) + bias

    def head(self, hidden: Float[Array, "B W"]) -> Float[Array, "B 2"]:
        """Logits from the first layer's sums."""
        for layer in self.layers[1:]:
            hidden = layer(ACTIVATIONS[self.activation](hidden))
        return hidden


def _linear(key: Key | None, n_in: int, n_out: int, dtype: DTypeLike) -> nnx.Linear:
    def initial(part: int) -> Callable[..., Array]:
        def values(_: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
            if key is None:
                return jnp.zeros(shape, dtype)
            return jnp.asarray(centred(streams.fold(key, part), shape, n_in), dtype)

        return values

    return nnx.Linear(
        n_in,
        n_out,
        kernel_init=initial(0),
        bias_init=initial(1),
        param_dtype=dtype,  # products have the dtype of the weights that are merged in
        precision=PRECISION,
        rngs=nnx.Rngs(0),  # not used: the initialisers hold their own keys
    )


def centred(key: Key, shape: tuple[int, ...], fan_in: int) -> Float32[np.ndarray, "*shape"]:
    """Numbers uniform in ±1/√fan_in."""
    numbers = streams.uniforms(key, int(np.prod(shape))).reshape(shape)
    return (2 * numbers - 1) * np.float32(1 / np.sqrt(fan_in))


def make_network(run: RunConfig, dtype: DTypeLike = jnp.float32) -> MLP:
    """The run's network with its initial weights. Depends on the seed and the shape only."""
    shape = (run.task.n_tasks, run.task.n_bits, run.network.width, run.network.depth)
    key = streams.key(Stream.WEIGHTS, run.train.seed, *shape)
    return MLP(*shape, run.network.activation, key=key, dtype=dtype)
