"""Folders that workers share."""

from pathlib import Path

import pytest

from tests.shared import made_once


class Workers:
    """The temporary folders of one worker, as pytest-xdist lays them out."""

    def __init__(self, base: Path):
        self.base = base

    def getbasetemp(self) -> Path:
        return self.base


def test_a_folder_is_made_once_for_all_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    made = []

    def make(path: Path) -> None:
        path.mkdir()
        made.append(path)

    found = []
    for name in ("gw0", "gw1"):
        (tmp_path / name).mkdir()
        found.append(made_once(Workers(tmp_path / name), "folder", make))  # type: ignore[arg-type]
    assert found == made * 2
    assert found[0].is_dir()


def test_what_fails_is_made_again(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        made_once(Workers(tmp_path), "folder", fail)  # type: ignore[arg-type]
    assert made_once(Workers(tmp_path), "folder", Path.mkdir).is_dir()  # type: ignore[arg-type]
