"""What belongs to an attention head, told from the network itself."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.heads import Piece, of_head
from jquanta.lm.models.network import forward, init, shapes
from tests.lm.models.switches import SHAPES

LAYER = 1
KINDS = ("gpt_neox", "gpt_neo", "gpt2", "llama grouped", "qwen3 with biases", "olmo2 with biases")


def changed(params: Any, pieces: list[Piece], change: Callable[[Any], Any]) -> Any:
    """Parameters in which the numbers of some pieces are changed."""
    found = dict(params)
    for name, axis, start, stop in pieces:
        where = (slice(None),) * axis + (slice(start, stop),)
        found[name] = found[name].at[where].set(change(found[name][where]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_what_reaches_the_stream_by_its_rows(kind: str) -> None:
    """Where a head's rows of the last kernel are zero, what it attends to changes no logit, not in
    the last bit, and what another head attends to does."""
    config: Any = SHAPES[kind]
    params = init(config, jax.random.key(0))
    tokens = jnp.arange(12)[None] % config.vocab
    logits = jax.jit(lambda params: forward(config, params, tokens))
    group = config.heads // getattr(config, "kv_heads", config.heads)
    for head in range(config.heads):
        pieces = of_head(config, LAYER, head)
        own = [piece for piece in pieces if ".out." in piece.name]
        # Keys and values are of the whole group, so they are left as they are unless it is of one.
        # The norm of OLMo 2 divides the queries of all heads by one number.
        shared = (".key.", ".value.") if group > 1 else ()
        shared = (".query.", ".key.") if kind.startswith("olmo2") else shared
        read = [p for p in pieces if p not in own and not any(s in p.name for s in shared)]
        assert own
        assert read
        silent = changed(params, own, jnp.zeros_like)
        moved = changed(silent, read, lambda x: x + 0.5 * jnp.arange(x.size).reshape(x.shape) % 1)
        np.testing.assert_array_equal(logits(silent), logits(moved))
        loud = changed(params, own, lambda x: 10 * x)
        heard = changed(loud, read, lambda x: 3 * x + 1)
        assert (np.asarray(logits(loud)) != np.asarray(logits(heard))).any()


@pytest.mark.parametrize("kind", KINDS)
def test_heads_together_are_the_layers_kernels(kind: str) -> None:
    """Every number of queries, keys, values and the last kernel once for each head that has it."""
    config: Any = SHAPES[kind]
    counts = {name: np.zeros(shape, int) for name, shape in shapes(config).items()}
    for head in range(config.heads):
        for name, axis, start, stop in of_head(config, LAYER, head):
            counts[name][(slice(None),) * axis + (slice(start, stop),)] += 1
    group = config.heads // getattr(config, "kv_heads", config.heads)
    for name, found in counts.items():
        inside = name.startswith(f"layers.{LAYER}.attention.") and "norm" not in name
        wanted = inside * (group if ".key." in name or ".value." in name else 1)
        assert (found == (0 if name.endswith("out.bias") else wanted)).all(), name


@pytest.mark.parametrize(("layer", "head"), [(2, 0), (0, 4), (-1, 0)])
def test_heads_that_there_are_not(layer: int, head: int) -> None:
    config: LMConfig = SHAPES["gpt_neox"]
    with pytest.raises(BadInput, match=r"layers 0 to 1 with heads 0 to 3; give one of them$"):
        of_head(config, layer, head)
