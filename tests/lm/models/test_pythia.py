"""Names of Pythia models, old and new, and of those with other seeds."""

import pytest

from jquanta.errors import BadInput
from jquanta.lm.models.pythia import (
    OLD_NAMES,
    POLY_SIZES,
    PYTHIA,
    STEPS,
    first_seed,
    is_halved,
    is_pythia,
    resolve,
)


@pytest.mark.parametrize("size", PYTHIA)
def test_todays_names_stand_for_themselves(size: str) -> None:
    for ending in ("", "-deduped", "-v0", "-deduped-v0"):
        name = f"EleutherAI/pythia-{size}{ending}"
        assert resolve(name) == (name, None)
        assert resolve(f"pythia-{size}{ending}") == (name, None)


def test_the_papers_names() -> None:
    sizes = ["19m", "125m", "350m", "800m", "1.3b", "2.7b", "6.7b", "13b"]
    today = ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    assert dict(zip(sizes, today, strict=True)) == OLD_NAMES
    for old, new in OLD_NAMES.items():
        model, note = resolve(f"EleutherAI/pythia-{old}-deduped")
        assert model == f"EleutherAI/pythia-{new}-deduped-v0"
        assert note
        assert model in note
        assert resolve(f"pythia-{old}")[0] == f"EleutherAI/pythia-{new}-v0"


@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "me/pythia-70m",
        "EleutherAI/pythia-2b",
        "pythia-70m-x",
        "pythia-14m-seed",
        "pythia-14m-seedling",
        "me/pythia-14m-seed99",
    ],
)
def test_other_names_are_left_alone(name: str) -> None:
    assert resolve(name) == (name, None)


def test_checkpoints() -> None:
    assert len(STEPS) == 154
    assert STEPS[:4] == (0, 1, 2, 4)
    assert STEPS[9:13] == (256, 512, 1000, 2000)
    assert STEPS[-1] == 143_000


def test_seeds_of_polypythias() -> None:
    """45 runs of five sizes, and six of 160m in which one source of chance varies (model cards)."""
    names = [f"pythia-{size}-seed{seed}" for size in POLY_SIZES for seed in range(1, 10)]
    names += [f"pythia-160m-{kind}-seed{seed}" for kind in ("data", "weight") for seed in (1, 2, 3)]
    assert len(names) == 45 + 6
    for name in names:
        assert resolve(name) == resolve(f"EleutherAI/{name}") == (f"EleutherAI/{name}", None)
        assert is_pythia(name)
        assert not is_halved(name)
    assert first_seed("EleutherAI/pythia-410m") == first_seed("pythia-14m") == "1234"
    for other in ("pythia-1b", "pythia-160m-v0", "me/pythia-14m", "pythia-14m-seed1"):
        assert first_seed(other) == ""


@pytest.mark.parametrize(
    "name",
    [
        "pythia-14m-seed10",
        "pythia-14m-seed0",
        "pythia-14m-seed01",
        "pythia-1b-seed1",
        "pythia-160m-v0-seed1",
        "pythia-160m-deduped-seed1",
        "pythia-19m-seed1",
        "pythia-70m-data-seed1",
        "EleutherAI/pythia-160m-weight-seed4",
    ],
)
def test_seeds_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(BadInput) as error:
        resolve(name)
    assert str(error.value).startswith(f"{name}: there is no such model; PolyPythias has ")
    assert "of 14m, 31m, 70m, 160m, 410m" in str(error.value)
    assert "\n" not in str(error.value)
    assert not is_pythia(
        name
    )  # of a folder that is called so nothing is known, and nothing refused
