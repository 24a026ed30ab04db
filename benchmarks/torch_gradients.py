"""Cosines of gradients with transformers on torch: the reference algorithm, and vmap(grad).

Shapes: Q samples, q samples in a block, P parameters.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from benchmarks.stopwatch import timed
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.weights.tables import source_keys
from jquanta.qdg.samples.prefixes import Prefixes
from jquanta.qdg.views.parameters import chosen

Block = Callable[[range], torch.Tensor]
"""From numbers of samples to their normalised gradients [q, P]."""


def names(config: LMConfig) -> list[str]:
    """Hugging Face's names of the parameters with respect to which the paper takes gradients."""
    keys = source_keys(config)
    return [keys[name] for name in chosen(config)]


class Reference:
    """Gradients as the paper's public code computes them.

    For each sample a forward pass over the whole document, all its logits and losses, and one
    backward pass from the loss of the sample.
    """

    def __init__(self, model: Any, corpus: Corpus, index: np.ndarray, names: Sequence[str]):
        parameters = dict(model.named_parameters())
        self.model, self.corpus, self.index = model, corpus, index
        self.parameters = [parameters[name] for name in names]

    def __call__(self, rows: range) -> torch.Tensor:
        """[q, P] the normalised gradients of the samples ``index[rows]``."""
        device = self.parameters[0].device
        numbers = sum(parameter.numel() for parameter in self.parameters)
        found = torch.empty(len(rows), numbers, device=device)
        for place, row in enumerate(rows):
            document, position = (int(x) for x in self.corpus.locate(self.index[row]))
            tokens = torch.tensor(self.corpus.document(document).astype(np.int64), device=device)
            self.model.zero_grad()
            logits = self.model(tokens[None], use_cache=False).logits[0, :-1]
            losses = F.cross_entropy(logits, tokens[1:], reduction="none")
            losses[position].backward()
            found[place] = torch.cat([parameter.grad.flatten() for parameter in self.parameters])
        unit = F.normalize(found, dim=1)
        if unit.is_cuda:
            torch.cuda.synchronize()
        return unit


def blockwise(gradients: Block, samples: int, block: int) -> torch.Tensor:
    """[Q, Q] cosines by the algorithm of the public code, for each pair of blocks in turn.

    It computes the gradients of the second block again for every pair.
    """
    spans = blocks(samples, block)
    cosine = torch.empty(samples, samples)
    for number, i in enumerate(spans):
        one = gradients(i)
        for j in islice(spans, number, None):
            product = (one @ gradients(j).T).cpu()
            cosine[i.start : i.stop, j.start : j.stop] = product
            cosine[j.start : j.stop, i.start : i.stop] = product.T
    return cosine


def blocks(samples: int, block: int) -> list[range]:
    """Cut samples into blocks; the last one may be shorter."""
    return [range(at, min(at + block, samples)) for at in range(0, samples, block)]


def passes(samples: int, block: int) -> int:
    """How many gradients ``blockwise`` computes.

    Those of block j are computed once for each pair (i, j), i = 0 … j, and once as the first block.
    """
    return sum((j + 2) * len(span) for j, span in enumerate(blocks(samples, block)))


class Once:
    """Computes the gradients of a block once, but counts their time whenever they are requested.

    So the reference algorithm, which would compute them again, can be timed faster.
    """

    def __init__(self, gradients: Block):
        self.gradients = gradients
        self.made: dict[range, tuple[float, torch.Tensor]] = {}
        self.asked = 0.0
        """Seconds that the requests would have taken without this cache."""

    @property
    def spent(self) -> float:
        """Seconds that the blocks took, each computed once."""
        return sum(seconds for seconds, _ in self.made.values())

    def __call__(self, rows: range) -> torch.Tensor:
        if rows not in self.made:
            self.made[rows] = timed(lambda: self.gradients(rows))
        seconds, unit = self.made[rows]
        self.asked += seconds
        return unit


class PerSample:
    """Each gradient once, by vmap(grad) over prefixes of similar length.

    Logits are computed at the predicted position only.
    """

    def __init__(self, model: Any, names: Sequence[str]):
        parameters = dict(model.named_parameters())
        self.own = {name: parameters[name].detach() for name in names}

        def loss(
            own: dict[str, torch.Tensor],
            tokens: torch.Tensor,
            at: torch.Tensor,
            target: torch.Tensor,
        ) -> torch.Tensor:
            asked = {"use_cache": False, "logits_to_keep": at[None, None]}
            logits = functional_call(model, own, (tokens[None],), asked).logits
            return F.cross_entropy(logits[0], target[None])

        self.gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0))

    @torch.no_grad()  # else the parameters that stay as they are would be differentiated, too
    def cosines(self, prefixes: Prefixes, batch_tokens: int) -> np.ndarray:
        """[Q, Q], from batches of at most so many tokens, padded to their longest.

        Samples are processed in batches of similar length, padded to the longest prefix. Attention
        is causal and padding is at the end, so no mask is needed.

        Args:
            samples: the prefixes and targets.
            batch_tokens: largest number of tokens in a batch.
        """
        device = next(iter(self.own.values())).device
        numbers = sum(parameter.numel() for parameter in self.own.values())
        unit = torch.empty(len(prefixes), numbers, device=device)
        order = np.argsort(-prefixes.lengths, kind="stable")
        while len(order):
            length = int(prefixes.lengths[order[0]])
            count = max(1, batch_tokens // length)
            rows, order = order[:count], order[count:]
            inputs = (
                prefixes.tokens(rows, length),
                prefixes.lengths[rows] - 1,
                prefixes.targets[rows],
            )
            found = self.gradients(
                self.own, *(torch.tensor(x.astype(np.int64), device=device) for x in inputs)
            )
            flat = torch.cat([gradient.flatten(1) for gradient in found.values()], 1)
            unit[torch.tensor(rows, device=device)] = F.normalize(flat, dim=1)
        return (unit @ unit.T).cpu().numpy()
