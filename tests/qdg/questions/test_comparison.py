"""Clusters beside those of other runs: planted agreement, real runs, the command."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from jquanta import qdg
from jquanta.cli import compare as door
from jquanta.cli import stability as stability_door
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.clusters.cluster import imported, open_clusters, save_clusters
from jquanta.qdg.clusters.matching import by_groups_alone, matches
from jquanta.qdg.config import load_qdg
from jquanta.qdg.questions.comparison import (
    BY_CLUSTER,
    BY_COUNT,
    checkpoints,
    compare,
    elsewhere,
    names,
    of_a_token,
    open_comparison,
    save_comparison,
)
from jquanta.qdg.questions.stability import open_stability
from jquanta.qdg.results import Results, open_run
from jquanta.qdg.samples.predictions import given
from tests.monitors import Watch
from tests.qdg import examples
from tests.qdg.test_pipeline import settings

VOCAB = 8
"""Few tokens, so that many samples predict the same one."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpora") / "few"
    return examples.corpus(path, lengths=(200, 300, 101), vocab=VOCAB)


def made(
    corpus: Corpus,
    path: Path,
    labels: Sequence[np.ndarray],
    counts: Sequence[int],
    index: Any = None,
    **config: Any,
) -> Results:
    """A run of these labels, of which nothing but samples and clusters is there."""
    predictions = given(corpus, np.arange(corpus.n_predictions) if index is None else index)
    inputs = {"model": "models/one", "corpus": "corpus", "losses": "nowhere"}
    tables = {"input": inputs | config.pop("input", {}), **config}
    clusters = imported(np.stack(labels), counts)
    return Results(path, load_qdg({"name": "made", **tables}), predictions, xr.Dataset(), clusters)


@pytest.fixture(scope="module")
def planted(corpus: Corpus) -> tuple[Results, list[Results], np.ndarray]:
    """A run whose clusters are the tokens, each cut in three; one that keeps nine in ten samples'
    clusters, one that shares the tokens only, one of every second sample; and the tokens."""
    chance = np.random.default_rng(0)
    tokens = given(corpus, np.arange(corpus.n_predictions)).targets
    samples = len(tokens)
    first = 3 * tokens + chance.integers(0, 3, samples)
    moved = np.where(chance.random(samples) < 0.1, chance.integers(0, 24, samples), first)
    alone = 3 * tokens + chance.integers(0, 3, samples)
    half = np.arange(0, samples, 2)
    run = made(corpus, Path("a/run"), [tokens, first], [8, 24], input={"revision": "step8"})
    others = [
        made(corpus, Path("a/moved"), [moved], [24], input={"revision": "step2"}),
        made(corpus, Path("a/alone"), [alone % 5, alone], [5, 24], cluster={"seed": 3}),
        made(corpus, Path("b/half"), [tokens[half], first[half]], [8, 24], half),
    ]
    return run, others, tokens


def test_the_tokens_are_those_that_are_predicted(corpus: Corpus) -> None:
    index = [0, 5, 198, 199, 400, corpus.n_predictions - 1]
    plain = [
        corpus.document(int(i))[int(j) + 1] for i, j in zip(*corpus.locate(index), strict=True)
    ]
    assert given(corpus, index).targets.tolist() == plain


def test_numbers_are_those_of_the_labels(
    planted: tuple[Results, list[Results], np.ndarray],
) -> None:
    run, others, tokens = planted
    heard = Watch()
    found = compare(run, others, monitor=heard)
    assert heard.shares[-1] == 1
    assert found["count"].to_numpy().tolist() == [8, 24]
    assert found.samples.to_numpy().tolist() == [598, 598, 299]
    assert found.other.to_numpy().tolist() == ["moved", "alone", "half"]
    assert {*BY_COUNT, *BY_CLUSTER} == set(found.data_vars)
    # One lacks the count of 8, one has the same clusters of every second sample.
    missing = found.sel(other="moved", count=8)
    assert all(np.isnan(missing[name]) for name in BY_COUNT)
    assert (missing.match == -1).all()
    assert missing.p.isnull().all()
    half = found.sel(other="half", count=24)
    assert float(half.ari) == float(half.within) == 1
    assert float(half.ami) == pytest.approx(1)
    assert elsewhere(half).sum() == 24
    for name, other in zip(("moved", "alone"), others, strict=False):
        here = found.sel(other=name, count=24)
        label, theirs = (one.clusters.label.sel(count=24).to_numpy() for one in (run, other))
        assert float(here.ari) == pytest.approx(adjusted_rand_score(label, theirs))
        assert float(here.ami) == pytest.approx(adjusted_mutual_info_score(label, theirs))
        assert float(here.with_tokens) == pytest.approx(adjusted_rand_score(label, tokens))
        assert float(here.other_with_tokens) == pytest.approx(adjusted_rand_score(theirs, tokens))
        assert float(here.by_tokens) == pytest.approx(by_groups_alone(label, theirs, tokens))
        assert float(here.ari_low) < float(here.ari) < float(here.ari_high)
        matched = matches(label, theirs)
        np.testing.assert_array_equal(here.match, matched.other)
        np.testing.assert_array_equal(here.jaccard, matched.jaccard)
        np.testing.assert_array_equal(here.cluster_size, np.bincount(label))
        for k in range(24):
            own = tokens[label == k]
            assert int(here.token[k]) == own[0]  # all of one
            assert int(here.token_samples[k]) == len(own)
            share = len(own) / (tokens == own[0]).sum()
            assert float(here.token_jaccard[k]) == pytest.approx(share)


