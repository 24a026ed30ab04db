"""Both architectures in torch, by Hugging Face's names, in the dtype of the weights throughout.

Written from the papers' formulas: one head, one query at a time, no mask and no fused product.
``transformers`` casts rotary tables and softmaxes to float32; this does not, so that in float64
it says what is right to 1e-12.
"""

from collections.abc import Mapping, Sequence

import pytest

torch = pytest.importorskip("torch")


State = Mapping[str, torch.Tensor]


def under(state: State, prefix: str) -> dict[str, torch.Tensor]:
    """The entries of a module, by their names in it."""
    return {k[len(prefix) + 1 :]: x for k, x in state.items() if k.startswith(prefix + ".")}


def norm(state: State, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt() * state["weight"]
        + (state["bias"])
    )


def dense(state: State, x: torch.Tensor) -> torch.Tensor:
    return x @ state["weight"].T + state.get("bias", 0)


def rotate(x: torch.Tensor, n: int, base: float = 10000.0) -> torch.Tensor:
    """Rotary positions of one head [T, K]: pairs (i, i + n/2) as complex numbers, i < n/2."""
    rates = torch.tensor([base ** (-2 * i / n) for i in range(n // 2)], dtype=x.dtype)
    angles = torch.arange(len(x), dtype=x.dtype)[:, None] * rates
    turned = torch.complex(x[:, : n // 2], x[:, n // 2 : n]) * torch.exp(1j * angles)
    return torch.cat([turned.real, turned.imag, x[:, n:]], -1)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None = None
) -> torch.Tensor:
    """One head's causal attention [T, K], a query at a time."""
    rows = []
    for t in range(len(q)):
        first = 0 if window is None else max(0, t - window + 1)
        shares = torch.exp(scale * (k[first : t + 1] @ q[t]))
        rows.append(shares @ v[first : t + 1] / shares.sum())
    return torch.stack(rows)


def neox_attention(state: State, x: torch.Tensor, heads: int, rotary: int) -> torch.Tensor:
    outputs = []
    for qkv in dense(under(state, "query_key_value"), x).chunk(heads, -1):
        q, k, v = qkv.chunk(3, -1)
        outputs.append(attend(rotate(q, rotary), rotate(k, rotary), v, q.shape[1] ** -0.5))
    return dense(under(state, "dense"), torch.cat(outputs, -1))


def neox_block(state: State, x: torch.Tensor, heads: int, rotary: int) -> torch.Tensor:
    before = norm(under(state, "input_layernorm"), x)
    attention = neox_attention(under(state, "attention"), before, heads, rotary)
    hidden = dense(
        under(state, "mlp.dense_h_to_4h"), norm(under(state, "post_attention_layernorm"), x)
    )
    gelu = hidden * torch.distributions.Normal(0.0, 1.0).cdf(hidden)  # type: ignore[no-untyped-call]
    return x + attention + dense(under(state, "mlp.dense_4h_to_h"), gelu)


def neox_logits(
    state: State, tokens: torch.Tensor, layers: int, heads: int, rotary: int
) -> torch.Tensor:
    """Logits [T, V] of one document."""
    x = state["gpt_neox.embed_in.weight"][tokens]
    for i in range(layers):
        x = neox_block(under(state, f"gpt_neox.layers.{i}"), x, heads, rotary)
    return norm(under(state, "gpt_neox.final_layer_norm"), x) @ state["lm_head.weight"].T


def neo_attention(state: State, x: torch.Tensor, heads: int, window: int | None) -> torch.Tensor:
    parts = [
        dense(under(state, name), x).chunk(heads, -1) for name in ("q_proj", "k_proj", "v_proj")
    ]
    outputs = [attend(q, k, v, 1.0, window) for q, k, v in zip(*parts, strict=True)]
    return dense(under(state, "out_proj"), torch.cat(outputs, -1))


def neo_block(state: State, x: torch.Tensor, heads: int, window: int | None) -> torch.Tensor:
    before = norm(under(state, "ln_1"), x)
    x = x + neo_attention(under(state, "attn.attention"), before, heads, window)
    hidden = dense(under(state, "mlp.c_fc"), norm(under(state, "ln_2"), x))
    inner = (2 / torch.pi) ** 0.5 * (hidden + 0.044715 * hidden**3)
    return x + dense(under(state, "mlp.c_proj"), 0.5 * hidden * (1 + torch.tanh(inner)))


def neo_logits(
    state: State, tokens: torch.Tensor, heads: int, windows: Sequence[int | None]
) -> torch.Tensor:
    """Logits [T, V] of one document; the window of each block, None for global attention."""
    embedding = state["transformer.wte.weight"]
    x = embedding[tokens] + state["transformer.wpe.weight"][: len(tokens)]
    for i, window in enumerate(windows):
        x = neo_block(under(state, f"transformer.h.{i}"), x, heads, window)
    return norm(under(state, "transformer.ln_f"), x) @ embedding.T


def losses(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Cross-entropy [T - 1] in nats of each token but the first, over all V rows."""
    own = logits[:-1].gather(1, tokens[1:, None])[:, 0]
    return logits[:-1].exp().sum(-1).log() - own
