"""The Slurm script of docs/scale.md, run here with a stand-in for srun."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jquanta as jq
from jquanta import qdg
from jquanta.qdg.config import load_qdg
from jquanta.run.shard import shards_in
from tests.docs.blocks import ROOT
from tests.lm.losses import examples
from tests.qdg.clusters import planted
from tests.qdg.test_pipeline import settings
from tests.sweep.examples import TINY, toml


@pytest.mark.slow
def test_the_script_runs(tmp_path: Path) -> None:
    """Word by word but for the inputs, which are small ones: two nodes of one task each."""
    document = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(#!/bin/bash\n#SBATCH --nodes.*?)```", document, re.S)
    assert script.count("--process auto") == script.count("srun ") == 3
    planted.corpus(tmp_path / "corpora/pile")
    examples.model(tmp_path / "tiny")
    (tmp_path / "tiny.toml").write_text(toml(TINY))
    # QDG finds the losses that the command before it has computed.
    inputs = {"losses": str(tmp_path / "losses/pile"), "corpus": str(tmp_path / "corpora/pile")}
    own = settings(tmp_path, input=inputs, cluster={"counts": [2]})
    (tmp_path / "quanta.toml").write_text(load_qdg(own).to_toml())
    for given, small in {
        "fig10-width": "tiny.toml",
        "EleutherAI/pythia-6.9b-v0": "tiny",
        "qdg pythia-70m": "qdg quanta.toml",
    }.items():
        assert given in script
        script = script.replace(given, small)
    (tmp_path / "bin").mkdir()
    for name, words in {"srun": str(ROOT / "tests/srun.py"), "jquanta": "-m jquanta"}.items():
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        command.chmod(0o755)
    cache = os.environ["JQUANTA_CACHE"]
    done = subprocess.run(
        ["bash", "-euc", script.replace("$HOME/.cache/jquanta", cache)],
        cwd=tmp_path,
        env=os.environ
        | {
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NODES": "2",
            "SLURM_JOB_ID": str(random.SystemRandom().randrange(2**16)),  # decides on a port
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("trained   2 networks") == 1  # the first process alone prints
    assert jq.open_results(tmp_path / "runs/fig10").sizes["run"] == 2
    assert jq.open_losses(tmp_path / "losses/pile").sizes["model"] == 1
    assert qdg.open_clusters(tmp_path / "runs/pythia-70m").sizes["sample"] == 40
    for folder in ("runs/fig10", "losses/pile", "runs/pythia-70m"):
        assert len(shards_in(tmp_path / folder)) == 2
