"""Which predictions are selected: against plain loops over documents and tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given as cases
from hypothesis import strategies as st

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.compute import compute_losses
from jquanta.qdg.samples.induction import Part, by_induction, parts
from jquanta.qdg.samples.predictions import Predictions, given, open_selection
from jquanta.qdg.samples.selection import Newly, select
from jquanta.run.sums import sha256_of
from tests.lm.corpus.samples import tree, write_corpus
from tests.lm.losses import examples as losses_examples
from tests.qdg import examples

DOCUMENTS = st.lists(st.lists(st.integers(0, 3), max_size=40), min_size=1, max_size=12)


def seen(document: list[int], order: int) -> list[bool]:
    """For each prediction, whether its target ends an n-gram that was there before."""
    before: set[tuple[int, ...]] = set()
    found = []
    for i in range(1, len(document)):
        gram = tuple(document[i - order + 1 : i + 1]) if i >= order - 1 else None
        found.append(gram in before)
        if gram is not None:
            before.add(gram)
    return found


def part(documents: list[list[int]], vocab: int) -> Part:
    tokens = np.array([t for document in documents for t in document], np.uint16)
    return Part(tokens, np.array([len(d) for d in documents]), slice(0, 0), vocab)


@cases(documents=DOCUMENTS, order=st.sampled_from([2, 3]), vocab=st.sampled_from([4, 50277]))
def test_induction_is_what_a_loop_finds(documents: list[list[int]], order: int, vocab: int) -> None:
    wanted = [x for document in documents for x in seen(document, order)]
    assert by_induction(part(documents, vocab), order).tolist() == wanted


def test_the_largest_tokens_and_many_documents_do_not_collide(tmp_path: Path) -> None:
    """Keys use all 64 bits: more documents than they have room for go in several parts."""
    vocab = 2**20
    top = vocab - 1
    rows = [[top, top, top], [top, top, top - 1], [0, top, top], [top, top, top, top]] * 10
    path = write_corpus(tmp_path / "corpus", [], vocab_size=vocab)
    np.save(path / "tokens.npy", np.array([t for row in rows for t in row], np.uint32))
    np.save(path / "offsets.npy", np.cumsum([0, *map(len, rows)]).astype(np.int64))
    meta = json.loads((path / "meta.json").read_text())
    count = sum(map(len, rows))
    meta |= {"documents": len(rows), "tokens": count, "predictions": count - len(rows)}
    meta["sha256"]["corpus"] = sha256_of(path / "tokens.npy", path / "offsets.npy")
    (path / "meta.json").write_text(json.dumps(meta))
    found = list(parts(open_corpus(path)))
    assert len(found) == 3  # of 16 documents each: 2^64 = 16 · (2^20)^3
    marks = np.concatenate([by_induction(p, 3) for p in found])
    assert marks.tolist() == [x for row in rows for x in seen(row, 3)]


@pytest.mark.parametrize("tokens", [1, 7, 10**6])
def test_parts_cover_the_corpus(tmp_path: Path, tokens: int) -> None:
    corpus = examples.corpus(tmp_path / "corpus")
    found = list(parts(corpus, tokens))
    assert np.concatenate([p.tokens for p in found]).tolist() == corpus.tokens.tolist()
    ends = [(p.predictions.start, p.predictions.stop) for p in found]
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == corpus.n_predictions
    assert sum(len(p.lengths) for p in found) == corpus.n_documents


def test_a_part_is_full_but_no_fuller(tmp_path: Path) -> None:
    corpus = examples.corpus(tmp_path / "corpus", (5, 5, 5))
    assert [len(p.lengths) for p in parts(corpus, 10)] == [2, 1]


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Documents of four tokens only, so that induction is everywhere."""
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus", (60, 0, 1, 90, 45, 70), 4)


def plain(
    corpus: Corpus, loss: np.ndarray, order: int, early: np.ndarray | None = None
) -> list[int]:
    """All that pass at 0.5 nats, by a loop; ``early`` above 1 nat, where it is given."""
    found, k = [], 0
    for i in range(corpus.n_documents):
        document = corpus.document(i).tolist()
        marks = seen(document, order) if order else [False] * max(0, len(document) - 1)
        for induced in marks:
            if loss[k] < 0.5 and not induced and (early is None or early[k] > 1):
                found.append(k)
            k += 1
    return found


