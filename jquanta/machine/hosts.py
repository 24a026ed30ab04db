"""Several processes of one program, on one host or on many: JAX's distributed runtime.

The processes find each other through the first one. Arrays are never sent from one to another:
each computes shards of its own on its own devices (``run.together``). The runtime tells them when
all have come to a point, and when one of them is lost.
"""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp

from jquanta.errors import BadInput, RunFailed
from jquanta.machine.launch import Place

HEARTBEAT_SECONDS = 20
"""A process that is not heard of for so long is lost, and the others end."""

START_SECONDS = 300
"""How long processes wait for each other at the start: hosts of a cluster boot at different times.
"""

LEAVE_SECONDS = 20
"""How long a process that fails waits for the others to end by themselves, as they do when a signal
went to all of them."""

LAST_SECONDS = 1
"""How much later than the others the first process leaves: they only have to end."""

AGAIN = "the same command continues"
"""What is to be done after another process was lost."""

FOR_EVER = 2**31 // 1000
"""Seconds that a barrier is waited for: three weeks, which the runtime counts in milliseconds."""

ENDED_SECONDS = 10
"""A wait that fails because another process is lost is followed by the end of this one, which the
runtime brings about. It is given so long for that."""

SILENT_SECONDS = 5
"""How long the others are waited for without a word."""

LOOK_SECONDS = 0.2
"""Between two looks at whether the user has interrupted, while waiting for others."""


def start(place: Place, say: Callable[[str], object]) -> None:
    """Begin JAX's distributed runtime. Call this before JAX computes anything.

    Args:
        place: which process this is.
        say: called with a line for a person if the others let themselves be waited for.

    Raises:
        BadInput: if the others do not come, or the address cannot be had.
    """

    def initialize() -> None:
        jax.distributed.initialize(
            place.address,
            place.count,
            place.index,
            local_device_ids=place.devices,
            # What the user has said needs no launcher, which may be there all the same.
            cluster_detection_method="deactivate" if place.address else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=START_SECONDS,
        )

    def waiting() -> None:
        at = f" at {place.address}" if place.address else ""
        say(f"{place}: waiting for all processes to start{at}, {START_SECONDS} s at most")

    def failed(error: Exception) -> BadInput:
        reason = " ".join(str(error).split())[:200]  # of gRPC: an unknown name, a port in use
        remedy = "; give a free port of this host" if place.index == 0 else ""
        return BadInput(f"--process: {place} does not find the others ({reason}){remedy}")

    late = threading.Timer(SILENT_SECONDS, waiting)
    late.start()
    try:
        _in_thread(initialize, lambda: None, failed)
    finally:
        late.cancel()


def _in_thread(
    do: Callable[[], object],
    check: Callable[[], object],
    error_of: Callable[[Exception], Exception],
) -> None:
    """Do what cannot be interrupted in a thread, so that Ctrl-C is heard meanwhile.

    Args:
        do: what it is.
        check: called now and then; what it raises ends the wait.
        error_of: of what ``do`` raised, what is raised in its place.
    """
    failed: list[Exception] = []

    def caught() -> None:
        try:
            do()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=caught, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        check()
    if failed:
        raise error_of(failed[0]) from failed[0]


def agree(command: str) -> None:
    """Make sure that all processes were given the same command.

    Raises:
        BadInput: in all of them, if they were not.
        RunFailed: if one is lost meanwhile.
    """
    index, count = here()
    words = f"{command} of {count} processes"
    client = ocp.multihost.get_jax_distributed_client()
    client.key_value_set(f"jquanta-words-{index}", words)
    try:
        said = [
            client.blocking_key_value_get(f"jquanta-words-{other}", 1000 * START_SECONDS)
            for other in range(count)
        ]
    except Exception as error:  # of gRPC
        raise RunFailed(f"another process was lost at the start; {AGAIN}") from error
    for other, theirs in enumerate(said):
        if theirs != words:
            raise BadInput(
                f"--process: process {index + 1} was given {words!r}, and process {other + 1} "
                f"{theirs!r}: start all of them with the same command"
            )


def here() -> tuple[int, int]:
    """The number of this process, from 0, and of all processes of the program."""
    return jax.process_index(), jax.process_count()


_numbers = itertools.count()


def wait(check: Callable[[], None] = lambda: None) -> None:
    """Wait until every process has come here. All of them wait equally often, in the same order.

    Args:
        check: called now and then meanwhile; what it raises ends the wait.
    """
    _wait(f"jquanta-{next(_numbers)}", FOR_EVER, check)


def _wait(name: str, most: int, check: Callable[[], None]) -> None:
    _, count = here()
    if count == 1:
        return
    if not jax.distributed.is_initialized():  # hosts of a TPU know of each other without
        raise BadInput(
            f"this is one of {count} processes: give --process auto, or in Python call "
            "jax.distributed.initialize() before all else"
        )

    def barrier() -> None:  # of the runtime's first process: no device takes part and is kept busy
        ocp.multihost.sync_global_processes(name, timeout=most, processes=set(range(count)))

    def failed(error: Exception) -> RunFailed:
        time.sleep(ENDED_SECONDS)
        return RunFailed(f"another process was lost; {AGAIN}")

    _in_thread(barrier, check, failed)


def leave(code: int) -> None:
    """End a process that has failed. JAX's own end would wait minutes for the others."""
    with contextlib.suppress(Exception):
        _wait("jquanta-leaves", LEAVE_SECONDS, lambda: None)
    # The first process holds the runtime: it goes last, or the others would end as if lost.
    if here()[0] == 0:
        time.sleep(LAST_SECONDS)
    os._exit(code)
