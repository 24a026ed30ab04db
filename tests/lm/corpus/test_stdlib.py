import ast
import json
from pathlib import Path

import pytest

from jquanta.errors import BadInput
from jquanta.lm.corpus.sources import Files
from jquanta.lm.corpus.stdlib import split, stdlib_files


def test_the_standard_library_is_there_and_readable() -> None:
    files = stdlib_files()
    names = [files.relative(path) for path in files.paths]
    assert names == sorted(names)
    assert Path(json.__file__) in files.paths
    assert Path(ast.__file__) in files.paths
    folders = {part for name in names for part in Path(name).parts[:-1]}
    assert not folders & {"site-packages", "test", "tests", "__pycache__"}
    assert not any("_sysconfigdata" in name for name in names)
    texts = [document.text for document in files.documents()]
    assert len(texts) == len(names)
    assert sum(map(len, texts)) > 5e6  # about 12 MB in Python 3.11


def made(tmp_path: Path, count: int) -> Files:
    paths = tuple(tmp_path / f"{i:04d}.py" for i in range(count))
    for path in paths:
        path.touch()
    return Files(tmp_path, paths)


def test_split_is_by_name_and_keeps_the_order(tmp_path: Path) -> None:
    few, more = made(tmp_path, 500), made(tmp_path, 1000)
    train, test = split(more, 0.2)
    assert sorted(train.paths + test.paths) == list(more.paths)
    assert list(train.paths) == sorted(train.paths)
    assert list(test.paths) == sorted(test.paths)
    # Binomial: 200 expected, standard deviation 12.6; the names and so the number are fixed.
    assert abs(len(test.paths) - 200) < 50
    # Another root and other neighbours move no file.
    (tmp_path / "elsewhere").mkdir()
    others = split(made(tmp_path / "elsewhere", 500), 0.2)
    for side, whole in zip(others, (train, test), strict=True):
        assert {p.name for p in side.paths} == {p.name for p in whole.paths} & {
            p.name for p in few.paths
        }


@pytest.mark.parametrize("held_out", [0.0, 1.0])
def test_no_side_may_be_empty(held_out: float, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leaves one side of 20 files empty"):
        split(made(tmp_path, 20), held_out)
