"""Batch and layer normalisation on a CUDA device, and their gradients."""

from functools import cache
from math import prod

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import gpu
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda import moments, reductions
from nbgrad.kernels.cuda.array import OnHost
from nbgrad.kernels.cuda.blocks import THREADS, WARPS, grid, total_of
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, kernel, machine
from nbgrad.kernels.cuda.softmax import held_for
from nbgrad.kernels.layout import layout

#: Entries of a row that a thread holds at most, and most rows of a layer norm summed in their dtype.
HELD = 4 if SIMULATED else 16
SLAB = 32


@kernel
def inverses(var, out, eps):
    cast = var.dtype.type
    for i in range(cuda.grid(1), var.size, cuda.gridsize(1)):
        out[i] = cast(1) / math.sqrt(var[i] + cast(eps))


@cache
def _layer(group: int, held: int):
    """Rows of at most group * held entries, which a group of threads holds; any where held is 0."""
    total, rows = total_of(group), THREADS // group

    @kernel
    def layer_held(x, w, b, y, mean, inverse, count, n, given, eps):
        cast = x.dtype.type
        own = cuda.local.array(held, x.dtype)
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count, cuda.gridDim.x * rows):
            r = r0 + thread // group
            at, left = r * n + lane, n - lane if r < count else 0
            part = cast(0)
            for k in range(held):
                own[k] = x[np.uint64(at + k * group)] if k * group < left else cast(0)
                part += own[k]
            near = cast(total(np.float64(part), sums, thread) / n)
            u, v = cast(0), cast(0)
            for k in range(held):
                if k * group < left:
                    d = own[k] - near
                    u += d
                    v += d * d
            shift = total(np.float64(u), sums, thread) / n
            var = total(np.float64(v), sums, thread) / n - shift * shift
            m = cast(near + shift)
            s = cast(1 / math.sqrt((np.float64(0) if var < 0 else var) + eps))
            if lane == 0 and r < count:
                mean[np.uint64(r)] = m
                inverse[np.uint64(r)] = s
            for k in range(held):
                if k * group < left:
                    z = (own[k] - m) * s
                    if given & 1:
                        z *= w[np.uint64(lane + k * group)]
                    if given & 2:
                        z += b[np.uint64(lane + k * group)]
                    y[np.uint64(at + k * group)] = z

    @kernel
    def layer_long(x, w, b, y, mean, inverse, count, n, given, eps):
        cast = x.dtype.type
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        for r in range(cuda.blockIdx.x, count, cuda.gridDim.x):
            near = np.float64(x[np.uint64(r * n)])
            u, v = np.float64(0), np.float64(0)
            for j in range(thread, n, THREADS * moments.EACH):
                for k in range(moments.EACH):
                    if j + k * THREADS < n:
                        d = np.float64(x[np.uint64(r * n + j + k * THREADS)]) - near
                        u += d
                        v += d * d
            shift = total(u, sums, thread) / n
            var = total(v, sums, thread) / n - shift * shift
            m = cast(near + shift)
            s = cast(1 / math.sqrt((np.float64(0) if var < 0 else var) + eps))
            if thread == 0:
                mean[np.uint64(r)] = m
                inverse[np.uint64(r)] = s
            for j in range(thread, n, THREADS):
                z = (x[np.uint64(r * n + j)] - m) * s
                if given & 1:
                    z *= w[np.uint64(j)]
                if given & 2:
                    z += b[np.uint64(j)]
                y[np.uint64(r * n + j)] = z

    return layer_held if held else layer_long


@cache
def _layer_backward(group: int, held: int):
    """Slabs of rows, a slab for a group of threads; what they add to gw and gb goes to `part`."""
    total, rows = total_of(group), THREADS // group

    @kernel
    def layer_backward_held(g, x, mean, inverse, w, gx, part, count, n, slab, given):
        # given: bits for a weight and for a gx; part [slabs, 2, n]
        cast = x.dtype.type
        gs = cuda.local.array(held, x.dtype)
        zs = cuda.local.array(held, x.dtype)
        gw = cuda.local.array(held, x.dtype)
        gb = cuda.local.array(held, x.dtype)
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        slabs = (count + slab - 1) // slab
        for p0 in range(cuda.blockIdx.x * rows, slabs, cuda.gridDim.x * rows):
            p = p0 + thread // group
            for k in range(held):
                gw[k] = cast(0)
                gb[k] = cast(0)
            for r in range(p * slab, (p + 1) * slab):
                at, left = r * n + lane, n - lane if r < count else 0
                m, s = cast(0), cast(0)
                if left > 0:
                    m, s = mean[np.uint64(r)], inverse[np.uint64(r)]
                u, v = cast(0), cast(0)
                for k in range(held):
                    if k * group < left:
                        h = g[np.uint64(at + k * group)]
                        z = (x[np.uint64(at + k * group)] - m) * s
                        gw[k] += h * z
                        gb[k] += h
                        if given & 1:
                            h *= w[np.uint64(lane + k * group)]
                        u += h
                        v += h * z
                        gs[k] = h
                        zs[k] = z
                # gx = (h - mean(h) - n mean(h n)) / std for h = g w, n = (x - mean) / std
                mean_h = cast(total(np.float64(u), sums, thread) / n)
                f = cast(total(np.float64(v), sums, thread) / n)
                if given & 2:
                    for k in range(held):
                        if k * group < left:
                            gx[np.uint64(at + k * group)] = ((gs[k] - mean_h) - zs[k] * f) * s
            if p < slabs:
                for k in range(held):
                    if k * group < n - lane:
                        part[np.uint64(2 * p * n + lane + k * group)] = gw[k]
                        part[np.uint64((2 * p + 1) * n + lane + k * group)] = gb[k]

    return layer_backward_held


