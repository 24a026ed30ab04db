"""Losses by domain: ``domains.py [TEXTS [CORPUS [LOSSES]]]``, which corpus.py and jquanta made."""

import sys
from pathlib import Path

import numpy as np

import jquanta as jq
from jquanta import qdg


def main(texts: str, built: str, stored: str) -> None:
    """A line for each domain: the first folder in the paths of its files."""
    corpus = jq.open_corpus(built)
    losses = jq.open_losses(stored)
    domains: list[str] = []  # of each document; long files were split
    for path in sorted(path for path in Path(texts).rglob("*") if path.is_file()):
        tokens = corpus.tokenizer.encode(path.read_text("utf-8"), add_special_tokens=False).ids
        parts = -(-len(tokens) // corpus.meta.recipe.max_length)
        domains += [path.relative_to(texts).parts[0]] * parts
    assert len(domains) == corpus.n_documents
    of = np.repeat(domains, np.diff(corpus.starts))
    loss = losses.loss.values[:, 0]
    kept = np.zeros(len(loss), bool)
    kept[qdg.select(corpus, losses, stride=1, count=None).index] = True
    print("domain       predictions   nats  below 0.1  and no induction")
    for name in [*np.unique(domains), "all"]:
        own = of == name if name != "all" else np.ones(len(loss), bool)
        below = np.mean(loss[own] < 0.1)
        print(f"{name:<12}{own.sum():>12,}{loss[own].mean():>7.2f}{below:>11.1%}", end="")
        print(f"{kept[own].mean():>18.1%}")


if __name__ == "__main__":
    given = sys.argv[1:]
    if len(given) > 3:
        sys.exit("usage: domains.py [TEXTS [CORPUS [LOSSES]]]")
    main(*given, *["texts/smollm2", "corpora/smollm2", "losses/smollm2"][len(given) :])
