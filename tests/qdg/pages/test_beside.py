"""Another clustering beside a page: what is read of another run, packed, and refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.cli import explore as explore
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import open_corpus
from jquanta.qdg.clusters.cluster import imported, open_clusters, ranked, save_clusters
from jquanta.qdg.config import load_qdg
from jquanta.qdg.pages.beside import beside_groups
from jquanta.qdg.pages.data import page_from
from jquanta.qdg.pages.page import NO_CLUSTER, NO_SAMPLE, Beside, Page
from jquanta.qdg.pages.render import payload, render
from jquanta.qdg.questions.groups import save_groups
from jquanta.qdg.samples.predictions import Predictions
from tests.lm.corpus.samples import write_corpus
from tests.qdg.pages.examples import COUNTS, HOSTILE, Made, made, page
from tests.qdg.pages.reading import held
from tests.qdg.pages.test_command import FLAGS, refused
from tests.qdg.pages.test_render import Elements, numbers


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def here(original: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``results`` and ``corpus``."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(original.results, tmp_path / "results")
    shutil.copytree(original.corpus.path, tmp_path / "corpus")
    return tmp_path


def other_run(
    original: Made, folder: Path, index: np.ndarray, counts: tuple[int, ...] = COUNTS
) -> np.ndarray:
    """A run on some predictions of the same corpus, with clusters at random: its labels."""
    predictions = Predictions(original.corpus, index, "some/small@step512")
    predictions.save(folder)
    chance = np.random.default_rng(5)
    labels = np.stack([ranked(chance.permutation(np.arange(len(index)) % k)) for k in counts])
    save_clusters(imported(labels, counts, samples=predictions.hash), folder)
    return labels


def mixed(original: Made) -> np.ndarray:
    """Two thirds of the page's samples, and others that the page does not have."""
    own = original.predictions.index
    others = np.setdiff1d(np.arange(original.corpus.n_predictions), own)
    return np.sort(np.r_[own[np.arange(len(own)) % 3 > 0], others[::7]])


def test_the_labels_of_the_samples_that_both_runs_have(here: Path, original: Made) -> None:
    index = mixed(original)
    labels = other_run(original, here / "other", index, (5, 7, 9))
    found = page_from("results", corpus="corpus", beside="other").beside
    assert found is not None
    assert found.labels[0] is None  # it has no 3 clusters
    assert found.sizes[0] is None
    where = dict(zip(index.tolist(), labels[1].tolist(), strict=True))
    wanted = [where.get(number, NO_SAMPLE) for number in original.predictions.index.tolist()]
    np.testing.assert_array_equal(found.labels[1], wanted)
    assert set(wanted) > {NO_SAMPLE, 0, 1}
    np.testing.assert_array_equal(found.sizes[1], [(labels[1] == k).sum() for k in range(7)])
    assert found.name == "some/small@step512"
    told = dict(found.about)
    both = sum(label != NO_SAMPLE for label in wanted)
    assert told["Beside"] == f"other: {both} samples in both, of 60 here and {len(index):,} there"
    assert told["Its model"] == "some/small@step512"


def test_a_run_of_the_same_model_bears_the_name_of_its_folder(here: Path) -> None:
    shutil.copytree("results", "seed1")
    found = page_from("results", corpus="corpus", beside="seed1").beside
    assert found is not None
    assert found.name == "seed1"
    assert dict(found.about)["Its similarity"] == "exact"


