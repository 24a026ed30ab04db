"""The run folder: who may write it, and what state it is in.

Every run folder holds ``config.toml``, ``record.json`` and, while it is being written, a ``lock``;
``checkpoints/`` holds what a run needs to continue. What else is in it is each command's own.
"""

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.run.environment import environment, now
from jquanta.run.files import LOCK, remove, require_place, write_whole
from jquanta.run.stop import shortage

CONFIG, RECORD, CHECKPOINTS = "config.toml", "record.json", "checkpoints"

RUNNING, DONE, FAILED = "running", "done", "failed"
"""States of a run."""


class RunFolder:
    """Paths and state of one run folder."""

    def __init__(self, path: Path | str):
        self.path = Path(path).expanduser()
        self.config = self.path / CONFIG
        self.record = self.path / RECORD
        self.checkpoints = self.path / CHECKPOINTS
        self.lock = self.path / LOCK

    @property
    def begun(self) -> bool:
        """Whether a run was begun here."""
        return self.config.exists()

    @property
    def state(self) -> str | None:
        """``running``, ``done`` or ``failed``; None where nothing was begun."""
        return self.read_record().get("state")

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.begun and self.state == DONE

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

    def add_seconds(self, seconds: float) -> None:
        """Count time that was worked to the ``seconds`` of the record. A disk that is full does not
        matter here: what filled it is reported elsewhere."""
        with contextlib.suppress(OSError):
            earlier = self.read_record().get("seconds", 0.0)
            self.update_record(seconds=round(earlier + seconds, 1))

    def require_place(self) -> bool:
        """Raise ``BadInput`` unless a run can begin or continue here; whether one was begun."""
        return require_place(self.path, CONFIG)

    def other_configuration(self) -> BadInput:
        """The error for a folder that holds another configuration than the one asked for."""
        return BadInput(
            f"--out {self.path}: holds another configuration ({self.config}); give another "
            "folder, or delete this one"
        )

    def begin(self, name: str, config: str, **entries: Any) -> None:
        """Write the configuration where there is none yet, and a record that says ``running``.

        Args:
            name: of the run.
            config: as TOML.
            entries: further ones of the record.
        """
        if not self.begun:
            write_whole(self.config, config)
        started = self.read_record().get("started", now())
        self.update_record(name=name, state=RUNNING, started=started, **environment(), **entries)

    def finish(self) -> None:
        """Say in the record that the run is done."""
        self.update_record(state=DONE, finished=now())

    @contextlib.contextmanager
    def failures_recorded(self, memory_remedy: str) -> Iterator[None]:
        """Say in the record what failed. A full disk or memory becomes ``RunFailed``, in one line.

        Args:
            memory_remedy: what to do where memory has run out.
        """
        try:
            yield
        except (BadInput, Interrupted):
            raise
        except Exception as error:
            reason = shortage(error, memory_remedy)
            with contextlib.suppress(OSError):
                if self.record.exists():
                    self.update_record(state=FAILED, error=reason or str(error))
            if reason is None:
                raise
            raise RunFailed(reason) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes. The lock ends with its process.

        Raises:
            BadInput: if another process holds it, or it cannot be written.
        """
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
        """Delete all that a locked folder holds, and those folders of ``made`` that are then
        empty."""
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
