"""Which process of a program this is, by what started it: Slurm, Open MPI, a Cloud TPU, or a user.

Imports no JAX: a command asks before JAX starts. Then see ``hosts``.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jquanta.errors import BadInput

AUTO = "auto"


@dataclass(frozen=True)
class Place:
    """Which process of a program this is.

    Attributes:
        index: counted from 0; None where only JAX can tell.
        count: of all processes; None where only JAX can tell.
        address: of the first process, ``HOST:PORT``; None where JAX finds it.
        devices: numbers of the local devices that are this process's; None where JAX decides.
    """

    index: int | None
    count: int | None
    address: str | None = None
    devices: tuple[int, ...] | None = None

    def __str__(self) -> str:
        if self.index is None or self.count is None:
            return "a process"
        return f"process {self.index + 1}/{self.count}"


def find(text: str, environment: Mapping[str, str], gpus: int) -> Place:
    """Which process this is.

    Args:
        text: ``auto``, for what Slurm, Open MPI or a Cloud TPU tells; or such as
            ``1/2@node1:1234``: the first of two processes, which meet at that address.
        environment: variables of the process.
        gpus: that it sees.

    Raises:
        BadInput: for any other text, or where nothing is told.
    """
    if text == AUTO:
        for found in (_slurm, _open_mpi, _cloud_tpu):
            if place := found(environment, gpus):
                return place
        raise BadInput(
            "--process auto: neither Slurm's srun, nor Open MPI, nor a Cloud TPU has started this; "
            "say it: --process 1/2@HOST:PORT for the first of two, which runs on HOST"
        )
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})@([^@\s]+:\d{1,5})", text.strip())
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise BadInput(
            f"--process {text}: give auto, or which process of how many, and a free port of the "
            "first one's host, such as 1/2@node1:1234"
        )
    return Place(int(parts[1]) - 1, int(parts[2]), parts[3])


def _slurm(environment: Mapping[str, str], gpus: int) -> Place | None:
    """A task of ``srun``. A job's script, outside of it, has no nodes of a step."""
    names = "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"
    if not all(name in environment for name in names):
        return None
    _, _, count, index, local = (environment[name] for name in names)
    tasks = tasks_by_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = int(environment.get("SLURM_NODEID", 0))
    here = tasks[node] if node < len(tasks) else int(count)
    return Place(int(index), int(count), devices=_own_gpus(here, int(local), gpus))


def _open_mpi(environment: Mapping[str, str], gpus: int) -> Place | None:
    names = [f"OMPI_COMM_WORLD_{x}" for x in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
    if not all(name in environment for name in names):
        return None
    index, count, local, here = (int(environment[name]) for name in names)
    known = {"JAX_COORDINATOR_ADDRESS", "OMPI_MCA_orte_hnp_uri"} & set(environment)
    if not known:  # version 5 does not tell where the first process is
        raise BadInput(
            "--process auto: this version of Open MPI does not tell where the first process runs; "
            "set JAX_COORDINATOR_ADDRESS=HOST:PORT, a free port of its host"
        )
    return Place(index, count, devices=_own_gpus(here, local, gpus))


def _cloud_tpu(environment: Mapping[str, str], gpus: int) -> Place | None:
    """A worker of a slice. What is not in the environment JAX asks of the machine's own service."""
    workers = environment.get("TPU_WORKER_HOSTNAMES", "")
    if workers and "TPU_WORKER_ID" in environment:
        return Place(int(environment["TPU_WORKER_ID"]), len(workers.split(",")))
    return Place(None, None) if Path("/dev/accel0").exists() or _has_vfio() else None


def _has_vfio() -> bool:
    """Whether this is a host of newer TPUs, which are groups of VFIO."""
    return bool(list(Path("/dev/vfio").glob("[0-9]*")))


def tasks_by_node(text: str) -> list[int]:
    """How many tasks each node has, of Slurm's short form: ``2(x3),1`` is 2, 2, 2, 1."""
    found: list[int] = []
    for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        found += [int(tasks)] * int(times or 1)
    return found


def _own_gpus(processes: int, local: int, gpus: int) -> tuple[int, ...] | None:
    """The GPUs of a process: all that it sees if it is alone on its host, or if it sees but one;
    else that of its own number. JAX by itself takes the latter in any case."""
    if not gpus:
        return None
    return tuple(range(gpus)) if processes == 1 or gpus == 1 else (local,)


def visible_gpus() -> int:
    """How many NVIDIA GPUs this process sees, without JAX."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([x for x in chosen.split(",") if x.strip()])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def reason_in(text: str) -> str | None:
    """Why JAX's runtime ends a process, and what to do, from what it writes as it does so; None if
    it does not say that it ends it."""
    if "distributed service detected fatal errors" not in text:
        return None
    if "RegisterTask" in text:
        return "not all processes have come; start all of them at once, with the same address"
    if found := re.search(r"unhealthy \(stopped sending heartbeats\):\s*((?:\d+\s)+)", text):
        first, *others = (str(int(x) + 1) for x in found[1].split())
        lost = f"processes {', '.join([first, *others])} were" if others else f"process {first} was"
    else:
        lost = "process 1 was" if re.search(r"leader\s+task", text) else "another process was"
    return f"{lost} lost; the same command continues"
