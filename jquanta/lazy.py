"""Names of a package that are loaded on first use, so that importing the package stays quick."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose public names lie in modules of their own.

    Args:
        package: the name of the package.
        homes: for each public name the module that holds it; a module that has nothing of that
            name is meant itself.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        return getattr(module, name, module)

    return load
