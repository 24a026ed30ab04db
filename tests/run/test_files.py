"""Paths that users give."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.corpus.sources import open_source
from jquanta.lm.corpus.tokenizer import load_tokenizer
from jquanta.qdg.clusters.cluster import open_clusters
from jquanta.run.files import as_path, require_place

IMPOSSIBLE = ("x" * 5000, "a\0b", "a\ud800", "~nobody-of-this-name/x", "loop")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    return tmp_path


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize(
    "take",
    [
        as_path,
        require_place,
        jq.check,
        jq.load_config,
        jq.load_model,
        jq.open_corpus,
        jq.open_losses,
        jq.open_results,
        jq.qdg.open_run,
        jq.qdg.open_similarity,
        open_clusters,
        open_source,
        load_tokenizer,
    ],
)
def test_a_name_that_nothing_can_have(here: Path, take: Callable[[Any], Any], name: str) -> None:
    path: Any = Path(name) if take is require_place else name
    with pytest.raises(BadInput) as caught:
        take(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert as_path("~/x") == Path("/somewhere/x")
    assert as_path("none/yet") == Path("none/yet")
