"""``python -m benchmarks.memory FLAGS``: the peak memory of our trainer, in a separate process.

In the process of the benchmark, torch and the rivals would be counted, too. FLAGS is a JSON object
of dotted configuration fields; the answer is one line of JSON.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jquanta.errors import RunFailed
from jquanta.machine import malloc
from jquanta.sweep.config import load_config

STEPS = 3
ROOT = Path(__file__).resolve().parents[1]


def peak_gb(flags: Mapping[str, object]) -> float:
    """Peak memory of training, in GB (10^9 bytes), including that of compiling.

    On a CPU the growth of the resident memory; on a GPU what the device reports.

    Args:
        flags: dotted configuration fields of the runs.

    Raises:
        RunFailed: if the process fails.
    """
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"the memory measurement failed: {reason}")
    return float(json.loads(done.stdout.splitlines()[-1])["peak_gb"])


def measure(flags: Mapping[str, object]) -> float:
    """Train some steps in this process, and return its peak memory: see ``peak_gb``."""
    import jax

    from benchmarks.ours import Ours
    from jquanta.sweep.plan import use_cores

    malloc.keep_freed()  # as the command line does
    runs = load_config({}, flags=flags).runs()
    use_cores(runs)
    device = jax.devices()[0]
    before = resident()["VmRSS"]
    ours = Ours(runs)
    ours.train(STEPS)
    ours.evaluate()
    ours.train(STEPS)
    if device.platform == "cpu":
        return (resident()["VmHWM"] - before) / 1e9
    return float((device.memory_stats() or {})["peak_bytes_in_use"]) / 1e9


def resident() -> dict[str, int]:
    """Resident memory now (VmRSS) and at its peak (VmHWM), in bytes."""
    try:
        # Not getrusage: its peak is inherited from the parent process.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        table = dict(line.split(":", 1) for line in lines)
        return {name: int(table[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}
    except FileNotFoundError:  # macOS, where getrusage counts in bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"VmRSS": peak, "VmHWM": peak}


if __name__ == "__main__":
    print(json.dumps({"peak_gb": measure(json.loads(sys.argv[1]))}))
