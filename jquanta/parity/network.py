"""The network: an MLP that maps a control vector and the task bits to two logits.

Letters of shapes: B samples, S atomic subtasks, C codes, N task bits, W hidden units.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int

from jquanta import streams
from jquanta.errors import BadInput
from jquanta.parity.config import RunConfig
from jquanta.streams import Key, Stream

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}

# Matrix products in full float32 on every device. On NVIDIA GPUs since Ampere JAX's default is
# TF32, which rounds the factors to 10 bits of mantissa.
PRECISION = jax.lax.Precision.HIGHEST


class MLP(nnx.Module):
    """``depth`` linear layers with an activation between each two (paper, section 3).

    Initial kernels and biases are uniform in ±1/√fan_in, as in PyTorch's linear layers.

    Args:
        n_tasks: length S of the control vector.
        n_bits: number N of task bits.
        width: hidden units W.
        depth: linear layers, at least 2.
        activation: ``relu``, ``tanh`` or ``sigmoid``.
        key: of the random stream of the initial weights; None makes all weights zero, for a
            caller that fills them in.
        dtype: of the weights. The initial values are drawn in float32 whatever the dtype.
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

    def __repr__(self) -> str:
        sizes = [self.layers[0].in_features, *(layer.out_features for layer in self.layers)]
        return f"MLP({' → '.join(map(str, sizes))}, {self.activation})"

    def __call__(self, x: Float[Array, "B S_plus_N"]) -> Float[Array, "B 2"]:
        """Logits of inputs that begin with the control vector, as in the paper."""
        if x.ndim != 2 or x.shape[1] != self.layers[0].in_features:
            raise BadInput(
                f"inputs of shape {list(x.shape)}: give [samples, {self.layers[0].in_features}] "
                "numbers, control vector and bits, such as task.draw(1000).inputs"
            )
        return self.head(self.layers[0](x))

    def at(
        self,
        subtask: Int[Array, " B"],
        bits: Float[Array, "B N"],
        codes: Float[Array, "C S"] | None = None,
    ) -> Float[Array, "B 2"]:
        """Logits of samples given by code and task bits, without forming control vectors.

        A control vector's product with the first kernel is the sum of the rows of its members, so
        each sample looks up one row of ``rows_of``.

        Args:
            subtask: [B] each sample's code (for the plain task, its subtask).
            bits: [B, N] task bits as 0.0 and 1.0.
            codes: [C, S] control vector of each code; None for the plain task.
        """
        return self.head(self.rows_of(codes)[subtask] + self.bits_part(bits))

    def rows_of(self, codes: Float[Array, "C S"] | None) -> Float[Array, "C W"]:
        """Contribution of each code's control vector to the first layer's pre-activations.

        For the plain task (None) control vectors are one-hot: C = S, and the contributions are
        the kernel's rows themselves.
        """
        # The first S rows of the kernel belong to the control vector, the other N to the bits.
        rows = self.layers[0].kernel[: self.n_tasks]
        return rows if codes is None else jnp.matmul(codes, rows, precision=PRECISION)

    def bits_part(self, bits: Float[Array, "B N"]) -> Float[Array, "B W"]:
        """Contribution of the task bits and the bias to the first layer's pre-activations."""
        kernel, bias = self.layers[0].kernel[self.n_tasks :], self.layers[0].bias
        assert bias is not None  # for the type checker: an nnx.Linear need not have a bias
        return jnp.matmul(bits, kernel, precision=PRECISION) + bias

    def head(self, hidden: Float[Array, "B W"]) -> Float[Array, "B 2"]:
        """Logits from the first layer's pre-activations."""
        for layer in self.layers[1:]:
            hidden = layer(ACTIVATIONS[self.activation](hidden))
        return hidden


def _linear(key: Key | None, n_in: int, n_out: int, dtype: DTypeLike) -> nnx.Linear:
    """A linear layer whose kernel and bias come from parts 0 and 1 of the stream ``key``."""

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
        param_dtype=dtype,
        precision=PRECISION,
        rngs=nnx.Rngs(0),  # required by nnx.Linear but unused: the initialisers have their keys
    )


def centred(key: Key, shape: tuple[int, ...], fan_in: int) -> Float32[np.ndarray, "*shape"]:
    """Random numbers uniform in ±1/√fan_in, made on the host."""
    numbers = streams.uniforms(key, int(np.prod(shape))).reshape(shape)
    return (2 * numbers - 1) * np.float32(1 / np.sqrt(fan_in))


def make_network(run: RunConfig, dtype: DTypeLike = jnp.float32) -> MLP:
    """The run's network with its initial weights, which depend on its seed and shape alone."""
    shape = (run.task.n_tasks, run.task.n_bits, run.network.width, run.network.depth)
    key = streams.key(Stream.WEIGHTS, run.train.seed, *shape)
    return MLP(*shape, run.network.activation, key=key, dtype=dtype)
