"""Commands that several processes run together: ``--process``.

The one that the user has started becomes a watch over another, which does the work. For if a
process of the program is lost, or the system ends one, JAX ends all the others at once, by a signal
and with pages of text. The watch tells it in one line.
"""

import atexit
import contextlib
import ctypes
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from jquanta.errors import BadInput, Interrupted
from jquanta.machine import launch
from jquanta.run.settings import knob

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux' prctl: a signal that a process gets when its parent ends."""

MOST_SAID = 2**20
"""Bytes of what libraries have written that are looked at, from the end."""


def flag() -> Any:
    """The flag ``--process`` of a command."""
    return knob(
        None,
        "run by several processes: auto under Slurm, Open MPI or on a Cloud TPU; else which of how "
        "many, and where the first one is, such as 1/2@node1:1234",
        "auto|I/N@HOST:PORT",
    )


@contextlib.contextmanager
def together(process: str | None, shard: str | None = None) -> Iterator[bool]:
    """A context in which this process works together with others, if the user has said so.

    Args:
        process: what was given as ``--process``.
        shard: what was given as ``--shard``: only one of the two can be.

    Yields:
        Whether this is the first of them, which alone shows its progress; the others print nothing
        but errors.

    Raises:
        BadInput: if the others are not found.
    """
    if process is None:
        yield True
        return
    if shard is not None:
        raise BadInput("--process: gives each process a shard of its own; leave out --shard")
    place = launch.find(process, os.environ, launch.visible_gpus())
    _watch(place)
    from jquanta.machine import hosts

    given = [word for word in sys.argv[1:] if word != process and word != "--process"]
    try:
        hosts.start(place, lambda line: print(line, file=sys.stderr))
    except BaseException as error:  # the others may not be there to wait for
        atexit.register(os._exit, _code_of(error))
        raise
    code: list[int] = []
    # Called before what JAX does at the end, which began earlier.
    atexit.register(lambda: hosts.leave(code[0]) if code else None)
    index, _ = hosts.here()
    with contextlib.ExitStack() as stack:
        if index:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            hosts.agree(shlex.join(given))
            yield index == 0
        except BaseException as error:
            code.append(_code_of(error))
            raise


def _code_of(error: BaseException) -> int:
    """The exit code that a command which ends by this error has."""
    other = 1 if isinstance(error, Exception) else Interrupted.exit_code  # Ctrl-C
    return int(getattr(error, "exit_code", other))


def _watch(place: launch.Place) -> None:
    """Go on in a new process, while this one waits for its end, and then ends as it did."""
    # With threads of JAX a fork is not safe: this is a test. On Windows there is none.
    if "jax" in sys.modules or not hasattr(os, "fork"):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    said, name = tempfile.mkstemp()
    os.unlink(name)  # it goes when both processes have ended
    parent = os.getpid()
    worker = os.fork()
    if worker == 0:
        # A group of its own: Ctrl-C reaches the watch alone, which passes it on once.
        os.setpgid(0, 0)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        # What Python writes goes where it did; what the libraries below write, to the watch.
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(said, 2)
        return

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(worker, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    _, status = os.waitpid(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        text = os.pread(said, MOST_SAID, max(0, os.fstat(said).st_size - MOST_SAID))
        print(f"jquanta: {ending(place, -code, text.decode(errors='replace'))}", file=sys.stderr)
        code = 1
    os._exit(code)


def ending(place: launch.Place, number: int, said: str) -> str:
    """Why a process ended by a signal, in a line.

    Args:
        place: which it was.
        number: of the signal.
        said: what libraries have written.
    """
    again = "the same command continues"
    if reason := launch.reason_in(said):
        return f"{place}: ended, since {reason}"
    if number == signal.SIGKILL:
        return f"{place}: was killed, as the system does if memory is short; {again}"
    last = " ".join(said.split())[-300:]
    return f"{place}: ended by {signal.Signals(number).name} ({last or 'no message'}); {again}"
