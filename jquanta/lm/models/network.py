"""Language models as pure functions of a flat dictionary of named parameters.

Each array has a name such as ``layers.3.attention.out.kernel``, and all architectures use the same
names for the same things. To choose some of the parameters is a comprehension, and ``|`` puts them
back::

    chosen = {name: x for name, x in params.items() if role(name) in (Role.ATTENTION, Role.MLP)}
    loss = lambda chosen: ...forward(config, params | chosen, tokens)...

Products have the dtype of the parameters; layer norms' statistics, attention's softmax and logits
are float32 or better.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.models import columns
from jquanta.lm.models.base import Linear, Network, Tap
from jquanta.lm.models.columns import Columns
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gemma import Gemma, GemmaConfig
from jquanta.lm.models.gpt2 import GPT2, GPT2Config
from jquanta.lm.models.gpt_neo import GPTNeo, GPTNeoConfig
from jquanta.lm.models.gpt_neox import GPTNeoX
from jquanta.lm.models.layout import Layout
from jquanta.lm.models.llama import Llama, LlamaConfig, MistralConfig
from jquanta.lm.models.olmo2 import Olmo2, Olmo2Config
from jquanta.lm.models.qwen import Qwen2Config, Qwen3, Qwen3Config
from jquanta.lm.models.roles import Role, role
from jquanta.lm.models.rows import Apart, Packed, Stream

NETWORKS: Mapping[type[LMConfig], Callable[..., Network]] = {
    GPTNeoXConfig: GPTNeoX,
    GPTNeoConfig: GPTNeo,
    GPT2Config: GPT2,
    LlamaConfig: Llama,
    MistralConfig: Llama,
    Qwen2Config: Llama,
    Qwen3Config: Qwen3,
    Olmo2Config: Olmo2,
    GemmaConfig: Gemma,
}
"""The architectures: the network of each class of shapes.

