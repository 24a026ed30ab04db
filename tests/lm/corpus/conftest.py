from pathlib import Path

import pytest

from jquanta.lm.corpus import build
from jquanta.lm.corpus.tokenizer import train_tokenizer
from tests.lm.corpus.samples import texts


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of 400 tokens: most characters beyond ASCII take several."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(texts(200, seed=1), 400, path)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches, each on disk at once."""
    monkeypatch.setattr(build, "BATCH_CHARACTERS", 3000)
    monkeypatch.setattr(build, "LEAST_INTERVAL", -1.0)
