"""Which part of a network finds known groups, where one is planted, and the command."""

from pathlib import Path

import numpy as np
import pytest

from jquanta.cli import parts as door
from jquanta.errors import BadInput
from jquanta.lm.models.network import shapes
from jquanta.lm.models.roles import Role, role
from jquanta.qdg.clusters.parts import (
    compare_parts,
    counts_for,
    nearest_told,
    open_parts,
    pairs_told,
    ranking,
)
from jquanta.qdg.cosines.partial import cosines_of
from jquanta.qdg.questions.parts import TOKEN, evenly, parts_of
from jquanta.qdg.views.parameters import HEAD, pieces
from tests.lm.losses.examples import LLAMA, NEO, NEOX
from tests.monitors import Watch
from tests.qdg.clusters import planted
from tests.qdg.clusters.vectors import groups

SIZES = [12, 10, 8, 6, 1]


def test_the_part_that_holds_the_groups_is_found() -> None:
    """One of two cells has the groups, the other noise that is ten times as long."""
    points, truth = groups(SIZES, 60, 0.3)
    noise = 10 * np.random.default_rng(5).standard_normal((len(truth), 60))
    grams = {
        frozenset(("whole", "told")): np.asarray(points @ points.T, np.float32),
        frozenset(("whole", "noise")): np.asarray(noise @ noise.T / 60, np.float32),
    }
    heard = Watch()
    kinds = {"whole": "whole", "told": "layer", "noise": "layer"}
    found = compare_parts(grams, kinds, {"group": truth}, seeds=2, monitor=heard)
    assert found["count"].to_numpy().tolist() == [2, 4, 7]
    four = found.sel(truth="group", count=4)
    assert (four.ari.sel(part="told") > 0.95).all()  # the single sample joins some group
    # Noise and shuffled groups agree as chance has it: 0, within 0.1 for 37 samples.
    assert (np.abs(found.ari.sel(part="noise")) < 0.15).all()
    assert (found.chance < 0.3).all()
    assert found.nearest.sel(part="told").item() == 1
    assert found.pairs.sel(part="told").item() == 1
    for name in ("pairs", "nearest"):
        assert found[name].sel(part="noise").item() < found[name].sel(part="told").item() - 0.2
    ranked = ranking(found, "group")
    assert ranked.part.to_numpy().tolist()[0] == "told"
    assert (np.diff(ranked["mean"]) <= 0).all()
    assert heard.shares[-1] == pytest.approx(1)


def test_what_needs_no_clusters_by_plain_code() -> None:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 4, 25)
    points = chance.standard_normal((25, 5)).round(1)
    cosine = cosines_of(points @ points.T)
    pairs = [(i, j) for i in range(25) for j in range(i)]
    same = [cosine[i, j] for i, j in pairs if truth[i] == truth[j]]
    other = [cosine[i, j] for i, j in pairs if truth[i] != truth[j]]
    wins = np.mean([(a > b) + (a == b) / 2 for a in same for b in other])
    assert pairs_told(cosine, truth) == pytest.approx(wins)
    nearest = [max((cosine[i, j], j) for j in range(25) if j != i)[1] for i in range(25)]
    company = [i for i in range(25) if (truth == truth[i]).sum() > 1]
    told = np.mean([truth[nearest[i]] == truth[i] for i in company])
    assert nearest_told(cosine, truth) == pytest.approx(told)


def test_a_row_without_length_is_like_none() -> None:
    points = np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 0.0]])
    np.testing.assert_allclose(
        cosines_of(points @ points.T),
        [[1, 0, np.sqrt(0.5)], [0, 1, 0], [np.sqrt(0.5), 0, 1]],
        rtol=1e-6,  # float32
    )


def test_counts_go_by_groups() -> None:
    assert counts_for(np.repeat(np.arange(20), 30)) == [10, 20, 40]
    assert counts_for(np.repeat(np.arange(20), 6)) == [10, 20, 24]  # of 120 samples
    assert counts_for(np.r_[np.zeros(30, int), np.arange(1, 9)]) == [2]  # one has two samples


@pytest.mark.parametrize("config", [NEOX, NEO, LLAMA], ids=["neox", "neo", "llama"])
def test_parts_are_the_roles_and_layers(config: object) -> None:
    names = list(shapes(config))  # type: ignore[arg-type]
    found = parts_of(config)  # type: ignore[arg-type]
    held = {
        part: [piece.name for piece in pieces(config, own)]  # type: ignore[arg-type]
        for part, (_, own) in found.items()
    }
    for one in Role:
        assert held.get(one.value, []) == [name for name in names if role(name) == one]
    assert held["everything"] == names
    assert held["layer norm"] == sorted(
        held["norms of layers"] + held["final norm"], key=names.index
    )
    inner = (Role.ATTENTION, Role.MLP)
    for layer in (0, 1):
        own = [n for n in names if n.startswith(f"layers.{layer}.") and role(n) in inner]
        assert held[f"layer {layer}"] == own
        both = held[f"layer {layer} attention"] + held[f"layer {layer} mlp"]
        assert sorted(both) == sorted(own)
    assert sum(bool(HEAD.fullmatch(own)) for _, own in found.values()) == 2 * config.heads  # type: ignore[attr-defined]


def test_samples_are_evenly_spaced() -> None:
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Copies of a document have equal gradients, in each part."""
    results = planted.folder(tmp_path)
    assert door.main([str(results), "--seeds", "1", "--counts", "4"]) == 0
    said = capsys.readouterr().out
    assert "24 samples, 4 groups by predicted token" in said
    assert f"{results / 'parts.zarr'}\n" in said
    found = open_parts(results)
    everything = found.sel(part="everything", truth=TOKEN)
    assert everything.ari.item() == 1
    assert everything.share.item() == pytest.approx(1, abs=1e-6)  # float32
    assert found.sel(part="layer 1 head 0").parameters.item() == "layers.1.head.0"
    assert found.sel(part="everything").numbers.item() == sum(
        int(np.prod(shape)) for shape in shapes(NEOX).values()
    )
    assert (found.silent == 0).all()
    for words, says in (
        (["--samples", "1"], "samples = 1: give 2 or more"),
        (["--seeds", "0"], "seeds and restarts: give at least 1"),
        (["--counts", "24"], "counts: 24 clusters of 24 samples"),
        (["--memory", "20 kB"], "give up to 14 samples"),
    ):
        assert door.main([str(results), *words]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    assert door.main([str(tmp_path / "corpus")]) == 2
    capsys.readouterr()
    with pytest.raises(BadInput, match="jquanta parts"):
        open_parts(tmp_path)
    with pytest.raises(BadInput, match="there must be two groups"):
        compare_parts({}, {"whole": "whole"}, {"token": np.zeros(9, int)})
