"""Every folder and file of ours is known by its mark, and said what it is good for."""

import json
import tarfile
from pathlib import Path

import pytest

from jquanta.lm.taxonomy.learning import KIND
from jquanta.run import arrays, kinds

ROOT = Path(__file__).parents[2]

KNOWN = {
    "sweep": "sweep",
    "sweep/results.zarr": "sweep results",
    "suite": "suite",
    "suite/corpus/train": "corpus",
    "suite/losses": "losses",
    "losses/12.8k@step16": "losses of one model",
    "suite/models/12.8k": "revisions",
    "suite/models/12.8k/step16": "model",
    "quanta": "quanta",
    "quanta-cut": "quanta",
    "quanta/clusters.zarr": "part of quanta",
    "corpus.part": "unfinished corpus",
}
"""What version 0.1 wrote."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("stored")
    with tarfile.open(ROOT / "tests" / "stored" / "0.1.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place


def name_of(path: Path) -> str | None:
    found = kinds.kind_of(path)
    return found and found.name


def test_what_is_stored_is_known(stored: Path) -> None:
    assert {path: name_of(stored / path) for path in KNOWN} == KNOWN


def test_what_questions_store_is_known(tmp_path: Path) -> None:
    for name, attributes, kind in (
        ("stability.zarr", {"labels": "1"}, "part of quanta"),
        ("parts.zarr", {"samples": "1"}, "part of quanta"),
        ("spectrum.zarr", {"kind": KIND}, "spectrum"),
    ):
        arrays.make_group(tmp_path / name, attributes)
        assert name_of(tmp_path / name) == kind


def test_what_is_no_kind_of_ours_is_none(stored: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("config.toml", "config.json", "zarr.json", "meta.json", "record.json"):
        (foreign / name).write_bytes(b"\xff\x00[" * 2000)
    for path in (stored / "source", stored / "none", tmp_path, foreign, foreign / "config.json"):
        assert name_of(path) is None


def test_every_configuration_that_comes_with_us_is_known() -> None:
    found = {name_of(path) for path in (ROOT / "configs").rglob("*.toml")}
    assert found == {"sweep settings", "suite settings", "quanta settings"}
    assert name_of(ROOT / "configs") == "configurations"


def test_names_are_different() -> None:
    assert len({kind.name for kind in kinds.KINDS}) == len(kinds.KINDS)


@pytest.mark.parametrize(
    ("given", "wanted", "better"),
    [
        ("suite", "losses", "suite/losses"),
        ("sweep/results.zarr", "sweep", "sweep"),
        ("losses/12.8k@step16", "losses", "losses"),
        (".", "suite", "suite"),
    ],
)
def test_what_lies_near_is_named(stored: Path, given: str, wanted: str, better: str) -> None:
    error = str(kinds.wrong(stored / given, wanted, "make one"))
    assert error.endswith(f"give {stored / better}")


def test_what_it_is_and_how_it_is_used(stored: Path) -> None:
    told = str(kinds.wrong(stored / "sweep", "losses", "give a folder of losses", flag="--losses"))
    assert told == (
        f"--losses {stored}/sweep: is a sweep's folder (to use it: jquanta figures fig2 --runs "
        f"{stored}/sweep), not a folder of losses; give a folder of losses"
    )


def test_a_folder_in_a_run_that_is_not_finished(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "config.toml").write_text('[[model]]\nname = "a"\n')
    (suite / "record.json").write_text(json.dumps({"state": "running"}))
    told = str(kinds.wrong(suite / "models" / "a", "model", "give a model's folder"))
    assert told.endswith(
        f"not there yet: {suite} is the folder of a suite of language models, and not finished; go "
        f"on: jquanta pretrain {suite}/config.toml --out {suite}"
    )
