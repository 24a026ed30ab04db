"""A language model as one object: what it looks like, its numbers, and how it reads text."""

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from tokenizers import Tokenizer

from jquanta.errors import BadInput
from jquanta.lm.models import cut
from jquanta.lm.models.config import COPIED, PLACEMENTS, LMConfig
from jquanta.lm.models.network import Params, shapes
from jquanta.machine.devices import mesh


@dataclass(frozen=True, eq=False)
class Model:
    """A language model: its shape, its parameters by name, and its tokenizer if there is one.

    It is checked when it is made, so that a model that exists is one that fits together. To compute
    with it, pass ``config`` (hashable, static under jit) and ``params`` to the functions of
    ``network``::

        model = jq.load_model("EleutherAI/pythia-70m-v0")
        logits = forward(model.config, model.params, tokens)

    Attributes:
        config: the shape.
        params: arrays by name, with the shapes that ``network.shapes(config)`` lists.
        tokenizer: of the ``tokenizers`` library.
        placement: of the parameters where views of samples are computed: ``copied`` to every local
            device, or ``cut`` into equal shares.

    Raises:
        BadInput: if a parameter is missing, has another shape, or is none of this model's.
    """

    config: LMConfig
    params: Params
    tokenizer: Tokenizer | None = None
    placement: str = COPIED

    def __post_init__(self) -> None:
        expected = shapes(self.config)
        for name, shape in expected.items():
            found = np.shape(self.params[name]) if name in self.params else "missing"
            if found != shape:
                raise BadInput(f"params: {name} is {found}, and this model's is {shape}; {REMEDY}")
        if self.placement not in PLACEMENTS:
            raise BadInput(f"placement {self.placement}: give {' or '.join(PLACEMENTS)}")
        if surplus := sorted(self.params.keys() - expected.keys()):
            raise BadInput(f"params: this model has no {', '.join(surplus)}; {REMEDY}")

    @cached_property
    def shares(self) -> dict[str, Array]:
        """The parameters in equal shares on the local devices: see ``cut``."""
        return cut.shares(self.config, self.params, mesh())

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the parameters; where they differ, the one that their sum would have."""
        return jnp.result_type(*self.params.values())


REMEDY = "give config and params of one model, as jquanta.load_model does"