def test_the_command_writes_the_page_with_both(
    here: Path, original: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    other_run(original, here / "other", mixed(original))
    assert explore.main([*FLAGS, "--beside", "other"]) == 0
    assert held(here / "new/page.html")["beside"]["name"] == "some/small@step512"
    assert "samples in both, of 60 here" in (here / "new/page.html").read_text("utf-8")


def test_a_run_that_cannot_stand_beside(
    here: Path, original: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*more: str) -> str:
        return refused(here, capsys, *FLAGS, "--beside", *more)

    assert "--beside nowhere: no such folder" in said("nowhere")
    assert "--beside corpus: is a corpus (to use it" in said("corpus")
    assert "--beside results: is the run of the page itself; give another run" in said("results")
    assert "is the run of the page itself" in said(str(here / "corpus/../results"))
    (here / "empty").mkdir()
    assert "no selection here" in said("empty")
    words = ("--latex", "--count", "3", "--cluster", "0")
    assert "goes with the page; leave out --latex" in said("empty", *words)
    own = original.predictions.index
    others = np.setdiff1d(np.arange(original.corpus.n_predictions), own)
    other_run(original, here / "strange", others[:50])
    assert "--beside strange: no sample is in both runs; give the second one" in said("strange")
    other_run(original, here / "counts", mixed(original), (4, 5))
    line = said("counts")
    assert "--beside counts: has no clustering with as many clusters as results, only" in line
    assert 'only with 4, 5; cluster it again: --cluster.counts "3, 7"' in line
    shutil.copytree("counts", "unlike")
    save_clusters(imported(np.zeros((1, 9), int), [7], samples="another"), here / "unlike")
    assert "--beside unlike: clusters of 9 samples are not of this selection" in said("unlike")
    shutil.rmtree("unlike/clusters.zarr")
    assert "no clusters here" in said("unlike")


def test_a_run_on_another_corpus(
    here: Path, original: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [original.corpus.document(i).tolist() for i in range(original.corpus.n_documents)]
    tokenizer = (original.corpus.path / "tokenizer.json").read_bytes()
    corpus = open_corpus(write_corpus(here / "elsewhere", rows[::-1], tokenizer))
    Predictions(corpus, original.predictions.index).save(here / "other")
    save_clusters(imported(original.labels, COUNTS), here / "other")
    said = refused(here, capsys, *FLAGS, "--beside", "other")
    assert "--beside other: its samples are of another corpus than those of results" in said


def test_labels_that_do_not_fit_are_refused() -> None:
    some = np.array([0, 1, 1, NO_CLUSTER, NO_SAMPLE], np.int32)
    Beside("B", [], [some, None], [np.array([1, 2]), None])
    Beside("B", [], [some], [np.array([5, 2, 9])])  # a cluster of which the page has nothing
    for label, size in (
        (some, np.array([1, 1])),
        (some, np.array([3])),
        (some - 1, np.array([1, 2])),
        (some, None),
        (None, np.array([1, 2])),
    ):
        with pytest.raises(BadInput, match="labels do not fit the sizes"):
            Beside("B", [], [label], [size])


def test_labels_are_packed_from_zero_and_once() -> None:
    made = page(["word"], samples=6, counts=(1, 2, 3))
    label = np.array([0, 1, NO_CLUSTER, NO_SAMPLE, 1, 0], np.int32)
    other = Beside("B", [], [label, None, label], [np.array([4, 2]), None, np.array([2, 2])])
    told, found = payload(Page(**{**vars(made), "beside": other}))
    first, second, third = told["beside"]["labels"]
    assert first == third
    assert second is None
    assert first["dtype"] == "uint16"
    assert numbers(first, found).tolist() == [2, 3, 1, 0, 3, 2]
    sizes = [packed and numbers(packed, found).tolist() for packed in told["beside"]["sizes"]]
    assert sizes == [[4, 2], None, [2, 2]]
    wide = Beside("B", [], [label] * 3, [np.array([70_000, 2])] * 3)
    told, found = payload(Page(**{**vars(made), "beside": wide}))
    assert numbers(told["beside"]["sizes"][0], found).tolist() == [70_000, 2]


def test_groups_stand_beside_every_count() -> None:
    label = np.array([1, 0, NO_CLUSTER, 1])
    found = beside_groups("groups", [], label, 3)
    assert [row.tolist() for row in found.labels if row is not None] == [label.tolist()] * 3
    assert [size.tolist() for size in found.sizes if size is not None] == [[1, 2]] * 3
    none = beside_groups("groups", [], np.full(4, NO_CLUSTER), 1)
    assert none.sizes[0] is not None
    assert none.sizes[0].tolist() == []


def test_groups_of_the_run_itself_stand_beside_by_their_name(
    here: Path, original: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(here, capsys, *FLAGS, "--beside", "local")
    assert "make them: jquanta groups results --by local" in said
    label = np.arange(len(original.predictions)) % 4 - 1
    groups = xr.Dataset({"label": ("sample", label.astype(np.int32))}, attrs={"kind": "local"})
    save_groups(groups, open_clusters("results"), here / "results")
    assert explore.main([*FLAGS, "--beside", "local"]) == 0
    assert held(here / "new/page.html")["beside"]["name"] == "groups by local"
    found = page_from("results", corpus="corpus", beside="local").beside
    assert found is not None
    np.testing.assert_array_equal(found.labels[-1], label)
    assert dict(found.about)["Groups"] == "3 by local, 45 samples in them"


def test_a_page_without_one_holds_nothing_of_it() -> None:
    made = page(["word"], samples=20)
    assert "beside" not in payload(made)[0]
    seen = Elements(render(made))
    assert not {a.get("id") for _, a in seen.found} & {"bars", "parts", "pair", "list-there"}
    assert not [a for _, a in seen.found if "beside" in (a.get("data-sort"), a.get("data-term"))]


def test_a_hostile_name_makes_no_element() -> None:
    made = page(["word"], samples=6, counts=(2,))
    plain, hostile = (
        Elements(
            render(Page(**{**vars(made), "beside": beside_groups(name, [(name, name)], row, 1)}))
        )
        for row in [np.zeros(6, int)]
        for name in ("other", HOSTILE[1])
    )
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]


def test_the_configuration_names_the_model(here: Path, original: Made) -> None:
    """Samples that another model's losses chose: the model beside is the one of the gradients."""
    shutil.copytree(original.losses, "losses")
    shutil.copytree("results", "other")
    for folder, model in (("results", "suite/models/793k"), ("other", "suite/models/100k")):
        told = {"model": model, "revision": "step9", "corpus": "corpus", "losses": "losses"}
        (here / folder / "config.toml").write_text(load_qdg({"input": told}).to_toml())
    found = page_from("results", beside="other").beside
    assert found is not None
    assert found.name == "100k@step9"
    assert dict(found.about)["Its model"] == "100k@step9"
