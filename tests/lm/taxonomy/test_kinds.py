"""Kinds of tokens against a loop over tokens, and planted ones found again."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import linregress

from jquanta.errors import BadInput
from jquanta.lm import taxonomy as package
from jquanta.lm.taxonomy import kinds as module
from jquanta.lm.taxonomy.kinds import Taxonomy, taxonomy
from jquanta.lm.taxonomy.thresholds import Monogenic, Polygenic
from tests.lm.taxonomy import examples
from tests.lm.taxonomy.examples import SIZES, table

LOOSE = (Monogenic(4.0, 0.5), Polygenic(-0.2, 0.9))


def monogenic_at(row: np.ndarray, sizes: Sequence[int], rule: Monogenic) -> int | None:
    """The slow twin: the size at which a token drops."""
    for size in sorted(set(sizes))[1:]:
        smaller = [loss for loss, n in zip(row, sizes, strict=True) if n < size]
        larger = [loss for loss, n in zip(row, sizes, strict=True) if n >= size]
        if min(smaller) > rule.above and max(larger) < rule.below:
            return size
    return None


@pytest.mark.parametrize("sizes", [SIZES, (10, 10, 50, 50, 50, 900)])
@pytest.mark.parametrize("rules", [(Monogenic(), Polygenic()), LOOSE])
def test_every_token_is_what_a_loop_says(
    sizes: tuple[int, ...], rules: tuple[Monogenic, Polygenic]
) -> None:
    losses = examples.random(3_000, len(sizes))
    if len(set(sizes)) < len(sizes):  # seeds that mostly agree
        losses = np.abs(losses[:, [0, 0, 1, 1, 1, 2]] + 0.02 * losses).astype(np.float32)
    names = [f"{n}-{size}" for n, size in enumerate(sizes)]
    found = taxonomy(table(losses, sizes, names), *rules)
    one, drops, many, slopes, r2 = [], [], [], [], []
    for index, row in enumerate(losses.astype(float)):
        size = monogenic_at(row, sizes, rules[0])
        if size is not None:
            one.append(index)
            drops.append(size)
        line = linregress(np.log(sizes), row)
        if line.slope < rules[1].slope and line.rvalue**2 > rules[1].r2:
            many.append(index)
            slopes.append(line.slope)
            r2.append(line.rvalue**2)
    assert len(one) > 20
    assert len(many) > 20
    np.testing.assert_array_equal(found.monogenic.index, one)
    np.testing.assert_array_equal(found.monogenic.size, drops)
    np.testing.assert_array_equal(found.polygenic.index, many)
    np.testing.assert_allclose(found.polygenic.slope, slopes, rtol=1e-9)
    np.testing.assert_allclose(found.polygenic.r2, r2, rtol=1e-9)


def test_planted_tokens_are_found_and_no_others() -> None:
    at, steep = {3: 1, 40: 2, 77: 3, 199: 1}, [0, 41, 150]
    found = taxonomy(table(examples.planted(200, at, steep)))
    assert found.monogenic.index.tolist() == list(at)
    assert found.monogenic.size.tolist() == [SIZES[place] for place in at.values()]
    assert found.polygenic.index.tolist() == steep
    np.testing.assert_allclose(found.polygenic.slope, -0.7, rtol=1e-5)  # float32 losses
    assert found.predictions == 200


def test_persistence() -> None:
    losses = examples.random(2_000)
    found = taxonomy(table(losses))
    for size in range(4):
        solved = losses[:, size] < 0.3
        lasting = (losses[:, size:] < 0.3).all(1)
        assert found.solved[size] == solved.sum() > 10
        assert found.lasting[size] == lasting.sum()
        assert found.persistence[size] == lasting.sum() / solved.sum()
    assert found.persistence[-1] == 1
    assert np.isnan(taxonomy(table(np.full((9, 4), 2.0))).persistence).all()


def test_seeds_have_to_agree() -> None:
    sizes, names = (10, 10, 50, 900), ["a-0", "a-1", "b", "c"]
    losses = np.array(
        [[6, 6, 0.1, 0.1], [6, 4, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1], [0.1, 2, 0.1, 0.1]]
    )
    found = taxonomy(table(losses, sizes, names))
    assert found.monogenic.index.tolist() == [0]
    assert found.solved.tolist() == [1, 4, 4]


def same(one: Taxonomy, other: Taxonomy) -> None:
    for kind in ("monogenic", "polygenic", "near_monogenic", "near_polygenic"):
        for field in ("index", "size", "slope", "r2", "short"):
            np.testing.assert_array_equal(
                getattr(getattr(one, kind), field), getattr(getattr(other, kind), field)
            )
    np.testing.assert_array_equal(one.solved, other.solved)
    np.testing.assert_array_equal(one.lasting, other.lasting)


def test_blocks_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = table(examples.random(1_000))
    whole = taxonomy(losses)
    same(taxonomy(losses, block=1_000), whole)
    same(taxonomy(losses, block=37), whole)
    monkeypatch.setattr(module, "TILE", 11)
    same(taxonomy(losses, block=300), whole)


def test_the_nearest_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEAREST", 5)
    losses = examples.random(800)
    rule = Monogenic(8.8, 0.01)
    found = taxonomy(table(losses), rule, Polygenic(-0.3, 0.999999), block=90)
    assert len(found.monogenic) == len(found.polygenic) == 0
    rows = losses.astype(float)
    short = np.min(
        [
            np.maximum(8.8 - rows[:, :j].min(1), rows[:, j:].max(1) - 0.01)
            for j in range(1, rows.shape[1])
        ],
        0,
    )
    np.testing.assert_array_equal(found.near_monogenic.index, np.argsort(short)[:5])
    np.testing.assert_allclose(found.near_monogenic.short, np.sort(short)[:5])
    lines = [linregress(np.log(SIZES), row) for row in rows]
    r2 = np.array([line.rvalue**2 if line.slope < -0.3 else 0 for line in lines])
    np.testing.assert_array_equal(found.near_polygenic.index, np.argsort(-r2)[:5])


def test_straight_lines_by_chance() -> None:
    noise = np.random.default_rng(0).normal(size=(40_000, 4))
    _, r2 = module.lines(noise, np.log(SIZES))
    for least in (0.5, 0.9, 0.98):
        share = (r2 > least).mean()
        expected = module.straight_by_chance(4, least)
        spread = np.sqrt(expected / len(noise))  # of a count, at one sigma
        assert share == pytest.approx(expected, abs=4 * spread)
    assert module.straight_by_chance(4, 0.98) == pytest.approx(1 - np.sqrt(0.98))


def test_what_is_refused() -> None:
    losses = examples.random(10)
    with pytest.raises(BadInput, match="2 sizes of models: give at least 3"):
        taxonomy(table(losses, (10, 10, 20, 20), list("abcd")))
    losses[7, 3] = np.nan
    with pytest.raises(BadInput, match="prediction 7"):
        taxonomy(table(losses))
    with pytest.raises(BadInput, match="0 < below < above"):
        Monogenic(0.3, 5.0)
    with pytest.raises(BadInput, match="slope < 0"):
        Polygenic(0.3)


def test_the_package_gives_its_functions() -> None:
    losses = package.at_step(table(examples.planted(50, {7: 2}, [9])))
    assert set(package.__all__) == set(package._HOMES)
    assert all(callable(getattr(package, name)) for name in package.__all__)
    kinds = package.taxonomy(losses, package.Monogenic(above=4.0))
    assert kinds.monogenic.index.tolist() == [7]
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        package.x  # noqa: B018
