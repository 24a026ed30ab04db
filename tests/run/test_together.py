"""Several processes of one program: the same as one, whoever is lost and whoever goes on."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import jquanta as jq
from jquanta import qdg
from jquanta.lm.losses.compute import compute_losses
from jquanta.run.shard import shards_in
from jquanta.sweep.folder import SweepFolder
from tests.lm.losses import examples
from tests.processes import cpus
from tests.qdg.clusters import planted
from tests.sweep.examples import LONG, RAGGED, toml

ALL = """
import json, os, sys
import jax
place, index, count, address, settings = sys.argv[1:]
if int(count) > 1:
    jax.distributed.initialize(address, int(count), int(index))
import jquanta as jq
from jquanta import qdg
from jquanta.lm.losses.compute import compute_losses
from tests.sweep.examples import RAGGED
jq.run_sweep(RAGGED, f"{place}/sweep")
compute_losses("corpus", ["tiny", "neo"], f"{place}/losses")
for name, own in json.loads(settings).items():
    qdg.run(own, f"{place}/{name}")
print(jax.process_count(), jax.local_device_count())
"""

MODES = ("exact", "vectors")
"""Blocks of a matrix, and vectors. All views: ``tests.qdg.cosines.test_shards``."""


def address() -> str:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def settings(place: Path, run: str) -> dict[str, object]:
    """A configuration for each mode."""

    def one(mode: str) -> dict[str, object]:
        vectors = {"mode": "sketch", "sketch_size": 6} if mode == "vectors" else {"mode": mode}
        cluster = {"method": "spherical", "counts": [2]} if mode == "vectors" else {"counts": [2]}
        return {
            "name": mode,
            "input": {
                "model": str(place / "tiny"),
                "corpus": str(place / "corpus"),
                "losses": str(place / run / "losses"),
            },
            "select": {"threshold": 6.0, "induction": "none", "stride": 1, "count": 40},
            "similarity": vectors,
            "cluster": cluster | {"n_init": 3},
        }

    return {mode: one(mode) for mode in MODES}


def run(place: Path, name: str, processes: int, devices: int) -> Path:
    """A sweep, losses and quanta, all of them by so many processes of so many devices."""
    meeting = address()
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                ALL,
                str(place / name),
                str(index),
                str(processes),
                meeting,
                json.dumps(settings(place, name)),
            ],
            cwd=place,
            env=os.environ | cpus(devices) | {"PYTHONPATH": str(Path(jq.__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]
    for process in started:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-3000:]
        assert out.split()[-2:] == [str(processes), str(devices)]
    return place / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("together")
    planted.corpus(place / "corpus")
    examples.model(place / "tiny")
    examples.model(place / "neo", examples.NEO)
    return place


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    return run(place, "alone", 1, 1)


def alike(one: Path, other: Path) -> None:
    """That two runs gave the same, to float32 sums in another order: see the tests of shards."""
    sweep, again = jq.open_results(one / "sweep"), jq.open_results(other / "sweep")
    assert sweep.sizes == again.sizes
    np.testing.assert_allclose(sweep.loss, again.loss, atol=1e-5)
    np.testing.assert_allclose(
        jq.open_losses(one / "losses").loss, jq.open_losses(other / "losses").loss, atol=1e-4
    )
    for mode in MODES:
        if mode != "vectors":
            cosines = [qdg.open_similarity(run / mode) for run in (one, other)]
            np.testing.assert_array_equal(cosines[0].index, cosines[1].index)
            np.testing.assert_allclose(cosines[0].cosine, cosines[1].cosine, atol=3e-6)
        labels = [qdg.open_clusters(run / mode).label.to_numpy()[0] for run in (one, other)]
        assert adjusted_rand_score(*labels) == 1
        assert (other / mode / "quanta.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (2, 4), (1, 8)])
def test_several_devices_are_one(place: Path, alone: Path, processes: int, devices: int) -> None:
    """Whether they are one process's or two processes'."""
    found = run(place, f"{processes}x{devices}", processes, devices)
    alike(alone, found)
    folders = [found / "sweep", found / "losses", *(found / mode for mode in MODES)]
    assert {len(shards_in(folder)) for folder in folders} == {0 if processes == 1 else 2}
    assert {part.state for part in jq.check(found)} == {"whole"}


COMMAND = """
import os, sys, time
from jquanta.run import progress
from jquanta.sweep.__main__ import main
work = progress.Bar.work
def slow(self, *report, **more):
    work(self, *report, **more)
    os.write(int(os.environ["BEATS"]), b".")
    time.sleep(0.05)
progress.Bar.work = slow
sys.exit(main(sys.argv[1:]))
"""


LATE = """
import os, time
from jquanta.cli import several
watch = several._watch
class Slow:
    def __init__(self, client):
        self.client = client
    def __getattr__(self, name):
        return getattr(self.client, name)
    def blocking_key_value_get(self, *words):
        time.sleep(3)
        return self.client.blocking_key_value_get(*words)
