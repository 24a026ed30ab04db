"""The run folder: its state, its record, and the lock of the process that writes it.

Every run folder holds ``config.toml``, ``record.json`` and, while it is being written, a ``lock``;
``checkpoints/`` holds what a run needs to continue. Each command adds its results.
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
from jquanta.run import parse
from jquanta.run.environment import environment, now
from jquanta.run.files import (
    LOCK,
    SHARDS,
    as_path,
    clear_partials,
    remove,
    require_place,
    write_whole,
)
from jquanta.run.stop import shortage

CONFIG, RECORD, CHECKPOINTS = "config.toml", "record.json", "checkpoints"

RUNNING, DONE, FAILED = "running", "done", "failed"
"""States of a run, as in its record."""


class RunFolder:
    """Paths and state of one run folder.

    Args:
        path: of the folder, which need not exist yet. ``~`` is expanded.
    """

    def __init__(self, path: Path | str):
        self.path = as_path(path)
        self.config = self.path / CONFIG
        self.record = self.path / RECORD
        self.checkpoints = self.path / CHECKPOINTS
        self.lock = self.path / LOCK

    @property
    def begun(self) -> bool:
        """Whether a run was started in this folder."""
        return self.config.exists()

    @property
    def state(self) -> str | None:
        """``running``, ``done`` or ``failed``; None if no run was started."""
        return self.read_record().get("state")

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.begun and self.state == DONE

    def read_record(self) -> dict[str, Any]:
        """The content of ``record.json``; empty if there is none.

        Raises:
            BadInput: if it is damaged.
        """
        try:
            found = parse.read_json(self.record)
        except FileNotFoundError:
            return {}
        except BadInput:
            found = None
        if not isinstance(found, dict):
            raise BadInput(
                f"{self.record}: damaged; delete this run folder and run the command again"
            )
        return found

    def update_record(self, **entries: Any) -> None:
        """Add entries to ``record.json``; those of the same name are replaced."""
        self._write_record(self.read_record() | entries)

    def _write_record(self, content: dict[str, Any]) -> None:
        write_whole(self.record, json.dumps(content, indent=2) + "\n")

    def add_seconds(self, seconds: float) -> None:
        """Add the duration of this session's work to the entry ``seconds`` of the record."""
        with contextlib.suppress(OSError):  # a full disk: the work itself reports that
            earlier = self.read_record().get("seconds", 0.0)
            self.update_record(seconds=round(earlier + seconds, 1))

    def require_place(self) -> bool:
        """Check that a run can start or continue in this folder, as ``files.require_place``.

        Returns:
            Whether a run was started here.

        Raises:
            BadInput: if not.
        """
        return require_place(self.path, CONFIG)

    def other_configuration(self) -> BadInput:
        """The error to raise if the folder holds a configuration other than the requested one."""
        return BadInput(
            f"--out {self.path}: holds another configuration ({self.config}); give another "
            "folder, or delete this one"
        )

    def begin(self, name: str, config: str, **entries: Any) -> None:
        """Write the configuration unless it exists, and set the state to ``running``.

        Args:
            name: of the run.
            config: as TOML.
            entries: further entries of the record.
        """
        if not self.begun:
            write_whole(self.config, config)
        # What ended an earlier try is no longer so.
        before = {k: v for k, v in self.read_record().items() if k not in ("error", "finished")}
        started = before.get("started", now())
        own = {"name": name, "state": RUNNING, "started": started}
        self._write_record(before | own | environment() | entries)

    def finish(self) -> None:
        """Set the state to ``done``."""
        self.update_record(state=DONE, finished=now())

    def tidy(self) -> None:
        """Delete what a process that was killed after its last step has left in a finished folder:
        checkpoints, and the lock. If another process still holds that, it is left alone."""
        if self.checkpoints.exists() or self.lock.exists():
            with contextlib.suppress(BadInput, OSError), self.locked():
                remove(self.checkpoints)

    @contextlib.contextmanager
    def failures_recorded(self, memory_remedy: str) -> Iterator[None]:
        """A context that records an error raised in it, with the state ``failed``.

        ``BadInput`` and ``Interrupted`` are not failures and pass through.

        Args:
            memory_remedy: advice for the message where memory has run out.

        Raises:
            RunFailed: in place of what a full disk or memory raised, one line with a remedy. All
                other errors pass through.
        """
        try:
            yield
        except (BadInput, Interrupted):
            raise
        except Exception as error:
            reason = shortage(error, memory_remedy)
            with contextlib.suppress(OSError):  # on a full disk the record cannot be written
                if self.record.exists():
                    self.update_record(state=FAILED, error=reason or str(error))
            if reason is None:
                raise
            raise RunFailed(reason) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A context that holds the folder's lock, so that no other process writes the folder.

        The system releases the lock if the process is killed.

        Raises:
            BadInput: if another process holds the lock, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self.lock.open("a+", encoding="utf-8")
        except OSError as error:  # such as a read-only file system, whose permissions allow writing
            raise BadInput(
                f"--out {self.path}: cannot be written ({error.strerror}); give another folder"
            ) from None
        with lock:
            # An advisory lock of the whole file, without waiting. The holder's name is its text.
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
            clear_partials(self.path)
            try:
                yield
            finally:
                self.lock.unlink(missing_ok=True)

    def missing(self) -> list[Path]:
        """This folder and its parents that do not exist yet, the innermost first."""
        return [path for path in (self.path, *self.path.parents) if not path.exists()]

    def withdraw(self, made: Sequence[Path]) -> None:
        """Delete the content of the locked folder, then the folders of ``made`` that are empty.

        This undoes the start of a run; ``made`` is what ``missing`` returned before it. Shards,
        which others have computed, stay.
        """
        for path in self.path.iterdir():
            if path.name != SHARDS and (path != self.lock or self.path in made):
                remove(path)
        for path in made:
            with contextlib.suppress(OSError):  # not empty: somebody else has put something there
                path.rmdir()

    def _holds(self, lock: int) -> bool:
        """Whether the open file is still the one named ``lock``.

        Between our opening and locking it, its last holder may have finished and removed it.
        """
        try:
            return os.path.samestat(os.fstat(lock), self.lock.stat())
        except FileNotFoundError:
            return False
