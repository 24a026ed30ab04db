"""Every figure of the catalogue: what it names exists, and it refuses what it is not drawn from."""

import importlib
from pathlib import Path

import pytest

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.figures.catalogue import FIGURES
from tests.sweep.synthetic import PLANTED, planted, stored

CONFIGS = Path(__file__).parents[2] / "configs"
FROM_RUNS = [name for name, entry in FIGURES.items() if entry.experiments]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over activations, which no figure shows."""
    changes = {"network.activation": ["relu", "tanh"], "sweep": [{}]}
    config = jq.load_config(PLANTED | changes)
    return stored(planted(changes), config, tmp_path_factory.mktemp("catalogue") / "run")


@pytest.mark.parametrize("name", FIGURES)
def test_what_an_entry_names_exists(name: str) -> None:
    module, _, function = FIGURES[name].function.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))
    for experiment in FIGURES[name].experiments:
        assert (CONFIGS / f"{experiment}.toml").exists()


@pytest.mark.parametrize("name", FROM_RUNS)
def test_results_of_another_experiment_are_refused_in_one_line(
    name: str, other: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refusal:
        jq.draw(name, [other], tmp_path)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.startswith(f"{name}: ")
    assert message.endswith("trained by jquanta sweep NAME")
    assert f"is drawn from {FIGURES[name].experiments[0]}" in message
    assert list(tmp_path.iterdir()) == []
