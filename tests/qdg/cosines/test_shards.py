"""A similarity in shards, joined: that of one call."""

import errno
import shutil
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from jquanta import qdg
from jquanta.__main__ import main
from jquanta.cli.qdg import main as command
from jquanta.errors import BadInput, RunFailed
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.config import load_qdg
from jquanta.qdg.cosines.features import features, open_features
from jquanta.qdg.cosines.matrix import Blocks, OnDisk
from jquanta.qdg.cosines.shards import compute, dealt, groups_of, join, share_of, units_of
from jquanta.qdg.cosines.similarity import similarity
from jquanta.qdg.pipeline import run_shard
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.view import View
from jquanta.run.folder import RunFolder
from jquanta.run.shard import Shard, shards_in
from tests.qdg import examples
from tests.qdg.test_pipeline import settings
from tests.sweep.examples import tree

Numbers = NDArray[np.int64]

VIEWS: dict[str, View] = {
    "exact": Gradients(),
    "factors": Factors(rank=2, tolerance=0.2),
    "sketch": Sketch(size=6),
    "activations": Activations(),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.mark.parametrize("of", [1, 2, 3, 5, 8, 18, 31])
def test_every_pair_of_groups_is_dealt_once(of: int) -> None:
    count = groups_of(of)
    found = [pair for shard in Shard(of, 1).all() for pair in dealt(shard)]
    assert sorted(found) == list(combinations_with_replacement(range(count), 2))
    # Half a block is the pair of a group with itself.
    work = [sum(1 if i < j else 0.5 for i, j in dealt(shard)) for shard in Shard(of, 1).all()]
    assert max(work) == units_of(count, of)
    assert max(work) / count**2 <= 1.22 * 0.5 / of  # half of all pairs, dealt evenly: 0.5 / of


@pytest.mark.parametrize("of", [2, 8, 18, 32])
def test_some_numbers_of_shards_have_equally_much_to_do(of: int) -> None:
    """And no shard has more than two groups."""
    assert units_of(groups_of(of), of) == 1
    assert {len({*sum(dealt(shard), ())}) for shard in Shard(of, 1).all()} == {2}


def test_sixty_four_shards_have_equally_much_to_do() -> None:
    assert groups_of(64) == 16
    assert units_of(16, 64) == 2
    assert max(len({*sum(dealt(shard), ())}) for shard in Shard(64, 1).all()) <= 4


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("name", "of"), [("sketch", 5), ("exact", 2), ("factors", 3), ("activations", 5), ("exact", 5)]
)
def test_joined_they_are_the_similarity(name: str, of: int, corpus: Corpus, tmp_path: Path) -> None:
    """Float32 products of vectors of unit length, added in another order: 3e-6, as in
    ``test_similarity``. Panels have few samples, so that blocks are left out."""
    model, samples, view = examples.model(), examples.predictions(corpus), VIEWS[name]
    absolute = view.has_absolute
    whole = similarity(model, samples, view, absolute=absolute)
    for shard in Shard(of, 1).all():
        compute(model, samples, view, shard, tmp_path, absolute=absolute)
    before = tree(tmp_path / "shards")
    join(model, samples, view, of, tmp_path, absolute=absolute)
    found = similarity(model, samples, view, absolute=absolute, out=tmp_path)
    assert set(found.variables) == set(whole.variables)
    for key in whole.variables:
        np.testing.assert_allclose(found[key], whole[key], atol=3e-6, err_msg=str(key))
    np.testing.assert_array_equal(np.diag(found.cosine), 1)
    np.testing.assert_array_equal(found.cosine, found.cosine.T)
    told = {"created", "commit", "error_pairs", "error_rms", "error_max"}
    assert {k: v for k, v in found.attrs.items() if k not in told} == {
        k: v for k, v in whole.attrs.items() if k not in told
    }
    assert tree(tmp_path / "shards") == before


