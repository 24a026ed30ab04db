"""The short form of ``make fuzz``: the first cases of each kind."""

import shutil
from pathlib import Path

import pytest

from tests.shared import made_once
from tests.trust import fuzz, places

CASES = {"configurations": 1000, "flags": 1000, "page text": 1000, "texts": 60, "models": 60}
"""By kind. What takes milliseconds is tried as often as in the long form."""

OF_FOLDERS = 30
"""Each takes up to a second, for all arrays are read."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(place: Path) -> None:
        place.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            fuzz.make(place, list(fuzz.KINDS))

    return made_once(tmp_path_factory, "trust", make)


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_it_answers_rightly_or_refuses(
    kind: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied(made, tmp_path / "place"))
    found = list(fuzz.cases(kind, tmp_path / "place", CASES.get(kind, OF_FOLDERS)))
    assert [case for case in found if case.fault] == []
    assert {case.outcome for case in found} - {"accepted"}  # something was damaged enough


def test_a_fault_is_seen(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that answers wrongly in silence, or raises something else, is caught."""
    monkeypatch.chdir(copied(made, tmp_path / "place"))

    files = [path for path in (tmp_path / "place" / "sweep").rglob("*") if path.is_file()]

    def careless(folder: Path) -> dict[str, bytes]:
        return {"length": str(sum(len(path.read_bytes()) for path in files)).encode()}

    monkeypatch.setitem(fuzz.ANSWERS, "sweep", careless)  # type: ignore[arg-type]
    monkeypatch.setattr(fuzz.jq, "check", lambda folder: [])
    faults = [case.fault for case in fuzz.cases("sweep", tmp_path / "place", 60)]
    assert any(fault.startswith("AssertionError") for fault in faults)
    assert any(fault.startswith("FileNotFoundError") for fault in faults)


def copied(made: Path, to: Path) -> Path:
    assert set(places.COMMANDS) <= {path.name for path in made.iterdir()}
    shutil.copytree(made, to)
    return to
