"""Batches of arrays of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def as_list(given: Any) -> list[Any]:
    """One array or a list of arrays, as a list of arrays."""
    return list(given) if isinstance(given, (list, tuple)) and np.ndim(given[0]) else [given]


def stack_padded(rows: Sequence[npt.NDArray[Any]], value: float = 0.0, *, left: bool = False) -> npt.NDArray[Any]:
    """Stacks arrays of the same number of dimensions.

    Args:
        rows: the arrays.
        value: fills what smaller ones leave free.
        left: whether the first dimension is filled at its beginning.

    Returns:
        (rows, *largest size of each dimension).
    """
    sizes = [max(sizes) for sizes in zip(*(row.shape for row in rows), strict=True)]
    out = np.full((len(rows), *sizes), value, dtype=np.result_type(*rows))
    for i, row in enumerate(rows):
        start = sizes[0] - len(row) if left else 0
        place: tuple[int | slice, ...] = (i, slice(start, start + len(row)), *(slice(size) for size in row.shape[1:]))
        out[place] = row
    return out
