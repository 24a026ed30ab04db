"""The door: which commands there are, and what every one of them does at its end.

Every error becomes one line on standard error and an exit code: 0 done; 2 bad input, nothing
written; 1 failed on the way; 130 interrupted. ``--debug`` shows the traceback besides.
"""

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from jquanta.cli.flags import UnknownFlag, flags_of, parse
from jquanta.errors import BadInput, Interrupted, JquantaError, RunFailed
from jquanta.machine import cache, malloc
from jquanta.run.stop import heard, shortage

Options = TypeVar("Options")

COMMANDS = (
    "tour",
    "sweep",
    "gather",
    "corpus",
    "model",
    "pretrain",
    "losses",
    "spectrum",
    "qdg",
    "explore",
    "emergence",
    "assign",
    "mechanism",
    "stability",
    "groups",
    "compare",
    "parts",
    "known",
    "figures",
    "configs",
    "check",
)
"""In the order in which people need them. Each is a module of this room with ``Options``, whose
docstring says what the command does, and ``main``."""


def module(name: str) -> Any:
    """The module of a command."""
    return importlib.import_module(f"jquanta.cli.{name}")


def summary(name: str) -> str:
    """What a command does, in a line: the first one of its help."""
    return str(module(name).Options.__doc__).strip().splitlines()[0]


def command(
    name: str, options: type[Options], do: Callable[[Options], None], *, computes: bool = True
) -> Callable[..., int]:
    """The ``main(argv)`` of a command, which returns its exit code.

    Args:
        name: as in ``COMMANDS``.
        options: the dataclass of its flags.
        do: the command itself.
        computes: as in ``enter``.
    """

    def called(argv: Sequence[str]) -> None:
        try:
            chosen = parse(options, argv, f"jquanta {name}")
        except UnknownFlag as error:
            raise BadInput(f"{error}{_elsewhere(error.name)}; see jquanta {name} --help") from None
        do(chosen)

    def main(argv: Sequence[str] | None = None) -> int:
        return enter(called, argv, computes=computes)

    return main


def _elsewhere(flag: str) -> str:
    """Which commands have a flag, in words."""
    having = [
        f"jquanta {name}"
        for name in COMMANDS
        if flag.replace("-", "_") in {known.name for known in flags_of(module(name).Options)}
    ]
    return f", which {' and '.join(having)} {'have' if having[1:] else 'has'}" if having else ""


def enter(
    command: Callable[[Sequence[str]], None],
    argv: Sequence[str] | None = None,
    *,
    computes: bool = True,
    keeps_programs: bool = True,
) -> int:
    """Run a command; its exit code. One line on standard error tells what went wrong.

    Args:
        command: what to run, on ``argv``.
        argv: the words after its name; None takes the process's own.
        computes: whether it works on large arrays, for which ``malloc.keep_freed`` pays. Commands
            of many threads and small objects are quicker without, and compile nothing to keep.
        keeps_programs: whether compiled programs are kept for the next time
            (``cache.keep_programs``); not where compiling is what is measured.
    """
    argv = sys.argv[1:] if argv is None else argv
    if computes:
        malloc.keep_freed()
        malloc.take_card()
    keeps_programs = keeps_programs and computes and not {"--help", "-h"} & set(argv)
    if keeps_programs and (note := cache.keep_programs()):
        print(f"jquanta: {note}", file=sys.stderr)
    with contextlib.suppress(ValueError):  # not the main thread: signals are not ours
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        with heard():
            command(argv)
        sys.stdout.flush()
    except JquantaError as error:
        return _report(error, error.exit_code, argv)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted"), Interrupted.exit_code, argv)
    except BrokenPipeError:  # the reader, such as head, has gone; the work may not be done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        only_prints = not argv or {"--help", "-h", "--plan", "--version"} & set(argv)
        return 0 if only_prints else JquantaError.exit_code
    except Exception as error:
        if "--debug" in argv:
            raise
        if reason := shortage(error, "free some, or give less to do at a time"):
            return _report(RunFailed(reason), RunFailed.exit_code, argv)
        reason = " ".join(str(error).split()) or "no message"
        line = f"{type(error).__name__}: {reason[:300]} (--debug shows the traceback)"
        return _report(JquantaError(line), JquantaError.exit_code, argv)
    return 0


def _report(error: Exception, code: int, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        traceback.print_exc()
    print(f"jquanta: {error}", file=sys.stderr)
    return code
