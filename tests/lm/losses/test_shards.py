"""Losses in parts that know nothing of each other, joined: the same as in one folder."""

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import jquanta as jq
from jquanta.__main__ import main
from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.losses import column
from jquanta.lm.losses.compute import compute_losses, plan_for, run_job
from jquanta.lm.losses.gather import gather
from jquanta.lm.losses.job import make_job, share_of
from jquanta.run.shard import Missing, Shard, shards_in
from tests.lm.losses import examples
from tests.lm.losses.examples import LENGTHS, TOKENS
from tests.sweep.examples import tree

ROUNDING = 1e-4
"""Nats, of losses around 7: a part's batches have other companions, and float32 sums are added in
another order, which moves a loss by a few 1e-6 of itself."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A corpus, and two models."""
    examples.corpus(tmp_path / "corpus")
    examples.model(tmp_path / "neox")
    examples.model(tmp_path / "neo", examples.NEO)
    return tmp_path


def part(
    place: Path, shard: Shard, models: Sequence[str] = ("neox", "neo"), out: str = "out"
) -> None:
    paths = [place / model for model in models]
    run_job(make_job(place / "corpus", paths, place / out, shard=shard), batch_tokens=TOKENS)


@pytest.fixture
def parts(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All parts of three, on disk in chunks of 64 losses, so that parts begin and end within."""
    monkeypatch.setattr(column, "CHUNK", 64)
    monkeypatch.setattr("jquanta.lm.losses.gather.CHUNK", 64)
    for shard in Shard(3, 1).all():
        part(place, shard)
    return place


def test_joined_they_are_the_losses(parts: Path) -> None:
    whole = compute_losses(
        parts / "corpus", [parts / "neox", parts / "neo"], parts / "whole", batch_tokens=TOKENS
    )
    before = tree(parts / "out/shards")
    joined = gather(shards_in(parts / "out"), parts / "out")
    assert joined.model.values.tolist() == whole.model.values.tolist()
    np.testing.assert_allclose(joined.loss.values, whole.loss.values, rtol=0, atol=ROUNDING)
    for name in ("size", "weights", "name", "revision"):
        np.testing.assert_array_equal(joined[name], whole[name])
    assert joined.attrs == whole.attrs
    assert tree(parts / "out/shards") == before
    assert {found.state for found in jq.check(parts / "out")} == {"whole"}
    # A second time nothing is done; a further model's parts join the columns that are there.
    before = tree(parts / "out/neo@main")
    examples.model(parts / "more", seed=1)
    for shard in Shard(3, 1).all():
        part(parts, shard, ["more"])
    more = gather(shards_in(parts / "out"), parts / "out")
    assert sorted(more.name.values.tolist()) == ["more", "neo", "neox"]
    assert tree(parts / "out/neo@main") == before


@pytest.mark.parametrize("of", [1, 2, 5, 9])
def test_every_prediction_belongs_to_one_part(place: Path, of: int) -> None:
    corpus = jq.open_corpus(place / "corpus")
    shares = [share_of(corpus, shard) for shard in Shard(of, 1).all()]
    edges = [share.predictions for share in shares]
    assert edges[0][0] == 0
    assert edges[-1][1] == corpus.n_predictions
    assert all(first[1] == second[0] for first, second in pairwise(edges))
    assert all(stop > first for first, stop in edges)
    assert all(
        (corpus.starts[share.documents[0]], corpus.starts[share.documents[1]]) == share.predictions
        for share in shares
    )


def test_a_part_computes_its_own_documents_alone(place: Path) -> None:
    corpus = jq.open_corpus(place / "corpus")
    seen: list[int] = []
    for shard in Shard(3, 1).all():
        plan = plan_for(corpus, examples.NEOX, TOKENS, share=share_of(corpus, shard))
        seen += [document for batch in plan.batches for document in batch.documents.tolist()]
    assert sorted(seen) == np.flatnonzero(np.diff(corpus.starts)).tolist()


def test_an_interrupted_part_continues(parts: Path) -> None:
    """Its columns are then the same, bit for bit."""

    class Stop:
        def work(self, *_: object, **__: object) -> None:
            raise Interrupted("here")

        def say(self, line: str) -> None: ...

    shard = Shard(3, 2)
    job = make_job(parts / "corpus", parts / "neox", parts / "again", shard=shard)
    with pytest.raises(Interrupted):
        run_job(job, batch_tokens=TOKENS, monitor=Stop())
    part(parts, shard, ["neox"], "again")
    place = Path("shards/2-of-3/neox@main/loss/c")
    own, other = parts / "out" / place, parts / "again" / place
    names = sorted(path.name for path in own.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (own / name).read_bytes() == (other / name).read_bytes()


def test_what_is_missing_is_listed_as_commands(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = parts / "out"
    shutil.rmtree(out / "shards/2-of-3")
    shutil.rmtree(out / "shards/3-of-3/neo@main")
    assert main(["gather", str(out)]) == 2
    printed, err = capsys.readouterr()
    commands = printed.splitlines()
    assert [(line.split()[5][-4:], line.split("--shard ")[1][:3]) for line in commands] == [
        ("/neo", "2/3"),
        ("neox", "2/3"),
        ("/neo", "3/3"),
    ]
    assert err.count("\n") == 1
    assert "2 of 3 shards are missing or not finished" in err
    assert not (out / "zarr.json").exists()
    for line in commands:
        assert main(line.split()[1:]) == 0
    assert main(["gather", str(out)]) == 0


def test_what_is_no_part_or_another_s_is_named(parts: Path) -> None:
    out = parts / "out"
    ours = shards_in(out)
    examples.corpus(parts / "other", seed=3)
    run_job(make_job(parts / "other", parts / "neox", parts / "b", shard=Shard(3, 1)))
    compute_losses(parts / "corpus", parts / "neox", parts / "whole")
    cases = {
        parts / "b/shards/1-of-3": "losses on another corpus",
        parts / "whole": "whole losses, and no shard",
        ours[0]: f"shard 1/3, as is {ours[0]}",
        parts / "corpus": "holds no losses",
    }
    for bad, words in cases.items():
        with pytest.raises(BadInput, match=words):
            gather([*ours, bad], parts / "new")
        assert not (parts / "new").exists()
    examples.model(parts / "neox", seed=7)
    shutil.rmtree(out / "shards/1-of-3")
    part(parts, Shard(3, 1))
    with pytest.raises(BadInput, match="neox@main: another weights than"):
        gather(shards_in(out), out)
    assert not (out / "zarr.json").exists()


def test_parts_and_wholes_do_not_mix(parts: Path) -> None:
    out = parts / "out"
    with pytest.raises(BadInput, match="jquanta gather"):
        jq.open_losses(out / "shards/1-of-3")
    having = sum(length > 1 for length in LENGTHS)
    with pytest.raises(BadInput, match=f"has {having} documents with predictions; give at most"):
        part(parts, Shard(having + 1, 1), out="new")
    with pytest.raises(BadInput, match="holds other files"):
        gather(shards_in(out), parts / "corpus")


def test_a_part_is_no_place_for_a_whole(parts: Path) -> None:
    """Nor a place for parts of another cut; and what is not gathered is told so."""
    out = parts / "out"
    before = tree(out)
    for shard in (None, Shard(4, 1)):
        with pytest.raises(BadInput, match="is shard 1/3 of losses; give the folder of the whole"):
            make_job(parts / "corpus", parts / "neox", out / "shards/1-of-3", shard=shard)
    with pytest.raises(BadInput, match="1-of-3 is shard 1/3 of another cut"):
        make_job(parts / "corpus", parts / "neox", out, shard=Shard(4, 1))
    make_job(parts / "corpus", parts / "neox", out)  # goes on with the shards
    assert tree(out) == before
    (out / "shards/2-of-3").rename(parts / "moved")
    (out / "shards/2-of-3").mkdir()  # as of a process that was killed at its start
    with pytest.raises(Missing, match="1 of 3 shards is missing"):
        gather(shards_in(out), out)


def test_an_interrupted_gather_goes_on(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = parts / "out"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(column.Column, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            gather(shards_in(out), out)
    with pytest.raises(BadInput, match=f"not finished: .*; jquanta gather {out} goes on"):
        jq.open_losses(out)
    assert gather(shards_in(out), out).sizes["model"] == 2


def test_a_full_disk_loses_nothing(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = parts / "out"
    before = tree(out / "shards")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(column.Column, "_chunk", full)
        with pytest.raises(RunFailed, match="the disk is full"):
            gather(shards_in(out), out)
    assert tree(out / "shards") == before
    assert gather(shards_in(out), out).sizes["model"] == 2
