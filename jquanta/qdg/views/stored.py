"""Views by their name on disk, and of configurations."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jquanta.errors import BadInput
from jquanta.qdg.config import GIVEN, SimilarityConfig
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.view import View

VIEWS: dict[str, type[View]] = {
    view.mode: view for view in (Gradients, Factors, Sketch, Activations)
}


def view_from(attributes: Mapping[Any, Any]) -> View:
    """The view that results with these attributes were made by: ``mode``, and its options.

    Raises:
        BadInput: if there is no such view.
    """
    if attributes["mode"] == GIVEN:
        raise BadInput(
            "the samples have features that were made elsewhere, and of anything else there are "
            "none; give a run of another mode"
        )
    if attributes["mode"] not in VIEWS:
        raise BadInput(f"mode = {attributes['mode']}: give one of {', '.join(VIEWS)}")
    return VIEWS[attributes["mode"]].from_attributes(attributes)


def configured(wanted: SimilarityConfig) -> View:
    """The view that a configuration asks for. Raises ``BadInput`` as ``view_from``."""
    return view_from(dataclasses.asdict(wanted))


def whole(view: View) -> View:
    """The view that another stands for, without its error: gradients for their factors."""
    return view.exact if isinstance(view, Factors) else view
