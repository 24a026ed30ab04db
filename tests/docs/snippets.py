"""Run every block of the documents: ``python -m tests.docs.snippets [TOUR]``, or ``make snippets``.

They run in the documents' order in one new folder, with a copy of what ``jquanta tour`` made
(TOUR, runs/tour by default; where there is none, the tour is run), and what they print is compared
with what stands in the document. Blocks of Python in one document share their names.
"""

import argparse
import ast
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.docs.blocks import DOCUMENTS, ROOT, Block, agree, blocks


def place_in(folder: Path, tour: Path) -> dict[str, str]:
    """Prepare a folder; the environment of commands in it."""
    programs = folder / ".programs"
    programs.mkdir()
    for name, words in {"jquanta": '-m jquanta "$@"', "python": '"$@"'}.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
        script.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    runs = folder / "runs"
    runs.mkdir()
    if tour.is_dir():
        shutil.copytree(tour, runs / "tour")
    else:
        print("no", tour, "to copy: making one", flush=True)
        words = [str(programs / "jquanta"), "tour"]
        subprocess.run(words, cwd=folder, env=environment, check=True, text=True)
    # What ``jquanta sweep`` makes, the tour has made, too.
    (runs / "mini-fig2").symlink_to("tour/parity")
    return environment


def run_commands(block: Block, folder: Path, environment: dict[str, str]) -> str:
    """Run a block of commands; what is wrong, if anything."""
    script = f"set -euo pipefail\n{block.script}"
    if "not compared" in block.says or not block.text.startswith("$ "):
        done = _shell(script, folder, environment)
        return f"exit code {done.returncode}\n{done.stderr}" * (done.returncode != 0)
    for command, expected in block.prompts:
        done = _shell(command, folder, environment)
        if done.returncode or not agree(expected, done.stdout):
            return f"{command}\nprinted\n{done.stdout}{done.stderr}"
    return ""


def _shell(script: str, folder: Path, environment: dict[str, str]) -> Any:
    words = ["bash", "-c", script]
    return subprocess.run(
        words, cwd=folder, env=environment, check=False, text=True, capture_output=True
    )


def run_python(block: Block, names: dict[str, Any]) -> str:
    """Run a block of Python in this process; what is wrong, if anything."""
    lines = block.text.splitlines()
    for statement in ast.parse(block.text).body:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = compile(ast.Module([statement], []), block.where, "exec")
            try:
                exec(code, names)
            except Exception as error:
                return f"{ast.unparse(statement)}\n{type(error).__name__}: {error}"
        expected = expected_after(lines, statement)
        if (
            expected
            and "not compared" not in block.says
            and not agree(expected, printed.getvalue())
        ):
            return f"{ast.unparse(statement)}\nprinted\n{printed.getvalue()}for\n{expected}"
    return ""


def expected_after(lines: list[str], statement: ast.stmt) -> str:
    """The comments under a statement that prints: what it prints."""
    if "print" not in ast.unparse(statement):
        return ""
    found = []
    for line in lines[statement.end_lineno :]:
        if not line.startswith("# "):
            break
        found.append(line.removeprefix("# "))
    return "\n".join(found)


def main() -> int:
    """Print a line for each block; the exit code is 1 if one went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.snippets", description=__doc__)
    parser.add_argument("tour", nargs="?", type=Path, default=Path("runs/tour"))
    tour = parser.parse_args().tour.resolve()
    faults, ran, marked = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="jquanta-snippets-") as scratch:
        folder = Path(scratch).resolve()
        environment = place_in(folder, tour)
        os.chdir(folder)
        for path in DOCUMENTS:
            names: dict[str, Any] = {"__name__": "__main__"}
            for block in blocks(path):
                if not block.is_run:
                    if reason := block.says.get("not run"):
                        marked += 1
                        print(f"not run  {block.where}: {reason}", flush=True)
                    continue
                began = time.monotonic()
                if block.language == "python":
                    wrong = run_python(block, names)
                else:
                    wrong = run_commands(block, folder, environment)
                ran, faults = ran + 1, faults + bool(wrong)
                outcome = "WRONG  " if wrong else "right  "
                print(f"{outcome}  {block.where}: {time.monotonic() - began:.0f} s", flush=True)
                if wrong:
                    print(wrong, flush=True)
    print(f"{ran} blocks run, {faults} of them wrong; {marked} not run, with a reason")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
