"""Sums of products of tensors whose axes are named by letters, by permutations and matmul."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from nbgrad.ops.family import expect_tensor
from nbgrad.ops.matmul import matmul
from nbgrad.ops.reductions import sum_
from nbgrad.ops.shape import axis, diagonal, movedim, permute, reshape, squeeze
from nbgrad.tensor import Tensor

#: What is done, one after the other, with a list of tensors, of which one is left.
Steps = list[Callable[[list[Tensor]], None]]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum(*args) -> Tensor:
    """Sum of products: `einsum("bik,bkj->bij", x, y)`.

    A letter names an axis of every operand it is written for; an axis that the result does not
    name is summed over, one that an operand names twice is its diagonal. "..." stands for the
    axes without letters, which broadcast. Without "->" the result has the letters that occur
    once, in alphabetical order, after the axes of "...".

    Args:
        args: an equation and the operands, which may be one list; or each operand followed by a
            list of numbers from 0 to 51 (and `...`), and last perhaps such a list for the result.

    Example:
        >>> import nbgrad
        >>> einsum("ij,kj->ik", nbgrad.ones(2, 3), nbgrad.ones(4, 3)).shape
        nbgrad.Size([2, 4])
    """
    equation, operands = _spoken(args)
    expect_tensor("einsum", **{f"operands[{k}]": t for k, t in enumerate(operands)})
    return _done(_recipe(equation, tuple([t._layout.shape for t in operands])), operands)


def _spoken(args) -> tuple[str, list[Tensor]]:
    """The equation and the operands of any form of call."""
    if len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or "
                         "at least one operand and its subscripts list")
    if isinstance(args[0], str):
        listed = len(args) == 2 and isinstance(args[1], (list, tuple))
        return args[0].replace(" ", ""), list(args[1] if listed else args[1:])
    expect_tensor("einsum", equation=args[0])
    written = [_letters(numbers) for numbers in args[1::2]]
    arrow = f"->{_letters(args[-1])}" if len(args) % 2 else ""
    return ",".join(written) + arrow, list(args[:-1:2] if arrow else args[::2])


def _letters(numbers) -> str:
    """A list of numbers in the letters of an equation."""
    for n in numbers:
        if n is not Ellipsis and not 0 <= operator.index(n) < len(LETTERS):
            raise ValueError("einsum(): subscript in subscript list is not within the valid range "
                             f"[0, 52): {n}")
    return "".join(["..." if n is Ellipsis else LETTERS[n] for n in numbers])


@lru_cache(1024)
def _recipe(equation: str, shapes: tuple[tuple[int, ...], ...]) -> Steps:
    """What an equation asks to do with operands of these shapes."""
    terms, result, sizes = _parse(equation, shapes)
    return _planned(terms, shapes, result, sizes)


def _parse(equation: str, shapes: tuple[tuple[int, ...], ...]):
    """The letters of every operand and of the result, and the size of each; ellipses written out.

    The axes of an ellipsis are the characters from _FIRST on, counted from the right.
    """
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        fewer = len(terms) > len(shapes)
        raise RuntimeError(f"einsum(): {'fewer' if fewer else 'more'} operands were provided than "
                           "specified in the equation")
    hidden = [len(shape) - len(term) + 3 if "..." in term else 0
              for term, shape in zip(terms, shapes)]
    dots = "".join([chr(_FIRST + k) for k in range(max(hidden))])[::-1]
    written = []
    for k, (term, shape, n) in enumerate(zip(terms, shapes, hidden)):
        found = term.replace("...", dots[len(dots) - n:] if n > 0 else "", 1)
        _check_letters(found, f"for operand {k}")
        if len(found) != len(shape) or n < 0:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({len(found)}) "
                               f"does not match the number of dimensions ({len(shape)}) for operand "
                               f"{k} and no ellipsis was given")
        written.append(found)
    sizes = _sizes(written, shapes)
    counts = Counter("".join(written))
    if arrow:
        result = right.replace("...", dots, 1)
        _check_letters(result, "for the output")
        for letter in result:
            if letter not in counts:
                raise RuntimeError(f"einsum(): output subscript {letter} does not appear in the "
                                   "equation for any input operand")
            if result.count(letter) > 1:
                raise RuntimeError(f"einsum(): output subscript {letter} appears more than once in "
                                   "the output")
    else:
        result = dots + "".join(sorted(c for c in counts if counts[c] == 1 and c not in dots))
    return tuple(written), result, sizes


_FIRST = 0x100


def _check_letters(term: str, where: str) -> None:
    for letter in term:
        if letter == ".":
            raise RuntimeError(f"einsum(): found '.' {where} that is not part of the one ellipsis")
        if letter not in LETTERS and ord(letter) < _FIRST:
            raise RuntimeError(f"einsum(): invalid subscript given at index {term.index(letter)} in "
                               f"the equation string {where}, subscripts must be in [a-zA-Z]")


def _sizes(terms, shapes) -> dict[str, int]:
    """The size of every letter; an axis of size 1 broadcasts."""
    sizes: dict[str, int] = {}
    for k, (term, shape) in enumerate(zip(terms, shapes)):
        own: dict[str, int] = {}
        for letter, n in zip(term, shape):
            if own.setdefault(letter, n) != n:
                raise RuntimeError(f"einsum(): subscript {letter} is repeated for operand {k} but "
                                   f"the sizes don't match, {n} != {own[letter]}")
        for letter, n in own.items():
            seen = sizes.setdefault(letter, n)
            if 1 not in (seen, n) and seen != n:
                raise RuntimeError(f"einsum(): subscript {letter} has size {n} for operand {k} "
                                   f"which does not broadcast with previously seen size {seen}")
            sizes[letter] = n if seen == 1 else seen
    return sizes


def _done(steps: Steps, operands: list[Tensor]) -> Tensor:
    held = list(operands)
    for step in steps:
        step(held)
    return held[0]


def _planned(terms, shapes, result: str, sizes: dict[str, int]) -> Steps:
    """The sum of products of tensors with these letters, its axes in the order of `result`."""
    steps: Steps = []
    terms = [_prepare(steps, k, *each, sizes) for k, each in enumerate(zip(terms, shapes))]
    given = len(terms)
    while len(terms) > 1:
        i, j = _cheapest(terms, result, sizes) if len(terms) > 2 else (0, 1)
        wanted = set(result).union(*[t for k, t in enumerate(terms) if k not in (i, j)])
        first = _sum_rest(steps, i, terms[i], wanted.union(terms[j]))
        second = _sum_rest(steps, j, terms[j], wanted.union(first))
        del terms[j], terms[i]
        terms.append(_multiply(steps, i, j, first, second, wanted, sizes))
    (term,) = terms
    term = _sum_rest(steps, 0, term, set(result))
    if term != result or given == 1:
        steps.append(_change(0, permute, [term.index(letter) for letter in result]))
    return steps


def _change(k: int, function: Callable[..., Tensor], *arguments) -> Callable:
    """The step that does a function to tensor k."""
    def step(held: list[Tensor]) -> None:
        held[k] = function(held[k], *arguments)

    return step


def _prepare(steps: Steps, k: int, term: str, shape, sizes: dict[str, int]) -> str:
    """Without repeated letters, and without the axes that broadcast."""
    for letter in term:
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            steps.append(_change(k, _diagonal, first, second))
            term, shape = (a[:second] + a[second + 1:] for a in (term, shape))
    spread = [d for d, letter in enumerate(term) if shape[d] == 1 != sizes[letter]]
    if spread:
        steps.append(_change(k, squeeze, spread))
    return "".join([letter for d, letter in enumerate(term) if d not in spread])


def _diagonal(t: Tensor, first: int, second: int) -> Tensor:
    t = diagonal(t, 0, first, second)
    return t if first == t.dim() - 1 else movedim(t, -1, first)


def _cheapest(terms: list[str], result: str, sizes: dict[str, int]) -> tuple[int, int]:
    """The pair whose product adds the least to the numbers held."""
    def growth(pair: tuple[int, int]) -> int:
        i, j = pair
        wanted = set(result).union(*[t for k, t in enumerate(terms) if k not in pair])
        made = (set(terms[i]) | set(terms[j])) & wanted
        return sum(sign * math.prod(sizes[letter] for letter in letters)
                   for sign, letters in ((1, made), (-1, terms[i]), (-1, terms[j])))

    n = len(terms)
    return min(((i, j) for i in range(n) for j in range(i + 1, n)), key=growth)


def _sum_rest(steps: Steps, k: int, term: str, wanted: set[str]) -> str:
    """Summed over the letters that nobody wants."""
    dims = tuple([d for d, letter in enumerate(term) if letter not in wanted])
    if dims:
        steps.append(_change(k, sum_, dims))
    return "".join([letter for letter in term if letter in wanted])


def _multiply(steps: Steps, i: int, j: int, first: str, second: str, wanted: set[str],
              sizes: dict[str, int]) -> str:
    """The product of two tensors, summed over the letters they share and nobody else wants."""
    batch = "".join([c for c in first if c in second and c in wanted])
    inner = "".join([c for c in first if c in second and c not in wanted])
    rows = "".join([c for c in first if c not in second])
    columns = "".join([c for c in second if c not in first])
    out = batch + rows + columns

    def laid(term: str, *groups: str) -> tuple:
        """The order of axes, None if it is there, and the shape with an axis for each group."""
        order = [term.index(c) for c in "".join(groups)]
        shape = tuple([math.prod([sizes[c] for c in letters]) for letters in groups])
        return None if order == [*range(len(order))] else order, shape

    if inner:
        lead = [batch] if batch else []
        x, y = laid(first, *lead, rows, inner), laid(second, *lead, inner, columns)
    else:
        start = min([out.index(c) for c in second], default=0)
        x = laid(first, *[c if c in first else "" for c in out])
        y = laid(second, *[c if c in second else "" for c in out[start:]])
    shape = tuple([sizes[c] for c in out])

    def step(held: list[Tensor]) -> None:
        b, a = _laid(held.pop(j), *y), _laid(held.pop(i), *x)
        held.append(reshape(matmul(a, b), shape) if inner else a * b)

    steps.append(step)
    return out


def _laid(t: Tensor, order: list[int] | None, shape: tuple[int, ...]) -> Tensor:
    t = t if order is None else permute(t, order)
    return t if t._layout.shape == shape else reshape(t, shape)


def tensordot(a: Tensor, b: Tensor, dims=2) -> Tensor:
    """Sum of products over pairs of axes.

    Args:
        dims: how many of the last axes of `a` meet the first of `b`; or the two lists of axes.
    """
    expect_tensor("tensordot", a=a, b=b)
    ranks = a.dim(), b.dim()
    if a._layout.dtype is not b._layout.dtype:
        raise RuntimeError("both inputs should have same dtype")
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (str, float)) or dims is None:
        raise RuntimeError("tensordot expects dims to be int or tuple[list[int], list[int]] or "
                           f"list[list[int]] containing two lists, but got dims={dims}")
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(ranks):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = list(range(-dims, 0)), list(range(dims))
    first, second = [[d] if isinstance(d, int) else list(d) for d in dims]
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    left, right = LETTERS[:ranks[0]], list(LETTERS[ranks[0]:sum(ranks)])
    for p, q in zip(first, second):
        p, q = axis(a, p), axis(b, q)
        m, n = a._layout.shape[p], b._layout.shape[q]
        if m != n and 1 not in (m, n):
            raise RuntimeError("contracted dimensions need to match, but first has size "
                               f"{m} in dim {p} and second has size {n} in dim {q}")
        if right[q] in left or left[p] in right:
            raise RuntimeError(f"dim {p} appears multiple times in the list of dims")
        right[q] = left[p]
    terms = left, "".join(right)
    shapes = a._layout.shape, b._layout.shape
    kept = "".join([c for c in left + terms[1] if (c in left) != (c in right)])
    return _done(_planned(terms, shapes, kept, _sizes(terms, shapes)), [a, b])


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every entry of `input` times the whole of `other`."""
    expect_tensor("kron", input=input, other=other)
    rank = max(input.dim(), other.dim())
    a, b = [(1,) * (rank - t.dim()) + t._layout.shape for t in (input, other)]
    x = reshape(input, [k for n in a for k in (n, 1)])
    y = reshape(other, [k for n in b for k in (1, n)])
    return reshape(x * y, [m * n for m, n in zip(a, b)])


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x^T W_o y + b_o for input1 (..., m), input2 (..., n), weight (o, m, n), bias (o,)."""
    expect_tensor("bilinear", input1=input1, input2=input2, weight=weight)
    (*lead, m), (*also, n) = input1._layout.shape or (1,), input2._layout.shape or (1,)
    shape = weight._layout.shape
    if lead != also or input1.dim() != input2.dim():
        raise RuntimeError("bilinear(): input batch dimensions do not match: got "
                           f"{list(input1._layout.shape)} and {list(input2._layout.shape)}")
    if len(shape) != 3 or shape[1:] != (m, n):
        raise RuntimeError(f"bilinear(): weight of shape {list(shape)} does not fit inputs with "
                           f"{m} and {n} features")
    if bias is not None and bias._layout.shape != shape[:1]:
        raise RuntimeError(f"bilinear(): bias size does not match weight size: got "
                           f"{list(bias._layout.shape)} but expected [{shape[0]}]")
    if bias is not None and bias._layout.dtype is not input1._layout.dtype:
        raise RuntimeError(f"All tensors must have the same dtype, got input1: {input1.dtype}, bias: "
                           f"{bias.dtype}")
    y = einsum("...m,omn,...n->...o", input1, weight, input2)
    return y if bias is None else y + bias


FUNCTIONS = {"kron": kron}
PACKAGE_ONLY = {f.__name__: f for f in (einsum, tensordot, bilinear)}
