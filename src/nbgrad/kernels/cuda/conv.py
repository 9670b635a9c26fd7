"""Convolution on a CUDA device: products of a weight and what its windows meet, gathered by tables.

Forward, y[o, (n, i)] = sum over p = (c, u) of w[o, p] * x[n, c, i * stride + u * dilation - before].
A gradient to x is the same for each residue of a pixel modulo the stride, with a sum over (o, u); one
to w has a sum over (n, i). Where an element of x (or gy) lies is the sum of a number of its column and
a number of its entry of the sum, and so is the place that must lie inside the image: both come from
tables, which are made once for all images. Nothing here knows how many axes an image has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty, upload, zeros
from nbgrad.kernels.cuda.provider import BLOCK, SIMULATED, blocks, cuda, inline, kernel, machine
from nbgrad.kernels.cuda.tiles import Operand, Spec, adding, cut, launch, slab

u32 = np.uint32

#: Products of groups with so few rows or columns are made by a thread for each result.
_THIN = 2 if SIMULATED else 8
#: Blocks that keep a device busy, and numbers of a sum that are worth one.
_BUSY, _PART = (4, 16) if SIMULATED else (528, 4096)


class _Table(NamedTuple):
    """Columns, or entries of a sum: an offset, another operand's, and a place on each axis."""

    offset: np.ndarray
    other: np.ndarray
    place: np.ndarray  # (axes, entries)


class _Gather(NamedTuple):
    """A product of m rows for each group: launches by tables, whose images are columns or entries."""

    m: int
    lines: _Table
    depths: _Table
    size: tuple[int, ...]  # of the images that places must lie in
    images: int
    in_sum: bool  # images are entries of the sum
    a_along: bool
    steps: tuple[int, ...]  # of a: group, row, image; of b: group, image; of out: group, row, image

    @property
    def columns(self) -> int:
        return len(self.lines.offset) * (1 if self.in_sum else self.images)

    @property
    def entries(self) -> int:
        return len(self.depths.offset) * (self.images if self.in_sum else 1)


def _steps(size: Sequence[int]) -> list[int]:
    return [math.prod(size[d + 1:]) for d in range(len(size))]


def _table(outer: tuple[int, int, int], at: list[np.ndarray], size, others: list[np.ndarray]) -> _Table:
    """Entries (channel, *axes): `outer` is how many channels, and their steps.

    On each axis there are places, which lie in memory of `size`, and offsets of the other operand.
    """
    places = np.meshgrid(*at, indexing="ij")
    offset = sum(s * p for s, p in zip(_steps(size), places))
    other = sum(np.meshgrid(*others, indexing="ij"))
    count, step, other_step = outer
    channel = np.arange(count).reshape(-1, *[1] * len(at))
    whole = (count, *offset.shape)
    return _Table((offset + channel * step).reshape(-1), (other + channel * other_step).reshape(-1),
                  np.stack([np.broadcast_to(p, whole).reshape(-1) for p in places]))


def _grid(size: Sequence[int]) -> list[np.ndarray]:
    """Offsets by axis in contiguous memory."""
    return [np.arange(n) * s for n, s in zip(size, _steps(size))]


class Rules(NamedTuple):
    stride: tuple[int, ...]
    before: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def taps(self, kernel_size) -> list[np.ndarray]:
        return [np.arange(k) * d for k, d in zip(kernel_size, self.dilation)]

    def windows(self, size) -> list[np.ndarray]:
        return [np.arange(n) * s for n, s in zip(size, self.stride)]


def _lowered(at: list[np.ndarray], before) -> list[np.ndarray]:
    return [a - b for a, b in zip(at, before)]


def _forward(x_shape, w_shape, size, r: Rules) -> list[_Gather]:
    o, c, *taps = w_shape
    inside, points = x_shape[2:], math.prod(x_shape[2:])
    m, pixels, window = o // r.groups, math.prod(size), math.prod(taps)
    lines = _table((1, 0, 0), r.windows(size), inside, _grid(size))
    depths = _table((c, points, window), _lowered(r.taps(taps), r.before), inside, _grid(taps))
    return [_Gather(m, lines, depths, inside, x_shape[0], False, True, (
        m * c * window, c * window, 0, c * points, x_shape[1] * points,
        m * pixels, pixels, o * pixels))]


