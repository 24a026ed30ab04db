"""Arrays from outside, whose masked entries count as missing.

``numpy.asarray`` gives the numbers that lie under the mask of a masked array as if they had been
measured. Every public function that takes arrays takes them through ``unmasked``.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from jquanta.errors import BadInput


def unmasked(values: Any, name: str, dtype: DTypeLike | None = None) -> np.ndarray:
    """``numpy.asarray(values, dtype)`` in which masked numbers are NaN.

    Args:
        values: an array, masked or not, or nested sequences of numbers or of such arrays.
        name: of the argument, for messages.
        dtype: of the result.

    Raises:
        BadInput: if entries are masked and the type of the result, such as of whole numbers, has no
            NaN that could stand for them; or if the values are no array of that type.
    """
    masked: Any = None
    try:
        if dtype is not None and getattr(values, "dtype", np.dtype(float)).kind == "c":
            raise TypeError("complex numbers")  # numpy would drop their imaginary parts
        if not _is_masked(values):
            return np.asarray(values, dtype)
        masked = np.ma.asarray(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:80]
        raise BadInput(f"{name}: not an array of numbers ({reason}); give one") from None
    count = int(np.ma.getmaskarray(masked).sum())
    if not count:
        return np.asarray(masked.data)
    if masked.dtype.kind not in "fc":
        raise BadInput(
            f"{name}: {count} of {masked.size} entries are masked, and {masked.dtype} has no NaN "
            "that stands for what is missing; leave them out"
        )
    return np.asarray(masked.filled(np.nan))


def _is_masked(values: Any) -> bool:
    """Whether an array has a mask, or a sequence holds something that has one."""
    if isinstance(values, list | tuple):
        return any(map(_is_masked, values))
    return np.ma.isMaskedArray(values)
