"""From tokens to logits: what GPT-NeoX and GPT-Neo do alike."""

from abc import abstractmethod

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.parts import Embedding, LayerNorm, Linear, Stream


class Network(nnx.Module):
    """A language model: embedding, blocks, a last layer norm, the unembedding.

    The blocks are a loop, not a scan over stacked weights: measured on 2 cores at 14m and 70m
    shapes, a scan compiles up to twice as fast forward, but its gradients take 1.4 times as long.
    """

    config: LMConfig
    embed: Embedding
    layers: nnx.List[nnx.Module]
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
        *layers, last = self.layers
        for layer in layers:
            stream.append(layer(stream[-1]))
        stream.append(last(stream[-1], at))
        return tuple(stream)

    def embedded(self, tokens: Int[Array, "B T"]) -> Stream:
        """Rows of the embedding; NaN for a token that is not in the vocabulary."""
        return self.embed(tokens)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        """The matrix from features to logits."""
        return self.unembed.kernel[...]

    @abstractmethod
    def deviation(self, name: str) -> float:
        """The standard deviation that a kernel or an embedding starts with."""