def test_tokens_alone_are_told_from_the_same_quanta(
    planted: tuple[Results, list[Results], np.ndarray],
) -> None:
    """Nine in ten stay, so 0.81 of pairs within tokens; independent thirds of tokens give 0."""
    run, others, _ = planted
    found = compare(run, others[:2]).sel(count=24)
    moved, alone = found.sel(other="moved"), found.sel(other="alone")
    assert float(moved.within) == pytest.approx(0.81, abs=0.08)
    assert float(moved.within_low) > 0.5
    assert float(alone.within_low) < 0 < float(alone.within_high)
    # A third of 1 of 8 tokens each: (1/3) · (1/3) of pairs by chance, of 1/3: about a third.
    assert float(alone.ari) == pytest.approx(1 / 3, abs=0.05)
    assert float(alone.ari_low) < float(alone.by_tokens) < float(alone.ari_high)
    assert elsewhere(moved).sum() == 24
    assert elsewhere(alone).sum() <= 3  # of a third of a token's samples in both few are half
    assert not of_a_token(moved).any()


def test_clusters_that_are_tokens_are_told(
    planted: tuple[Results, list[Results], np.ndarray],
) -> None:
    run, others, _ = planted
    eight = compare(run, [others[2]]).sel(count=8, other="half")
    assert of_a_token(eight).sum() == elsewhere(eight).sum() == 8
    assert np.isnan(float(eight.within))  # no token is cut by either


def test_what_is_known_of_the_others(
    planted: tuple[Results, list[Results], np.ndarray], corpus: Corpus
) -> None:
    run, others, _ = planted
    late = made(corpus, Path("a/late"), [np.arange(598) % 24], [24], input={"revision": "step512"})
    foreign = made(
        corpus,
        Path("c/half"),
        [np.arange(598) % 24],
        [24],
        input={"model": "models/two", "revision": "step4"},
        similarity={"mode": "sketch"},
    )
    found = compare(run, [late, *others, foreign])
    assert found.other.to_numpy().tolist() == ["late", "moved", "alone", "b/half", "c/half"]
    np.testing.assert_array_equal(found.step, [512, 2, np.nan, np.nan, 4])
    assert found.folder.to_numpy().tolist()[2:4] == ["../alone", "../../b/half"]
    told = found.differs.to_numpy().tolist()
    assert told[0] == "input.revision = step512"
    assert told[2] == "input.revision = main, cluster.seed = 3"
    assert told[4] == "input.model = two, input.revision = step4, similarity.mode = sketch"
    assert checkpoints(found).other.to_numpy().tolist() == ["moved", "late"]
    assert found.parameters.isnull().all()  # no losses there
    assert names([Path("x/a"), Path("y/b"), Path("z/a")]) == ["x/a", "b", "z/a"]


