"""What commands keep on disk to be quicker the next time: compiled programs.

JAX looks a program up in a folder before it compiles it. Its key holds the program, the versions
of JAX and XLA, the flags, and the kind of CPU or accelerator with its features, so that no machine
runs what was compiled for another.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

VARIABLE = "JQUANTA_CACHE"
"""Of the environment: a folder to use in place of the default one, or ``off``."""

LIMIT = 2**30
"""Bytes of programs that are kept. The miniature of Figure 2 has 65, of 0.6 MB together."""

PROBE = 2**20  # bytes; more than most programs have


def folder() -> Path | None:
    """Where jquanta keeps what it can make again; None where the user wants nothing kept.

    Raises:
        RuntimeError: if the user has no home folder.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() == "off":
        return None
    return Path(chosen).expanduser().absolute() if chosen else _default()


def _default() -> Path:
    """The user's cache folder, as the system would have it."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "jquanta"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "jquanta"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the XDG Base Directory Specification.
    return (Path(chosen) if os.path.isabs(chosen) else home / ".cache") / "jquanta"


def keep_programs() -> str | None:
    """Have JAX keep the programs that it compiles in this process, and use those that are kept.

    Does nothing where the user has chosen JAX's own folder (``JAX_COMPILATION_CACHE_DIR``). To be
    called before JAX compiles anything; JAX need not be imported yet.

    Returns:
        Why programs are not kept, in one line; None where they are, or where nobody wants it.
    """
    jax = sys.modules.get("jax")
    chosen = jax.config.jax_compilation_cache_dir if jax else None
    if chosen or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    try:
        if (kept := folder()) is None:
            return None
        programs = kept / "programs"
        programs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=programs) as probe:
            probe.write(bytes(PROBE))
        trim(programs)
    except (OSError, RuntimeError) as error:
        return (
            f"compiled programs are not kept: {error}; {VARIABLE}=DIR keeps them elsewhere, "
            f"{VARIABLE}=off nowhere"
        )
    # By default JAX keeps what took a second to compile, which here are 4 of 72 programs. To store
    # a small one takes about 3 ms, to compile it 50. The results of a GPU's autotuning are kept in
    # the same folder, by default.
    settings = {
        "jax_compilation_cache_dir": str(programs),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            os.environ[name.upper()] = str(value)  # which JAX reads when it is imported
            if jax:
                jax.config.update(name, value)
    # One line for each program would follow if the disk filled up on the way.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    return None


def trim(programs: Path, limit: int = LIMIT) -> None:
    """Remove the files of ``programs`` that were not used for longest, down to ``limit`` bytes.

    Not by ``jax_compilation_cache_max_size``: JAX then locks the folder for each program, which
    costs 10 seconds each where a network folder has no locks, and does not count what autotuning
    wrote. Between two commands a folder may grow beyond the limit.
    """
    files = []
    for at, _, names in os.walk(programs):
        for name in names:
            path = os.path.join(at, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:  # another process has removed it
                continue
            # Reading a file sets its access time once a day at least, unless the system is told
            # not to (``noatime``): then the oldest go first.
            files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    surplus = sum(size for _, size, _ in files) - limit
    for _, size, path in sorted(files):
        if surplus <= 0:
            break
        Path(path).unlink(missing_ok=True)
        surplus -= size