_total = total_of(THREADS)


@kernel
def layer_backward_long(g, x, mean, inverse, w, gx, count, n, given):
    """gx of rows that threads cannot hold, a block a row."""
    cast = x.dtype.type
    sums = cuda.shared.array(WARPS, np.float64)
    thread = np.int64(cuda.threadIdx.x)
    for r in range(cuda.blockIdx.x, count, cuda.gridDim.x):
        m, s = mean[np.uint64(r)], inverse[np.uint64(r)]
        u, v = np.float64(0), np.float64(0)
        for j in range(thread, n, THREADS):
            h = g[np.uint64(r * n + j)]
            if given & 1:
                h *= w[np.uint64(j)]
            u += np.float64(h)
            v += np.float64(h * ((x[np.uint64(r * n + j)] - m) * s))
        mean_h = cast(_total(u, sums, thread) / n)
        f = cast(_total(v, sums, thread) / n)
        for j in range(thread, n, THREADS):
            h = g[np.uint64(r * n + j)]
            if given & 1:
                h *= w[np.uint64(j)]
            gx[np.uint64(r * n + j)] = ((h - mean_h) - ((x[np.uint64(r * n + j)] - m) * s) * f) * s


@kernel
def layer_shares(g, x, mean, inverse, part, count, n, slab):
    """What slabs of rows add to gw and gb: part [slabs, 2, n]."""
    cast = x.dtype.type
    slabs = (count + slab - 1) // slab
    for i in range(cuda.grid(1), slabs * n, cuda.gridsize(1)):
        p = i // n
        j = i - p * n
        u, v = cast(0), cast(0)
        for r in range(p * slab, min((p + 1) * slab, count)):
            h = g[np.uint64(r * n + j)]
            u += h
            v += h * ((x[np.uint64(r * n + j)] - mean[np.uint64(r)]) * inverse[np.uint64(r)])
        part[np.uint64(2 * p * n + j)] = v
        part[np.uint64((2 * p + 1) * n + j)] = u


@cache
def _layer_launch(dtype, rows: int, n: int, given: int):
    group, held = held_for(n, HELD)
    made = _layer(group or THREADS, held)
    return machine.launcher(made, ((dtype, 1),) * 6 + ("int64",) * 3 + ("float64",))(
        grid(rows, group or THREADS), THREADS)


