"""Arrays in NumPy's ``.npy`` files, which may be damaged, or something else."""

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.run.shown import shown


def read(path: Path, remedy: str, *, mapped: bool = False) -> NDArray[Any]:
    """The array of a ``.npy`` file.

    Args:
        path: of the file.
        remedy: advice for the message.
        mapped: whether to map the file to memory, read-only, rather than to read it.

    Raises:
        FileNotFoundError: if there is no such file.
        BadInput: if it holds no array.
    """
    try:
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise
    # The header is a Python literal, so what is wrong in it may be an error of Python's parser; a
    # number in it that is wrong may be a shape that no memory holds.
    except (
        *(ValueError, TypeError, KeyError, OverflowError, SyntaxError, tokenize.TokenError),
        *(OSError, EOFError, MemoryError, RecursionError),
    ) as error:
        # NumPy's further sentences are advice, such as to read a pickle all the same.
        reason = shown((str(error).splitlines() or [type(error).__name__])[0].split(". ")[0])
        raise BadInput(f"{path}: damaged, or no .npy array ({reason}); {remedy}") from None
    if not isinstance(found, np.ndarray):  # an archive of arrays
        raise BadInput(f"{path}: an archive (.npz), not an array (.npy); {remedy}")
    return found
