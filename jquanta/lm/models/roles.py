"""What a parameter is for, told from its name."""

import enum
import re


class Role(enum.Enum):
    """The parts of a language model that parameters belong to."""

    ATTENTION = "attention"
    MLP = "mlp"
    LAYER_NORM = "layer norm"
    EMBEDDING = "embedding"
    UNEMBEDDING = "unembedding"


_ROLES = {
    r"attention": Role.ATTENTION,
    r"mlp": Role.MLP,
    r"\w+_norm": Role.LAYER_NORM,
    r"embed|positions": Role.EMBEDDING,
    r"unembed": Role.UNEMBEDDING,
}
"""By the name of a module of the network, or of one of its blocks."""


def role(name: str) -> Role:
    """The part that the parameter ``name`` belongs to, such as MLP for ``layers.3.mlp.up.kernel``.

    A tied embedding, which serves as unembedding too, counts as embedding.

    A norm counts as layer norm wherever it stands, that of queries in attention too.

    Raises:
        KeyError: if a model has no such parameter.
    """
    module = re.fullmatch(r"(?:layers\.\d+\.)?(?:attention\.(?=\w+_norm\.))?(\w+)\..*", name)
    for pattern, found in _ROLES.items():
        if module is not None and re.fullmatch(pattern, module[1]):
            return found
    raise KeyError(name)
