"""Parameters by role: the counts of the paper and of the public code, and patterns."""

import re

import pytest

from jquanta.errors import BadInput
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import shapes
from jquanta.lm.models.pythia import pythia
from jquanta.qdg.views.parameters import chosen, columns, count

TINYSTORIES = GPTNeoConfig(layers=4, width=768, heads=16, vocab=50257)


def test_the_papers_counts() -> None:
    """Section 4: 18,902,016 numbers for 70m, and 18,903,040 where the last layer norm is kept."""
    config = pythia("70m")
    assert count(config, chosen(config, "paper")) == 18_902_016
    assert count(config, chosen(config, "reference")) == 18_903_040
    # By the public code's own rule, on today's names: neither "layernorm" nor "embed", and the
    # unembedding left out, which it had meant to leave out.
    d, layers = config.width, config.layers
    block = d * 3 * d + 3 * d + d * d + d + d * 4 * d + 4 * d + 4 * d * d + d
    assert layers * block + 2 * d == 18_903_040


def test_gpt_neo_by_role() -> None:
    d = TINYSTORIES.width
    block = 4 * d * d + d + d * 4 * d + 4 * d + 4 * d * d + d  # only the output has a bias
    assert count(TINYSTORIES, chosen(TINYSTORIES)) == 4 * block
    assert count(TINYSTORIES, chosen(TINYSTORIES, "reference")) == 4 * block + 2 * d


@pytest.mark.parametrize("config", [pythia("14m"), TINYSTORIES])
def test_roles_leave_out_norms_and_embeddings(config: object) -> None:
    names = chosen(config)  # type: ignore[arg-type]
    assert not [name for name in names if "norm" in name or "embed" in name or "position" in name]
    assert all(".attention." in name or ".mlp." in name for name in names)


def test_patterns() -> None:
    config = pythia("14m")
    assert chosen(config, r"layers\.3\.mlp\.") == tuple(
        f"layers.3.mlp.{x}" for x in ("down.bias", "down.kernel", "up.bias", "up.kernel")
    )
    two = chosen(config, [r"mlp\.up\.kernel", r"final_norm"])
    assert len(two) == 6 + 2
    assert list(two) == [name for name in shapes(config) if name in two]  # the flat order
    assert chosen(config, ["."]) == tuple(shapes(config))


def test_columns_lie_one_after_the_other() -> None:
    config = pythia("14m")
    names = chosen(config)
    at = columns(config, names)
    assert list(at) == list(names)
    assert at[names[0]].start == 0
    ends = [at[name].stop for name in names]
    assert [at[name].start for name in names[1:]] == ends[:-1]
    assert ends[-1] == count(config, names)


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (r"layers\.9\.", r"'layers\\\\.9\\\\.': in no name of this model; give paper, reference"),
        ("(", r"parameters '\(': no regular expression"),
        ([], r"parameters: empty; give paper"),
    ],
)
def test_bad_patterns(parameters: str, line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        chosen(pythia("14m"), parameters)
    assert not re.search("\n", str(caught.value))
