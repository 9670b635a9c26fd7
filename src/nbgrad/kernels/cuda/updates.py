"""Optimizer steps on a CUDA device: a row runs on many parameters in one launch.

Kernels of kernels/updates take a parameter at a time; a launch costs a GPU as much as the step of
thousands of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from nbgrad.formulas.updates import Update
from nbgrad.kernels import source
from nbgrad.kernels.cuda import loops
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.provider import BLOCK, SIMULATED
from nbgrad.kernels.updates import body

#: Elements of a parameter that a block takes at once.
CHUNK = 4 * BLOCK
#: Parameters of a launch at most, and bytes of all its arguments: 4096 is what every driver takes.
_MOST, _BYTES = 3 if SIMULATED else 16, 4000

_IMPORTS = ("\nfrom nbgrad.kernels.cuda import maths as math\n"
            "from nbgrad.kernels.cuda.provider import cuda, kernel")


def step(row: Update, parameters: Sequence[Sequence[DeviceArray]], scalars: tuple[float, ...]) -> None:
    """Run `row` for parameters given by their vectors `row.arrays`, all of one dtype."""
    parameters = [arrays for arrays in parameters if arrays[0].size]
    if not parameters:
        return
    count = _together(row)
    dtype = parameters[0][0].dtype
    found = kernel(row, dtype, count)
    nothing = [a.part(0, 0) for a in parameters[0]]
    for k in range(0, len(parameters), count):
        group = parameters[k:k + count]
        chunks = sum([-(-arrays[0].size // CHUNK) for arrays in group])
        run = launch(found, chunks * BLOCK, (dtype,) * (count * len(nothing)),
                     ("float64",) * len(scalars))
        vectors = [a for arrays in group for a in arrays]
        run(*vectors, *nothing * (count - len(group)), *scalars)


def _together(row: Update) -> int:
    """How many parameters a launch takes; an array is seven numbers of 8 bytes."""
    return min(_MOST, (_BYTES - 8 * len(row.scalars)) // (56 * len(row.arrays)))


@cache
def kernel(row: Update, dtype: np.dtype, count: int):
    return source.compile_source(many(body(row, dtype.name), count))


def many(own: source.Body, count: int) -> str:
    """Source of a kernel over `count` times the operands of a body, each of a length of its own.

    Blocks take chunks of CHUNK elements; those of operands k end before chunk `end{k}`.
    """
    constants, shared, values = loops.rounding(own)
    each, write = source.accesses(own, values, {n: f"{n}[i]" for n in own.operands})
    args = ", ".join([f"{n}{k}" for k in range(count) for n in own.operands] + list(own.params))
    first = own.operands[0]
    ends, choice = ["end = 0"], []
    for k in range(count):
        ends.append(f"end{k} = end = end + ({first}{k}.size + {CHUNK - 1}) // {CHUNK}")
        choice += [f"{'elif' if k else 'if'} chunk < end{k}:" if k < count - 1 else "else:",
                   f"    begin = {f'end{k - 1}' if k else '0'}",
                   *[f"    {n} = {n}{k}" for n in own.operands]]
    return (
        source.header(own, f"{own.name} on {own.compute}, for {count} parameters, for CUDA.", _IMPORTS)
        + f"@kernel\ndef {own.name}_many({args}):\n"
        + source.block(source.prelude(own, constants) + ends, 1)
        + source.block(["for chunk in range(cuda.blockIdx.x, end, cuda.gridDim.x):"], 1)
        + source.block([*choice,
                        f"start = (chunk - begin) * {CHUNK} + cuda.threadIdx.x",
                        f"stop = min((chunk - begin + 1) * {CHUNK}, {first}.size)",
                        "for i in range(start, stop, cuda.blockDim.x):"], 2)
        + source.block(each + shared + write, 3)
    )
