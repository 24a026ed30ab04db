"""What is lost, cut short or altered on disk gives one line, in every kind of folder."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jquanta as jq
from jquanta import integrity, qdg
from jquanta.cli import check
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import open_corpus
from jquanta.qdg.questions.emergence import save_emergence
from jquanta.run import arrays, sums
from tests.lm.corpus.samples import write_corpus
from tests.lm.pretrain import examples
from tests.shared import made_once
from tests.sweep.examples import TINY
from tests.trust.damage import damaged

Folder = Callable[[pytest.TempPathFactory], Path]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "tiny", lambda path: jq.run_sweep(TINY, path))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = made_once(tmp_path_factory, "suite-text", examples.source)
    return made_once(
        tmp_path_factory, "suite", lambda path: jq.pretrain(examples.suite(source), path)
    )


def assert_refused_or_right(
    folder: Path, copy: Path, count: int, read: Callable[[Path], Any], least: int
) -> None:
    """Damaged in ``count`` ways, one after another, a copy is read as it was written or refused in
    one line; at least ``least`` of the ways are refused."""
    shutil.copytree(folder, copy)
    right, refused = read(copy), 0
    for number in range(count):
        with damaged(copy, random.Random(number)) as damage:
            try:
                found = read(copy)
            except BadInput as error:
                said = str(error)
                refused += 1
            else:
                said = "" if found == right else f"read as if nothing were wrong:\n{damage}"
        assert "\n" not in said, said
    assert refused >= least


def numbers(*datasets: Any) -> list[bytes]:
    """All numbers and texts of Datasets."""
    return [
        np.asarray(array.to_numpy(), str if array.dtype.kind in "OT" else None).tobytes()
        for dataset in datasets
        for _, array in sorted(dataset.variables.items())
    ]


def read_sweep(folder: Path) -> list[Any]:
    networks = [jq.load_run(folder, run).network for run in range(2)]
    return [
        *numbers(jq.open_results(folder)),
        *(np.asarray(network.layers[0].kernel[...]).tobytes() for network in networks),
    ]


def test_a_sweep(tiny: Path, tmp_path: Path) -> None:
    assert_refused_or_right(tiny, tmp_path / "copy", 60, read_sweep, least=50)


def test_a_lost_chunk_of_a_sweep(tiny: Path, tmp_path: Path) -> None:
    """It was read as zeros: seed 0 for all runs."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    for name in ("seed", "subset", "step", "loss", "accuracy"):
        chunk = next(path for path in (copy / "results.zarr" / name / "c").rglob("0*"))
        chunk = next(path for path in (chunk, *chunk.rglob("*")) if path.is_file())
        content = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(BadInput, match=rf"damaged: {name}/c/0.* is missing; .*delete"):
            jq.open_results(copy)
        chunk.write_bytes(content)
    (copy / "results.zarr" / "sums.json").unlink()
    assert jq.open_results(copy).equals(jq.open_results(tiny))
    chunk.unlink()
    with pytest.raises(BadInput, match=r"accuracy/c/0/0 is missing"):
        jq.open_results(copy)


def test_columns_of_losses(suite: Path, tmp_path: Path) -> None:
    def read(folder: Path) -> list[Any]:
        return numbers(jq.open_losses(folder))

    assert_refused_or_right(suite / "losses", tmp_path / "copy", 40, read, least=35)


def test_a_model_of_a_suite(suite: Path, tmp_path: Path) -> None:
    def read(folder: Path) -> list[Any]:
        model = jq.load_model(folder)
        params = [np.asarray(x).tobytes() for _, x in sorted(model.params.items())]
        assert model.tokenizer is not None
        return [model.config, *params, model.tokenizer.to_str()]

    source = next(path for path in (suite / "models").rglob("step16"))
    assert_refused_or_right(source, tmp_path / "copy", 30, read, least=24)


def test_a_corpus(tmp_path: Path) -> None:
    def read(folder: Path) -> list[Any]:
        corpus = open_corpus(folder)
        return [corpus.meta.corpus, corpus.tokens.tobytes(), corpus.offsets.tobytes()]

    path = write_corpus(tmp_path / "corpus", [[1], [2, 3], [4, 5]])
    # A letter of a name in meta.json is not covered: nothing is computed from it.
    assert_refused_or_right(path, tmp_path / "copy", 24, read, least=15)


