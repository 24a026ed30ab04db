"""A checkpoint of each family through the whole path, from the hub to the page, by the commands
that the documents show."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import jquanta as jq
from jquanta.cli import corpus, losses, model, qdg
from jquanta.lm.weights.save import save_model
from tests.lm.models.examples import VOCAB
from tests.lm.models.switches import SHAPES
from tests.lm.weights import examples
from tests.lm.weights.hub import COMMIT, Hub, asked_here

FAMILIES = (
    *("gpt_neox in sequence", "gpt_neox tied", "gpt_neo", "gpt2", "llama grouped"),
    *("mistral local", "qwen2 local", "qwen3", "olmo2", "gemma"),
)

WORDS = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
WORDS.pre_tokenizer = pre_tokenizers.Whitespace()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a model of each family, named after it, and a dataset."""
    place = tmp_path_factory.mktemp("hub")
    served = {}
    for name in FAMILIES:
        save_model(place / name, SHAPES[name], examples.params(SHAPES[name]), WORDS)
        served[identity(name)] = examples.contents(place / name)
    chance = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in chance.integers(0, VOCAB, 24)) for _ in range(8)]
    lines = "".join(json.dumps({"content": text}) + "\n" for text in texts).encode()
    made = Hub(served, {"main": COMMIT}, {"me/text": {"data/0.jsonl": lines}})
    with pytest.MonkeyPatch.context() as patch, asked_here(made, place / "cache", patch):
        yield made


def identity(family: str) -> str:
    return f"me/{family.replace(' ', '-')}"


@pytest.fixture(scope="module")
def tokens(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as a corpus of the models' tokenizer."""
    out = tmp_path_factory.mktemp("tokens") / "corpus"
    source = ["hf://datasets/me/text/data/*.jsonl", "--field", "content"]
    assert corpus.main([*source, "--tokenizer", "me/gpt2", "--out", str(out)]) == 0
    return out


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("family", FAMILIES)
def test_from_the_hub_to_the_page(
    family: str, hub: Hub, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = identity(family)
    assert model.main([name, "--check"]) == 0
    assert f"{name}@main: {family.split()[0]}, supported" in capsys.readouterr().out

    found, out = str(tmp_path / "losses"), tmp_path / "run"
    assert losses.main(["--corpus", str(tokens), "--out", found, "--model", name]) == 0
    assert np.isfinite(jq.open_losses(found).loss).all()

    words = f"--input.model {name} --input.corpus {tokens} --input.losses {found} --out {out}"
    words += " --select.threshold 99 --select.stride 16 --select.induction none"
    words += " --similarity.mode sketch --similarity.sketch_size 64 --cluster.counts 3"
    assert qdg.main(words.split()) == 0
    cosines = jq.qdg.open_similarity(out).cosine.to_numpy()
    assert cosines.shape[0] == 12
    assert np.isfinite(cosines).all()
    assert 0.01 < np.std(cosines[np.triu_indices(12, 1)]) < 1  # not all alike
    assert "quanta" in (out / "quanta.html").read_text(encoding="utf-8")
