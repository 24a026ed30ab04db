"""The plan of a run: the batches, panels and sizes of the work itself, and what it takes."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jquanta import qdg
from jquanta.cli.qdg import main
from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.machine.computer import H200, Computer, here
from jquanta.qdg import estimate
from jquanta.qdg.cosines import blockwise
from jquanta.qdg.estimate import Stage
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.per_sample import _shapes_of_one, view_of
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.stored import VIEWS
from jquanta.qdg.views.view import View
from tests.lm.losses import examples
from tests.qdg.test_pipeline import settings

HERE = replace(
    H200, name="here", kind="cpu", devices=jax.local_device_count(), memory=10**9, single=1e11
)
"""A CPU whose rates are known."""

OF_VIEWS = (
    Gradients(),
    Gradients("reference"),
    Gradients(r"layers\.0\.mlp"),
    Factors(rank=3),
    Factors("reference", rank=100),
    Sketch(size=3),
    Sketch(("attention.*kernel", "norm"), size=100),
    Activations(),
)


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("config", [examples.NEOX, examples.NEO], ids=["neox", "neo"])
@pytest.mark.parametrize("view", OF_VIEWS, ids=str)
def test_costs_are_those_of_the_function(view: View, config: LMConfig) -> None:
    function = view.function(Model(config, examples.parameters(config)))
    made = jax.tree.leaves(_shapes_of_one(function))
    assert view.cost(config).numbers == sum(x.size for x in made)
    assert view.cost(config).operations == function.operations
    assert view.cost(config).inside == function.inside


def test_every_view_is_tried() -> None:
    assert {type(view) for view in OF_VIEWS} == set(VIEWS.values())


def by_name(stages: Any) -> Mapping[str, Stage]:
    return {stage.name: stage for stage in stages}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("view", [Gradients(), Factors(rank=3, tolerance=1.0)], ids=str)
def test_batches_and_panels_are_those_of_the_run(
    view: View, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the plan says, beside what the work's own functions are called with and give."""
    options = {"mode": view.mode, "rank": 3, "tolerance": 1.0, "memory": "20 MB"}
    config = qdg.config.load_qdg(settings(place, similarity=options))
    seen: list[blockwise.Tiling] = []
    taken: list[list[blockwise.Step]] = []
    tiling, steps = blockwise.tiling, blockwise.steps
    monkeypatch.setattr(
        blockwise, "tiling", lambda *x, **more: seen.append(tiling(*x, **more)) or seen[-1]
    )
    monkeypatch.setattr(blockwise, "steps", lambda *x: taken.append(steps(*x)) or taken[-1])
    qdg.run(config, tmp_path / "run")
    monkeypatch.undo()
    run = qdg.open_run(tmp_path / "run")
    source = view_of(run.model(), run.predictions, view)
    stages = by_name(qdg.plan(config, tmp_path / "fresh", computers=[HERE]).stages[0][1])
    assert stages["gradients"].work.startswith(f"{len(source.plan):,} batch")
    assert f" of {seen[0].panel:,} rows" in stages["products"].work
    pairs = sum(len(step.partners) for step in taken[0])
    assert f", {pairs:,} product" in stages["products"].work
    assert stages["products"].disk == 4 * len(run.predictions) ** 2


@pytest.mark.parametrize("held", [1, 2, 5, 7, 9])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 8])
def test_passes_are_those_of_the_steps(count: int, held: int) -> None:
    """The closed form, beside the list of all steps."""
    often, pairs, rounds = estimate._passes(count, held, False)
    steps = blockwise.steps(np.zeros((count, count), bool), held)
    assert often.tolist() == [sum(step.made == j for step in steps) for j in range(count)]
    assert pairs == sum(len(step.partners) for step in steps)
    assert rounds == len({step.first for step in steps})


