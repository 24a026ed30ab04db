"""Factors of gradients against the gradients themselves, and against singular values in numpy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta import qdg
from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import shapes
from jquanta.machine.devices import mesh
from jquanta.qdg.cosines.panels import inner, unit
from jquanta.qdg.views import per_sample, ways
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients, gradients
from jquanta.qdg.views.kept import _built, _outer
from jquanta.qdg.views.lowrank import LowRank, dense, factored, orthonormal
from jquanta.qdg.views.parameters import chosen
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.ranks import outer_products, ranks_of
from jquanta.qdg.views.source import computed
from tests.cuda import as_on_a_gpu, lowered_for_cuda, scatters
from tests.lm.losses.examples import NEO, NEOX
from tests.monitors import Watch
from tests.qdg import examples

DEEP = replace(NEOX, layers=4)

ROUNDING = 1e-6
"""Of a cosine. Unit rows are sums of products in float32, each wrong by 6e-8 of its size; what is
built again from orthonormal factors is as exact."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def of_rank(chance: np.random.Generator, n_in: int, n_out: int, spectrum: Any) -> np.ndarray:
    """A random matrix with these singular values."""
    count = len(spectrum)
    left = np.linalg.qr(chance.normal(size=(n_in, count)))[0]
    right = np.linalg.qr(chance.normal(size=(n_out, count)))[0]
    return (left * np.asarray(spectrum)) @ right.T


@pytest.mark.parametrize("shape", [(17, 40), (40, 17), (24, 24)])
def test_what_is_lost_is_near_the_least(x64: None, shape: tuple[int, int]) -> None:
    """No matrix of rank r is nearer than the leading singular values' (Eckart and Young)."""
    chance = np.random.default_rng(0)
    values = 0.7 ** np.arange(min(shape))
    matrix = of_rank(chance, *shape, values)
    for rank in (1, 3, 8):
        probe = chance.normal(size=(rank, shape[0]))
        found, lost = factored(jnp.asarray(matrix), jnp.asarray(probe))
        assert found.left.shape == (rank, shape[0])
        rest = matrix - np.asarray(dense(found))
        np.testing.assert_allclose(lost, np.square(rest).sum(), rtol=1e-12)
        least = np.square(values[rank:]).sum()
        # 30 seeds gave 1.2 to 2.8 times the least; a basis that ignores the matrix, 20 and more.
        assert least * (1 - 1e-12) <= lost < 4 * least
        # A projection: what is kept and what is lost are at right angles.
        assert abs(np.sum(np.asarray(dense(found)) * rest)) < 1e-14


@pytest.mark.parametrize(("wide", "bound"), [(False, 1e-6), (True, 1e-14)])
def test_of_a_matrix_of_low_rank_nothing_is_lost(x64: None, wide: bool, bound: float) -> None:
    chance, dtype = np.random.default_rng(1), np.float64 if wide else np.float32
    for matrix in (
        of_rank(chance, 12, 30, [1.0]),
        of_rank(chance, 12, 30, [1.0, 1e-3, 1e-5]),
        np.zeros((12, 30)),
    ):
        probe = chance.normal(size=(5, 12)).astype(dtype)
        found, lost = factored(jnp.asarray(matrix.astype(dtype)), jnp.asarray(probe))
        assert found.right.dtype == dtype
        np.testing.assert_allclose(dense(found), matrix, rtol=0, atol=bound)
        assert 0 <= lost < bound**2 * matrix.size


