"""The whole path in one call: what it makes, keeps, makes anew and refuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from jquanta import qdg
from jquanta.cli.explore import main as explore
from jquanta.cli.qdg import main
from jquanta.errors import BadInput
from jquanta.lm.losses.compute import compute_losses
from jquanta.lm.models.model import Model
from jquanta.qdg.config import SCHEMA, load_qdg
from jquanta.qdg.results import PAGE
from tests.lm.losses import examples
from tests.monitors import Watch
from tests.qdg.clusters import planted
from tests.qdg.pages.reading import held

REPOSITORY = Path(__file__).parents[2]


def settings(place: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """A configuration of a tiny random model; it predicts little, so the threshold is high."""
    tables: dict[str, dict[str, Any]] = {
        "input": {
            "model": str(place / "tiny"),
            "corpus": str(place / "corpus"),
            "losses": str(place / "losses"),
        },
        "select": {"threshold": 6.0, "induction": "none", "stride": 1, "count": 40},
        "cluster": {"counts": [2, 5], "n_init": 3},
    }
    return {
        "name": "tiny",
        **{k: tables.get(k, {}) | changes.get(k, {}) for k in (*tables, *changes)},
    }


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    qdg.run(settings(place), place / "run")
    return place / "run"


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_each_stage_is_what_its_own_call_gives(place: Path, done: Path) -> None:
    corpus = examples.open_corpus(place / "corpus")
    losses = compute_losses(corpus, place / "tiny", place / "losses")
    samples = qdg.select(corpus, losses, threshold=6.0, induction="none", stride=1, count=40)
    assert len(samples) == 40
    stored = qdg.open_similarity(done)
    np.testing.assert_array_equal(stored.index, samples.index)
    fresh = qdg.similarity(Model(examples.NEOX, examples.parameters()), samples)
    np.testing.assert_allclose(stored.cosine, fresh.cosine, atol=1e-6)  # float32, other batches
    clusters = qdg.cluster(fresh.cosine, [2, 5], n_init=3)
    kept = qdg.run(settings(place), done)
    for ours, theirs in zip(kept.label.to_numpy(), clusters.label.to_numpy(), strict=True):
        assert adjusted_rand_score(ours, theirs) == 1
    page = (done / PAGE).read_text(encoding="utf-8")
    assert "tiny" in page
    assert stored.attrs["samples"] == kept.attrs["samples"] == samples.hash


def test_a_corpus_of_long_documents_may_be_split(place: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text(planted.words(range(1, 26)))
    (tmp_path / "tokenizer.json").write_bytes(planted.tokenizer())
    changes = {
        "source": str(tmp_path / "texts"),
        "tokenizer": str(tmp_path / "tokenizer.json"),
        "corpus": str(tmp_path / "corpus"),
        "losses": str(tmp_path / "losses"),
        "max_length": 10,
        "long": "split",
    }
    qdg.run(settings(place, input=changes, cluster={"counts": [2]}), tmp_path / "run")
    assert np.diff(examples.open_corpus(tmp_path / "corpus").offsets).tolist() == [10, 10, 5]
    with pytest.raises(BadInput, match=r"input\.long = 'spilt'"):
        qdg.run(settings(place, input=changes | {"long": "spilt"}), tmp_path / "other")


def test_a_finished_folder_is_left_alone(place: Path, done: Path) -> None:
    before, watch = modified(done), Watch()
    qdg.run(settings(place), done, monitor=watch)
    assert modified(done) == before
    assert any("nothing to do" in line for line in watch.lines)


@pytest.mark.parametrize("lost", ["selection.zarr", "similarity.zarr", "clusters.zarr", PAGE])
def test_what_a_finished_folder_lost_is_made_again(place: Path, tmp_path: Path, lost: str) -> None:
    first = qdg.run(settings(place), tmp_path / "run")
    path = tmp_path / "run" / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    again = qdg.run(settings(place), tmp_path / "run")
    assert path.exists()
    np.testing.assert_array_equal(first.label, again.label)


def test_other_clusters_leave_the_similarity_alone(place: Path, tmp_path: Path) -> None:
    qdg.run(settings(place), tmp_path / "run")
    before, watch = modified(tmp_path / "run"), Watch()
    other = settings(place, cluster={"counts": "3"})
    clusters = qdg.run(other, tmp_path / "run", monitor=watch)
    after = modified(tmp_path / "run")
    assert clusters["count"].to_numpy().tolist() == [3]
    assert after["similarity.zarr"] == before["similarity.zarr"]
    assert after["selection.zarr"] == before["selection.zarr"]
    assert after[PAGE] != before[PAGE]
    assert any("anew" in line for line in watch.lines)


def test_an_interrupted_run_continues(
    place: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("jquanta.qdg.pipeline.cluster", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            qdg.run(settings(place), tmp_path / "run")
    before = modified(tmp_path / "run")
    assert "clusters.zarr" not in before
    clusters = qdg.run(settings(place), tmp_path / "run")
    assert modified(tmp_path / "run")["similarity.zarr"] == before["similarity.zarr"]
    np.testing.assert_array_equal(clusters.label, qdg.run(settings(place), done).label)


def test_other_samples_are_refused(place: Path, done: Path) -> None:
    before = modified(done)
    with pytest.raises(
        BadInput, match=r"differs in select.threshold, similarity.mode; give another"
    ):
        qdg.run(
            settings(place, select={"threshold": 5.9}, similarity={"mode": "activations"}), done
        )
    assert modified(done) == before


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"input": {"model": ""}}, "input.model = '': is missing"),
        ({"input": {"corpus": "nowhere"}}, "input.corpus = .*nowhere: no such folder"),
        ({"select": {"treshold": 1}}, "unknown key 'select.treshold' .*did you mean"),
        ({"select": {"stride": 0}}, "select.stride = 0: give a whole number from 1 to"),
        ({"select": {"threshold": "low"}}, "select.threshold = 'low': wrong type"),
        ({"cluster": {"counts": "ten"}}, "cluster.counts = 'ten': give whole numbers"),
        (
            {"similarity": {"absolute": 1}},
            "similarity.absolute = 1: wrong type; give true or false",
        ),
        ({"select": {"induction": "4"}}, "induction = '4': give one of trigram, bigram, none"),
        ({"select": {"newly_model": "other@main"}}, "models: no losses of other@main in "),
        (
            {"similarity": {"mode": "foo"}},
            "similarity.mode = 'foo': give one of exact, factors, sketch, ",
        ),
        ({"similarity": {"dtype": "int8"}}, "similarity.dtype = 'int8': give one of float32"),
        (
            {"similarity": {"sketch_size": 0}},
            "similarity.sketch_size = 0: give a whole number",
        ),
        ({"similarity": {"parameters": ""}}, "similarity.parameters = '': give paper, reference"),
        ({"similarity": {"parameters": "("}}, r"parameters = '\(': no regular expression"),
        ({"similarity": {"parameters": "conv"}}, "parameters 'conv': in no name of this model"),
        ({"similarity": {"memory": "lots"}}, "similarity.memory = 'lots': give a size such as"),
        (
            {"similarity": {"mode": "sketch", "absolute": True}},
            "similarity.absolute = true: there are no absolute values in mode sketch; give mode ex",
        ),
        ({"cluster": {"affinity": "rbf"}}, "cluster.affinity = 'rbf': give one of angular"),
        ({"cluster": {"affinity": "absolute"}}, "cluster.affinity = 'absolute': is of absolute "),
        ({"cluster": {"kmeans": "elkan"}}, "cluster.kmeans = 'elkan': give one of jax"),
        ({"cluster": {"counts": [5, 2]}}, "counts: give one or more, positive, ascending"),
        ({"cluster": {"counts": [40]}}, "counts: 40 clusters of 40 samples; give counts below 40"),
        ({"cluster": {"counts": ""}}, "40 samples are too few for the paper's counts"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    line: str,
) -> None:
    """Before any stage is begun."""
    monkeypatch.setattr("jquanta.qdg.pipeline._stages", None)
    with pytest.raises(BadInput, match=line) as caught:
        qdg.run(settings(place, **changes), tmp_path / "deep" / "run")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"select": {"threshold": 1e-6}}, "nothing selected"),
        ({"cluster": {"counts": [5, 39]}, "select": {"stride": 6}}, r"counts: 39 clusters of \d+ "),
        ({"similarity": {"memory": "1 kB"}}, "memory: .* give at least"),
    ],
)
def test_what_is_found_out_late_leaves_nothing_either(
    place: Path, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    """So that the right command can follow in the same folder."""
    with pytest.raises(BadInput, match=line):
        qdg.run(settings(place, **changes), tmp_path / "deep" / "run")
    assert not list(tmp_path.iterdir())


def test_late_bad_input_in_a_finished_folder_changes_nothing(place: Path, tmp_path: Path) -> None:
    few = {"stride": 6}
    qdg.run(settings(place, select=few), tmp_path / "run")
    before = modified(tmp_path / "run")
    with pytest.raises(BadInput, match=r"counts: 39 clusters of \d+ samples"):
        qdg.run(settings(place, select=few, cluster={"counts": [39]}), tmp_path / "run")
    assert modified(tmp_path / "run") == before


def test_a_folder_without_samples_belongs_to_no_configuration(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a run that was interrupted while losses were computed."""
    with monkeypatch.context() as patch:
        patch.setattr("jquanta.qdg.pipeline._selection", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            qdg.run(settings(place), tmp_path / "run")
    assert (tmp_path / "run" / "config.toml").is_file()
    other = settings(place, select={"stride": 2})
    qdg.run(other, tmp_path / "run")
    assert load_qdg(tmp_path / "run" / "config.toml").select.stride == 2


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_what_changes_no_sample_may_change(place: Path, tmp_path: Path) -> None:
    """Memory, as a run that was out of it advises, and whose losses the page shows."""
    examples.model(place / "other", seed=1)
    qdg.run(settings(place), tmp_path / "run")
    before = modified(tmp_path / "run")
    changed = settings(place, similarity={"memory": "3 GB"}, input={"also": str(place / "other")})
    qdg.run(changed, tmp_path / "run")
    after = modified(tmp_path / "run")
    assert after["similarity.zarr"] == before["similarity.zarr"]
    assert after["clusters.zarr"] == before["clusters.zarr"]
    assert "other@main" in str(held(tmp_path / "run" / PAGE))


@pytest.fixture
def standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run was made by relative paths, while standing there."""
    home = tmp_path / "home"
    home.mkdir()
    planted.corpus(home / "corpus")
    examples.model(home / "tiny")
    monkeypatch.chdir(home)
    qdg.run(settings(Path()), "runs/one")
    return home


def test_a_run_is_opened_from_any_folder(standing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = modified(standing / "runs" / "one")
    qdg.run(settings(Path()), "runs/one")
    assert modified(Path("runs/one")) == before  # the same configuration, already finished
    monkeypatch.chdir(standing.parent)
    found = qdg.open_run("home/runs/one")
    assert found.corpus.path == standing / "corpus"
    assert found.config.input.losses == str(standing / "losses")
    found.model()
    assert explore(["home/runs/one"]) == 0


def test_a_finished_run_of_which_something_is_lost_is_not_called_finished(standing: Path) -> None:
    for stage in ("similarity.zarr", "selection.zarr", "clusters.zarr"):
        chunk = next(
            p for p in sorted((standing / "runs/one" / stage).rglob("c/**/*")) if p.is_file()
        )
        content = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(BadInput, match=f"{stage}: damaged: .* is missing; delete it, then"):
            qdg.run(settings(Path()), "runs/one")
        chunk.write_bytes(content)


@pytest.mark.parametrize("copied", [False, True])
def test_a_run_that_moves_with_its_inputs_finds_them(
    standing: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    new = standing.parent / "new"
    if copied:
        shutil.copytree(standing, new)
    else:
        standing.rename(new)
    monkeypatch.chdir(new)
    assert qdg.open_run("runs/one").corpus.path == new / "corpus"
    before = modified(new / "runs" / "one")
    qdg.run(settings(Path()), "runs/one")
    assert modified(new / "runs" / "one") == before


def test_a_folder_that_is_no_qdg_run_says_what_it_is(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text("name = 'x'\n[input\n", encoding="utf-8")
    for call in (lambda: qdg.run(settings(place), folder), lambda: qdg.open_run(folder)):
        with pytest.raises(BadInput, match=r"config.toml: not valid TOML .*at line 2, column"):
            call()
    (folder / "config.toml").write_text("name = 'x'\n[task]\nk = 3\n", encoding="utf-8")
    for call in (lambda: qdg.run(settings(place), folder), lambda: qdg.open_run(folder)):
        with pytest.raises(BadInput, match="is a sweep's folder"):
            call()
    (folder / "config.toml").write_text("[select]\nstride = 0\n", encoding="utf-8")
    with pytest.raises(BadInput, match="is missing; write it under"):
        qdg.open_run(folder)


def test_another_model_has_its_own_revision() -> None:
    ours = load_qdg().input
    assert ours.revision
    assert load_qdg(flags={"input.model": ours.model}).input.revision == ""
    both = {"input.model": "other", "input.revision": "step7"}
    assert load_qdg(flags=both).input.revision == "step7"


def test_the_command_prints_clusters_and_page(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomli_w

    config = tmp_path / "tiny.toml"
    config.write_text(tomli_w.dumps(settings(place)), encoding="utf-8")
    out = tmp_path / "run"
    assert main([str(config), "--out", str(out), "--cluster.counts", "2, 4"]) == 0
    told = capsys.readouterr().out
    assert "2 counts from 2 to 4; of 4 the largest hold" in told
    assert str(out / PAGE) in told
    assert load_qdg(out / "config.toml").cluster.chosen == (2, 4)
    assert main([str(config), "--out", str(out), "--select.count", "30"]) == 2
    assert "select.count" in capsys.readouterr().err


def test_the_embedded_configuration_is_the_published_one() -> None:
    published = REPOSITORY / "configs" / "qdg"
    assert SCHEMA.default.read_bytes() == (published / "stdlib.toml").read_bytes()
    paper = load_qdg(published / "pythia-70m.toml")
    assert (paper.select.threshold, paper.select.stride, paper.select.count) == (0.1, 50, 10_000)
    assert (paper.select.induction, paper.similarity.parameters) == ("trigram", "paper")
    assert paper.cluster.chosen is None
    assert paper.cluster.n_init == 30
    real = load_qdg(published / "smollm2.toml")
    assert (real.select.threshold, real.select.induction) == (0.1, "trigram")
    assert real.select.count >= 2000
    assert (real.input.max_length, real.input.long) == (256, "split")
    stories = load_qdg(published / "tinystories-33m.toml")
    assert (stories.select.threshold, stories.select.induction) == (0.693, "none")
