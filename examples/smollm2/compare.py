"""Losses and gradients of a model's folder by jquanta and by transformers: ``compare.py DIR``."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoModelForCausalLM

import jquanta as jq
from jquanta.lm.models.network import forward
from jquanta.lm.weights.tables import source_keys, transposed
from jquanta.qdg.views.gradient import gradient
from jquanta.qdg.views.parameters import chosen

TEXT = """The Quantization Model of Neural Scaling explains the power law of loss with model size.
Neural networks learn discrete skills, in order of how often they are used. Permission is hereby
granted, free of charge, to any person obtaining a copy of this software and associated
documentation files, to deal in the software without restriction."""

GRADIENTS = 20


def main(folder: Path) -> None:
    """Both in float32."""
    model = jq.load_model(folder)
    assert model.tokenizer is not None
    tokens = np.array(model.tokenizer.encode(TEXT, add_special_tokens=False).ids, np.int32)
    places = np.arange(len(tokens) - 1)
    logits = jax.jit(forward, static_argnums=0)(model.config, model.params, tokens[None, :-1])[0]
    ours = -jax.nn.log_softmax(logits)[places, tokens[1:]]

    other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    outputs = other(torch.tensor(tokens[None, :-1], dtype=torch.long)).logits[0]
    wanted = torch.tensor(tokens[1:], dtype=torch.long)
    theirs = torch.nn.functional.cross_entropy(outputs, wanted, reduction="none")
    difference = np.abs(np.asarray(ours) - theirs.detach().numpy())
    print(f"losses of {len(places)} tokens, {float(ours.mean()):.2f} nats in the mean: they differ")
    print(f"by {difference.max():.2g} nats at most")

    names, keys = chosen(model.config), source_keys(model.config)
    one = jax.jit(gradient(model.config, names))
    weights, off = dict(other.named_parameters()), 0.0
    for at in np.linspace(3, len(places) - 1, GRADIENTS).astype(np.int32):
        other.zero_grad()
        theirs[at].backward(retain_graph=True)
        found = one(dict(model.params), tokens, jnp.asarray(at), jnp.asarray(tokens[at + 1]))
        inner = np.zeros(3)
        for name in names:
            turned = weights[keys[name]].grad.numpy()
            turned = turned.T if transposed(model.config, name) else turned
            x, y = (np.asarray(z, np.float64).ravel() for z in (found[name], turned))
            inner += x @ y, x @ x, y @ y
        off = max(off, 1 - inner[0] / np.sqrt(inner[1] * inner[2]))
    print(
        f"gradients of {GRADIENTS} of them, {sum(model.params[n].size for n in names):,} numbers:"
    )
    print(f"their cosines with transformers' are 1 - {off:.2g} or more")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: compare.py DIR")
    main(Path(sys.argv[1]))
