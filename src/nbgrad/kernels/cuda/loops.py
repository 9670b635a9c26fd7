"""The loops around a formula on a CUDA device: a thread takes every element that is its turn.

Bodies are those of kernels/source, which the CPU's loops share.
"""

from __future__ import annotations

import re

from nbgrad.kernels.source import Body, accesses, block, header, prelude, statements

_IMPORTS = ("\nfrom nbgrad.kernels.cuda import maths as math\n"
            "from nbgrad.kernels.cuda.provider import cuda, kernel")
#: Neighbouring elements of a thread, which it loads before it computes: memory answers all at once.
TOGETHER = 4


def lacking(body: Body) -> bool:
    """Whether the formula needs a function that CUDA does not have."""
    lines = [line for part in statements(body) for line in part]
    return re.search(r"np\.(nextafter|gcd|lcm)\(", " ".join(lines)) is not None


def rounding(body: Body) -> list[list[str]]:
    """source.statements, with the functions of NumPy that CUDA has for each width by itself."""
    width = 32 if body.compute == "float32" else 64

    def spelled(line: str) -> str:
        line = re.sub(r"np\.(floor|ceil|trunc|rint)\(", rf"math.\1_{width}(", line)
        return re.sub(r"np\.(fmod|signbit)\(", r"math.\1(", line)

    return [[spelled(line) for line in lines] for lines in statements(body)]


def flat(body: Body, scalars: frozenset[str] = frozenset()) -> str:
    """Source of a kernel over contiguous arrays; inputs in `scalars` have one element.

    A thread takes TOGETHER neighbours, then the next ones that are its turn; what does not fill such
    a group at the end goes to the first threads, an element each.
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
        + block([f"groups = {body.out_names[0]}.size // {TOGETHER}",
                 "for group in range(cuda.grid(1), groups, cuda.gridsize(1)):"], 1)
        + block([f"i = {TOGETHER} * group", *(line for lines in together for line in lines)], 2)
        + block([f"rest = {TOGETHER} * groups + cuda.grid(1)",
                 f"for i in range(rest, {body.out_names[0]}.size, cuda.gridsize(1)):"], 1)
        + block(each + shared + write, 2)
    )


def _numbered(lines: list[str], assigned: list[str], k: int) -> list[str]:
    """Lines for element i + k, whose variables are numbered by k."""
    names = "|".join(line.split(" = ")[0] for line in assigned)
    at = f"[i + {k}]" if k else "[i]"
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
    split = ["rest = i"]
    for k in range(rank - 1, 0, -1):
        split += [f"i{k} = {number}(rest % n{k})", f"rest = {number}(rest // n{k})"]
    split.append("i0 = rest")
    each, write = accesses(body, values, {n: f"{n}[at_{n}]" for n in body.operands})
    args = ", ".join((*body.operands, *body.params, *numbers))
    loop = f"for i in range({number}(cuda.grid(1)), count, {number}(cuda.gridsize(1))):"
    return (
        header(body, f"{body.name} on {body.compute}, strided in {rank} axes, for CUDA.", _IMPORTS)
        + f"@kernel\ndef {body.name}_strided({args}):\n"
        + block(prelude(body, constants), 1)
        + block([f"{n} = {number}({n})" for n in numbers], 1)
        + block([loop], 1)
        + block(split + place + each + shared + write, 2)
    )
