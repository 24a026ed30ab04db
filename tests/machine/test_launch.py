"""Which process of a program this is, by the variables that launchers set."""

import pytest

from jquanta.cli.several import ending
from jquanta.errors import BadInput
from jquanta.machine.launch import Place, find, reason_in, tasks_by_node

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[1-3]",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
}


def test_a_user_says_it() -> None:
    assert find(" 1/2@node1:1234", {}, 0) == Place(0, 2, "node1:1234")
    assert find("3/3@10.0.0.1:80", SLURM, 8) == Place(2, 3, "10.0.0.1:80")


@pytest.mark.parametrize("text", ["", "1", "1/2", "0/2@a:1", "3/2@a:1", "1/2@a", "1/2@:5", "all"])
def test_what_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--process") as error:
        find(text, {}, 0)
    assert "\n" not in str(error.value)
    assert "1/2@" in str(error.value)


def test_without_a_launcher_nothing_is_found() -> None:
    with pytest.raises(BadInput, match="neither Slurm's srun, nor"):
        find("auto", {}, 0)
    script = {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}
    with pytest.raises(BadInput, match="neither Slurm's srun, nor"):
        find("auto", script, 0)  # in a job's script, outside of srun


@pytest.mark.parametrize(
    ("gpus", "devices"),
    [(0, None), (1, (0,)), (4, (1,))],
    ids=["none", "bound to one by Slurm", "all those of the node"],
)
def test_a_task_of_slurm(gpus: int, devices: tuple[int, ...] | None) -> None:
    assert find("auto", SLURM, gpus) == Place(3, 5, devices=devices)


def test_a_task_that_has_a_node_to_itself_takes_all_its_gpus() -> None:
    """JAX by itself would take the first only."""
    alone = SLURM | {"SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"}
    assert find("auto", alone, 4).devices == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("text", "counts"), [("2(x3),1", [2, 2, 2, 1]), ("8", [8]), ("1,2", [1, 2]), ("", [])]
)
def test_tasks_of_each_node(text: str, counts: list[int]) -> None:
    assert tasks_by_node(text) == counts


def test_open_mpi() -> None:
    assert find("auto", OPEN_MPI, 4) == Place(2, 4, devices=(0,))
    five = {k: v for k, v in OPEN_MPI.items() if k != "OMPI_MCA_orte_hnp_uri"}
    with pytest.raises(BadInput, match="set JAX_COORDINATOR_ADDRESS=HOST:PORT"):
        find("auto", five, 4)
    assert find("auto", five | {"JAX_COORDINATOR_ADDRESS": "a:1"}, 0) == Place(2, 4)


def test_a_cloud_tpu() -> None:
    assert find("auto", {"TPU_WORKER_HOSTNAMES": "a,b,c", "TPU_WORKER_ID": "1"}, 0) == Place(1, 3)


ENDED = (
    "F1128 client.h:80] Terminating process because the JAX distributed service detected fatal "
    "errors. absl::Status: UNAVAILABLE: "
)
LEADER = (
    ENDED + "Failed to send RPC to coordination service. Either the leader task was "
    "preempted/died/restarted unexpectedly or this task is experiencing network issues."
)
OTHERS = (
    ENDED + "The following tasks are unhealthy (stopped sending heartbeats):\n1\n12\nThe tasks "
    "have crashed."
)


def test_who_is_lost_is_read_in_what_jax_writes() -> None:
    """As versions 0.10 to 0.12 write it; of a real loss: ``tests.run.test_together``."""
    assert reason_in(LEADER) == "process 1 was lost; the same command continues"
    assert reason_in(OTHERS) == "processes 2, 13 were lost; the same command continues"
    absent = ENDED + "DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.Service/RegisterTask"
    assert str(reason_in(absent)).startswith("not all processes have come; start all of them")
    assert reason_in("F1128 something else") is None


def test_an_end_is_told_in_one_line() -> None:
    place = Place(1, 4)
    assert ending(place, 6, OTHERS).startswith(
        "process 2/4: ended, since processes 2, 13 were lost"
    )
    assert "memory is short" in ending(place, 9, "")
    line = ending(place, 11, "some\nlast words")
    assert "SIGSEGV (some last words)" in line
    assert "\n" not in line
