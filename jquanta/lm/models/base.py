"""From tokens to logits: what GPT-NeoX and GPT-Neo do alike."""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import Apart, Packed
from jquanta.lm.models.parts import Embedding, LayerNorm, Linear, Stream


class Network(nnx.Module):
    """A language model: embedding, blocks, a last layer norm, the unembedding.

    The blocks are a loop, not a scan over stacked weights: measured on 2 cores at 14m and 70m
    shapes, a scan compiles up to twice as fast forward, but its gradients take 1.4 times as long.
    On a GPU, where compiling takes longest, ``packed`` scans.
    """

    config: LMConfig
    embed: Embedding
    layers: nnx.List[Any]
    final_norm: LayerNorm
    unembed: Linear

    def __call__(
        self, tokens: Int[Array, "B T"], at: Int[Array, "B T_out"] | None = None
    ) -> Float[Array, "B T_out V"]:
        """Logits of the token after each position, or after the positions ``at`` only."""
        x = self.final_norm(self.residuals(tokens, at)[-1])
        wide = jnp.promote_types(x.dtype, jnp.float32)  # bfloat16 products, float32 logits
        return jnp.matmul(x, self.unembedding, preferred_element_type=wide)

    def features(self, tokens: Int[Array, "B T"]) -> Stream:
        """What the unembedding multiplies: the last layer norm's output."""
        return self.final_norm(self.residuals(tokens)[-1])

    def residuals(
        self, tokens: Int[Array, "B T"], at: Int[Array, "B T_out"] | None = None
    ) -> tuple[Stream, ...]:
        """The residual stream as it enters the first block, and as it leaves each.

        With ``at``, the last block works for these positions only, and the last stream has no
        others.
        """
        if tokens.shape[1] > self.config.context:
            raise BadInput(
                f"{tokens.shape[1]} tokens: the model's context is {self.config.context}; "
                "truncate to it"
            )
        stream = [self.embedded(tokens)]
        layouts = [Apart(window) for window in self.config.windows]
        layouts[-1] = layouts[-1]._replace(at=at)
        for layer, layout in zip(self.layers, layouts, strict=True):
            stream.append(layer(stream[-1], layout))
        return tuple(stream)

    def packed(
        self,
        tokens: Int[Array, "B T"],
        start: Int[Array, "B T"],
        windows: Int[Array, " layers"] | None,
    ) -> Stream:
        """``features`` of packed documents, by a loop over the layers that is compiled once.

        The module's only block holds the parameters of all of them, stacked.

        Args:
            tokens: ids.
            start: where the document of each position begins in its row.
            windows: of each layer; None where all see everything.
        """
        x = self.embedded(tokens, Packed(start).places)
        return self.final_norm(self.looped(x, start, windows))

    def looped(
        self, x: Stream, start: Int[Array, "B T"], windows: Int[Array, " layers"] | None
    ) -> Stream:
        """The stream of packed documents after some blocks, the parameters of which the module's
        only block holds, stacked."""
        graph, stacked = nnx.split(self.layers[0])

        def block(x: Stream, own: tuple[Any, Any]) -> tuple[Stream, None]:
            parameters, window = own
            return nnx.merge(graph, parameters)(x, Packed(start, window)), None

        return jax.lax.scan(block, x, (stacked, windows))[0]

    def embedded(
        self, tokens: Int[Array, "B T"], places: Int[Array, "B T"] | None = None
    ) -> Stream:
        """What enters the first block; NaN for a token that is not in the vocabulary.

        ``places`` are the positions in their documents; None for 0, 1, 2, … in every row.
        """
        return self.embed(tokens)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        """The matrix from features to logits."""
        return self.unembed.kernel[...]

    @abstractmethod
    def deviation(self, name: str) -> float:
        """The standard deviation that a kernel or an embedding starts with."""