def watched(place):
    watch(place)  # the process that works goes on here, and has not imported JAX yet
    if place.index == int(os.environ["LATE"]):
        from jquanta.machine import hosts
        real = hosts.ocp.multihost.get_jax_distributed_client
        hosts.ocp.multihost.get_jax_distributed_client = lambda: Slow(real())
several._watch = watched
"""
"""Lets one process read what the others have said some seconds later than they do."""


class Together:
    """A sweep's command, as several processes.

    Args:
        config: of the sweep.
        out: its folder.
        processes: how many.
        more: flags for each of them; none by default.
        late: the one that reads late what the others were given.
    """

    def __init__(
        self,
        config: Path,
        out: Path,
        processes: int,
        more: Sequence[list[str]] = (),
        late: int | None = None,
    ):
        self.beats, write = os.pipe()
        meeting = address()
        self.processes = [
            subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-c",
                        LATE * (late is not None) + COMMAND,
                        str(config),
                        "--out",
                        str(out),
                    ),
                    *("--process", f"{number + 1}/{processes}@{meeting}"),
                    *(more[number] if more else ()),
                ],
                env=os.environ
                | {"PYTHONPATH": str(Path(jq.__file__).parents[1]), "BEATS": str(write)}
                | {"LATE": str(late)},
                pass_fds=[write],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(processes)
        ]
        os.close(write)

    def wait(self, beats: int) -> None:
        for _ in range(beats):
            assert os.read(self.beats, 1)

    def ends(self) -> list[tuple[int, str]]:
        """Exit code and standard error of each."""
        found = [process.communicate(timeout=300) for process in self.processes]
        os.close(self.beats)
        codes = [process.returncode for process in self.processes]
        return [(code, err) for code, (_, err) in zip(codes, found, strict=True)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "long.toml"
    path.write_text(toml(LONG | {"network.width": [3, 4, 5, 6]}))
    return path


@pytest.mark.thorough(keep=1)
@pytest.mark.slow
@pytest.mark.parametrize(("lost", "then"), [(0, 1), (1, 3)])
def test_a_process_is_lost_and_others_go_on(
    config: Path, tmp_path: Path, lost: int, then: int
) -> None:
    """The others end within the time that the runtime gives a silent process; then one process, or
    three, go on, and come to what was never interrupted."""
    jq.run_sweep(config, tmp_path / "whole")
    began = Together(config, tmp_path / "run", 2)
    began.wait(20)
    began.processes[lost].kill()
    ends = began.ends()
    assert ends[lost][0] == -9
    code, said = ends[1 - lost]
    assert code == 1
    assert said.splitlines()[-1] == (
        f"jquanta: process {2 - lost}/2: ended, since process {lost + 1} was lost; the same "
        "command continues"
    )
    assert "Check failure" not in said
    again = Together(config, tmp_path / "run", then)
    assert [code for code, _ in again.ends()] == [0] * then
    assert len(shards_in(tmp_path / "run")) == 2
    whole, found = (jq.open_results(tmp_path / name) for name in ("whole", "run"))
    np.testing.assert_allclose(found.loss, whole.loss, atol=1e-5)  # of other company: test_shards


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_two_commands_are_told_from_each_other(config: Path, tmp_path: Path, late: int) -> None:
    """Before either of them trains, and in one line each, whichever of them looks last."""
    out = tmp_path / "run"
    both = Together(config, out, 2, [["--train.steps", "60"], ["--train.steps", "70"]], late)
    for code, said in both.ends():
        assert code == 2
        assert said.splitlines()[-1].endswith("start all of them with the same command")
        assert "--train.steps 60" in said
        assert "--train.steps 70" in said
    assert not out.exists()


def test_one_process_takes_up_what_two_began(tmp_path: Path) -> None:
    """Without any other process, and without a word about shards."""
    jq.run_sweep(RAGGED, tmp_path / "run", shard="2/2")
    found = jq.run_sweep(RAGGED, tmp_path / "run")
    assert found.run.values.tolist() == [0, 1, 2, 3, 4]
    assert [SweepFolder(part).state for part in shards_in(tmp_path / "run")] == ["done", "done"]
    place = tmp_path / "place"
    examples.corpus(place / "corpus")
    examples.model(place / "tiny")
    compute_losses(place / "corpus", place / "tiny", place / "losses")
    began = time.time()
    compute_losses(place / "corpus", place / "tiny", place / "losses")
    assert not list(place.glob("losses/shards/*"))
    assert (place / "losses/tiny@main/zarr.json").stat().st_mtime < began


def test_a_process_and_a_shard_are_not_given_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from jquanta.__main__ import main

    flags: Sequence[str] = ["--process", "1/2@127.0.0.1:1", "--shard", "1/2", "--out"]
    assert main(["sweep", *flags, str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.strip().endswith("leave out --shard")
    assert not (tmp_path / "run").exists()
