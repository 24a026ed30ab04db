"""The run folder: who may write it, what state it is in, and how files appear in it.

``config.toml``, ``record.json``, ``results.zarr``, ``weights/``, ``checkpoints/``, ``figures/``
and a ``lock`` while it is being written. Files appear under their final names only when whole.
"""

import contextlib
import datetime
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jquanta import __version__, tables
from jquanta.errors import BadInput
from jquanta.parity.config import SECTIONS
from jquanta.sweep.config import SweepConfig, load_config

RUNNING, DONE, FAILED = "running", "done", "failed"


class RunFolder:
    """Paths and state of one run folder."""

    def __init__(self, path: Path | str):
        self.path = Path(path).expanduser()
        self.config = self.path / "config.toml"
        self.record = self.path / "record.json"
        self.results = self.path / "results.zarr"
        self.weights = self.path / "weights"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.lock = self.path / "lock"

    @property
    def state(self) -> str | None:
        """``running``, ``done`` or ``failed``; None where nothing was begun."""
        return self.read_record().get("state")

    def read_record(self) -> dict[str, Any]:
        """The content of ``record.json``, empty where there is none."""
        try:
            return json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise BadInput(
                f"{self.record}: damaged; delete this run folder and run the command again"
            ) from None

    def update_record(self, **entries: Any) -> None:
        """Add entries to ``record.json``."""
        write_whole(self.record, json.dumps(self.read_record() | entries, indent=2) + "\n")

    def weight_file(self, run: int) -> Path:
        """Where the final weights of run number ``run`` lie."""
        return self.weights / f"{run:05d}.safetensors"

    def check(self, config: SweepConfig) -> None:
        """Raise ``BadInput`` unless this folder can take, or already holds, ``config``.

        Writes nothing.
        """
        try:
            self._check(config)
        except (OSError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            reason = getattr(error, "strerror", None) or error
            raise BadInput(f"--out {str(self.path)[:80]}: {reason}; give another folder") from None

    def _check(self, config: SweepConfig) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"--out {self.path}: is a file; give the path of a folder")
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise BadInput(f"--out {self.path}: {nearest} is not writable; give another folder")
        content = {p.name for p in self.path.iterdir()} if self.path.exists() else set()
        if "config.toml" not in content:
            if content - {"lock", "config.toml.part"}:  # what a kill at the very start leaves
                raise BadInput(
                    f"--out {self.path}: holds other files and no config.toml; give a new folder"
                )
        elif self.read_config().runs() != config.runs():
            raise BadInput(
                f"--out {self.path}: holds another configuration ({self.config}); give another "
                "folder, or delete this one"
            )

    def read_config(self) -> SweepConfig:
        """The resolved configuration of the folder. Raises ``BadInput`` if it is damaged."""
        tables.require_kind(self.config, (*SECTIONS, "sweep"), "jquanta sweep")
        return load_config(self.config)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes. The lock ends with its process."""
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self.lock.open("a+", encoding="utf-8")
        except OSError as error:  # such as a file system that permissions say nothing about
            raise BadInput(
                f"--out {self.path}: cannot be written ({error.strerror}); give another folder"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise BadInput(
                    f"--out {self.path}: in use by {lock.read().strip() or 'another process'}; "
                    "wait for it or give another folder"
                ) from None
            if not self._holds(lock.fileno()):
                raise BadInput(f"--out {self.path}: was in use until now; run the command again")
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}\n")
            lock.flush()
            try:
                yield
            finally:
                self.lock.unlink(missing_ok=True)

    def missing(self) -> list[Path]:
        """The folder and those around it that do not exist yet, the innermost first."""
        return [path for path in (self.path, *self.path.parents) if not path.exists()]

    def withdraw(self, made: Sequence[Path]) -> None:
        """Delete all that a locked folder holds, and of ``made`` what is then empty."""
        for path in self.path.iterdir():
            if path != self.lock or self.path in made:
                remove(path)
        for path in made:
            with contextlib.suppress(OSError):  # somebody else has put something there
                path.rmdir()

    def _holds(self, lock: int) -> bool:
        """Whether the open file is still the lock: its last holder may just have removed it."""
        try:
            return os.path.samestat(os.fstat(lock), self.lock.stat())
        except FileNotFoundError:
            return False

    def begin(self, config: SweepConfig, **entries: Any) -> None:
        """Write the configuration, and a record that says ``running``."""
        if not self.config.exists():
            write_whole(self.config, config.to_toml())
        started = self.read_record().get("started", now())
        self.update_record(
            name=config.name, state=RUNNING, started=started, **environment(), **entries
        )


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is never seen half written."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def now() -> str:
    """The time, UTC, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """What a result depends on besides its configuration: versions, commit, device."""
    import flax
    import jax
    import optax

    device = jax.devices()[0]
    return {
        "versions": {
            "jquanta": __version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
        },
        "commit": commit(),
        "device": f"{jax.device_count()} x {device.device_kind}",
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "dtype": "float32",
    }


def commit() -> str | None:
    """The commit of the source tree that runs, with ``+changes`` if it was edited."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(
                ["git", "-C", str(source), *command],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "jquanta"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if status else "")
