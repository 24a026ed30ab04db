"""Gradients of single predictions' losses (paper section 4)."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, count, logits_at
from jquanta.machine.memory import usable_together
from jquanta.qdg.samples.prefixes import samples
from jquanta.qdg.samples.selection import Selection
from jquanta.qdg.views import scanned
from jquanta.qdg.views.parameters import PAPER, chosen, require_shapes
from jquanta.qdg.views.per_sample import Rows, per_sample, require_float32
from jquanta.qdg.views.ways import way_here
from jquanta.run.settings import as_bytes


def loss(
    config: LMConfig,
    params: Params,
    tokens: Int[Array, " T"],
    at: Int[Array, ""],
    target: Int[Array, ""],
) -> Float[Array, ""]:
    """Cross-entropy of one prediction, in nats: of ``target`` after ``tokens[: at + 1]``."""
    return cross_entropy(logits_at(config, params, tokens, at), target)


def cross_entropy(logits: Float[Array, " V"], target: Int[Array, ""]) -> Float[Array, ""]:
    """-log softmax(logits)[target], in nats."""
    return jax.nn.logsumexp(logits) - logits[target]


@cache
def gradient(
    config: LMConfig, names: tuple[str, ...]
) -> Callable[[Params, Array, Array, Array], dict[str, Array]]:
    """The function (params, tokens, at, target) → gradient of ``loss``, an array a name.

    A kernel's gradient is one product of inputs and what comes back, over the positions of the
    sample. Inner products of such gradients could be had without forming them, from all pairs of
    positions of two samples. That is less work only for prefixes shorter than
    √(n_in·n_out / (n_in + n_out)): 10 tokens at the 14m shape, 20 at 70m, 64 at 12b.
    """

    def one(params: Params, tokens: Array, at: Array, target: Array) -> dict[str, Array]:
        rest = {name: x for name, x in params.items() if name not in names}
        own = {name: params[name] for name in names}
        return jax.grad(lambda own: loss(config, rest | own, tokens, at, target))(own)

    return one


def gradient_rows(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    names: tuple[str, ...],
    batch_tokens: int | None = None,
) -> Rows:
    """The gradients of a selection as a source for ``exact``.

    On a CPU an array for each parameter, by its name. On accelerators those of like layers are one
    array, which ``Rows.by_name`` takes apart.
    """
    require_shapes(config, params)
    require_float32(params)
    selection.require_corpus(corpus)
    told = samples(corpus, selection.index, config)
    operations = 6.0 * count(config)[1]  # a multiplication and an addition, there and twice back
    if not way_here().scanned:
        one, constants = gradient(config, names), dict(params)
        return per_sample(one, constants, told, config, operations, batch_tokens)
    one, constants = scanned.gradient(config, names), scanned.stacked(config, params, names)
    by_name = partial(scanned.by_name, config, names)
    return per_sample(one, constants, told, config, operations, batch_tokens, by_name)


def loss_rows(config: LMConfig, params: Params, corpus: Corpus, selection: Selection) -> Rows:
    """The loss of each sample in nats, from its prefix alone: rows of a single number."""
    selection.require_corpus(corpus)
    return per_sample(
        _loss(config, way_here().scanned),
        loss_constants(config, params),
        samples(corpus, selection.index, config),
        config,
        operations=2.0 * count(config)[1],
    )


def loss_constants(config: LMConfig, params: Params) -> Params:
    """Parameters as the constants of ``loss_rows``."""
    return scanned.stacked(config, params) if way_here().scanned else dict(params)


@cache
def _loss(config: LMConfig, loops: bool) -> Callable[[Params, Array, Array, Array], Array]:
    return partial(scanned.loss, config, ()) if loops else partial(loss, config)


def gradients(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    *,
    parameters: str | Sequence[str] = PAPER,
    memory: int | str | None = None,
) -> Float32[np.ndarray, "Q P"]:
    """The gradient of each sample's loss, flat, not normalised, in the order of the selection.

    Args:
        config, params: the model, in float32.
        corpus: whose predictions.
        selection: which.
        parameters: with respect to what; see ``parameters.chosen``, whose order the columns have
            (``parameters.columns`` tells where each parameter lies).
        memory: what the result may take, in bytes or as ``"8 GB"``; most of what is free by
            default.

    Raises:
        BadInput: if the parts do not go together, or the result would not fit.
    """
    names = chosen(config, parameters)
    budget = usable_together() if memory is None else as_bytes(memory)
    return gradient_rows(config, params, corpus, selection, names).flat(names, budget)