def test_joined_vectors_are_those_of_one_call(corpus: Corpus, tmp_path: Path) -> None:
    model, samples, view = examples.model(), examples.predictions(corpus), Sketch(size=6)
    whole = features(model, samples, view, out=tmp_path / "whole")
    for shard in Shard(3, 1).all():
        compute(model, samples, view, shard, tmp_path)
    join(model, samples, view, 3, tmp_path, matrix=False)
    found = open_features(tmp_path)
    assert set(found.variables) == set(whole.variables)
    assert found.vector.encoding["chunks"] == whole.vector.encoding["chunks"]
    for key in whole.variables:
        np.testing.assert_allclose(found[key], whole[key], rtol=1e-5, atol=1e-6, err_msg=str(key))
    assert found.attrs | {"commit": ""} == whole.attrs | {"commit": ""}


def test_a_shard_makes_its_own_blocks_alone(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = examples.model(), examples.predictions(corpus)
    shard = Shard(8, 3)
    share = share_of(samples, model, Gradients(), shard)
    assert len(share.groups) == 2
    assert len(share.places) < 0.7 * len(samples)
    written: list[int] = []
    write = OnDisk.write

    def counted(
        self: OnDisk, i: int, j: int, rows: Numbers, columns: Numbers, blocks: Blocks
    ) -> None:
        written.append(len(rows) * len(columns))
        write(self, i, j, rows, columns, blocks)

    monkeypatch.setattr(OnDisk, "write", counted)
    monkeypatch.setattr("jquanta.qdg.cosines.blockwise.PANEL", 4)
    compute(model, samples, Gradients(), shard, tmp_path)
    # One block, a quarter of all pairs of its samples, and what a panel has beyond the end of a
    # group. Of the whole matrix half would be written.
    assert 0.2 < sum(written) / len(share.places) ** 2 < 0.4


def test_groups_have_equal_work(corpus: Corpus) -> None:
    model, samples = examples.model(), examples.predictions(corpus)
    lengths = prefixes(samples, model.config).lengths
    work = [
        lengths[share_of(samples, model, Sketch(), shard).places].sum()
        for shard in Shard(4, 1).all()
    ]
    assert max(work) - min(work) <= 2 * lengths.max()  # cut at the middle of a sample at worst


def test_shards_of_something_else_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    model, samples, view = examples.model(), examples.predictions(corpus), Sketch(size=6)
    for shard in Shard(2, 1).all():
        compute(model, samples, view, shard, tmp_path)
    before = tree(tmp_path)
    with pytest.raises(BadInput, match=r"1-of-2/features\.zarr: has sketch_size 6, not 7"):
        compute(model, samples, Sketch(size=7), Shard(2, 1), tmp_path)
    fewer = samples.at(np.arange(len(samples) - 1))
    with pytest.raises(BadInput, match=r"1-of-2.*: has (samples|of)"):
        join(model, fewer, view, 2, tmp_path)
    with pytest.raises(BadInput, match="no features here"):
        join(model, samples, view, 3, tmp_path)
    with pytest.raises(BadInput, match=r"--shard 1/\d+: there are \d+ samples; give at most"):
        compute(model, samples, view, Shard(len(samples), 1), tmp_path)
    assert tree(tmp_path) == before


def test_the_commands(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a user meets them: what is lacking is told as commands, and gathering makes the page."""
    out, losses = tmp_path / "run", tmp_path / "losses"
    flags = [
        *("--input.model", str(place / "tiny"), "--input.corpus", str(place / "corpus")),
        *("--input.losses", str(losses), "--select.threshold", "6.0", "--select.count", "40"),
        *("--select.induction", "none", "--select.stride", "1", "--cluster.counts", "2"),
        *("--out", str(out)),
    ]
    assert command([*flags, "--shard", "1/3"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"first: jquanta losses --corpus {place / 'corpus'} --model {place / 'tiny'}" in said
    assert not out.exists()
    assert main(said.split("first: jquanta ")[1].split()) == 0
    for shard in ("1/3", "3/3"):
        assert command([*flags, "--shard", shard]) == 0
    assert command([*flags, "--shard", "1/2"]) == 2
    assert "shard 1/3 of another cut" in capsys.readouterr().err
    assert main(["gather", str(out)]) == 2
    line = capsys.readouterr().out.strip()
    assert line.endswith(f"--shard 2/3 --out {out}")
    assert sorted(path.name for path in out.iterdir()) == ["shards"]
    assert main(line.split()[1:]) == 0
    assert main(["gather", str(out)]) == 0
    assert (out / "quanta.html").exists()
    whole = qdg.open_similarity(out)
    assert main(["qdg", *flags]) == 0  # the command of the whole finds it finished
    assert qdg.open_similarity(out).attrs == whole.attrs
    assert main(["check", str(out)]) == 0


def test_a_full_disk_loses_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_qdg(settings(place))
    qdg.run(config, tmp_path / "whole")  # its losses are needed
    for number in (1, 2):
        run_shard(config, tmp_path / "run", Shard(2, number))
    before = tree(tmp_path / "run" / "shards")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("jquanta.qdg.cosines.shards.write", full)
        with pytest.raises(RunFailed, match="the disk is full: free some space"):
            qdg.run(config, tmp_path / "run")
    assert tree(tmp_path / "run" / "shards") == before
    assert not (tmp_path / "run" / "similarity.zarr").exists()
    found = qdg.run(config, tmp_path / "run")
    np.testing.assert_array_equal(found.label, qdg.open_clusters(tmp_path / "whole").label)


def test_a_damaged_shard_costs_no_other(place: Path, tmp_path: Path) -> None:
    """It is named, with what makes it again; the healthy one stays as it is."""
    config, out = load_qdg(settings(place)), tmp_path / "run"
    qdg.run(config, tmp_path / "whole")
    one, other = (run_shard(config, out, Shard(2, number)) for number in (1, 2))
    before = tree(one)
    chunk = other / "similarity.zarr" / "cosine" / "c" / "0" / "0"
    chunk.write_bytes(b"damaged!" + chunk.read_bytes()[8:])
    with pytest.raises(BadInput, match=r"2-of-2.*shard 2/2: delete its folder, and the command"):
        qdg.run(config, out)
    assert tree(one) == before
    shutil.rmtree(other)
    found = qdg.run(config, out)
    np.testing.assert_array_equal(found.label, qdg.open_clusters(tmp_path / "whole").label)


def test_what_is_refused_leaves_no_shard(place: Path, tmp_path: Path) -> None:
    config, out = load_qdg(settings(place)), tmp_path / "run"
    qdg.run(config, tmp_path / "whole")
    with pytest.raises(BadInput, match="there are 40 samples; give at most 20"):
        run_shard(config, out, Shard(21, 1))
    assert not out.exists()
    run_shard(config, out, Shard(2, 1))
    before = tree(out)
    fewer = load_qdg(settings(place, select={"count": 30}))
    for call in (lambda: run_shard(fewer, out, Shard(2, 2)), lambda: qdg.run(fewer, out)):
        with pytest.raises(BadInput, match=r"1-of-2: of another configuration \(another select"):
            call()
    assert tree(out) == before


def test_a_shard_that_is_being_computed_is_left_alone(place: Path, tmp_path: Path) -> None:
    config = load_qdg(settings(place))
    qdg.run(config, tmp_path / "whole")
    work = RunFolder(tmp_path / "run" / "shards" / "1-of-2" / "similarity.work")
    with (
        work.locked(),
        pytest.raises(BadInput, match=r"1-of-2/similarity\.work: in use by process"),
    ):
        run_shard(config, tmp_path / "run", Shard(2, 1))


def test_the_command_of_the_whole_goes_on_with_shards(place: Path, tmp_path: Path) -> None:
    config = settings(place)
    qdg.run(config, tmp_path / "whole")
    part = run_shard(load_qdg(config), tmp_path / "run", Shard(2, 2))
    assert part == shards_in(tmp_path / "run")[0]
    before = tree(part)
    found = qdg.run(config, tmp_path / "run")
    np.testing.assert_array_equal(found.label, qdg.open_clusters(tmp_path / "whole").label)
    assert tree(part) == before
    assert len(shards_in(tmp_path / "run")) == 2
