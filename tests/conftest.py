"""Shared by all tests: how programs are compiled, one cache of them, markers, float64 one fixture
away.

Annotations of shapes, dtypes and types are executed in the whole package: see ``addopts`` in
pyproject.toml.
"""

import os

# Before JAX is imported. Two thirds of the tests' time went into XLA's optimisations of programs
# that run once; without them, and without the passes that fuse loops, it compiles in a quarter of
# the time. Commands that tests start inherit this. `XLA_FLAGS= make test` compiles as for users.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false",
)

import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from hypothesis import settings

from jquanta.machine import cache, cores, malloc
from tests.kinds import KINDS, THOROUGH, kinds_of, left_out

# Compiled programs are shared by all workers, by the commands that tests start, and with the next
# run of the tests: what was compiled once is loaded. JQUANTA_CACHE=off has all compiled afresh.
os.environ.setdefault(cache.VARIABLE, str(Path(__file__).parents[1] / ".pytest_cache" / "jquanta"))
cache.keep_programs()

# What a shell starts in the background ignores Ctrl-C, and so would the commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine fails nothing, and the same 50 examples are tried everywhere.
settings.register_profile(
    "jquanta", deadline=None, derandomize=True, database=None, max_examples=50
)
settings.load_profile("jquanta")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--thorough``."""
    parser.addoption("--thorough", action="store_true", help="every case of every test")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning}")
    config.addinivalue_line("markers", THOROUGH)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test with what it needs beyond the package; keep a few cases of expensive ones."""
    # Who names a test wants it.
    if not config.getoption("thorough") and not any("::" in word for word in config.args):
        out = set(left_out(items))
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]
    for item in items:
        if isinstance(item, pytest.Function):
            for kind in kinds_of(vars(item.module), frozenset(item.fixturenames)):
                item.add_marker(kind)


@pytest.fixture(autouse=True, scope="session")
def _as_a_library() -> Iterator[None]:
    """Commands that tests call here must not keep what thousands of tests free, nor cut the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(malloc, "keep_freed", lambda: False)
        patch.setattr(cores, "as_devices", lambda: False)
        yield


MAPS = Path("/proc/self/maps")

MOST_MAPS = 20_000
"""Linux gives a process 65,530 areas of memory (vm.max_map_count). Each compiled program takes some
ten, and where there are no more the compiler ends the process by a segmentation fault."""


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs() -> Iterator[None]:
    """After a module, let go of compiled programs if there are many; the cache on disk has them."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """Run the test in float64: what is compared is then the mathematics, not the rounding."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of version 0.1, which wrote no check sums. Tests only read them."""
    place = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).parent / "stored" / "0.1.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place