def test_rows_that_depend_on_others_are_zero() -> None:
    rows = np.random.default_rng(2).normal(size=(6, 9)).astype(np.float32)
    rows[2], rows[4] = rows[0] - rows[1], 0
    rows[5] *= 1e-20  # whose squares are 0 in float32
    found = np.asarray(orthonormal(jnp.asarray(rows)))
    wanted = np.diag([1, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(found @ found.T, wanted, rtol=0, atol=ROUNDING)
    broken = np.where(np.arange(6)[:, None] == 3, np.nan, rows).astype(np.float32)
    assert np.isnan(np.asarray(orthonormal(jnp.asarray(broken)))[3]).all()


def test_inner_products_and_lengths_are_those_of_the_matrices() -> None:
    """With layers in one array, beside plain arrays."""
    chance = np.random.default_rng(3)

    def tree(rows: int) -> dict[str, Any]:
        low = (random(rows, 2, 3, n) for n in (8, 11))
        return {"low": LowRank(*low), "plain": random(rows, 5)}

    def random(*shape: int) -> jax.Array:
        return jnp.asarray(chance.normal(size=shape).astype(np.float32))

    one, other = tree(4), tree(6)
    flat = [
        np.concatenate([np.asarray(dense(x["low"])).reshape(len(x["plain"]), -1), x["plain"]], 1)
        for x in (one, other)
    ]
    np.testing.assert_allclose(inner(one, other), flat[0] @ flat[1].T, rtol=0, atol=1e-4)
    length = np.linalg.norm(flat[0], axis=1)
    small = {
        "low": LowRank(one["low"].left, 1e-25 * one["low"].right),
        "plain": 1e-25 * one["plain"],
    }
    rows, norms = unit(small)  # whose squares are 0 in float32
    np.testing.assert_allclose(norms, 1e-25 * length, rtol=10 * ROUNDING)
    np.testing.assert_allclose(np.diagonal(inner(rows, rows)), 1, rtol=ROUNDING)
    rows, norms = unit(one)
    np.testing.assert_allclose(norms, length, rtol=10 * ROUNDING)
    np.testing.assert_allclose(
        inner(rows, unit(other)[0]),
        flat[0] @ flat[1].T / np.outer(length, np.linalg.norm(flat[1], axis=1)),
        rtol=0,
        atol=ROUNDING,
    )


def test_which_kernels_are_kept_as_factors() -> None:
    names = chosen(DEEP, ".")
    found = ranks_of(DEEP, names, 4)
    sizes = shapes(DEEP)
    assert all(len(sizes[name]) == 2 for name in found)
    assert found["layers.0.mlp.up.kernel"] == found["layers.3.attention.qkv.kernel"] == 4
    assert found["layers.3.mlp.up.kernel"] == found["layers.3.attention.out.kernel"] == 1
    assert found["unembed.kernel"] == 1
    # 24 · (32 + 32) numbers are no fewer than 32 · 32.
    square = ranks_of(DEEP, names, 24)
    assert "layers.0.attention.out.kernel" not in square
    assert square["layers.3.attention.out.kernel"] == 1
    last = {"query", "out", "up", "down"}
    neo = outer_products(NEO, chosen(NEO))
    assert neo == {n: 1 for n in chosen(NEO, r"layers\.1\..*kernel") if n.split(".")[-2] in last}


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("config", [NEOX, NEO], ids=["neox", "neo"])
@pytest.mark.parametrize("accelerated", [False, True])
def test_factors_of_full_rank_are_exact(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, config: LMConfig, accelerated: bool
) -> None:
    """Kernels that are smaller as they are stay so; of those of the last block two vectors are
    all. On an accelerator the exact mode keeps these, too."""
    model, samples = examples.model(config), examples.predictions(corpus, every=15)
    wanted = qdg.similarity(model, samples, absolute=True)
    if accelerated:
        monkeypatch.setitem(ways.WAYS, "cpu", ways.ACCELERATOR)
    settings: dict[str, Any] = {"absolute": True, "batch_tokens": 256, "panel": 4}
    for view in (Factors(rank=1000), Gradients()):
        found = qdg.similarity(model, samples, view, **settings)
        for name in ("cosine", "cosine_abs"):
            # Loops add up in another order: 1e-5, as in test_scanned.
            bound = 10 * ROUNDING if accelerated else ROUNDING
            np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=bound)
        if isinstance(view, Factors):
            assert found.lost.max() < 1e-12
            assert found.attrs["error_max"] < ROUNDING
            assert found.attrs["whole"] == 0


def test_what_is_told_is_what_is_lost(corpus: Corpus) -> None:
    """Each sample's lost share against whole gradients, and the cosines of the parts that are kept;
    the errors of pairs against all errors."""
    model, samples = examples.model(), examples.predictions(corpus, every=15)
    whole = gradients(model, samples).astype(np.float64)
    view, names = Factors(rank=3, tolerance=1.0), chosen(NEOX)
    rows = view_of(model, samples, view)
    built = np.empty_like(whole)
    for own, batch in computed(rows):
        full = {n: dense(x) if isinstance(x, LowRank) else x for n, x in batch.items()}
        built[own] = np.concatenate([np.asarray(full[n]).reshape(len(own), -1) for n in names], 1)
    squares = np.square(whole).sum(1)
    found = qdg.similarity(model, samples, view)
    lost = np.square(whole - built).sum(1) / squares
    np.testing.assert_allclose(found.lost, lost, rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(found.lost, 1 - np.square(built).sum(1) / squares, atol=1e-5)
    assert found.lost.median() > 1e-3

    def cosines(x: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(x, axis=1)
        return x @ x.T / np.outer(length, length)

    np.testing.assert_allclose(found.cosine, cosines(built), rtol=0, atol=10 * ROUNDING)
    error = (found.cosine.to_numpy() - cosines(whole))[np.triu_indices(len(samples), 1)]
    assert len(samples) < 46  # all pairs
    assert found.attrs["error_pairs"] == len(error)
    np.testing.assert_allclose(found.attrs["error_rms"], np.sqrt(np.mean(error**2)), rtol=0.01)
    np.testing.assert_allclose(found.attrs["error_max"], np.abs(error).max(), rtol=0.01)


def test_samples_that_lose_too_much_are_whole(corpus: Corpus) -> None:
    model, samples = examples.model(), examples.predictions(corpus, every=15)
    exact = qdg.similarity(model, samples).cosine.to_numpy()
    all_kept = qdg.similarity(model, samples, Factors(rank=2, tolerance=1.0))
    tolerance = float(all_kept.lost.median())
    watch = Watch()
    found = qdg.similarity(model, samples, Factors(rank=2, tolerance=tolerance), monitor=watch)
    again = found.lost.to_numpy() > tolerance
    assert 0 < again.sum() == found.attrs["whole"] < len(samples)
    assert f"{again.sum()} of {len(samples)} gradients lack more" in watch.lines[0]
    here = np.ix_(again, again)
    np.testing.assert_allclose(found.cosine.to_numpy()[here], exact[here], rtol=0, atol=ROUNDING)
    assert np.abs(all_kept.cosine.to_numpy()[here] - exact[here]).max() > 100 * ROUNDING
    np.testing.assert_array_equal(found.lost, all_kept.lost)
    none = qdg.similarity(model, samples, Factors(rank=2, tolerance=0.0))
    np.testing.assert_allclose(none.cosine, exact, rtol=0, atol=ROUNDING)
    assert none.attrs["error_pairs"] == 0


@pytest.mark.parametrize(
    ("stage", "at"), [("gradients", 3), ("similarity", 1), ("errors of cosines", 1)]
)
def test_what_was_interrupted_gives_the_same_bits(
    corpus: Corpus, tmp_path: Path, stage: str, at: int
) -> None:
    model, samples = examples.model(), examples.predictions(corpus, every=30)
    settings: dict[str, Any] = {"batch_tokens": 128, "panel": 4, "memory": 64 * 2**20}
    # Errors are of samples that are kept as factors; otherwise some are made again, too.
    view = Factors(rank=2, tolerance=1.0 if stage.startswith("errors") else 0.02)
    wanted = qdg.similarity(model, samples, view, **settings)
    out, watch = tmp_path / "run", Watch(stop_at=at, counts=lambda name: name == stage)
    with pytest.raises(Interrupted):
        qdg.similarity(model, samples, view, out=out, monitor=watch, **settings)
    with pytest.raises(BadInput, match="begun with another rank"):
        qdg.similarity(model, samples, Factors(rank=3), out=out, **settings)
    work = out / "similarity.work" / "factors"
    done = int((work / "done").read_text())
    assert 0 < done <= len(samples)
    assert (done < len(samples)) == (stage == "gradients")
    with (work / "numbers").open("ab") as file:
        file.write(b"what a kill leaves")
    watch = Watch()
    found = qdg.similarity(model, samples, view, out=out, monitor=watch, **settings)
    made = [share for name, share, _ in watch.reports if name == "gradients"]
    assert (made[0] > done / len(samples)) if stage == "gradients" else not made
    for name in ("cosine", "lost"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert found.attrs["error_rms"] == wanted.attrs["error_rms"]
    assert sorted(path.name for path in out.iterdir()) == ["similarity.zarr"]


def test_bad_input_is_one_line(corpus: Corpus, tmp_path: Path) -> None:
    model, samples = examples.model(), examples.predictions(corpus, every=15)
    with pytest.raises(BadInput, match="rank = 0: give 1 or more"):
        Factors(rank=0)
    with pytest.raises(BadInput, match=r"tolerance = 2: give a share from 0 to 1"):
        Factors(tolerance=2)
    with pytest.raises(BadInput, match="give a smaller rank, or out= for a file"):
        qdg.similarity(model, samples, Factors(), memory=10**6)
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("config", [NEOX, NEO], ids=["neox", "neo"])
def test_the_programs_lower_for_cuda_without_scatters(config: LMConfig) -> None:
    with as_on_a_gpu():
        model = examples.model(
            replace(config, layers=4, **({"reach": ()} if config is NEO else {}))
        )
        made = Factors(rank=4).measured(model)
        tokens, each = (jax.ShapeDtypeStruct(s, jnp.int32) for s in ((8, 64), (8,)))
        program = per_sample._program(made.one, mesh(), False)
        texts = [lowered_for_cuda(program, made.constants, tokens, each, each)]
        row = per_sample._shapes_of_one(made)
        leaves, tree = jax.tree.flatten(row)
        built = _built(tree, tuple(x.shape for x in leaves))
        numbers = jax.ShapeDtypeStruct((8, sum(x.size for x in leaves)), jnp.float32)
        texts.append(lowered_for_cuda(built, numbers))
        view = Gradients()
        whole = per_sample._shapes_of_one(view.function(model))
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((8, *x.shape), x.dtype), whole)
        ranks = tuple(outer_products(model.config, chosen(model.config)).items())
        texts.append(lowered_for_cuda(_outer(ranks), batch, made.constants[1]))
        assert [scatters(text) for text in texts] == [0, 0, 0]