def test_results_of_qdg(old: Path, tmp_path: Path) -> None:
    """Those of version 0.1, written anew: with check sums."""
    from jquanta.qdg.clusters.cluster import open_clusters, save_clusters
    from jquanta.qdg.questions.emergence import open_emergence

    folder = tmp_path / "quanta"
    shutil.copytree(old / "quanta", folder)
    save_clusters(open_clusters(folder), folder)
    save_emergence(open_emergence(folder), folder)
    for name in ("similarity.zarr", "selection.zarr"):
        sums.write(folder / name)

    def read(folder: Path) -> list[Any]:
        return numbers(
            qdg.open_similarity(folder),
            open_clusters(folder),
            open_emergence(folder),
            qdg.samples.predictions.stored_selection(folder),
        )

    assert_refused_or_right(folder, tmp_path / "copy", 60, read, least=35)


def test_arrays_without_check_sums(tmp_path: Path) -> None:
    """Version 0.1 wrote none: lost and short chunks are found all the same."""
    path = tmp_path / "some.zarr"
    values = arrays.variable(("a", "b"), np.arange(6.0).reshape(2, 3))
    arrays.write(path, {"x": values}, {})
    (path / "sums.json").unlink()

    def read() -> Any:
        return arrays.read(path, "numbers", "x", "make them").load()

    assert read().x.sum() == 15
    chunk = path / "x" / "c" / "0" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-1])
    with pytest.raises(BadInput, match=r"x/c/0/0 has 47 bytes, not 48; delete it, then make them"):
        read()
    chunk.unlink()
    with pytest.raises(BadInput, match=r"x/c/0/0 is missing"):
        read()
    chunk.write_bytes(content)
    (path / "zarr.json").write_text("")
    with pytest.raises(BadInput, match=r"zarr\.json cannot be read"):
        read()


def test_large_folders_are_not_read_when_they_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "SMALL", 10)
    (tmp_path / "file").write_bytes(bytes(11))
    sums.write(tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 11)
    assert sums.require_whole(tmp_path, "make it again")
    assert integrity.check(tmp_path)[0].detail == "file has other content than was written"
    (tmp_path / "file").write_bytes(b"x" * 10)
    with pytest.raises(BadInput, match="file has 10 bytes, not 11; make it again"):
        sums.require_whole(tmp_path, "make it again")


def test_check_says_what_there_is(tiny: Path, old: Path, tmp_path: Path) -> None:
    found = {(part.what, part.state) for part in jq.check(tiny)}
    assert found == {("sweep", "whole"), ("results", "whole"), ("weights", "whole")}
    states = {str(part.path.relative_to(old)): part.state for part in jq.check(old)}
    assert states["sweep"] == states["losses"] == "whole"
    assert states["sweep/results.zarr"] == states["losses/12.8k@step16"] == "no check sums"
    assert {states[f"{name}-cut"] for name in ("sweep", "suite", "quanta")} == {"unfinished"}
    assert states["losses-cut/12.8k@step16"] == states["corpus.part"] == "unfinished"
    # The archive holds one model of the suite only, and no page.
    assert states["suite"] == states["quanta"] == "damaged"
    with pytest.raises(BadInput, match="nothing that jquanta writes"):
        jq.check(old / "source")


def test_check_finds_every_file_that_is_lost(tiny: Path, suite: Path, tmp_path: Path) -> None:
    """But for check sums, without which it says so, and the record, without which a run is not
    finished."""
    for number, folder in enumerate((tiny, suite)):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        files = {(p.name, p.parent.name): p for p in sorted(copy.rglob("*")) if p.is_file()}
        lost = [p for p in files.values() if "figures" not in p.parts]
        some = random.Random(0).sample(lost, min(24, len(lost)))
        for file in (*some, copy / "losses" / "zarr.json"):
            if not file.exists():  # a sweep has no losses
                continue
            content = file.read_bytes()
            file.unlink()
            states = {part.state for part in jq.check(copy)}
            wanted = {"sums.json": "no check sums", "record.json": "unfinished"}
            assert wanted.get(file.name, "damaged") in states, file
            file.write_bytes(content)


def test_the_command(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    assert check.main([str(copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "whole  results  results.zarr"
    assert lines[-1] == f"{len(lines) - 1} parts: {len(lines) - 1} whole"
    (copy / "weights" / "00001.safetensors").unlink()
    assert check.main([str(copy)]) == 2
    said = capsys.readouterr()
    assert "weights/00001.safetensors is missing" in said.out
    assert said.err.count("\n") == 1
    assert check.main([str(tmp_path / "none")]) == 2
