"""A sweep in parts that know nothing of each other, joined: the same as in one folder."""

import shlex
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta.__main__ import main
from jquanta.errors import BadInput, RunFailed
from jquanta.parity.config import from_values
from jquanta.run.shard import Missing, Shard, shards_in
from jquanta.sweep.config import load_config
from jquanta.sweep.estimate import run_operations
from jquanta.sweep.folder import SweepFolder
from jquanta.sweep.gather import gather
from jquanta.sweep.plan import members
from tests.shared import made_once
from tests.sweep.examples import RAGGED, TINY, toml, tree

THREE = ("1/3", "2/3", "3/3")


def trained(folder: Path) -> None:
    for shard in THREE:
        jq.run_sweep(RAGGED, folder, shard=shard)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All parts of ``RAGGED``, which are read only."""
    return made_once(tmp_path_factory, "ragged-shards", trained)


@pytest.fixture
def parts(made: Path, tmp_path: Path) -> Iterator[Path]:
    """The same, to be changed."""
    shutil.copytree(made, tmp_path / "whole")
    return tmp_path / "whole"


def test_a_part_is_a_sweep_of_some_runs(made: Path, ragged: Path) -> None:
    """Each run of a part is that of the whole sweep, to the rounding of other company: see
    ``test_devices``."""
    whole = jq.open_results(ragged)
    seen = []
    for path in shards_in(made):
        part = jq.open_results(path)
        seen += part.run.values.tolist()
        for run in part.run.values:
            one, other = part.sel(run=run), whole.sel(run=run)
            last = int(one.last_step)
            assert last == int(other.last_step)
            steps = one.step.values[np.isfinite(one.loss.values)]
            np.testing.assert_allclose(
                one.loss.sel(step=steps), other.loss.sel(step=steps), atol=1e-5
            )
        task, network = jq.load_run(path, run=int(part.run[0]))
        assert network(task.draw(3).inputs).shape == (3, 2)
    assert sorted(seen) == list(range(5))


def test_joined_they_are_the_sweep(parts: Path, ragged: Path) -> None:
    before = tree(parts / "shards")
    joined, whole = gather(shards_in(parts), parts), jq.open_results(ragged)
    assert set(joined.variables) == set(whole.variables)
    assert joined.sizes == whole.sizes
    # What does not come out of float32 sums is equal, and so is where numbers are missing.
    for name, array in whole.variables.items():
        kind = array.dtype.kind
        if kind == "f":
            np.testing.assert_allclose(joined[name], array, atol=1e-4, err_msg=str(name))
        else:
            np.testing.assert_array_equal(joined[name], array, err_msg=str(name))
    np.testing.assert_array_equal(joined.frequency, whole.frequency)
    assert joined.attrs["config"] == whole.attrs["config"]
    for run in range(5):  # weights are copied byte for byte
        own = SweepFolder(parts).weight_file(run).read_bytes()
        assert own == next(parts.glob(f"shards/*/weights/{run:05d}.*")).read_bytes()
        jq.load_run(parts, run)
    assert tree(parts / "shards") == before
    assert {part.state for part in jq.check(parts)} == {"whole"}
    # A second time there is nothing to do, nor for the sweep's own command.
    record = (parts / "record.json").read_bytes()
    gather(shards_in(parts), parts)
    jq.run_sweep(RAGGED, parts)
    assert (parts / "record.json").read_bytes() == record


def test_values_of_parts_are_copied_bit_for_bit(parts: Path) -> None:
    joined = gather(shards_in(parts), parts)
    for path in shards_in(parts):
        part = jq.open_results(path)
        own = joined.sel(run=part.run, step=part.step)
        for name in ("loss", "subtask_loss", "validation_loss", "subset"):
            shared = own[name].isel(
                {d: slice(part.sizes[d]) for d in ("subtask", "position") if d in own[name].dims}
            )
            xr.testing.assert_identical(shared.drop_attrs(), part[name].drop_attrs())


@pytest.mark.parametrize("of", [2, 3, 7])
def test_work_is_dealt_evenly_whatever_the_machine(of: int) -> None:
    runs = [
        from_values({"network.width": width, "train.seed": seed})
        for width in range(10, 100, 10)
        for seed in range(4)
    ]
    dealt = [members(runs, shard) for shard in Shard(of, 1).all()]
    assert sorted(chain(*dealt)) == list(range(len(runs)))
    work = [sum(run_operations(runs[i]) for i in part) for part in dealt]
    # Cut at the middle of a run at worst, at both ends.
    assert max(work) - min(work) <= 2 * max(map(run_operations, runs))


def test_what_is_missing_is_listed_as_commands(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(parts / "shards/2-of-3")
    record = SweepFolder(parts / "shards/3-of-3")
    record.update_record(state="running")
    before = tree(parts)
    assert main(["gather", str(parts)]) == 2
    out, err = capsys.readouterr()
    commands = out.splitlines()
    assert [line.split(" --shard ")[1] for line in commands] == [
        f"{shard} --out {parts}" for shard in ("2/3", "3/3")
    ]
    assert err.count("\n") == 1
    assert "2 of 3 shards are missing or not finished" in err
    assert tree(parts) == before
    for line in commands:  # they are right
        assert main(line.split()[1:]) == 0
    assert main(["gather", str(parts)]) == 0


def test_what_is_no_part_or_another_s_is_named(parts: Path, tiny: Path, tmp_path: Path) -> None:
    jq.run_sweep(TINY, tmp_path / "other", shard="1/2")
    (other,) = shards_in(tmp_path / "other")
    ours = shards_in(parts)
    for bad, words in {
        tiny: "another configuration than .* [(]another task.n_tasks, .* and 5 more[)]",
        other: "another configuration than",
        ours[1]: f"shard 2/3, as is {ours[1]}",
        parts / "shards": "not a sweep",
    }.items():
        with pytest.raises(BadInput, match=words):
            gather([*ours, bad], tmp_path / "out")
        assert not (tmp_path / "out").exists()
    shutil.copytree(ours[0], parts / "shards/1-of-2")
    SweepFolder(parts / "shards/1-of-2").update_record(shard="1/2")
    with pytest.raises(BadInput, match=r"1-of-3: shard 1/3, and .*1-of-2 is shard 1/2"):
        gather(shards_in(parts), parts)
    with pytest.raises(Missing, match="2 of 3 shards are missing"):
        gather(ours[:1], tmp_path / "out")


def test_parts_and_wholes_do_not_mix(parts: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds another configuration"):
        jq.run_sweep(RAGGED | {"train.batch_size": 17}, parts)
    with pytest.raises(BadInput, match="holds a whole sweep, and no shards"):
        jq.run_sweep(TINY, tiny, shard="1/2")
    with pytest.raises(BadInput, match="there are 5 networks; give at most so"):
        jq.run_sweep(RAGGED, tmp_path / "new", shard="1/6")
    with pytest.raises(BadInput, match="give a folder"):
        jq.run_sweep(RAGGED, shard="1/2")
    with pytest.raises(BadInput, match="run 0 is none of this shard's; give the gathered"):
        jq.load_run(shards_in(parts)[2], 0)
    with pytest.raises(BadInput, match="jquanta gather"):
        jq.open_results(parts)
    assert not (tmp_path / "new").exists()


def test_the_command_of_the_whole_trains_what_is_missing_and_joins(parts: Path) -> None:
    there = tree(parts / "shards/1-of-3")
    shutil.rmtree(parts / "shards/2-of-3")
    whole = jq.run_sweep(RAGGED, parts)
    assert whole.run.values.tolist() == [0, 1, 2, 3, 4]
    assert tree(parts / "shards/1-of-3") == there
    assert {part.state for part in jq.check(parts)} == {"whole"}


def test_a_part_is_no_place_for_a_whole(parts: Path, tiny: Path, tmp_path: Path) -> None:
    part = shards_in(parts)[0]
    before = tree(parts)
    for shard in (None, "1/2"):
        with pytest.raises(BadInput, match=f"is shard 1/3 of a sweep.* --out {parts}"):
            jq.run_sweep(RAGGED, part, shard=shard)
    with pytest.raises(BadInput, match="1-of-3 is shard 1/3 of another cut; go on with /3"):
        jq.run_sweep(RAGGED, parts, shard="1/2")
    with pytest.raises(BadInput, match="holds shard 1/3 of one; give a new folder"):
        gather(shards_in(parts), part)
    with pytest.raises(BadInput, match="holds a whole sweep; give a new folder"):
        gather(shards_in(parts), tiny)
    assert tree(parts) == before
    # A job of the array that is started again after all were joined has nothing to do.
    gather(shards_in(parts), parts)
    before = tree(parts)
    jq.run_sweep(RAGGED, parts, shard="1/3")
    assert tree(parts) == before


def test_a_part_that_was_killed_at_its_start_is_missing(parts: Path) -> None:
    for name, left in {"1-of-3": ["lock"], "2-of-3": [], "3-of-3": ["config.toml"]}.items():
        kept = {file: (parts / "shards" / name / "config.toml").read_bytes() for file in left}
        shutil.rmtree(parts / "shards" / name)
        (parts / "shards" / name).mkdir()
        for file, content in kept.items():
            (parts / "shards" / name / file).write_bytes(content)
    with pytest.raises(BadInput, match="holds no shards"):
        gather(shards_in(parts), parts)
    jq.run_sweep(RAGGED, parts, shard="2/3")
    with pytest.raises(Missing) as missing:
        gather(shards_in(parts), parts)
    assert [command.split()[4] for command in missing.value.commands] == ["1/3", "3/3"]


def test_what_an_interrupted_gather_left_does_not_stay(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after everything is written but the record: the sweep's own command refuses to train
    all of it again, and gathering goes on."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (parts / "weights").mkdir()
    (parts / "weights/00077.safetensors").write_bytes(b"of another sweep")
    with monkeypatch.context() as patched:
        patched.setattr(SweepFolder, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            gather(shards_in(parts), parts)
    with pytest.raises(BadInput, match=f"resume it with jquanta gather {parts}"):
        jq.open_results(parts)
    gather(shards_in(parts), parts)
    assert sorted(path.name[:5] for path in (parts / "weights").glob("*.safetensors")) == [
        f"{run:05d}" for run in range(5)
    ]
    assert {part.state for part in jq.check(parts)} == {"whole"}


def test_commands_hold_where_paths_have_spaces_or_were_moved(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "a b"
    parts.rename(place)
    shutil.rmtree(place / "shards/3-of-3")
    (place / "shards/1-of-3").rename(tmp_path / "moved")
    given = [str(tmp_path / "moved"), str(place / "shards/2-of-3")]
    assert main(["gather", *given]) == 2
    assert "give one to join in by --out" in capsys.readouterr().err
    assert main(["gather", *given, "--out", str(place)]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert main(shlex.split(line)[1:]) == 0
    assert main(["gather", *given, str(place / "shards/3-of-3"), "--out", str(place)]) == 0


def test_a_part_twice_at_once_is_refused(parts: Path, tmp_path: Path) -> None:
    folder = SweepFolder(Shard(2, 1).folder(tmp_path / "new"))
    with folder.locked(), pytest.raises(BadInput, match="in use by process"):
        jq.run_sweep(RAGGED, tmp_path / "new", shard="1/2")


def test_a_full_disk_loses_nothing(
    parts: Path, ragged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way, anywhere: the parts stay, and the same call gathers."""
    real = shutil.copyfile
    copied: list[Path] = []

    def full(source: Path, target: Path) -> None:
        if len(copied) == 3:
            raise OSError(28, "No space left on device")
        copied.append(target)
        real(source, target)

    before = tree(parts / "shards")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(RunFailed, match="the disk is full"):
            gather(shards_in(parts), parts)
    assert tree(parts / "shards") == before
    assert not (parts / "config.toml").exists()
    gather(shards_in(parts), parts)
    assert {part.state for part in jq.check(parts)} == {"whole"}


def test_a_part_continues(tmp_path: Path, made: Path) -> None:
    """With the packs of its record, and the same bits."""
    config = tmp_path / "ragged.toml"
    config.write_text(toml(RAGGED))
    assert load_config(config).runs() == load_config(RAGGED).runs()
    assert main(["sweep", str(config), "--shard", "2/3", "--out", str(tmp_path / "new")]) == 0
    (again,) = shards_in(tmp_path / "new")
    first = jq.open_results(made / "shards/2-of-3").drop_attrs(deep=False)
    assert first.identical(jq.open_results(again).drop_attrs(deep=False))