def test_bad_input(planted: tuple[Results, list[Results], np.ndarray], corpus: Corpus) -> None:
    run, others, _ = planted
    labels = np.arange(598) % 3
    foreign = given(examples.named("another", 598), np.arange(598))
    elsewhere_ = Results(
        Path("c"), run.config, foreign, xr.Dataset(), imported(np.stack([labels]), [24])
    )
    few = made(corpus, Path("a/few"), [labels], [3])
    every, rest = np.arange(0, 598, 2), np.arange(1, 598, 2)
    even = made(corpus, Path("a/even"), [labels[every]], [24], every)
    odd = made(corpus, Path("a/odd"), [labels[rest]], [24], rest)
    for one, several, says in (
        (run, [], "OTHER is missing"),
        (run, [run], "a/run: is the run that is compared; give another one"),
        (run, [others[0], others[0]], "a/moved: given twice; leave one out"),
        (run, [elsewhere_], "c: samples of two corpora"),
        (even, [odd], "a/odd: no sample is in both runs; give the second one the samples"),
        (run, [few], "a/few: clusters for 3, and a/run for 8, 24; give both a count in common"),
    ):
        with pytest.raises(BadInput, match=says) as caught:
            compare(one, several)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def runs(place: Path) -> Path:
    """Runs of the command: other seeds of k-means, another view, and every second sample."""
    three = {"counts": [3, 5], "n_init": 2}
    for name, changes in (
        ("run", {"cluster": three}),
        ("seed", {"cluster": three | {"seed": 7}}),
        ("sketch", {"cluster": three | {"counts": [5, 9]}, "similarity": {"mode": "sketch"}}),
        ("second", {"cluster": three, "select": {"stride": 2, "count": 20}}),
    ):
        qdg.run(settings(place, **changes), place / name)
    return place


