"""What the commands share: bad input is told in one line, before anything is measured."""

from types import ModuleType

import pytest

from benchmarks import losses, parity, qdg, sketch

each = pytest.mark.parametrize("benchmark", [losses, parity, qdg, sketch])


@each
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--repeats", "0"], "--repeats 0: give at least 1"),
        (["--quik"], "did you mean --quick"),
        (["--out", "/"], "--out /: cannot be written (it is a folder)"),
        (["--out", "pyproject.toml/x"], "pyproject.toml is not a writable folder"),
    ],
)
def test_bad_input_is_one_line(
    benchmark: ModuleType, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@each
def test_without_torch_the_remedy_is_named(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert benchmark.main([]) == 2
    assert "make env-test" in capsys.readouterr().err