@pytest.mark.parametrize("tokens", [50, 2**21])
@pytest.mark.parametrize(("induction", "order"), [("trigram", 3), ("bigram", 2), ("none", 0)])
def test_order_of_operations(
    repeating: Corpus, monkeypatch: pytest.MonkeyPatch, induction: str, order: int, tokens: int
) -> None:
    """Threshold and induction, then every stride-th, then the first ones."""
    monkeypatch.setattr("jquanta.qdg.samples.selection.parts", lambda corpus: parts(corpus, tokens))
    chance = np.random.default_rng(1)
    loss, early = chance.exponential(0.7, (2, repeating.n_predictions)).astype(np.float32)
    stored = examples.losses(repeating, late_main=loss, early_step1=2 * early)
    wanted = plain(repeating, loss, order)
    assert 3 < len(wanted) < repeating.n_predictions - 100

    def found(**settings: object) -> list[int]:
        settings = {"threshold": 0.5, "stride": 1, "count": None} | settings
        return select(
            repeating, stored, "late@main", induction=induction, **settings
        ).index.tolist()

    assert found() == wanted
    assert found(stride=3) == wanted[::3]
    assert found(stride=3, count=2) == wanted[::3][:2]
    assert found(count=4) == wanted[:4]
    learned = found(newly=Newly("early@step1", 1.0))
    assert learned == plain(repeating, loss, order, 2 * early)
    assert 0 < len(learned) < len(wanted)


def test_both_thresholds_are_left_out_themselves(repeating: Corpus) -> None:
    late, early = np.full((2, repeating.n_predictions), 0.5)
    late[[3, 4]], early[[4, 5]] = 0.25, 1.0
    stored = examples.losses(repeating, late_main=late, early_main=early)
    rule = {"threshold": 0.5, "induction": "none", "stride": 1}
    assert select(repeating, stored, "late@main", **rule).index.tolist() == [3, 4]
    newly = Newly("early@main", 0.5)
    assert select(repeating, stored, "late@main", **rule, newly=newly).index.tolist() == [4]


def test_losses_are_read_no_further_than_need_be(repeating: Corpus) -> None:
    read: list[slice] = []

    class Column:
        def __getitem__(self, part: slice) -> xr.DataArray:
            read.append(part)
            return xr.DataArray(np.zeros(part.stop - part.start, np.float32), dims="prediction")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jquanta.qdg.samples.selection.parts", lambda corpus: parts(corpus, 60))
        patch.setattr("jquanta.qdg.samples.selection._column", lambda *_: Column())
        stored = examples.losses(repeating, one_main=np.zeros(repeating.n_predictions))
        found = select(repeating, stored, induction="none", stride=10, count=6)
    assert found.index.tolist() == [0, 10, 20, 30, 40, 50]
    assert [part.stop for part in read] == [59]  # the first document of 60 tokens


def test_of_losses_on_disk(tmp_path: Path) -> None:
    """As a user goes about it, and by a threshold on the losses that plain code gives."""
    corpus = losses_examples.corpus(tmp_path / "corpus")
    losses_examples.model(tmp_path / "model")
    compute_losses(corpus, tmp_path / "model", tmp_path / "losses", batch_tokens=100)
    losses = jq.open_losses(tmp_path / "losses")
    values = losses.loss.to_numpy()[:, 0]
    threshold = float(np.median(values))
    found = select(corpus, losses, threshold=threshold, induction="none", stride=2, count=9)
    assert found.index.tolist() == np.flatnonzero(values < threshold)[::2][:9].tolist()
    assert found.model == "model@main"
    assert found.corpus is corpus


def test_a_selection_is_stored_with_its_rule(repeating: Corpus, tmp_path: Path) -> None:
    loss = np.linspace(0, 1, repeating.n_predictions)
    stored = examples.losses(repeating, one_main=loss, two_main=9 - loss)
    newly = Newly("two@main", 8.5)
    found = select(repeating, stored, "one@main", threshold=0.2, stride=2, newly=newly)
    found.save(tmp_path / "deep" / "run")
    again = open_selection(tmp_path / "deep" / "run", repeating)
    assert again.index.dtype == np.int64
    assert again.index.tolist() == found.index.tolist()
    assert (again.model, again.corpus) == ("one@main", repeating)
    assert again.rule == {
        "threshold_nats": 0.2,
        "induction": "trigram",
        "stride": 2,
        "count": 10_000,
        "newly": {"model": "two@main", "above": 8.5},
    }
    assert again.hash == found.hash
    assert again.hash != given(repeating, found.index[:-1]).hash
    alone = xr.open_zarr(tmp_path / "deep" / "run" / "selection.zarr", chunks=None)
    assert alone["index"].dims == ("sample",)
    assert alone.attrs["corpus"] == repeating.meta.corpus
    assert not (tmp_path / "deep" / "run" / "selection.zarr.part").exists()