@cache
def _layer_backward_launch(dtype, rows: int, n: int, slab: int, given: int):
    """A function of (g, x, mean, inverse, w, gx, part)."""
    group, held = held_for(n, HELD // 2)
    slabs = -(-rows // slab)
    one = (dtype, 1)
    if held:
        run = machine.launcher(_layer_backward(group, held), (one,) * 7 + ("int64",) * 4)(
            grid(slabs, group), THREADS)
        return lambda *arrays: run(*arrays, rows, n, slab, given)
    down = machine.launcher(layer_backward_long, (one,) * 6 + ("int64",) * 3)(grid(rows), THREADS)
    share = machine.launcher(layer_shares, (one,) * 5 + ("int64",) * 3)(
        grid(slabs * n, 1), THREADS)

    def both(g, x, mean, inverse, w, gx, part):
        if given & 2:
            down(g, x, mean, inverse, w, gx, rows, n, given)
        share(g, x, mean, inverse, part, rows, n, slab)

    return both


@cache
def summed(dtype, rows: int, n: int, result):
    """A function of (out, x): the sums down the columns of x (rows, n)."""
    own = dtypes.from_numpy(dtype)
    return reductions.plan("sum", layout(own, (rows, n), device=gpu(0)), (0,), own.name, result)


def _channels(x):
    return x.shape[0], x.shape[1], prod(x.shape[2:])


def _optional(v, like):
    """A vector, or where there is none, an array that a kernel may be given and not read."""
    return like if v is None else contiguous(v)


def _given(*vectors) -> int:
    return sum(1 << k for k, v in enumerate(vectors) if v is not None)


def batch_norm(x, w, b, eps):
    """(y, mean, biased variance) of x (N, C, ...), each channel normalised; w, b (C,) or None."""
    if not x.size:
        raise OnHost("the batch norm of nothing")
    n, channels, length = _channels(x)
    x, y = contiguous(x), empty(x.shape, x.dtype)
    mean, var, inv = (empty(channels, x.dtype) for _ in range(3))
    add, parts = moments.summing(x.dtype, n, channels, length, 1, True)
    part = empty(2 * channels * parts, np.float64)
    add(x, x, x, part)
    moments.finding(x.dtype, channels, length, parts, n * length, float(eps))(part, x, mean, var, inv)
    moments.scaling(x.dtype, n * channels, length, 1, channels, channels, _given(w, b) + 4)(
        x, mean, inv, _optional(w, x), _optional(b, x), y)
    return y, mean, var


def inverse(var, eps):
    """1 / std."""
    out = empty(var.shape, var.dtype)
    if var.size:
        run = launch(inverses, var.size, (var.dtype, var.dtype), ("float64",))
        run(contiguous(var), out, float(eps))
    return out


def batch_norm_apply(x, mean, invstd, w, b):
    """(x - mean) * invstd * w + b for x (N, C, ...) and vectors (C,); w and b may be None."""
    y = empty(x.shape, x.dtype)
    if x.size:
        n, channels, length = _channels(x)
        x = contiguous(x)
        moments.scaling(x.dtype, n * channels, length, 1, channels, channels, _given(w, b) + 4)(
            x, contiguous(mean), contiguous(invstd), _optional(w, x), _optional(b, x), y)
    return y


def batch_norm_backward(gy, x, mean, invstd, w, train, need_gx):
    """(gx or None, gw, gb); with `train` the statistics are functions of x, else constants."""
    if not x.size:
        raise OnHost("the batch norm of nothing")
    n, channels, length = _channels(x)
    gy, x, mean, invstd = contiguous(gy), contiguous(x), contiguous(mean), contiguous(invstd)
    gx = empty(x.shape, x.dtype) if need_gx else None
    shares = backward(gy, x, mean, invstd, w, (n, channels, length), 1,
                      gx if train else None)
    if need_gx and not train:
        moments.scaling(x.dtype, n * channels, length, 1, channels, channels, _given(w))(
            gy, x, invstd, _optional(w, x), x, gx)
    return gx, shares.part(0, channels), shares.part(channels, 2 * channels)


def backward(gy, x, mean, inv, w, sizes, per, gx, groups=None):
    """gw and gb, one after the other; gx is written where it is given.

    Groups of `per` rows have statistics of their own, or `per` is 1 and channels have.
    """
    n, channels, length = sizes
    samples = 1 if groups is None else n
    rows = n * channels
    # channels as they are summed: each of its own, or each of every sample
    summed_channels = channels if groups is None else rows
    add, parts = moments.summing(x.dtype, rows // summed_channels, summed_channels, length, per, False)
    part = empty(2 * summed_channels * parts, np.float64)
    add(gy, x, mean, part)
    count = rows // summed_channels * length * per
    statistics = summed_channels // per
    kind = x.dtype if samples == 1 else np.dtype(np.float64)
    shares, shift, slope = (empty(m, d) for m, d in (
        (samples * 2 * channels, kind), (statistics, x.dtype), (statistics, x.dtype)))
    weighted = w is not None
    moments.leaning(x.dtype, kind, statistics, per, parts, count, channels, weighted)(
        part, inv, _optional(w, x), shares, shift, slope)
    if gx is not None:
        moments.descending(x.dtype, rows, length, per, statistics, channels, weighted)(
            gy, x, mean, inv, _optional(w, x), shift, slope, gx)
    if samples == 1:
        return shares
    found = empty(2 * channels, x.dtype)
    summed(shares.dtype, samples, 2 * channels, x.dtype)(found, shares)
    return found


def layer_norm(x, w, b, eps):
    """(y, mean, invstd) of x (rows, n), each row normalised; w and b are (n,) or None."""
    if not x.size:
        raise OnHost("the layer norm of nothing")
    rows, n = x.shape
    x, y = contiguous(x), empty(x.shape, x.dtype)
    mean, inv = empty(rows, x.dtype), empty(rows, x.dtype)
    given = _given(w, b)
    _layer_launch(x.dtype, rows, n, given)(
        x, _optional(w, x), _optional(b, x), y, mean, inv, rows, n, given, float(eps))
    return y, mean, inv


def layer_norm_backward(gy, x, mean, invstd, w, need_gx):
    """(gx or None, gw, gb) of `layer_norm`, for gy and x (rows, n)."""
    if not x.size:
        raise OnHost("the layer norm of nothing")
    rows, n = x.shape
    x = contiguous(x)
    slab = min(SLAB, max(rows // 1024, 4))
    slabs = -(-rows // slab)
    gx = empty(x.shape, x.dtype) if need_gx else None
    part = empty(slabs * 2 * n, x.dtype)
    _layer_backward_launch(x.dtype, rows, n, slab, _given(w) + 2 * need_gx)(
        contiguous(gy), x, contiguous(mean), contiguous(invstd), _optional(w, x),
        x if gx is None else gx, part)
    found = empty(2 * n, x.dtype)
    summed(x.dtype, slabs, 2 * n, x.dtype)(found, part)
    return gx, found.part(0, n), found.part(n, 2 * n)
