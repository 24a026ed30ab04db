"""What a parameter is for, and how it is cut over devices: both told from its name."""

import enum
import re
from collections.abc import Mapping

from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jquanta.errors import BadInput


class Role(enum.Enum):
    """The parts of a language model that parameters belong to."""

    ATTENTION = "attention"
    MLP = "mlp"
    LAYER_NORM = "layer norm"
    EMBEDDING = "embedding"
    UNEMBEDDING = "unembedding"


_ROLES = {
    "attention": Role.ATTENTION,
    "mlp": Role.MLP,
    "attention_norm": Role.LAYER_NORM,
    "mlp_norm": Role.LAYER_NORM,
    "final_norm": Role.LAYER_NORM,
    "embed": Role.EMBEDDING,
    "positions": Role.EMBEDDING,
    "unembed": Role.UNEMBEDDING,
}


def role(name: str) -> Role:
    """The part that the parameter ``name`` belongs to. Tied embeddings count as embedding.

    Raises:
        KeyError: if a model has no such parameter.
    """
    module = re.fullmatch(r"(?:layers\.\d+\.)?(\w+)\..*", name)
    if module is None or module[1] not in _ROLES:
        raise KeyError(name)
    return _ROLES[module[1]]


RULES: Mapping[str, P] = {
    # Into heads and hidden units by columns, back out of them by rows, so that a device works
    # through its heads and hidden units alone and one sum a product joins the devices.
    r"attention\.(qkv|query|key|value)\.kernel": P(None, "model"),
    r"attention\.(qkv|query|key|value)\.bias": P("model"),
    r"attention\.out\.kernel": P("model", None),
    r"mlp\.up\.kernel": P(None, "model"),
    r"mlp\.up\.bias": P("model"),
    r"mlp\.down\.kernel": P("model", None),
    # The vocabulary is the long side.
    r"embed\.embedding": P("model", None),
    r"unembed\.kernel": P(None, "model"),
}
"""How parameters whose names end so are cut; those that no rule names lie whole on each device."""


def shardings(
    shapes: Mapping[str, tuple[int, ...]], mesh: Mesh, rules: Mapping[str, P] = RULES
) -> dict[str, NamedSharding]:
    """Where each parameter lies on a mesh, for ``jax.device_put`` and ``jax.jit``.

    Args:
        shapes: of the parameters by name (``network.shapes``).
        mesh: devices, with axes of ``AxisType.Auto``: the compiler places what lies between. An
            axis that the rules name and the mesh lacks cuts nothing, nor does one that does not
            divide the parameter's side evenly.
        rules: patterns for the end of a name, each with its cut.

    Raises:
        BadInput: if an axis of the mesh is of another type, as ``jax.make_mesh`` makes them.
    """
    if set(mesh.axis_types) != {AxisType.Auto}:
        raise BadInput(
            "mesh: its axes must be automatic; make it with jax.make_mesh(shape, names, "
            "(jax.sharding.AxisType.Auto,) * len(names))"
        )
    return {name: NamedSharding(mesh, _cut(name, s, mesh, rules)) for name, s in shapes.items()}


def _cut(name: str, shape: tuple[int, ...], mesh: Mesh, rules: Mapping[str, P]) -> P:
    rule = next((cut for end, cut in rules.items() if re.search(rf"(^|\.){end}$", name)), P())
    fits = (
        axis if axis in mesh.shape and side % mesh.shape[axis] == 0 else None
        for axis, side in zip(rule, shape, strict=False)
    )
    return P(*fits)
