"""A language model as one object: shape, parameters and tokenizer that belong together."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, shapes


@dataclass(frozen=True, eq=False)
class Model:
    """A language model, checked when it is made.

    Attributes:
        config: its shape.
        params: its parameters by name, of the shapes that ``config`` asks for.
        tokenizer: None where there is none.

    Raises:
        BadInput: naming a parameter that is missing, of another shape, or unknown.
    """

    config: LMConfig
    params: Params
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        expected = shapes(self.config)
        for name, shape in expected.items():
            found = np.shape(self.params[name]) if name in self.params else "missing"
            if found != shape:
                raise BadInput(
                    f"params: {name} is {found}, and this model's is {shape}; give config and "
                    "params of one model, as jquanta.load_model does"
                )
        for name in self.params.keys() - expected.keys():
            raise BadInput(f"params: {name} is no parameter of this model; leave it out")

    @property
    def dtype(self) -> jnp.dtype:
        """Of the parameters."""
        return jnp.dtype(next(iter(self.params.values())).dtype)
