"""JAX's persistent compilation cache: compiled programs on disk, so that commands start sooner.

Before JAX compiles a program it looks it up in a folder. The key is a hash of the program, the
versions of JAX and XLA, the flags, and the kind of CPU or accelerator with its features; a program
compiled for another machine is therefore never used.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

VARIABLE = "JQUANTA_CACHE"
"""Environment variable: a folder to use in place of the default one, or ``off``."""

LIMIT = 2**30
"""Most bytes of compiled programs that are kept. The miniature of Figure 2 has 65 programs, of
0.6 MB together."""

PROBE = 2**20  # bytes that are written to find out whether the disk has room for a program


def folder() -> Path | None:
    """The folder of jquanta's cache; None if the user has switched it off.

    Raises:
        RuntimeError: if the user has no home folder.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() == "off":
        return None
    return Path(chosen).expanduser().absolute() if chosen else _default()


def _default() -> Path:
    """The user's cache folder by the conventions of the operating system."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "jquanta"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "jquanta"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification says to ignore relative paths.
    return (Path(chosen) if os.path.isabs(chosen) else home / ".cache") / "jquanta"


def keep_programs() -> str | None:
    """Switch JAX's persistent compilation cache on for this process.

    Does nothing if the user has set JAX's own variable ``JAX_COMPILATION_CACHE_DIR``. Call this
    before JAX compiles anything; JAX need not be imported yet.

    Returns:
        If the cache cannot be used, the reason in one line; otherwise None.
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
    # By default JAX only stores programs that took over a second to compile, here 4 of 72. But a
    # small program takes about 3 ms to store and 50 ms to compile. Results of XLA's autotuning on
    # GPUs are stored in the same folder by default.
    settings = {
        "jax_compilation_cache_dir": str(programs),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            os.environ[name.upper()] = str(value)  # JAX reads it when it is imported
            if jax:
                jax.config.update(name, value)
    # If the disk fills up later, JAX would print a warning for every program.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    return None


def trim(programs: Path, limit: int = LIMIT) -> None:
    """Remove the least recently used files of ``programs`` until at most ``limit`` bytes are left.

    Called when a command starts; until the next one starts the folder may exceed the limit. JAX's
    own ``jax_compilation_cache_max_size`` is not used: it locks the folder for each program, which
    takes 10 seconds each on network folders without locks, and it does not count the files of
    autotuning.
    """
    files = []
    for at, _, names in os.walk(programs):
        for name in names:
            path = os.path.join(at, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:  # another process has removed it
                continue
            # Linux updates the access time of a file that is read at least once a day (relatime).
            # With the mount option noatime it does not, and the oldest files are removed first.
            files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    surplus = sum(size for _, size, _ in files) - limit
    for _, size, path in sorted(files):
        if surplus <= 0:
            break
        Path(path).unlink(missing_ok=True)
        surplus -= size