@pytest.mark.parametrize("held", [1, 2, 9])
@pytest.mark.parametrize("count", [2, 5, 8])
def test_a_block_is_one_half_with_the_other(count: int, held: int) -> None:
    """Some panels of the first half are held while all of the second pass by."""
    made: list[int] = []
    found, half = set[tuple[int, int]](), count // 2
    for first in range(0, half, held):
        own = range(first, min(first + held, half))
        made += [*own, *range(half, count)]
        found |= {(i, j) for i in own for j in range(half, count)}
    often, pairs, rounds = estimate._passes(count, held, True)
    assert often.tolist() == [made.count(j) for j in range(count)]
    assert pairs == len(found)
    assert rounds == -(-half // held)


@pytest.mark.parametrize("method", ["neighbours", "spherical"])
def test_without_a_matrix(method: str, place: Path, tmp_path: Path) -> None:
    cluster = {"method": method, "neighbours": 5}
    config = settings(place, similarity={"mode": "sketch", "sketch_size": 2}, cluster=cluster)
    fresh = by_name(qdg.plan(config, tmp_path / "run", computers=[HERE]).stages[0][1])
    assert "products" not in fresh
    assert ("neighbours" in fresh) == (method == "neighbours")
    clusters = qdg.run(config, tmp_path / "run")
    vectors = qdg.open_run(tmp_path / "run").similarity
    samples, numbers = vectors.vector.shape
    assert fresh["gradients"].disk == 4 * samples * (numbers + 1)
    assert fresh["k-means"].disk == clusters.label.size * 4
    there = qdg.plan(config, tmp_path / "run", computers=[HERE])
    assert there.inputs.there >= {"similarity", "clusters", "page"}


def test_before_anything_exists(place: Path, tmp_path: Path) -> None:
    """Only the shape of the model is needed; the corpus is assumed."""
    wanted = settings(place)
    wanted["input"] |= {
        "corpus": str(tmp_path / "none"),
        "source": "text.jsonl",
        "documents": 3,
        "max_length": 50,
        "losses": str(tmp_path / "losses"),
    }
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    shutil.copy(place / "tiny" / "config.json", tiny)
    wanted["input"] |= {"model": str(tiny)}
    plan = qdg.plan(wanted, tmp_path / "run", computers=[HERE, H200])
    assert plan.inputs.predictions.tolist() == [49, 49, 49]
    assert not plan.inputs.there
    assert len(plan.inputs.lengths) == 40
    assert plan.inputs.lengths.min() == 1
    assert plan.inputs.lengths.max() == 49
    text = str(plan)
    assert "3 documents of 50 tokens assumed" in text
    assert "no losses yet" in text
    for computer, stages in plan.stages:
        assert computer.name in text
        assert [stage.name for stage in stages][:3] == ["corpus", "losses", "selection"]
        assert by_name(stages)["losses"].seconds > 0
    assert list(tmp_path.iterdir()) == [tiny]


def test_what_is_there_is_not_counted(place: Path, tmp_path: Path) -> None:
    qdg.run(settings(place), tmp_path / "run")
    plan = qdg.plan(settings(place), tmp_path / "run", computers=[HERE])
    assert plan.inputs.there == {
        *("corpus", "losses", "selection", "similarity", "clusters", "page")
    }
    assert "as they were selected" in str(plan)
    *_, last = str(plan).splitlines()
    assert last.split()[:3] == ["all", "1", "s"]  # nothing is left, and less is not told
    fresh = qdg.plan(settings(place), tmp_path / "other", computers=[HERE])
    assert fresh.inputs.there == {"corpus", "losses"}
    np.testing.assert_array_equal(fresh.inputs.lengths, plan.inputs.lengths)
    assert "select them" in str(fresh)


def test_what_does_not_fit_is_said_for_that_computer_only(place: Path, tmp_path: Path) -> None:
    small = replace(HERE, name="small", memory=1000)
    plan = qdg.plan(settings(place), tmp_path / "run", computers=[small, HERE])
    assert isinstance(plan.stages[0][1], str)
    assert "does not fit: memory" in str(plan)
    assert not isinstance(plan.stages[1][1], str)


def test_twice_the_rate_is_half_the_time(place: Path) -> None:
    shape, lengths = examples.NEOX, np.full(1000, 60)

    def seconds(computer: Computer) -> np.ndarray:
        first, second = estimate.similarity(Gradients(), lengths, shape, computer)
        launch = estimate.CPU.launch
        many = estimate.clusters(1000, [10, 100], 3, computer)
        return np.array([first.seconds, second.seconds, many[1].seconds]) - launch * np.array(
            [int(first.work.split()[0]), int(second.work.split(", ")[1].split()[0]), 0]
        )

    one = seconds(HERE)
    np.testing.assert_allclose(one, 2 * seconds(replace(HERE, single=2 * HERE.single)))
    assert (one > 0).all()


def test_memory_that_is_short_has_gradients_made_more_often() -> None:
    lengths, config = np.full(2000, 60), examples.NEOX
    ample, _ = estimate.similarity(Gradients(), lengths, config, replace(HERE, memory=10**12))
    numbers = Gradients().cost(config).numbers
    # Room for five panels of 256 of the eight; two of them pass by.
    short, _ = estimate.similarity(Gradients(), lengths, config, HERE, memory=4 * numbers * 256 * 6)
    assert "each made once" in ample.work
    assert "each made 1." in short.work
    assert short.seconds > ample.seconds


def test_a_wrong_configuration_is_refused_as_by_the_run(place: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such"):
        qdg.plan(settings(place, input={"model": str(tmp_path / "none")}), computers=[HERE])


def test_the_command_prints_both_and_writes_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(place)
    (tmp_path / "run.toml").write_text(qdg.config.load_qdg(wanted).to_toml(), encoding="utf-8")
    assert main([str(tmp_path / "run.toml"), "--plan", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "rates measured just now" in printed
    assert H200.name in printed
    assert not (tmp_path / "out").exists()


def test_the_rates_of_this_machine_are_measured() -> None:
    computer = here()
    assert computer.devices == jax.local_device_count()
    assert min(computer.single, computer.half, computer.copy, computer.memory) > 1e6
