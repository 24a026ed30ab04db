"""Parameters in equal shares: what lies where, how many bytes, and when they are cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jquanta.lm.models import cut
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import count, init, shapes
from jquanta.lm.models.pythia import pythia
from jquanta.lm.models.roles import Role
from jquanta.machine.devices import DEVICES, mesh
from tests.lm.losses.examples import LLAMA, NEO


@pytest.mark.parametrize("config", [NEO, LLAMA], ids=["neo", "llama"])
def test_whole_arrays_come_back(config: LMConfig) -> None:
    params = init(config, jax.random.key(0))
    shares = cut.shares(config, params, mesh())
    assert {n: (x.shape, x.dtype) for n, x in shares.items()} == {
        n: (x.shape, x.dtype) for n, x in cut.abstract(config, jnp.float32, mesh()).items()
    }

    def whole(shares: dict[str, Array]) -> dict[str, Array]:
        blocks = [cut.block(config, shares, i) for i in range(config.layers)]
        inner = {f"layers.{i}.{n}": x for i, own in enumerate(blocks) for n, x in own.items()}
        return inner | cut.outer(config, shares, Role)

    spec = P(None, DEVICES)
    back = jax.shard_map(whole, mesh=mesh(), in_specs=spec, out_specs=P(), check_vma=False)
    found = jax.jit(back)(shares)
    assert found.keys() == params.keys()
    for name, x in params.items():
        np.testing.assert_array_equal(found[name], x)


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_a_device_holds_its_share(devices: int) -> None:
    """Each array's piece is rounded up, by less than a number a device and array."""
    config = pythia("14m")
    total, arrays = count(config)[0], len(shapes(config))
    held = cut.bytes_of_share(config, "float32", devices)
    assert 4 * total <= devices * held < 4 * (total + devices * arrays)
    assert held == 2 * cut.bytes_of_share(config, "bfloat16", devices)


def test_what_is_gathered_is_a_block_and_a_table() -> None:
    config = pythia("14m")
    outer, inner = config.vocab * config.width, count(config)[1] - 2 * config.width
    assert cut.bytes_gathered(config, "float32") == 4 * (inner // config.layers + outer)


def test_parameters_are_cut_where_a_copy_does_not_fit() -> None:
    config = pythia("12b")
    copy = 4 * count(config)[0]
    assert not cut.needed(config, "float32", 10, copy + 10, 8)
    assert cut.needed(config, "float32", 11, copy + 10, 8)
    assert not cut.needed(config, "bfloat16", 11, copy + 10, 8)
    assert not cut.needed(config, "float32", 11, copy + 10, 1)  # nobody to share with


def test_it_is_said_in_bytes() -> None:
    assert cut.described(pythia("12b"), "float32", int(40e9), 8) == (
        "parameters are cut over 8 devices: 5.92 GB on each and 2.3 GB gathered at a time; a copy "
        "takes 47.4 GB, and a device has 40 GB to use"
    )
