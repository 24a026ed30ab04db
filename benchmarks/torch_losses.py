"""Per-token losses with transformers on torch, as users of it would write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Array

from benchmarks.machine import torch_device
from jquanta.lm.models.config import LMConfig
from jquanta.lm.weights.save import save_model

Document = np.ndarray


class Rival:
    """The model in transformers, with its fused attention.

    Args:
        config, params: the model.
        folder: where it is saved in Hugging Face layout, for transformers to load.
    """

    def __init__(self, config: LMConfig, params: Mapping[str, Array], folder: Path):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        save_model(folder, config, params)
        self.device = torch_device()
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")  # in eval mode
        self.model = model.to(self.device)

    @torch.inference_mode()
    def single(self, documents: Sequence[Document]) -> list[np.ndarray]:
        """Losses in nats of one document after another, as in the paper's code."""
        return [self._losses(torch.tensor(document)[None])[0, :-1] for document in documents]

    @torch.inference_mode()
    def batched(self, documents: Sequence[Document], tokens: int) -> list[np.ndarray]:
        """Losses in nats, in batches of documents of similar length, padded to the longest.

        Attention is causal and padding is at the end, so no mask is needed.

        Args:
            documents: token ids of each.
            tokens: largest number of tokens in a batch.
        """
        order = sorted(range(len(documents)), key=lambda i: -len(documents[i]))
        found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(documents)
        while order and len(documents[order[0]]) > 1:
            length = len(documents[order[0]])
            count = max(1, tokens // length)
            batch, order = order[:count], order[count:]
            padded = torch.zeros(len(batch), length, dtype=torch.long)
            for row, i in enumerate(batch):
                padded[row, : len(documents[i])] = torch.tensor(documents[i])
            for i, losses in zip(batch, self._losses(padded), strict=True):
                found[i] = losses[: max(0, len(documents[i]) - 1)]
        return found

    def _losses(self, tokens: torch.Tensor) -> np.ndarray:
        """[B, T] losses in nats; that of the last position of each document has no meaning."""
        if not tokens.shape[1]:
            return np.zeros((len(tokens), 0), np.float32)
        tokens = tokens.to(self.device)
        logits = self.model(tokens, use_cache=False).logits.float()
        # Slicing off the last position would copy all logits, so it gets a target, too.
        losses = F.cross_entropy(
            logits.flatten(0, 1), tokens.roll(-1, 1).flatten(), reduction="none"
        )
        return losses.view(tokens.shape).cpu().numpy()
