"""The loops around a formula on a CUDA device: a thread takes every element that is its turn.

Bodies are those of kernels/source, which the CPU's loops share.
"""

from __future__ import annotations

import re

from nbgrad.kernels.source import Body, accesses, block, header, prelude, statements

_IMPORTS = ("\nfrom nbgrad.kernels.cuda import maths as math\n"
            "from nbgrad.kernels.cuda.provider import BLOCK, cuda, kernel")
#: What float32 rows take from kernels/cuda/single.
SINGLE = ("exp", "exp2", "tanh", "log10", "tan", "sinh", "cosh", "atanh")
#: Elements that a thread loads before it computes: memory answers all at once.
TOGETHER = 4


def rounding(body: Body) -> list[list[str]]:
    """source.statements, with the functions of NumPy that CUDA has for each width by itself."""
    width = 32 if body.compute == "float32" else 64

    def spelled(line: str) -> str:
        line = re.sub(r"(?:np|math)\.(floor|ceil|trunc|rint|nextafter|mantissa|exponent)\(",
                      rf"math.\1_{width}(", line)
        if width == 32:
            line = re.sub(rf"math\.({'|'.join(SINGLE)})\(", r"math.single.\1(", line)
        return re.sub(r"np\.(fmod|signbit|gcd|lcm)\(", r"math.\1(", line)

    return [[spelled(line) for line in lines] for lines in statements(body)]


def flat(body: Body, scalars: frozenset[str] = frozenset()) -> str:
    """Source of a kernel over contiguous arrays; inputs in `scalars` have one element.

    A block takes TOGETHER rows of BLOCK neighbours, a column each thread, then the next rows that are
    its turn; what does not fill them at the end goes to the first threads, an element each. Indices
    are unsigned, since others may count from the end, and loops are no ranges, which divide first.
    """
    constants, shared, values = rounding(body)
    load = dict(zip(body.inputs, body.loads))
    once = [f"{n}_ = {load[n].format(f'{n}[0]')}" for n in body.inputs if n in scalars]
    each, write = accesses(body, values, {n: f"{n}[i]" for n in body.operands if n not in scalars})
    args = ", ".join((*body.operands, *body.params))
    together = [_numbered(lines, each + shared, k) for lines in (each, shared, write)
                for k in range(TOGETHER)]
    return (
        header(body, f"{body.name} on {body.compute}, contiguous, for CUDA.", _IMPORTS)
        + f"@kernel\ndef {body.name}_flat({args}):\n"
        + block(prelude(body, constants) + once, 1)
        + block([f"count, group = np.uint64({body.out_names[0]}.size), np.uint64({TOGETHER} * BLOCK)",
                 "full = count // group * group",
                 "i = np.uint64(cuda.blockIdx.x) * group + np.uint64(cuda.threadIdx.x)",
                 "while i < full:"], 1)
        + block([line for lines in together for line in lines], 2)
        + block(["i += np.uint64(cuda.gridDim.x) * group"], 2)
        + block(["i = full + np.uint64(cuda.grid(1))", "while i < count:"], 1)
        + block(each + shared + write + ["i += np.uint64(cuda.gridsize(1))"], 2)
    )


def _numbered(lines: list[str], assigned: list[str], k: int) -> list[str]:
    """Lines for the element of row k, whose variables are numbered by k."""
    names = "|".join(line.split(" = ")[0] for line in assigned)
    at = f"[i + np.uint64({k} * BLOCK)]" if k else "[i]"
    return [re.sub(rf"\b({names})\b", rf"\g<1>_{k}", line).replace("[i]", at) if names else
            line.replace("[i]", at) for line in lines]


def strided(body: Body, rank: int, wide: bool) -> str:
    """Source of a kernel over strided or broadcast arrays of `rank` collapsed axes.

    Arguments after the arrays and params: the number of elements, the sizes n0, n1, ..., and for each
    operand its offset and strides. Element i lies at offset + sum of index * stride; the last axis
    is the one along which the output's elements are neighbours. Indices are uint32 unless `wide`:
    a division by a 64-bit number costs a GPU some seventy instructions.
    """
    constants, shared, values = rounding(body)
    number = "np.int64" if wide else "np.uint32"
    sizes = [f"n{k}" for k in range(rank)]
    numbers = ["count", *sizes]
    place = []
    for name in body.operands:
        steps = [f"{name}_{k}" for k in range(rank)]
        numbers += [f"{name}_at", *steps]
        terms = " + ".join(f"i{k} * {s}" for k, s in enumerate(steps))
        place.append(f"at_{name} = {number}({name}_at + {terms})")
    split = []
    for k in range(rank - 1, 0, -1):
        split += [f"i{k} = {number}(rest % n{k})", f"rest = {number}(rest // n{k})"]
    split.append("i0 = rest")
    each, write = accesses(body, values, {n: f"{n}[at_{n}]" for n in body.operands})
    args = ", ".join((*body.operands, *body.params, *numbers))
    whole = [*split, *place, *each, *shared]
    assigned = ["rest = i", *whole]
    together = [_numbered(lines, assigned, k) for k, lines in (
        *((k, [f"rest = {number}(i + {k} * BLOCK)", *split, *place, *each]) for k in range(TOGETHER)),
        *((k, lines) for lines in (shared, write) for k in range(TOGETHER)))]
    return (
        header(body, f"{body.name} on {body.compute}, strided in {rank} axes, for CUDA.", _IMPORTS)
        + f"@kernel\ndef {body.name}_strided({args}):\n"
        + block(prelude(body, constants), 1)
        + block([f"{n} = {number}({n})" for n in numbers], 1)
        + block([f"group = {number}({TOGETHER} * BLOCK)", f"full = {number}(count // group * group)",
                 f"i = {number}(cuda.blockIdx.x * group + cuda.threadIdx.x)", "while i < full:"], 1)
        + block([line for lines in together for line in lines], 2)
        + block([f"i = {number}(i + cuda.gridDim.x * group)"], 2)
        + block([f"i = {number}(full + cuda.grid(1))", "while i < count:"], 1)
        + block(["rest = i", *whole, *write, f"i = {number}(i + cuda.gridsize(1))"], 2)
    )