To add a decoder, write its shape and its network in a file beside this one (``gpt_neo`` is an
example), enter them here, and add the table of its names and settings to ``lm.weights.tables``.
"""

Params = Mapping[str, Array]
"""Parameters by name."""

NO_TAPS: Mapping[str, Tap] = {}

# Products of float32 numbers in full float32. JAX's default on recent GPUs would be TF32, which
# keeps 10 bits of their fractions. Products of bfloat16 numbers are the same either way.
PRECISION = "highest"


def forward(
    config: LMConfig,
    params: Params,
    tokens: Int[Array, "B T"],
    at: Int[Array, "B T_out"] | None = None,
    *,
    precision: str = PRECISION,
) -> Float[Array, "B T_out V"]:
    """Logits of the token that follows each position.

    A position sees itself and earlier ones only, so padding after a document changes nothing. Pure,
    differentiable in ``params``, and works under jit, vmap and grad.

    Args:
        config: the model's shape (static under jit).
        params: arrays by name, as ``init`` or ``jquanta.load_model`` give.
        tokens: ids; one outside the vocabulary makes its document's logits NaN.
        at: positions at which logits are wanted, T_out of each document; None for all. The
            product with the unembedding is most of a small model's work, so ask for what is needed.
        precision: of float32 products, one of ``jax.default_matmul_precision``'s names.

    Raises:
        BadInput: if there are more tokens than the model's context.
    """
    with jax.default_matmul_precision(precision):
        network = build(config, params)
        x = network.features(tokens, _layouts(config, Apart, at))
        wide = jnp.promote_types(x.dtype, jnp.float32)  # bfloat16 products, float32 logits
        return jnp.matmul(x, network.unembedding, preferred_element_type=wide)


def logits_at(
    config: LMConfig,
    params: Params,
    tokens: Int[Array, " T"],
    at: Int[Array, ""],
    taps: Mapping[str, Tap] = NO_TAPS,
) -> Float[Array, " V"]:
    """Logits of the token that follows ``tokens[: at + 1]``: ``forward`` at one position of one
    sequence, laid out for gradients on a CPU (``columns``).

    Args:
        config: the model's shape (static under jit).
        params: arrays by name, float32 or float64.
        tokens: ids; one outside the vocabulary makes the logits NaN.
        at: the position. The last block computes its output there only.
        taps: by the name of a linear layer, such as ``layers.3.mlp.up``: a function of the layer's
            input [n_in, T], whose value [n_out, T] is added to the layer's output.

    Raises:
        BadInput: if there are more tokens than the model's context, or a tap is of what is no
            linear layer.
    """
    network = build(config, params, taps)
    x = network.features(tokens, _layouts(config, Columns, at))
    return columns.einsum("d,dv->v", x[:, 0], network.unembedding)


def features(
    config: LMConfig, params: Params, tokens: Int[Array, "B T"], *, precision: str = PRECISION
) -> Stream:
    """The output of the last layer norm: ``forward`` is ``features @ unembedding``."""
    with jax.default_matmul_precision(precision):
        return build(config, params).features(tokens, _layouts(config, Apart))


def stack(
    config: LMConfig, params: Params, put: Callable[[NDArray[Any]], Array] = jnp.asarray
) -> dict[str, Array]:
    """Parameters as ``packed_features`` takes them: those of all blocks in one array with an axis
    of layers in front, under the name of the first block's.

    Args:
        config: the model's shape.
        params: by name.
        put: moves an array to where it is to lie. Only one stacked array at a time is in the host's
            memory beside the parameters.
    """
    own = "layers.0."
    numbers = range(config.layers)
    return {
        name: put(np.stack([params[f"layers.{i}.{name.removeprefix(own)}"] for i in numbers]))
        if name.startswith(own)
        else put(np.asarray(params[name]))
        for name in shapes(config.of_one_block())
    }


def packed_features(
    config: LMConfig,
    stacked: Params,
    tokens: Int[Array, "B T"],
    start: Int[Array, "B T"],
    *,
    precision: str = PRECISION,
) -> Stream:
    """``features`` of documents that are packed into rows, by a scan over the blocks, so that XLA
    compiles a single one.

    Args:
        config: the model's shape (static under jit).
        stacked: what ``stack`` gives.
        tokens: ids; at positions of padding, any in the vocabulary. A row may be longer than the
            model's context, a document may not.
        start: where the document of each position begins in its row; at a position of padding,
            that position.
        precision: of float32 products, one of ``jax.default_matmul_precision``'s names.
    """
    windows = None
    if any(config.windows):
        # A scan needs a number for every block: a window as long as the row leaves nothing out.
        windows = jnp.array([window or tokens.shape[1] for window in config.windows])
    with jax.default_matmul_precision(precision):
        network, layout = build(config.of_one_block(), stacked), Packed(start)
        x = network.looped(network.embedded(tokens, layout), start, windows)
        return network.final_norm(x, layout)


def residuals(
    config: LMConfig, params: Params, tokens: Int[Array, "B T"], *, precision: str = PRECISION
) -> tuple[Stream, ...]:
    """The residual stream before the first block and after each block: L + 1 arrays."""
    with jax.default_matmul_precision(precision):
        return build(config, params).residuals(tokens, _layouts(config, Apart))


def unembedding(config: LMConfig, params: Params) -> Float[Array, "D V"]:
    """The matrix from features to logits; the embedding transposed where they are tied."""
    return build(config, params).unembedding


def build(config: LMConfig, params: Params, taps: Mapping[str, Tap] = NO_TAPS) -> Network:
    """The model as a Flax NNX module that holds ``params``; ``taps`` as for ``logits_at``."""
    skeleton = _skeleton(config)
    leaves = [params[name] for name in skeleton.shapes]
    network = nnx.merge(skeleton.graph, jax.tree.unflatten(skeleton.structure, leaves))
    for name, tap in taps.items():
        try:
            layer = _module(network, name)
        except (AttributeError, LookupError, TypeError):
            layer = None
        if not isinstance(layer, Linear):  # another would pass it over
            raise BadInput(f"taps: {name} is no linear layer; give one such as layers.0.mlp.up")
        layer.tap = tap
    return network


def init(config: LMConfig, key: Array, dtype: DTypeLike = jnp.float32) -> dict[str, Array]:
    """Parameters to start training from, a function of the key and the shape only.

    Scales of norms are 1, biases and gains 0, kernels and embeddings normal numbers with the
    deviation that the architecture states (``Network.deviation``).

    Args:
        config: the model's shape.
        key: a JAX key (``jax.random.key``); under vmap, one model a key.
        dtype: of the parameters.
    """
    network = _make(config)

    def initial(i: int, name: str, shape: tuple[int, ...]) -> Array:
        if name.endswith(".scale"):
            return jnp.ones(shape, dtype)
        if name.endswith((".bias", ".gain")):
            return jnp.zeros(shape, dtype)
        numbers = jax.random.normal(jax.random.fold_in(key, i), shape)
        return (network.deviation(name) * numbers).astype(dtype)

    return {name: initial(i, name, s) for i, (name, s) in enumerate(shapes(config).items())}


def named(network: Network) -> dict[str, Array]:
    """The parameters of a module by name: the inverse of ``build``."""
    return {_name(path): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(network))}


def shapes(config: LMConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, by name; no array is made."""
    return dict(_skeleton(config).shapes)


def count(config: LMConfig) -> tuple[int, int]:
    """The number of parameters: of all, and of all but embeddings and unembedding."""
    sizes = {name: int(np.prod(shape)) for name, shape in shapes(config).items()}
    outer = (Role.EMBEDDING, Role.UNEMBEDDING)
    return sum(sizes.values()), sum(n for name, n in sizes.items() if role(name) not in outer)


def _module(network: Network, name: str) -> Any:
    """A part of a network by its name, such as ``layers.3.mlp.up``."""
    found: Any = network
    for part in name.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found


def _make(config: LMConfig) -> Network:
    if type(config) not in NETWORKS:
        known = " or a ".join(one.__name__ for one in NETWORKS)
        raise TypeError(f"{type(config).__name__}: give a {known}")
    return NETWORKS[type(config)](config)


def _layouts(
    config: LMConfig, layout: Callable[..., Layout], at: Array | None = None
) -> list[Layout]:
    """The layout of each block. Only the last may leave positions out: those before make the keys
    and values of all positions, which later blocks need."""
    *windows, last = config.windows
    return [*(layout(window) for window in windows), layout(last, at)]


class _Skeleton(NamedTuple):
    """A module without its parameters, as ``nnx.merge`` puts them together again.

    Attributes:
        graph: the module's structure.
        structure: of the tree of parameters.
        shapes: of the parameters by name, in the order of that tree's leaves.
    """

    graph: Any
    structure: Any
    shapes: dict[str, tuple[int, ...]]


@cache
def _skeleton(config: LMConfig) -> _Skeleton:
    graph, state = nnx.split(_make(config))
    sizes = {_name(path): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    return _Skeleton(graph, jax.tree.structure(state), sizes)


def _name(path: Iterable[Any]) -> str:
    return ".".join(map(str, path))
