"""Print the kernels that the tables generate."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nbgrad import dtypes
from nbgrad.formulas.elementwise import TABLE
from nbgrad.formulas.reductions import TABLE as REDUCTIONS
from nbgrad.kernels import source
from nbgrad.kernels.cuda import loops, totals
from nbgrad.kernels.elementwise import Spec, body
from nbgrad.kernels.reductions import emit


def kernel_source(name: str, device: str = "cpu", what: str = "forward",
                  dtype=dtypes.float32, strided: bool = False) -> str:
    """The Python source of the kernel of an elementwise op or a reduction; see `show`."""
    if device not in ("cpu", "cuda") or what not in ("forward", "backward"):
        raise ValueError(f"show({name!r}): device is 'cpu' or 'cuda', what is 'forward' or 'backward'; "
                         f"got {device!r}, {what!r}")
    d = dtypes.as_dtype(dtype)
    if name in REDUCTIONS and name not in TABLE:
        if what == "backward":
            raise ValueError(f"show({name!r}): the gradients of reductions are elementwise kernels")
        if device == "cuda":
            return totals.emit(REDUCTIONS[name], np.dtype(d.np), d.name, strided,
                               32 if strided else 256, 256, 32)
        return emit(REDUCTIONS[name], np.dtype(d.np), d.name, strided, False)
    row = TABLE.get(name)
    if row is None:
        known = ", ".join(sorted(TABLE.keys() | REDUCTIONS.keys()))
        raise ValueError(f"show({name!r}): no such row; the tables have {known}")
    if what == "forward":
        result = dtypes.bool_ if row.kind in ("bool", "logical") else d
        spec = Spec(name, (row.formula,), row.inputs, row.params, row.kind, d, (result,))
    else:
        if not row.differentiable:
            raise ValueError(f"show({name!r}): the op has no derivative")
        codes = row.saves((True,) * len(row.inputs))
        inputs = (row.seed, *(row.inputs[k] if k >= 0 else "y" for k in codes))
        spec = Spec(f"{name}_vjp", row.pullbacks, inputs, row.params, "arith", d,
                    (d,) * len(row.pullbacks))
    made = body(spec, (d,) * len(spec.inputs))
    if strided:
        if device == "cuda":
            return loops.strided(made, 2, False)
        return source.strided(made, "x" * (len(made.outputs) + len(made.inputs)))
    return loops.flat(made) if device == "cuda" else source.flat(made)


def show(name: str, *, device: Literal["cpu", "cuda"] = "cpu",
         what: Literal["forward", "backward"] = "forward", dtype=dtypes.float32,
         strided: bool = False) -> None:
    """Print the kernel that an elementwise row or a reduction generates.

    Args:
        name: a row of the tables, such as "gelu" or "sum".
        device: "cpu" or "cuda".
        what: "forward", or "backward" for the kernel of the gradients.
        dtype: the dtype of all operands.
        strided: the loop for strided or broadcast operands (columns, for a reduction) rather than
            the one for contiguous memory.

    Raises:
        ValueError: no such row, or no such kernel of it.
    """
    print(kernel_source(name, device, what, dtype, strided), end="")
