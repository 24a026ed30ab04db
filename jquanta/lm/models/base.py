"""The layers that architectures are made of, and what all language models share.

Modules own parameters and structure. Arithmetic is the layout's (``layout.Layout``), which every
call takes beside its input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import Layout, Stream
from jquanta.lm.models.rows import Packed

Tap = Callable[[Stream], Stream]
"""A function of a linear layer's input, whose value is added to the layer's output."""


def parameter(*shape: int) -> nnx.Param[Array]:
    """A parameter of which only the shape is known: ``network.build`` puts an array of any dtype in
    its place."""
    nothing: Any = jax.ShapeDtypeStruct(shape, jnp.float32)
    return nnx.Param(nothing)


class Linear(nnx.Module):
    """A dense layer. ``tap`` is set by ``network.build`` where there is one."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True):
        self.kernel = parameter(n_in, n_out)
        self.bias = parameter(n_out) if bias else None
        self.tap: Tap | None = None

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        y = layout.linear(x, self.kernel[...], None if self.bias is None else self.bias[...])
        return y if self.tap is None else y + self.tap(x)


class LayerNorm(nnx.Module):
    """Layer norm with a scale and a bias (Ba et al., 2016)."""

    def __init__(self, size: int, eps: float):
        self.eps = eps
        self.scale = parameter(size)
        self.bias = parameter(size)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        return layout.norm(x, self.scale[...], self.bias[...], self.eps)


class RMSNorm(nnx.Module):
    """Division by the root of the mean square, with a scale (Zhang and Sennrich, 2019)."""

    def __init__(self, size: int, eps: float):
        self.eps = eps
        self.scale = parameter(size)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        return layout.root_norm(x, self.scale[...], self.eps)


class Embedding(nnx.Module):
    """A table of vectors, one for each token or position."""

    def __init__(self, rows: int, width: int):
        self.embedding = parameter(rows, width)

    def __call__(self, index: Int[Array, "*positions"], layout: Layout) -> Stream:
        return layout.look_up(self.embedding[...], index)


class MLP(nnx.Module):
    """Two dense layers with an activation between them."""

    def __init__(self, config: LMConfig):
        self.activation = ACTIVATIONS[config.activation]
        self.up = Linear(config.width, config.hidden)
        self.down = Linear(config.hidden, config.width)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        return self.down(self.activation(self.up(x, layout)), layout)


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x · Φ(x), where Φ is the standard normal distribution function (Hendrycks & Gimpel, 2016).

    ``jax.nn.gelu`` computes Φ by way of erfc, which takes 2.5 times as long on a CPU.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


def gelu_new(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GPT-2's approximation of ``gelu`` by a tanh."""
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    # Three names of one function.
    "gelu_new": gelu_new,
    "gelu_fast": gelu_new,
    "gelu_pytorch_tanh": gelu_new,
    # Two names of another one.
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "relu": jax.nn.relu,
}
"""Of MLPs, by the names that transformers gives them."""


class Block(nnx.Module):
    """Attention, then an MLP that reads what attention has added, each behind its norm. A subclass
    says which; see the attributes.

    Attributes:
        attends: the module of attention, made of the configuration.
        norm: that of norms, made of their width and epsilon.
        feeds: that of the MLP, made of the configuration.
    """

    attends: ClassVar[Any]
    norm: ClassVar[Any] = LayerNorm
    feeds: ClassVar[Any] = MLP

    def __init__(self, config: LMConfig):
        self.attention_norm = self.norm(config.width, config.eps)
        self.attention = self.attends(config)
        self.mlp_norm = self.norm(config.width, config.eps)
        self.mlp = self.feeds(config)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        x = layout.select(x) + self.attention(self.attention_norm(x, layout), layout)
        return x + self.mlp(self.mlp_norm(x, layout), layout)


class Network(nnx.Module):
    """A decoder: embedding, L blocks, a last norm, the unembedding.

    A subclass sets the attributes below in ``__init__`` (``unembed`` is None where the unembedding
    is the embedding transposed), and defines ``deviation`` unless the usual one will do. Its blocks
    are called with the residual stream and a layout. Parameters are named by their attributes'
    path, such as ``layers.3.mlp.up.kernel``; ``roles`` tells from the names what a parameter is
    for, so call a block's modules ``attention`` and ``mlp``, and norms ``…_norm``.

    The blocks are a Python loop, not a ``jax.lax.scan`` over stacked parameters: on 2 cores, at the
    14m and 70m shapes, the forward pass of a scan compiles up to twice as fast, but its gradients
    take 1.4 times as long to compute. On a GPU, where compiling takes longest, ``looped`` scans.
    """

    config: LMConfig
    embed: Embedding
    layers: nnx.List[Any]
    final_norm: Any
    unembed: Linear | None

    def features(self, tokens: Int[Array, "*positions"], layouts: Sequence[Layout]) -> Stream:
        """The output of the last norm, which the unembedding multiplies."""
        return self.final_norm(self.residuals(tokens, layouts)[-1], layouts[-1])

    def residuals(
        self, tokens: Int[Array, "*positions"], layouts: Sequence[Layout]
    ) -> tuple[Stream, ...]:
        """The residual stream before the first block and after each block: L + 1 arrays.

        Args:
            tokens: ids.
            layouts: one for each block. If the last one wants some positions only, the last array
                has no others.

        Raises:
            BadInput: if there are more tokens than the model's context.
        """
        if tokens.shape[-1] > self.config.context:
            raise BadInput(
                f"{tokens.shape[-1]} tokens: the model's context is {self.config.context}; "
                "truncate to it"
            )
        stream = [self.embedded(tokens, layouts[0])]
        for layer, layout in zip(self.layers, layouts, strict=True):
            stream.append(layer(stream[-1], layout))
        return tuple(stream)

    def looped(
        self, x: Stream, start: Int[Array, "B T"], windows: Int[Array, " L"] | None
    ) -> Stream:
        """The residual stream of packed documents after several blocks, by a scan over them.

        This module is that of a single block, whose parameters have an axis of blocks in front.

        Args:
            x: the residual stream before the first of the blocks, [B, T, D].
            start: as ``rows.Packed`` has it.
            windows: the attention window of each block; None if they all see everything.
        """
        graph, stacked = nnx.split(self.layers[0])

        def block(x: Stream, own: tuple[Any, Any]) -> tuple[Stream, None]:
            parameters, window = own
            return nnx.merge(graph, parameters)(x, Packed(start, window)), None

        return jax.lax.scan(block, x, (stacked, windows))[0]

    def embedded(self, tokens: Int[Array, "*positions"], layout: Layout) -> Stream:
        """The residual stream before the first block; NaN for a token outside the vocabulary."""
        return self.embed(tokens, layout)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        """The matrix from features to logits."""
        return self.embed.embedding[...].T if self.unembed is None else self.unembed.kernel[...]

    def deviation(self, name: str) -> float:
        """The standard deviation of the normal numbers that a kernel or embedding starts with: as
        GPT-2 starts, and most decoders since."""
        return 0.02
