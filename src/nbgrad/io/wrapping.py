"""How an array from a file becomes whatever the caller wants for a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nbgrad.io.pickle_machine import Refused

#: Called with a writable array and its requires_grad flag.
Wrap = Callable[[np.ndarray, bool], Any]


def wrapped(wrap: Wrap, array: np.ndarray, requires_grad: bool) -> Any:
    """`wrap(array, requires_grad)`, refusing the file where `wrap` refuses the dtype."""
    try:
        return wrap(array, requires_grad)
    except TypeError as error:
        raise Refused(f"has a tensor of dtype {array.dtype}: {error}") from None
