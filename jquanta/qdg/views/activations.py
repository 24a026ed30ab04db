"""The residual stream in place of gradients: a variant of the public code (paper section 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from jaxtyping import Array

from jquanta.errors import BadInput
from jquanta.lm.models.config import CUT, LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import Params, count, residuals
from jquanta.qdg.views import layered
from jquanta.qdg.views.view import Cost, Function


@dataclass(frozen=True)
class Activations:
    """The residual stream [D] at the last token of the prefix, where the prediction is made.

    Attributes:
        layer: after how many blocks: 0 is the embedding; None for all blocks.
    """

    mode: ClassVar[str] = "activations"
    what: ClassVar[str] = "activations"
    has_absolute: ClassVar[bool] = True

    layer: int | None = None

    def function(self, model: Model) -> Function:
        """See ``View``. Raises ``BadInput`` if the model has no such layer."""
        layer, config = self._layer(model.config), model.config
        if not 0 <= layer <= config.layers:
            raise BadInput(
                f"layer = {layer}: this model has layers 0 (embedding) to {config.layers}"
            )
        operations = self.cost(config).operations
        if model.placement == CUT:
            one = layered.activation(config, layer)
            return Function(one, (model.shares, {}), operations, cut=True)
        return Function(_activation(config, layer), dict(model.params), operations)

    def cost(self, config: LMConfig) -> Cost:
        """See ``View``."""
        # A multiplication and an addition for each parameter.
        return Cost(2.0 * count(config)[1], config.width)

    def attributes(self, config: LMConfig) -> dict[str, Any]:
        """See ``View``."""
        return {"mode": self.mode, "parameters": "", "layer": self._layer(config)}

    @classmethod
    def from_attributes(cls, attributes: Mapping[Any, Any]) -> "Activations":
        """See ``View``."""
        return cls(attributes.get("layer"))

    def _layer(self, config: LMConfig) -> int:
        return config.layers if self.layer is None else self.layer


@cache
def _activation(config: LMConfig, layer: int) -> Callable[[Params, Array, Array, Array], Array]:
    def one(params: Params, tokens: Array, at: Array, target: Array) -> Array:
        return residuals(config, params, tokens[None])[layer][0, at]

    return one