def test_predictions_chosen_elsewhere(repeating: Corpus) -> None:
    found = given(repeating, [7, 3, 3, 100])
    assert found.index.tolist() == [3, 7, 100]
    with pytest.raises(BadInput, match=r"prediction 900: this corpus has predictions 0 to 260"):
        given(repeating, [3, 900])
    with pytest.raises(BadInput, match="index: no predictions"):
        given(repeating, [])


def test_bad_input_of_select(repeating: Corpus, tmp_path: Path) -> None:
    other = examples.corpus(tmp_path / "other", (9, 9))
    ones = np.ones(repeating.n_predictions)
    stored = examples.losses(repeating, one_main=ones, two_main=ones)

    def refused(line: str, model: str | None = "one@main", **settings: object) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            select(repeating, stored, model, **settings)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)

    with pytest.raises(BadInput, match="not the corpus of these losses"):
        select(other, stored, "one@main")
    refused(r"model = three@main: no losses of it; there are one@main, two@main", "three@main")
    refused(r"model is missing: give one of one@main, two@main", None)
    refused(r"newly = x@y: no losses of it", newly=Newly("x@y", 1.0), threshold=2)
    refused(r"of 261 predictions 0 are below 0\.1 nats; give a higher threshold")
    refused(
        r"of 261 predictions 261 are below 2 nats, of these 0 above 3\.0 nats at two@main; give ",
        threshold=2,
        newly=Newly("two@main", 3.0),
    )
    refused(r"induction = 'fourgram': give one of trigram, bigram, none", induction="fourgram")
    refused(r"stride = 0", stride=0)
    refused(r"count = 0", count=0)
    refused(r"threshold = nan", threshold=float("nan"))


def test_losses_that_are_none_or_too_few_are_refused(repeating: Corpus) -> None:
    ones = np.ones(repeating.n_predictions)
    hole = np.where(np.arange(len(ones)) == 7, np.nan, ones)
    stored = examples.losses(repeating, one_main=ones, two_main=hole)
    with pytest.raises(BadInput, match="two@main: no finite loss of prediction 7"):
        select(repeating, stored, "two@main", threshold=2)
    with pytest.raises(BadInput, match="two@main: no finite loss of prediction 7"):
        select(repeating, stored, "one@main", threshold=2, newly=("two@main", 0.5))
    with pytest.raises(BadInput, match=r"losses of 9 predictions, and .* has 261; give those of"):
        select(repeating, stored.isel(prediction=slice(9)), "one@main", threshold=2)


@pytest.mark.parametrize("index", [[3, 2], [2, 2], [[1, 2]], [0.5]])
def test_predictions_are_ascending(repeating: Corpus, index: list[float]) -> None:
    with pytest.raises(BadInput, match=r"ascending and each once, as jquanta.qdg.given does"):
        Predictions(repeating, np.array(index))


def test_predictions_are_the_corpuss(repeating: Corpus) -> None:
    with pytest.raises(BadInput, match=r"prediction 261: this corpus has predictions 0 to 260"):
        Predictions(repeating, np.array([3, 261]))
    with pytest.raises(BadInput, match=r"prediction -1: this corpus has"):
        Predictions(repeating, np.array([-1, 3]))
    some = Predictions(repeating, np.array([3, 7, 100, 260], np.uint16), "one@main")
    assert some.index.dtype == np.int64
    part = some.at(np.array([1, 3]))
    assert (part.index.tolist(), part.corpus, part.model) == ([7, 260], repeating, "one@main")


def test_all_by_induction_says_so(tmp_path: Path) -> None:
    corpus = open_corpus(write_corpus(tmp_path / "c", [[1] * 9], vocab_size=4))
    loss = np.array([9.0, 9.0, *[0.0] * 6])  # the first trigram of ones ends at prediction 1
    stored = examples.losses(corpus, one_main=loss)
    with pytest.raises(BadInput, match=r"6 are below 0\.1 nats, and of these all are trigram "):
        select(corpus, stored)


def test_a_missing_or_foreign_store(tmp_path: Path) -> None:
    corpus, other = (examples.corpus(tmp_path / name, (40, n)) for name, n in (("a", 9), ("b", 8)))
    with pytest.raises(BadInput, match="no selection here; make one"):
        open_selection(tmp_path, corpus)
    examples.predictions(corpus).save(tmp_path / "run")
    before = tree(tmp_path)
    with pytest.raises(BadInput, match="not the corpus of this selection"):
        open_selection(tmp_path / "run", other)
    assert tree(tmp_path) == before