def test_the_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(runs / name) for name in ("run", "seed", "sketch", "second")]
    assert door.main(words) == 0
    out = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in out[1:6]]
    assert [(row[0], row[-1]) for row in rows] == [
        ("3", "seed"),
        ("5", "seed"),
        ("5", "sketch"),
        ("3", "second"),
        ("5", "second"),
    ]
    assert "seed: 40 samples in both; cluster.seed = 7" in out
    assert "sketch: 40 samples in both; similarity.mode = sketch" in out
    assert any(
        line.startswith("–: not known; jquanta stability RESULTS, and OTHER") for line in out
    )
    assert any(line.startswith("seed, 5 clusters: ") for line in out)
    assert out[-1] == str(runs / "run" / "comparison.zarr")
    stored = open_comparison(runs / "run")
    label, theirs = (
        open_clusters(runs / name).label.sel(count=5).to_numpy() for name in ("run", "seed")
    )
    index = adjusted_rand_score(label, theirs)
    assert float(stored.ari.sel(other="seed", count=5)) == pytest.approx(index)
    assert rows[1][1] == f"{index:.2f}"
    shared = stored.samples.sel(other="second").item()
    one, other = (open_run(runs / name).predictions.index for name in ("run", "second"))
    assert shared == len(np.intersect1d(one, other)) < 40
    size = int(stored.parameters.sel(other="seed"))
    assert size == int(qdg_losses(runs)["size"][0])
    # Everything that was computed is what was stored.
    again = compare(open_run(runs / "run"), [open_run(Path(word)) for word in words[1:]])
    xr.testing.assert_identical(again, stored)
    assert door.main([*words[:2], "--count", "3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out if line.endswith(" seed")] == ["3"]
    assert any(line.startswith("seed, 3 clusters") for line in out)
    assert out[-1].endswith("comparison.zarr, in place of an earlier one")


def qdg_losses(place: Path) -> Any:
    import jquanta as jq

    return jq.open_losses(place / "losses")


def test_the_ceiling_is_that_of_stability(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--counts", "5", "--seeds", "2", "--subsamples", "1"]
    assert stability_door.main([str(runs / "run"), *words]) == 0
    assert stability_door.main([str(runs / "seed"), *words]) == 0
    capsys.readouterr()
    found = compare(*[open_run(runs / "run"), [open_run(runs / "seed"), open_run(runs / "sketch")]])
    own, theirs = (float(open_stability(runs / n).ari_seed.mean()) for n in ("run", "seed"))
    five = found.sel(count=5)
    np.testing.assert_allclose(five.seed_ari, [own, own])
    np.testing.assert_allclose(five.other_seed_ari, [theirs, np.nan])
    assert found.sel(count=3).seed_ari.isnull().all()
    assert door.main([str(runs / "run"), str(runs / "seed"), "--count", "5"]) == 0
    assert f"{own:.2f}, {theirs:.2f}" in capsys.readouterr().out
    # Of clusters that are no longer there it is not told.
    path = runs / "stale"
    shutil.copytree(runs / "run", path)
    clusters = open_clusters(path)
    save_clusters(
        clusters.assign(label=clusters.label[:, ::-1].assign_coords(clusters.label.coords)), path
    )
    heard = Watch()
    stale = compare(open_run(runs / "sketch"), [open_run(path)], monitor=heard)
    assert stale.other_seed_ari.isnull().all()
    assert any("no ceiling: " in line for line in heard.lines)
    shutil.rmtree(path)


def test_a_stale_comparison_is_refused(runs: Path, tmp_path: Path) -> None:
    for name in ("run", "seed"):
        shutil.copytree(runs / name, tmp_path / name)
    run, other = (open_run(tmp_path / name) for name in ("run", "seed"))
    with pytest.raises(BadInput, match="no comparison here; make it: jquanta compare"):
        open_comparison(tmp_path / "seed")
    save_comparison(compare(run, [other]), run.path)
    kept = open_comparison(run.path)
    for folder in (other.path, run.path):
        clusters = open_clusters(folder)
        label = clusters.label.copy(data=np.roll(clusters.label.to_numpy(), 1, axis=1))
        save_clusters(clusters.assign(label=label), folder)
        with pytest.raises(BadInput, match=f"{folder.name} has other clusters now; make it"):
            open_comparison(run.path)
        save_clusters(clusters, folder)
    xr.testing.assert_identical(open_comparison(run.path), kept)
    shutil.rmtree(other.path)  # what is gone is not asked
    xr.testing.assert_identical(open_comparison(run.path), kept)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ([], "OTHER is missing: give the runs that it is compared with"),
        (["run"], "run: is the run that is compared; give another one"),
        (["seed", "seed"], "seed: given twice; leave one out"),
        (["corpus"], "corpus: is a corpus (to use it: "),
        (["nowhere"], "nowhere: no such folder; make one: jquanta qdg CONFIG"),
        (["unfinished"], "unfinished: lacks clusters.zarr; finish it with jquanta qdg"),
        (["seed", "--count", "4"], "count 4: there are clusters for 3, 5"),
    ],
)
def test_the_commands_bad_input(
    runs: Path, others: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(runs / "run" / "comparison.zarr", ignore_errors=True)
    shutil.rmtree(runs / "unfinished", ignore_errors=True)
    shutil.copytree(runs / "seed", runs / "unfinished")
    shutil.rmtree(runs / "unfinished" / "clusters.zarr")
    words = [word if word[0] in "-4" else str(runs / word) for word in others]
    assert door.main([str(runs / "run"), *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (runs / "run" / "comparison.zarr").exists()


def test_words_for_people(
    planted: tuple[Results, list[Results], np.ndarray], corpus: Corpus
) -> None:
    run, others, _ = planted
    found = compare(run, others)
    lines = door.table(found, [8, 24]).splitlines()
    cells = lines[1].split()
    here = found.sel(other="moved", count=24)
    assert cells[0] == "24"
    assert cells[1:4] == [
        f"{float(here.ari):.2f}",
        f"[{float(here.ari_low):.2f},",
        f"{float(here.ari_high):.2f}]",
    ]
    assert cells[-6:] == ["–,", "–", "24", "of", "24", "moved"]
    assert [line.split()[0] for line in lines[1:5]] == ["24", "24", "8", "24"]
    best = door.clusters(here, named(corpus))
    assert best[0].startswith(
        "moved, 24 clusters: 24 of 24 found; 0 of these are about all samples of one token"
    )
    assert len(best) == 2 + door.BEST  # none is shown as least alike that is found
    index = [float(line.split()[5]) for line in best[2:] if line != "…"]
    assert index == sorted(index, reverse=True)
    assert best[2].endswith("'")
    lost = here.copy(deep=True)
    lost.jaccard[20:] = [0.4, 0.3, 0.2, 0.1]
    *_, dots, last = door.clusters(lost.isel(cluster=slice(0, 21)), named(corpus))
    assert (dots, last.split()[:2]) == ("…", ["20", str(int(here.cluster_size[20]))])
    assert len(door.clusters(lost, named(corpus))) == 2 + door.BEST + 1 + 4
    missing = door.clusters(found.sel(other="moved", count=8), named(corpus))
    assert missing == ["moved: has no 8 clusters"]


def named(corpus: Corpus) -> Any:
    """A decoder of its tokens, which has no tokenizer."""

    class Words:
        @staticmethod
        def decode(tokens: list[int]) -> str:
            return f"t{tokens[0]}"

    return Words
