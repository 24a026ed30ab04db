"""A stand-in for Slurm's srun: starts the tasks of a step on this machine, with the variables that
srun sets. ``python srun.py COMMAND…``; NODES says how many, each with one task."""

import os
import subprocess
import sys

nodes = int(os.environ["NODES"])
step = {
    "SLURM_JOB_ID": os.environ["SLURM_JOB_ID"],
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_TASKS": str(nodes),
    "SLURM_STEP_TASKS_PER_NODE": f"1(x{nodes})",
    "SLURM_NTASKS": str(nodes),
    "SLURM_LOCALID": "0",
}
tasks = [
    subprocess.Popen(
        sys.argv[1:], env=os.environ | step | {"SLURM_PROCID": str(i), "SLURM_NODEID": str(i)}
    )
    for i in range(nodes)
]
sys.exit(max(task.wait() for task in tasks))
"""The highest exit code, as srun's."""