def _input(gy_shape, w_shape, x_shape, r: Rules) -> list[_Gather]:
    o, c, *taps = w_shape
    inside, points = gy_shape[2:], math.prod(x_shape[2:])
    pixels, window = math.prod(inside), math.prod(taps)
    rows, found = o // r.groups, []
    for rest in product(*[range(min(s, n)) for s, n in zip(r.stride, x_shape[2:])]):
        met = [np.array([u for u in range(k) if (a + b - u * d) % s == 0], np.int64)
               for a, b, d, s, k in zip(rest, r.before, r.dilation, r.stride, taps)]
        if not all(map(len, met)):
            continue
        at = [(a + b - u * d) // s for a, b, d, s, u in zip(rest, r.before, r.dilation, r.stride, met)]
        own = [np.arange(a, n, s) for a, n, s in zip(rest, x_shape[2:], r.stride)]
        lines = _table((1, 0, 0), [np.arange(len(p)) for p in own], inside,
                       [p * s for p, s in zip(own, _steps(x_shape[2:]))])
        depths = _table((rows, pixels, c * window), at, inside,
                        [u * s for u, s in zip(met, _steps(taps))])
        found.append(_Gather(c, lines, depths, inside, x_shape[0], False, window > 1, (
            rows * c * window, window, 0, rows * pixels, o * pixels,
            c * points, points, x_shape[1] * points)))
    return found


def _weight(gy_shape, x_shape, w_shape, r: Rules) -> list[_Gather]:
    o, c, *taps = w_shape
    inside, points = x_shape[2:], math.prod(x_shape[2:])
    m, pixels, window = o // r.groups, math.prod(gy_shape[2:]), math.prod(taps)
    lines = _table((c, points, window), r.taps(taps), inside, _grid(taps))
    depths = _table((1, 0, 0), _lowered(r.windows(gy_shape[2:]), r.before), inside,
                    _grid(gy_shape[2:]))
    return [_Gather(m, lines, depths, inside, x_shape[0], True, True, (
        m * pixels, pixels, o * pixels, c * points, x_shape[1] * points,
        m * c * window, c * window, 0))]


# Launches


def _guarded(g: _Gather) -> list[int]:
    """The axes on which windows reach beyond the image."""
    low = g.lines.place.min(1) + g.depths.place.min(1)
    high = g.lines.place.max(1) + g.depths.place.max(1)
    return [d for d, n in enumerate(g.size) if low[d] < 0 or high[d] >= n]


def _uploaded(table: _Table, axes: list[int]) -> DeviceArray:
    rows = np.stack([table.offset, table.other, *table.place[axes]], 1)
    return upload(rows.astype(np.int32)).reshape(-1)


@cache
def _spec(storage: str, guards: int, in_sum: bool, a_along: bool, bias: bool, far: bool) -> Spec:
    width, signed = 2 + guards, "np.int64" if far else "i32"
    line, depth = "{0}", "{0} % places" if in_sum else "{0}"
    line = line if in_sum else "{0} % places"
    image = {False: "{0} // places * b_image + ", True: ""}
    tabled = [(f"lines[index(({line}) * u32({width}) + u32({k}))]",
               f"depths[index(({depth}) * u32({width}) + u32({k}))]") for k in range(width)]
    own = [("at", f"index(b_z + {image[in_sum]}{tabled[0][0]})")]
    go = [("go", f"{signed}({image[not in_sum]}{tabled[0][1]})")]
    for k in range(guards):
        own.append((f"y{k}", tabled[2 + k][0]))
        go.append((f"v{k}", tabled[2 + k][1]))
    inside = " and ".join(f"u32({{y{k}}} + {{v{k}}}) < size{k}" for k in range(guards))
    value = "b[index({at} + {go}) if {there} else index(0)]" if guards else "b[index({at} + {go})]"
    a_image = "{0} // places * a_image + " if in_sum else ""
    a = Operand(a_along, (("at", "index(a_z + {0} * a_row)"),),
                (("go", f"index({a_image}{tabled[1][1]})"),), "a[index({at} + {go})]")
    out_image = "" if in_sum else "{0} // places * o_image + "
    return Spec(
        "convolution", storage, ("out", "a", "b", "lines", "depths", *(("bias",) if bias else ())),
        ("k", "slab", "groups", "places", "a_group", "a_row", "a_image", "b_group", "b_image",
         "o_group", "o_row", "o_image", "o_part", *(f"size{k}" for k in range(guards))),
        ("g, s = index(z % groups), index(z // groups)",
         "a_z, b_z = index(g * a_group), index(g * b_group)", "o_z = index(g * o_group + s * o_part)",
         "first = u32(s * slab)", "depth = u32(min(slab, k - first))"),
        a, Operand(in_sum, tuple(own), tuple(go), value, inside),
        (("to", f"index({out_image}{tabled[1][0]})"),), "index(o_z + {i} * o_row + {to})",
        "{c} + bias[index(g * m + {i})]" if bias else "{c}", far)


def _launch(g: _Gather, groups: int, dtype: np.dtype, size: int, bias: bool,
            far: bool) -> Callable[..., None]:
    """`run(out, a, b, bias)` for one product; `size` numbers of the result."""
    axes = _guarded(g)
    lines, depths = _uploaded(g.lines, axes), _uploaded(g.depths, axes)
    places = len(g.depths.offset) if g.in_sum else len(g.lines.offset)
    n, k, sizes = g.columns, g.entries, [g.size[d] for d in axes]
    one, table = (dtype, 1), (np.dtype(np.int32), 1)
    if groups > 1 and min(g.m, n) <= _THIN and not far:
        numbers = (g.m, n, k, groups, places, *g.steps, g.in_sum, len(axes), *(*sizes, 1, 1, 1)[:3])
        bind = machine.launcher(entries if g.in_sum else pixels, (
            *[one] * 3, table, table, one, *["int64"] * len(numbers)))
        thin = bind(blocks(groups * g.m * n, 1 if g.in_sum else BLOCK), BLOCK)
        return lambda out, a, b, bias: thin(out, a, b, lines, depths, bias, *numbers)
    tile, length = cut(g.m, n, k, groups, dtype.name)
    if groups * g.m * n != size:  # slabs are only made where the whole result is
        length = k
    slabs = -(-k // length)
    spec = _spec(dtype.name, len(axes), g.in_sum, g.a_along, bias and slabs == 1, far)
    run = launch(spec, tile, g.m, n, groups * slabs,
                 (*[one] * 3, table, table, *([one] if bias and slabs == 1 else [])),
                 (k, length, groups, places, *g.steps, size, *sizes))
    if slabs == 1:
        if bias:
            return lambda out, a, b, bias: run(out, a, b, lines, depths, bias)
        return lambda out, a, b, bias: run(out, a, b, lines, depths)
    add = adding(dtype, size, slabs, places, g.m * groups)

    def cut_sum(out, a, b, bias) -> None:
        parts = empty(slabs * size, dtype)
        run(parts, a, b, lines, depths)
        add(out, parts, bias)

    return cut_sum


@lru_cache(maxsize=1024)
def _launches(make, shapes, rules: Rules, dtype: np.dtype, size: int, bias: bool):
    """The launches for contiguous operands of such shapes, and whether they write all of a result."""
    found = make(*shapes, rules)
    far = max(math.prod(shape) for shape in (*shapes, (size,))) >= 1 << 31
    whole = sum(g.columns * g.m * rules.groups for g in found) == size
    return [_launch(g, rules.groups, dtype, size, bias, far) for g in found], whole


def _convolve(make, shapes, rules: Rules, shape, a, b, bias=None) -> DeviceArray:
    a, b = contiguous(a), contiguous(b)
    size = math.prod(shape)
    runs, whole = _launches(make, shapes, rules, a.dtype, size, bias is not None)
    out = (empty if whole else zeros)(tuple(shape), a.dtype)
    flat, bias = out.reshape(-1), _none(a.dtype) if bias is None else contiguous(bias)
    for run in runs:
        run(flat, a.reshape(-1), b.reshape(-1), bias)
    return out


@cache
def _none(dtype: np.dtype) -> DeviceArray:
    return empty(0, dtype)


# Groups of few channels


@inline
def _met(lines, at, depths, p, guards, size0, size1, size2):
    """Whether a column at `at` of its table and an entry at p of its own meet inside the image."""
    inside = True
    if guards > 0:
        inside = u32(lines[at + 2] + depths[p + 2]) < size0
    if guards > 1:
        inside = inside and u32(lines[at + 3] + depths[p + 3]) < size1
    if guards > 2:
        inside = inside and u32(lines[at + 4] + depths[p + 4]) < size2
    return inside


@kernel
def pixels(out, a, b, lines, depths, bias, m, n, k, groups, places, a_group, a_row, a_image, b_group,
           b_image, o_group, o_row, o_image, in_sum, guards, size0, size1, size2):
    """A thread for each pixel of each row of each group."""
    m, places, channels, guards = u32(m), u32(places), u32(m * groups), u32(guards)
    size0, size1, size2, width = u32(size0), u32(size1), u32(size2), u32(guards + u32(2))
    end = u32(u32(k) * width)
    for r in range(u32(cuda.grid(1)), u32(groups * m * n), u32(cuda.gridsize(1))):
        rest, at = u32(r // places), u32(r % places * width)
        image, row = u32(rest // channels), u32(rest % channels)
        g, i = u32(row // m), u32(row % m)
        x = u32(g * u32(b_group) + image * u32(b_image) + u32(lines[at]))
        w = u32(g * u32(a_group) + i * u32(a_row))
        total = out.dtype.type(0)
        for p in range(u32(0), end, width):
            if _met(lines, at, depths, p, guards, size0, size1, size2):
                total += a[u32(w + u32(depths[p + 1]))] * b[u32(x + u32(depths[p]))]
        if bias.size > 0:
            total += bias[row]
        out[u32(g * u32(o_group) + i * u32(o_row) + image * u32(o_image) + u32(lines[at + 1]))] = total


@kernel
def entries(out, a, b, lines, depths, bias, m, n, k, groups, places, a_group, a_row, a_image, b_group,
            b_image, o_group, o_row, o_image, in_sum, guards, size0, size1, size2):
    """A block for each entry of the weight, whose threads add up as a tree."""
    shared = cuda.shared.array(BLOCK, out.dtype)
    m, n, k, places, guards = u32(m), u32(n), u32(k), u32(places), u32(guards)
    size0, size1, size2, width = u32(size0), u32(size1), u32(size2), u32(guards + u32(2))
    t = u32(cuda.threadIdx.x)
    for r in range(u32(cuda.blockIdx.x), u32(groups * m * n), u32(cuda.gridDim.x)):
        row, at = u32(r // n), u32(r % n * width)
        g, i = u32(row // m), u32(row % m)
        x = u32(g * u32(b_group) + u32(lines[at]))
        w = u32(g * u32(a_group) + i * u32(a_row))
        total = out.dtype.type(0)
        for q in range(t, k, u32(BLOCK)):
            image, p = u32(q // places), u32(q % places * width)
            if _met(lines, at, depths, p, guards, size0, size1, size2):
                total += a[u32(w + image * u32(a_image) + u32(depths[p + 1]))] * b[
                    u32(x + image * u32(b_image) + u32(depths[p]))]
        shared[t] = total
        cuda.syncthreads()
        half = BLOCK // 2
        while half > 0:
            if t < half:
                shared[t] += shared[t + half]
            cuda.syncthreads()
            half //= 2
        if t == 0:
            out[u32(g * u32(o_group) + i * u32(o_row) + u32(lines[at + 1]))] = shared[0]
        cuda.syncthreads()


@kernel
def channels(out, x, count, images, places, length):
    """Sums of a slab of each channel of x (images, count, places): a block for each."""
    shared = cuda.shared.array(BLOCK, out.dtype)
    t, k = cuda.threadIdx.x, images * places
    for r in range(cuda.blockIdx.x, out.size, cuda.gridDim.x):
        first, c = r // count * length, r % count
        total = out.dtype.type(0)
        for p in range(first + t, min(first + length, k), BLOCK):
            total += x[(p // places * count + c) * places + p % places]
        shared[t] = total
        cuda.syncthreads()
        half = BLOCK // 2
        while half > 0:
            if t < half:
                shared[t] += shared[t + half]
            cuda.syncthreads()
            half //= 2
        if t == 0:
            out[r] = shared[0]
        cuda.syncthreads()


# What kernels/cpu/conv.py has, for any number of axes


def before(padding, axes: int) -> tuple[int, ...]:
    """The padding before each axis."""
    return tuple(padding) if len(padding) == axes else tuple(padding[::2])


def _rules(x_shape, stride, padding, dilation, groups) -> Rules:
    return Rules(tuple(stride), before(padding, len(x_shape) - 2), tuple(dilation), groups)


def conv2d(x, w, bias, stride, padding, dilation, groups):
    """Convolution of x (N, C, ...) and w (O, C / groups, ...), plus bias (O,) or None."""
    axes = x.ndim - 2
    sides = padding if len(padding) > axes else [p for p in padding for _ in range(2)]
    size = tuple((n + a + b - d * (k - 1) - 1) // s + 1 for n, a, b, d, k, s in zip(
        x.shape[2:], sides[::2], sides[1::2], dilation, w.shape[2:], stride))
    shape = (x.shape[0], w.shape[0], *size)
    if 0 in shape:
        return empty(shape, x.dtype)
    rules = _rules(x.shape, stride, padding, dilation, groups)
    if w.size == 0 or x.size == 0:
        return _only_bias(shape, bias, x.dtype)
    return _convolve(_forward, (x.shape, w.shape, size), rules, shape, w, x, bias)


def _only_bias(shape, bias, dtype) -> DeviceArray:
    out = zeros(shape, dtype)
    if bias is not None:
        adding(dtype, out.size, 1, math.prod(shape[2:]), shape[1])(
            out.reshape(-1), zeros(out.size, dtype), contiguous(bias))
    return out


def conv2d_input(gy, w, x_shape, stride, padding, dilation, groups):
    """Gradient to x of `conv2d`, and so the transposed convolution of gy (N, O, ...)."""
    if gy.size == 0 or w.size == 0 or 0 in x_shape:
        return zeros(tuple(x_shape), gy.dtype)
    rules = _rules(x_shape, stride, padding, dilation, groups)
    return _convolve(_input, (gy.shape, w.shape, tuple(x_shape)), rules, x_shape, w, gy)


def conv2d_weight(gy, x, w_shape, stride, padding, dilation, groups):
    """Gradient to w of `conv2d`, from gy (N, O, ...) and x (N, C, ...)."""
    if gy.size == 0 or 0 in w_shape or x.size == 0:
        return zeros(tuple(w_shape), x.dtype)
    rules = _rules(x.shape, stride, padding, dilation, groups)
    return _convolve(_weight, (gy.shape, x.shape, tuple(w_shape)), rules, w_shape, gy, x)


@lru_cache(maxsize=1024)
def _channels(shape, dtype: np.dtype):
    count, images, places = shape[1], shape[0], math.prod(shape[2:])
    k, one = images * places, (dtype, 1)
    length = slab(k, min(_BUSY // count, k // _PART))
    slabs = -(-k // length)
    bound = machine.launcher(channels, (one, one, *["int64"] * 4))(blocks(count * slabs, 1), BLOCK)
    add = adding(dtype, count, slabs)

    def run(out, x) -> None:
        parts = out if slabs == 1 else empty(slabs * count, dtype)
        bound(parts, x, count, images, places, length)
        if slabs > 1:
            add(out, parts, _none(dtype))

    return run


def conv2d_bias(gy):
    """Gradient to the bias: gy (N, O, ...) summed over all but its channels."""
    if gy.size == 0:
        return zeros(gy.shape[1], gy.dtype)
    gb = empty(gy.shape[1], gy.dtype)
    _channels(gy.shape, gy.dtype)(gb, contiguous(gy).reshape(-1))
    return gb
