"""The residual stream in place of gradients: a variant of the public code (paper section 4)."""

from collections.abc import Callable
from functools import cache

from jaxtyping import Array

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, count, residuals
from jquanta.qdg.samples.prefixes import samples
from jquanta.qdg.samples.selection import Selection
from jquanta.qdg.views.parameters import require_shapes
from jquanta.qdg.views.per_sample import Rows, per_sample


def activation_rows(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    layer: int,
    batch_tokens: int | None = None,
) -> Rows:
    """The residual stream [D] at the last token of each prefix, as a source for ``exact``.

    Args:
        config, params, corpus, selection, batch_tokens: as for ``similarity``.
        layer: after how many blocks: 0 is the embedding.

    Raises:
        BadInput: if there is no such layer.
    """
    if not 0 <= layer <= config.layers:
        raise BadInput(f"layer = {layer}: this model has layers 0 (embedding) to {config.layers}")
    require_shapes(config, params)
    selection.require_corpus(corpus)
    return per_sample(
        _activation(config, layer),
        dict(params),
        samples(corpus, selection.index, config),
        config,
        operations=2.0 * count(config)[1],
        batch_tokens=batch_tokens,
    )


@cache
def _activation(config: LMConfig, layer: int) -> Callable[[Params, Array, Array, Array], Array]:
    def one(params: Params, tokens: Array, at: Array, target: Array) -> Array:
        return residuals(config, params, tokens[None])[layer][0, at]

    return one
