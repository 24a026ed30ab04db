"""Names of Pythia models, old and new."""

import pytest

from jquanta.lm.models.pythia import OLD_NAMES, PYTHIA, STEPS, resolve


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


@pytest.mark.parametrize("name", ["gpt2", "me/pythia-70m", "EleutherAI/pythia-2b", "pythia-70m-x"])
def test_other_names_are_left_alone(name: str) -> None:
    assert resolve(name) == (name, None)


def test_checkpoints() -> None:
    assert len(STEPS) == 154
    assert STEPS[:4] == (0, 1, 2, 4)
    assert STEPS[9:13] == (256, 512, 1000, 2000)
    assert STEPS[-1] == 143_000
