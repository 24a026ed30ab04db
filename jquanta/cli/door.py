"""The command line's door: parse, call, and turn every error into one line and an exit code.

0 done; 2 bad input, nothing written; 1 failed on the way; 130 interrupted. ``--debug`` shows the
traceback instead.
"""

import contextlib
import dataclasses
import inspect
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from jquanta.errors import BadInput, Interrupted, JquantaError
from jquanta.machine import cache, malloc

Options = TypeVar("Options")


def parse(options: type[Options], argv: Sequence[str], prog: str) -> Options:
    """``argv`` as an instance of the dataclass ``options``, whose docstring is the help text.

    Raises:
        BadInput: for what cannot be parsed.
        SystemExit: after printing ``--help``.
    """
    import tyro

    known = _flag_names(options)
    for word in argv:
        name = word.split("=")[0]
        if name.startswith("--") and name.replace("-", "_").lstrip("_") not in known:
            raise BadInput(f"unknown flag {name}{_near(name, known)}; see {prog} --help")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                options,
                args=list(argv),
                prog=prog,
                description=inspect.cleandoc(options.__doc__ or ""),
                config=(tyro.conf.FlagCreatePairsOff,),
                use_underscores=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(f"{_one_line(errors.getvalue())}; see {prog} --help") from None


def option(help: str, metavar: str | None = None) -> Any:
    """How ``--help`` shows an argument whose text tells its default itself."""
    import tyro

    return tyro.conf.arg(help=help, metavar=metavar, help_behavior_hint="")


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
        computes: on arrays; a command of many threads with small objects is better off without
            ``memory.keep_freed``, and has no programs to keep.
        keeps_programs: that are compiled, for the next time (``cache.keep_programs``); not for
            what measures how long compiling takes.
    """
    argv = sys.argv[1:] if argv is None else argv
    if computes:
        malloc.keep_freed()
    keeps_programs = keeps_programs and computes and not {"--help", "-h"} & set(argv)
    if keeps_programs and (note := cache.keep_programs()):
        print(f"jquanta: {note}", file=sys.stderr)
    with contextlib.suppress(ValueError):  # not the main thread: signals are not ours
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
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
        reason = " ".join(str(error).split()) or "no message"
        line = f"{type(error).__name__}: {reason[:300]} (--debug shows the traceback)"
        return _report(JquantaError(line), JquantaError.exit_code, argv)
    return 0


def _report(error: Exception, code: int, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        import traceback

        traceback.print_exc()
    print(f"jquanta: {error}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    """The words of a framed message."""
    words = re.sub(r"[│╭╮╰╯─━┃┏┓┗┛]|\x1b\[[0-9;]*m", " ", text).split()
    line = re.sub(r"^(Parsing errors?|Missing argument|Unrecognized options) ", "", " ".join(words))
    return re.split(r" For full helptext", line)[0]


def _flag_names(options: type) -> set[str]:
    """Flags without their dashes, such as ``network.width``."""
    names = {"help"}
    for field in dataclasses.fields(options):
        inner = field.type if dataclasses.is_dataclass(field.type) else None
        names |= (
            {f"{field.name}.{f.name}" for f in dataclasses.fields(inner)} if inner else {field.name}
        )
    return names


def _near(flag: str, known: set[str]) -> str:
    """A guess at what was meant."""
    import difflib

    word = flag.lstrip("-").replace("-", "_")
    same = sorted(name for name in known if name.split(".")[-1] == word.split(".")[-1])
    close = same or difflib.get_close_matches(word, sorted(known), n=1)
    return f": did you mean --{close[0]}?" if close else ""
