"""Loading through the real hub client, from a hub on loopback that fails to order."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

import jquanta as jq
from jquanta.errors import BadInput, RunFailed
from jquanta.lm.weights.sources import open_source
from tests.lm.weights import examples
from tests.lm.weights.hub import COMMIT, Hub, asked_here, etag

MODEL = "me/tiny"
OTHER_COMMIT = "f" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, an empty cache, and no wait between attempts."""
    files = examples.contents(examples.saved(tmp_path / "model"))
    made = Hub({MODEL: files}, {"main": COMMIT, "step1000": OTHER_COMMIT})
    with asked_here(made, tmp_path / "cache", monkeypatch):
        yield made


def loads() -> bool:
    """Whether the model can be loaded, and is what was put on the hub."""
    model = jq.load_model(MODEL)
    assert model.tokenizer is not None
    assert model.tokenizer.to_str() == examples.TOKENIZER.to_str()
    same = examples.same(model.params, examples.params(examples.NEOX))
    return model.config == examples.NEOX and same


def test_a_model_comes_once_and_then_from_the_cache(hub: Hub) -> None:
    assert loads()
    fetched = [name for method, name, _ in hub.requests if method == "GET"]
    assert sorted(fetched) == ["config.json", "model.safetensors", "tokenizer.json"]
    hub.requests.clear()
    assert loads()
    assert [request[:2] for request in hub.requests] == [("HEAD", "config.json")]  # any news?


def test_through_the_environment_in_a_process_of_its_own(hub: Hub, tmp_path: Path) -> None:
    """No part of the client is replaced here."""
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    program = (
        "import jquanta as jq\n"
        "model = jq.load_model('me/tiny', 'step1000')\n"
        "print(model.config, len(model.params), model.tokenizer.get_vocab_size())"
    )
    for offline in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | environment | {"HF_HUB_OFFLINE": offline, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split("\n")[0] == f"{examples.NEOX} 28 50"
        hub.models.clear()  # the second time there is nothing to fetch


def test_a_dropped_connection_is_taken_up_where_it_broke_off(hub: Hub) -> None:
    size = len(hub.models[MODEL]["model.safetensors"])
    half = size // 2
    hub.faults.drop_after["model.safetensors"] = half
    assert loads()
    gets = [r[2] for r in hub.requests if r[:2] == ("GET", "model.safetensors")]
    assert gets[0] is None
    assert len(gets) == 2
    assert gets[1] is not None
    begin = int(gets[1].removeprefix("bytes=").removesuffix("-"))
    assert half - 1024 <= begin <= half


def test_a_connection_that_always_drops_fails_and_can_be_taken_up(hub: Hub) -> None:
    hub.faults.drop_after["model.safetensors"] = 0
    hub.faults.always_drop = True
    with pytest.raises(RunFailed, match=r"me/tiny@main: model\.safetensors did not come .*again"):
        jq.load_model(MODEL)
    hub.faults.drop_after.clear()
    hub.requests.clear()
    assert loads()
    assert "config.json" not in [name for method, name, _ in hub.requests if method == "GET"]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_wrong_hash(hub: Hub, name: str) -> None:
    """Large files are known by sha256, small ones by git's hash; the size is right."""
    assert len(etag(hub.models[MODEL]["config.json"])) == 40
    assert len(etag(hub.models[MODEL]["model.safetensors"])) == 64
    hub.faults.corrupt.add(name)
    with pytest.raises(RunFailed, match=f"{name} is damaged .*run this again"):
        jq.load_model(MODEL)
    hub.faults.corrupt.clear()
    assert loads()


def test_a_cached_file_that_changed_is_found(hub: Hub, tmp_path: Path) -> None:
    assert loads()
    (blob,) = (tmp_path / "cache").glob("models--me--tiny/blobs/" + "?" * 64)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(RunFailed, match=r"model\.safetensors is damaged"):
        jq.load_model(MODEL)
    assert loads()


def test_shards_and_a_missing_one(hub: Hub, tmp_path: Path) -> None:
    names = examples.split(tmp_path / "model")
    hub.models[MODEL] = examples.contents(tmp_path / "model")
    del hub.models[MODEL][names[1]]
    with pytest.raises(BadInput, match=f"index.json names are missing: {names[1]}"):
        jq.load_model(MODEL)
    hub.revisions["main"] = "a" * 40  # the owner adds it
    hub.models[MODEL] = examples.contents(tmp_path / "model")
    assert loads()


def test_no_such_revision_and_no_such_model(hub: Hub) -> None:
    with pytest.raises(BadInput, match="me/tiny@step7: the hub has no such revision"):
        jq.load_model(MODEL, "step7")
    with pytest.raises(BadInput, match="me/huge: neither a folder here nor a model on the hub"):
        jq.load_model("me/huge")
    with pytest.raises(BadInput, match="me tiny: neither a folder here nor a model on the hub"):
        jq.load_model("me tiny")


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunFailed, match=r"config\.json is not in the cache.*HF_HUB_OFFLINE"):
        jq.load_model(MODEL)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert loads()
    hub.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert loads()
    assert hub.requests == []
    with pytest.raises(RunFailed, match="me/tiny@step1000: config"):
        jq.load_model(MODEL, "step1000")


def test_offline_with_shards(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples.split(tmp_path / "model")
    hub.models[MODEL] = examples.contents(tmp_path / "model")
    assert loads()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert loads()


def test_a_branch_that_moves_while_loading_does_not_mix_commits(hub: Hub) -> None:
    source = open_source(MODEL)
    hub.revisions["main"] = "a" * 40
    hub.revisions["old"] = COMMIT
    path = source.get("model.safetensors")
    assert path is not None
    assert path.parent.name == COMMIT


def test_an_old_name_loads_what_it_is_called_today_with_a_note(hub: Hub) -> None:
    hub.models["EleutherAI/pythia-70m-v0"] = hub.models[MODEL]
    with pytest.warns(UserWarning, match="pythia-19m is the old name of EleutherAI/pythia-70m-v0"):
        config = jq.load_model("pythia-19m").config
    assert config == examples.NEOX
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jq.load_model("EleutherAI/pythia-70m-v0")


def test_a_seed_of_polypythias_is_loaded_by_its_short_name(hub: Hub) -> None:
    hub.models["EleutherAI/pythia-160m-data-seed3"] = hub.models[MODEL]
    assert jq.load_model("pythia-160m-data-seed3").config == examples.NEOX
    with pytest.raises(BadInput, match="pythia-160m-data-seed4: there is no such model; PolyPythi"):
        jq.load_model("pythia-160m-data-seed4")


def test_no_configuration(hub: Hub) -> None:
    del hub.models[MODEL]["config.json"]
    with pytest.raises(BadInput, match=r"has no config\.json"):
        jq.load_model(MODEL)
    hub.models[MODEL]["config.json"] = json.dumps({"model_type": "bert"}).encode()
    hub.revisions["main"] = "a" * 40
    with pytest.raises(
        BadInput, match="model_type 'bert'; supported: gpt_neox, gpt_neo, gpt2, llama"
    ):
        jq.load_model(MODEL)
