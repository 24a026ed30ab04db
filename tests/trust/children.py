"""Functions in processes of their own, forked from one that has imported everything."""

import os
import pickle
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE = 300
"""Seconds after which a child counts as hanging."""


class End(NamedTuple):
    """How a child ended.

    Attributes:
        code: its exit code, negative for the signal that killed it.
        said: what it wrote to standard error.
        value: what its function returned.
    """

    code: int
    said: str
    value: Any = None


class Child:
    """A function that runs in a forked process. JAX must not have been used before the fork.

    Args:
        function: without arguments; what it returns must be picklable.
        place: the working directory.
    """

    def __init__(self, function: Callable[[], Any], place: Path):
        self._said = tempfile.NamedTemporaryFile()  # noqa: SIM115 - read when the child has ended
        self._value = tempfile.NamedTemporaryFile()  # noqa: SIM115
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # JAX warns of any fork; it has no threads yet
            self.pid = os.fork()
        if self.pid == 0:
            self._run(function, place)

    def _run(self, function: Callable[[], Any], place: Path) -> None:
        """The child's whole life."""
        code = 70
        try:
            os.chdir(place)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(self._said.fileno(), 2)
            signal.alarm(PATIENCE)
            value = function()
            code = value if isinstance(value, int) else 0
            self._value.write(pickle.dumps(value))
            self._value.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def stopped(self) -> bool:
        """Wait until the child stops itself or ends; whether it has stopped."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._status = status
        return False

    def proceed(self) -> None:
        """Let a stopped child go on."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> End:
        """Wait for the end."""
        status = getattr(self, "_status", None)
        if status is None:
            _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        said = Path(self._said.name).read_text(errors="replace")
        pickled = Path(self._value.name).read_bytes()
        return End(code, said, pickle.loads(pickled) if pickled else None)
