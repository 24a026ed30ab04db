"""QDG's gradients and similarities plainly in PyTorch, as the public code goes about them.

A whole document at a time through ``transformers``, all its logits, one backward a sample; here
the parameters are told by what they are for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from jquanta.lm.corpus.reader import Corpus

torch = pytest.importorskip("torch")


def names(model: Any, parameters: str) -> list[str]:
    """Hugging Face's names of what is differentiated: kernels and biases, of attention and MLP."""
    inner = [n for n, _ in model.named_parameters() if ".attn." in n or ".attention." in n]
    inner += [n for n, _ in model.named_parameters() if ".mlp." in n]
    last = ("final_layer_norm", "ln_f") if parameters == "reference" else ()
    return inner + [n for n, _ in model.named_parameters() if n.split(".")[-2] in last]


def gradients(
    model: Any, corpus: Corpus, index: Sequence[int], wanted: Sequence[str]
) -> dict[str, np.ndarray]:
    """The gradient of each prediction's loss, a stack a parameter."""
    parameters = dict(model.named_parameters())
    found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for i in index:
        document, position = (int(x) for x in corpus.locate(i))
        tokens = torch.tensor(corpus.document(document).astype(np.int64))
        model.zero_grad()
        logits = model(tokens[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")
        losses[position].backward()
        for name in wanted:
            gradient = parameters[name].grad
            assert gradient is not None
            found[name].append(gradient.numpy().copy())
    return {name: np.stack(rows) for name, rows in found.items()}


def flat(gradients: dict[str, np.ndarray]) -> np.ndarray:
    """[Q, P] the gradients of all parameters, in the given order."""
    return np.concatenate([x.reshape(len(x), -1) for x in gradients.values()], 1)


def cosines(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of rows, and of their absolute values: in float64, for torch's float32 norms of 10^5
    numbers are off by 1e-5."""
    unit = torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)
    return (unit @ unit.T).numpy(), (unit.abs() @ unit.abs().T).numpy()
