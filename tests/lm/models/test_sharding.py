"""Parameters cut over a mesh by their names give the logits that whole ones give."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jquanta.errors import BadInput
from jquanta.lm.models.network import shapes
from jquanta.lm.models.pythia import pythia
from jquanta.lm.models.roles import shardings

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jquanta.lm.models.config import GPTNeoConfig, GPTNeoXConfig
from jquanta.lm.models.network import forward, init, shapes
from jquanta.lm.models.roles import shardings

mesh = jax.make_mesh((2, 4), ("data", "model"), (jax.sharding.AxisType.Auto,) * 2)
tokens = np.random.default_rng(0).integers(0, 56, (4, 33))
told = {}
for config in (GPTNeoXConfig(2, 64, 4, 56), GPTNeoConfig(2, 64, 4, 57)):
    whole = init(config, jax.random.key(0))
    where = shardings(shapes(config), mesh)
    cut = jax.device_put(whole, where)
    batch = jax.device_put(tokens, NamedSharding(mesh, P("data")))
    run = jax.jit(forward, static_argnums=0)
    one, many = run(config, whole, tokens), run(config, cut, batch)
    told[type(config).__name__] = {
        "devices": len(many.sharding.device_set),
        "difference": float(jnp.abs(one - np.asarray(many)).max()),
        "size": float(jnp.abs(one).max()),
        "share": {
            name: x.addressable_shards[0].data.size / x.size for name, x in sorted(cut.items())
        },
    }
print(json.dumps(told))
"""


def test_eight_devices_compute_what_one_does() -> None:
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    for one in told.values():
        assert one["devices"] == 8
        # Four devices add up what one sums at once: 1e-7 of numbers near 1, a few times over.
        assert one["difference"] < 1e-5 < 1e-2 < one["size"]
    share = told["GPTNeoXConfig"]["share"]
    cut = ("embed.embedding", "unembed.kernel", "qkv.kernel", "qkv.bias", "attention.out.kernel")
    for name in (*cut, "mlp.up.kernel", "mlp.up.bias", "mlp.down.kernel"):
        assert {x for full, x in share.items() if full.endswith(name)} == {1 / 4}
    for name in ("norm.scale", "norm.bias", "attention.out.bias", "mlp.down.bias"):
        assert {x for full, x in share.items() if full.endswith(name)} == {1}
    # 57 rows do not divide by four, so they lie whole.
    assert told["GPTNeoConfig"]["share"]["embed.embedding"] == 1
    assert told["GPTNeoConfig"]["share"]["layers.1.attention.query.kernel"] == 1 / 4


def test_a_mesh_of_explicit_axes_is_refused() -> None:
    mesh = jax.make_mesh((1,), ("model",))  # explicit by default
    with pytest.raises(BadInput, match=r"AxisType\.Auto"):
        shardings(shapes(pythia("14m")), mesh)


def test_a_mesh_without_the_axis_and_other_rules() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    sizes = shapes(pythia("14m"))
    assert {s.spec for s in shardings(sizes, mesh).values()} <= {P(), P(None), P(None, None)}
    other = shardings(sizes, mesh, {r"kernel": P("data", None)})
    assert other["unembed.kernel"].spec == P("data", None)
    assert other["embed.embedding"].spec == P()
