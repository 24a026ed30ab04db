"""Names with and without seeds, and losses with seeds as a dimension."""

import re

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.losses.seeds import split_seed
from tests.lm.taxonomy.examples import table


@pytest.mark.parametrize(
    ("name", "base", "seed"),
    [
        ("25.5k-seed0", "25.5k", "0"),
        ("EleutherAI/pythia-14m-seed3", "EleutherAI/pythia-14m", "3"),
        ("EleutherAI/pythia-14m", "EleutherAI/pythia-14m", "1234"),  # one of PolyPythias' seeds
        ("EleutherAI/pythia-1b", "EleutherAI/pythia-1b", ""),  # it has no others
        ("EleutherAI/pythia-160m-data-seed1", "EleutherAI/pythia-160m-data", "1"),
        ("x-seed01", "x", "01"),  # a text, so that it is not x-seed1
        ("x-seed1-seed2", "x-seed1", "2"),
        ("my-seed", "my-seed", ""),
        ("seedling-7b", "seedling-7b", ""),
        ("x-seed1-deduped", "x-seed1-deduped", ""),
        ("seed3", "seed3", ""),
        ("-seed3", "-seed3", ""),
        ("me/-seed3", "me/-seed3", ""),
        ("x-Seed3", "x-Seed3", ""),
        ("x-seed3b", "x-seed3b", ""),
        ("x-seed٣", "x-seed٣", ""),  # a digit, but not one of ours
        ("x-seed-1", "x-seed-1", ""),
        ("", "", ""),
    ],
)
def test_the_seed_is_what_ends_a_name(name: str, base: str, seed: str) -> None:
    assert split_seed(name) == (base, seed)


def suite(names: list[str], sizes: list[int], steps: tuple[int, ...] = (10, 20)) -> xr.Dataset:
    """Random losses of some models at some steps."""
    rows = [
        (name, size, f"step{s}") for name, size in zip(names, sizes, strict=True) for s in steps
    ]
    named, counts, revisions = zip(*rows, strict=True)
    losses = np.random.default_rng(0).uniform(0, 9, (7, len(rows)))
    return table(losses, counts, named, revisions)


NAMES, SIZES = (
    ["a-seed0", "a-seed2", "a-seed10", "b-seed10", "b-seed2", "b-seed0"],
    [5] * 3 + [9] * 3,
)


def test_seeds_become_a_dimension() -> None:
    losses = suite(NAMES, SIZES)
    found = jq.by_seed(losses)
    assert found.loss.dims == ("prediction", "model", "seed")
    assert found.seed.to_numpy().tolist() == ["0", "2", "10"]  # by number
    assert found.model.to_numpy().tolist() == ["a@step10", "a@step20", "b@step10", "b@step20"]
    assert found["size"].to_numpy().tolist() == [5, 5, 9, 9]
    for model in found.model.to_numpy():
        for seed in found.seed.to_numpy():
            name, revision = model.split("@")
            wanted = losses.loss.sel(model=f"{name}-seed{seed}@{revision}")
            np.testing.assert_array_equal(found.loss.sel(model=model, seed=seed), wanted)
    whole = found.loss.to_numpy()  # every way to select reads the same
    lazy = jq.by_seed(losses).loss
    for key in ((3, 2, 1), (slice(1, 5, 2), [3, 0], slice(None)), (slice(None), 1, [2, 0]), (0, 0)):
        wanted = whole
        for axis in reversed(range(len(key))):  # each index on its own axis
            wanted = np.take(wanted, np.arange(whole.shape[axis])[key[axis]], axis)
        np.testing.assert_array_equal(lazy[key], wanted)


def test_a_model_without_a_seed_is_one_more() -> None:
    found = jq.by_seed(suite(["x-seed1", "x"], [5, 5]))
    assert found.seed.to_numpy().tolist() == ["", "1"]
    pythia = jq.by_seed(suite(["EleutherAI/pythia-14m-seed9", "EleutherAI/pythia-14m"], [5, 5]))
    assert pythia.seed.to_numpy().tolist() == ["9", "1234"]


def test_only_what_is_selected_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = suite(NAMES, SIZES)
    read: list[tuple[int, ...]] = []
    took = xr.Variable.isel

    def isel(self: xr.Variable, *args: object, **options: object) -> xr.Variable:
        found = took(self, *args, **options)  # type: ignore[arg-type]
        read.append(found.shape)
        return found

    found = jq.by_seed(losses)
    with monkeypatch.context() as patch:
        patch.setattr(xr.Variable, "isel", isel)
        part = found.loss.isel(prediction=slice(0, 2), model=[1], seed=[0, 2])
        assert (7, len(losses.model)) not in read
        part.load()
    assert (2, 2) in read


def test_what_is_missing_is_named() -> None:
    losses = suite(NAMES, SIZES)
    with pytest.raises(BadInput) as error:
        jq.by_seed(losses.sel(model=losses.model != "b-seed2@step20"))
    assert re.match(
        "no losses of b-seed2@step20, and others have seeds 0, 2, 10: compute them "
        r"\(jquanta losses --model b-seed2 --revision step20 …, or train them: jquanta pretrain "
        r'--train.seeds "0, 2, 10"\), or select ',
        str(error.value),
    )
    hub = suite(["EleutherAI/pythia-14m-seed1", "EleutherAI/pythia-31m"], [5, 9], (1,))
    with pytest.raises(
        BadInput, match="of EleutherAI/pythia-14m@step1, EleutherAI/pythia-31m-seed1@"
    ):
        jq.by_seed(hub)
    with pytest.raises(BadInput, match=r"a: models of this name with seeds 0, 2 have 5, 9 param"):
        jq.by_seed(suite(["a-seed0", "a-seed2"], [5, 9]))
    many = losses.isel(model=[0, 1, 2, 4, 6, 7])
    with pytest.raises(BadInput, match="and 2 more, and others"):
        jq.by_seed(many)
