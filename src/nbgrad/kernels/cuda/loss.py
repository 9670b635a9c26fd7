"""Negative log-likelihood of class targets on a CUDA device, alone and fused with log-softmax.

As in kernels/cpu/loss: logp and x are (N, C) or (N, C, L), target (N,) or (N, L), weight (C,) or None.
"""

from functools import cache
from math import prod

import numpy as np

from nbgrad import dtypes
from nbgrad.devices import gpu
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda import reductions
from nbgrad.kernels.cuda.blocks import THREADS, WARPS, grid, group_for, largest_of, sync, total_of
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty, zeros
from nbgrad.kernels.cuda.places import first_out_of_range
from nbgrad.kernels.cuda.provider import cuda, inline, kernel, machine
from nbgrad.kernels.cuda.softmax import EACH, growing, joined, width_for
from nbgrad.kernels.layout import layout

#: Classes of an entry whose gradients a thread computes, and entries whose losses a block adds up.
CLASSES, ENTRIES = 16, 16 * THREADS

_block_total = total_of(THREADS)


@inline
def weight_of(weight, target, ignore, weighted):
    """Weight of a target: no weights at all mean one each."""
    if target == ignore:
        return np.float64(0)
    return np.float64(weight[np.uint64(target)]) if weighted else np.float64(1)


@inline
def gradient_of(gy, total, place, each, mean):
    """The gradient of an entry's loss, from that of each, or of their sum or mean."""
    found = np.float64(gy[np.uint64(place if each else 0)])
    return found / np.float64(total[0]) if mean else found


@kernel
def nll(logp, target, weight, loss, classes, length, ignore, weighted):
    for i in range(cuda.grid(1), loss.size, cuda.gridsize(1)):
        t, value = target[i], np.float64(0)
        if t != ignore:
            n = i // length
            at = (n * classes + t) * length + (i - n * length)
            value = -weight_of(weight, t, ignore, weighted) * np.float64(logp[np.uint64(at)])
        loss[i] = value


@kernel
def nll_backward(gy, target, weight, total, glogp, classes, length, ignore, weighted, each, mean):
    cast = glogp.dtype.type
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        t = target[i]
        if t != ignore:
            n = i // length
            g = weight_of(weight, t, ignore, weighted) * gradient_of(gy, total, i, each, mean)
            glogp[np.uint64((n * classes + t) * length + (i - n * length))] = cast(-g)


@kernel
def totals(loss, target, weight, part, slab, ignore, weighted):
    """The sums of the losses and of the weights of slabs of entries, one after the other."""
    sums = cuda.shared.array(WARPS, np.float64)
    thread = np.int64(cuda.threadIdx.x)
    for b in range(cuda.blockIdx.x, part.size // 2, cuda.gridDim.x):
        u, v = np.float64(0), np.float64(0)
        for i in range(b * slab + thread, min((b + 1) * slab, loss.size), THREADS):
            u += np.float64(loss[np.uint64(i)])
            v += weight_of(weight, target[np.uint64(i)], ignore, weighted)
        u = _block_total(u, sums, thread)
        v = _block_total(v, sums, thread)
        if thread == 0:
            part[np.uint64(2 * b)] = u
            part[np.uint64(2 * b + 1)] = v


@kernel
def finish(part, loss, total, mean):
    sums = cuda.shared.array(WARPS, np.float64)
    thread = np.int64(cuda.threadIdx.x)
    u, v = np.float64(0), np.float64(0)
    for i in range(thread, part.size // 2, THREADS):
        u += part[np.uint64(2 * i)]
        v += part[np.uint64(2 * i + 1)]
    u = _block_total(u, sums, thread)
    v = _block_total(v, sums, thread)
    if thread == 0:
        loss[0] = loss.dtype.type(u if mean == 0 else u / v if v != 0 else np.float64(math.nan))
        total[0] = total.dtype.type(v)


# logsumexp is kept in float64, since x - logsumexp cancels where x is large; it is subtracted as
# two numbers of the dtype of x.


@cache
def _entropy_rows(group: int):
    largest, total, rows = largest_of(group), total_of(group), THREADS // group

    @kernel
    def entropy_rows(x, target, weight, loss, logsumexp, count, n, ignore, weighted):
        cast = x.dtype.type
        tops = cuda.shared.array(WARPS, x.dtype)
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count, cuda.gridDim.x * rows):
            r = r0 + thread // group
            mine, s = cast(-math.inf), np.float64(0)
            for j in range(lane, n if r < count else 0, group * EACH):
                left = (n - j + group - 1) // group
                mine, s = growing(x, r * n + j, group, left, mine, s)
            m = largest(mine, tops, thread)
            s = total(joined(mine, s, m), sums, thread)
            if lane == 0 and r < count:
                found, t = np.float64(m) + math.log(s), target[np.uint64(r)]
                logsumexp[np.uint64(r)] = found
                value = np.float64(0)
                if t != ignore:
                    value = weight_of(weight, t, ignore, weighted) * (
                        found - np.float64(x[np.uint64(r * n + t)]))
                loss[np.uint64(r)] = value

    return entropy_rows


@cache
def _entropy_columns(width: int):
    height = THREADS // width

    @kernel
    def entropy_columns(x, target, weight, loss, logsumexp, outer, n, inner, ignore, weighted):
        cast = x.dtype.type
        tops = cuda.shared.array(THREADS, x.dtype)
        sums = cuda.shared.array(THREADS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        beside, below = thread % width, thread // width
        tiles = (inner + width - 1) // width
        for b in range(cuda.blockIdx.x, outer * tiles, cuda.gridDim.x):
            o = b // tiles
            j = (b - o * tiles) * width + beside
            at = o * n * inner + j
            end = n if j < inner else 0
            m, s = cast(-math.inf), np.float64(0)
            for i in range(below, end, height * EACH):
                left = (end - i + height - 1) // height
                m, s = growing(x, at + i * inner, height * inner, left, m, s)
            tops[thread] = m
            sums[thread] = s
            sync()
            if below == 0 and j < inner:
                for k in range(height):
                    m = tops[beside + k * width] if tops[beside + k * width] > m else m
                s = np.float64(0)
                for k in range(height):
                    s += joined(tops[beside + k * width], sums[beside + k * width], m)
                found, t = np.float64(m) + math.log(s), target[np.uint64(o * inner + j)]
                logsumexp[np.uint64(o * inner + j)] = found
                value = np.float64(0)
                if t != ignore:
                    value = weight_of(weight, t, ignore, weighted) * (
                        found - np.float64(x[np.uint64(at + t * inner)]))
                loss[np.uint64(o * inner + j)] = value
            sync()

    return entropy_columns


@cache
def _entropy_backward_rows(group: int):
    rows = THREADS // group

    @kernel
    def entropy_backward_rows(gy, x, logsumexp, target, weight, total, gx, count, n, ignore, weighted,
                              each, mean):
        cast = x.dtype.type
        thread = np.int64(cuda.threadIdx.x)
        for r in range(cuda.blockIdx.x * rows + thread // group, count, cuda.gridDim.x * rows):
            t = target[np.uint64(r)]
            w = weight_of(weight, t, ignore, weighted)
            g = cast(w * gradient_of(gy, total, r, each, mean)) if t != ignore else cast(0)
            whole = logsumexp[np.uint64(r)]
            high = cast(whole)
            low = cast(whole - np.float64(high))
            for j in range(thread % group, n, group * EACH):
                for k in range(EACH):
                    c = j + k * group
                    if c < n:
                        at = np.uint64(r * n + c)
                        e = math.exp((x[at] - high) - low) * g
                        gx[at] = cast(0) if t == ignore else e - g if c == t else e

    return entropy_backward_rows


@kernel
def entropy_backward_columns(gy, x, logsumexp, target, weight, total, gx, outer, n, inner, ignore,
                             weighted, each, mean):
    cast = x.dtype.type
    parts = (n + CLASSES - 1) // CLASSES
    for i in range(cuda.grid(1), outer * parts * inner, cuda.gridsize(1)):
        o = i // (parts * inner)
        rest = i - o * parts * inner
        part = rest // inner
        j = rest - part * inner
        entry = np.uint64(o * inner + j)
        t = target[entry]
        w = weight_of(weight, t, ignore, weighted)
        g = cast(w * gradient_of(gy, total, o * inner + j, each, mean)) if t != ignore else cast(0)
        whole = logsumexp[entry]
        high = cast(whole)
        low = cast(whole - np.float64(high))
        for c in range(part * CLASSES, min((part + 1) * CLASSES, n)):
            at = np.uint64((o * n + c) * inner + j)
            e = math.exp((x[at] - high) - low) * g
            gx[at] = cast(0) if t == ignore else e - g if c == t else e


# Of every class but the target t what is above zero of z = (margin - x[t]) + x[j], or its square.


@cache
def _margin(group: int):
    total, rows = total_of(group), THREADS // group

    @kernel
    def margin_rows(x, target, weight, loss, count, n, weighted, squared, margin):
        cast = x.dtype.type
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count, cuda.gridDim.x * rows):
            r = r0 + thread // group
            t, s = np.int64(0), np.float64(0)
            if r < count:
                t = target[np.uint64(r)]
                shift = cast(margin) - x[np.uint64(r * n + t)]
                for j in range(lane, n, group):
                    z = shift + x[np.uint64(r * n + j)]
                    if z > 0 and j != t:
                        s += np.float64(z * z if squared else z)
            s = total(s, sums, thread)
            if lane == 0 and r < count:
                loss[np.uint64(r)] = weight_of(weight, t, -1, weighted) * s / n

    return margin_rows


@cache
def _margin_backward(group: int):
    total, rows = total_of(group), THREADS // group

    @kernel
    def margin_backward_rows(gy, x, target, weight, gx, count, n, weighted, squared, each, mean,
                             margin):
        cast = x.dtype.type
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * rows, count, cuda.gridDim.x * rows):
            r = r0 + thread // group
            t, s, g = np.int64(0), np.float64(0), cast(0)
            if r < count:
                t = target[np.uint64(r)]
                whole = np.float64(gy[np.uint64(r if each else 0)])
                if mean:
                    whole /= count
                g = cast(whole * weight_of(weight, t, -1, weighted) / n)
                shift = cast(margin) - x[np.uint64(r * n + t)]
                for j in range(lane, n, group):
                    z = shift + x[np.uint64(r * n + j)]
                    slope = (z + z if squared else cast(1)) if z > 0 and j != t else cast(0)
                    s += np.float64(slope)
                    if j != t:
                        gx[np.uint64(r * n + j)] = slope * g
            s = total(s, sums, thread)
            if lane == 0 and r < count:
                gx[np.uint64(r * n + t)] = -cast(s) * g

    return margin_backward_rows


@cache
def _bound(kernel, dtypes: tuple, integers: int, blocks: int, floats: int = 0):
    return machine.launcher(kernel, (*[(d, 1) for d in dtypes], *["int64"] * integers,
                                     *["float64"] * floats))(blocks, THREADS)


def _run(kernel, blocks: int, arrays: tuple, *numbers: int, margin: float | None = None) -> None:
    floats = () if margin is None else (float(margin),)
    _bound(kernel, tuple([a.dtype for a in arrays]), len(numbers), blocks, len(floats))(
        *arrays, *numbers, *floats)


_WIDE = np.dtype(np.float64)


def _prepared(x, target, weight):
    """Contiguous arrays, x in the place of weights that are none, and whether there are any."""
    x = contiguous(x)
    return x, contiguous(target), x if weight is None else contiguous(weight), int(weight is not None)


def _reduced(loss, target, weight, ignore, weighted, reduction, dtype):
    """(loss, total weight) as they are returned, from the loss of each entry."""
    slabs = max(1, min(-(-loss.size // ENTRIES), 528))
    part = empty(2 * slabs, _WIDE)
    result, total = empty((), dtype), empty((), dtype)
    _run(totals, slabs, (loss, target, weight, part), -(-loss.size // slabs), ignore, weighted)
    _run(finish, 1, (part, result, total), int(reduction == "mean"))
    return loss if reduction == "none" else result, total


def _losses(target, reduction, dtype):
    """Memory for the loss of each entry."""
    return empty(target.shape, dtype if reduction == "none" else _WIDE)


def check_targets(target, n_classes, ignore_index):
    """As kernels.cpu.loss."""
    return first_out_of_range(target, 0, n_classes, ignore_index)


def nll_loss(logp, target, weight, ignore_index, reduction):
    """(loss, total_weight): -weight[target] * logp[target], reduced."""
    n, classes = logp.shape[:2]
    logp, target, weight, weighted = _prepared(logp, target, weight)
    loss = _losses(target, reduction, logp.dtype)
    if loss.size:
        _run(nll, grid(loss.size, 1), (logp, target, weight, loss), classes, loss.size // n,
             ignore_index, weighted)
    return _reduced(loss, target, weight, ignore_index, weighted, reduction, logp.dtype)


def nll_loss_backward(gy, target, weight, ignore_index, reduction, total_weight, shape):
    """glogp of `shape`, for gy shaped as the loss."""
    glogp = zeros(tuple(shape), gy.dtype)
    if target.size:
        gy, target, weight, weighted = _prepared(gy, target, weight)
        _run(nll_backward, grid(target.size, 1), (gy, target, weight, total_weight, glogp), shape[1],
             prod(shape[2:]), ignore_index, weighted, int(reduction == "none"),
             int(reduction == "mean"))
    return glogp


def cross_entropy(x, target, weight, ignore_index, reduction):
    """(loss, total_weight, logsumexp): nll_loss of log_softmax(x) over the classes.

    logsumexp is float64, shaped as target.
    """
    x, target, weight, weighted = _prepared(x, target, weight)
    loss, logsumexp = _losses(target, reduction, x.dtype), empty(target.shape, _WIDE)
    n, classes, length = x.shape[0], x.shape[1], prod(x.shape[2:])
    if target.size:
        arrays = x, target, weight, loss, logsumexp
        if length == 1:
            group = group_for(classes, EACH)
            _run(_entropy_rows(group), grid(n, group), arrays, n, classes, ignore_index, weighted)
        else:
            width = width_for(n, classes, length)
            _run(_entropy_columns(width), grid(n * -(-length // width)), arrays, n, classes, length,
                 ignore_index, weighted)
    return *_reduced(loss, target, weight, ignore_index, weighted, reduction, x.dtype), logsumexp


def cross_entropy_backward(gy, x, logsumexp, target, weight, ignore_index, reduction, total_weight):
    """gx, for gy shaped as the loss."""
    gx = empty(x.shape, x.dtype)
    if not x.size:
        return gx
    x, target, weight, weighted = _prepared(x, target, weight)
    arrays = contiguous(gy), x, contiguous(logsumexp), target, weight, total_weight, gx
    numbers = ignore_index, weighted, int(reduction == "none"), int(reduction == "mean")
    n, classes, length = x.shape[0], x.shape[1], prod(x.shape[2:])
    if length == 1:
        group = group_for(classes, EACH)
        _run(_entropy_backward_rows(group), grid(n, group), arrays, n, classes, *numbers)
    else:
        _run(entropy_backward_columns, grid(n * -(-classes // CLASSES) * length, 1), arrays, n, classes,
             length, *numbers)
    return gx


def multi_margin(x, target, weight, margin, squared, reduction):
    """weight[t] times the mean of max(0, margin - x[t] + x[j]) (or its square) over j, reduced."""
    rows, classes = x.shape
    x, target, weight, weighted = _prepared(x, target, weight)
    loss = _losses(target, reduction, x.dtype).reshape(rows)
    if loss.size:
        group = group_for(classes)
        _run(_margin(group), grid(rows, group), (x, target, weight, loss), rows, classes, weighted,
             int(squared), margin=margin)
    if reduction == "none":
        return loss
    out = empty((), x.dtype)
    own = layout(dtypes.float64, (rows,), device=gpu(0))
    reductions.plan(reduction, own, (0,), "float64", x.dtype)(out, loss)
    return out


def multi_margin_backward(gy, x, target, weight, margin, squared, reduction):
    """gx, for gy shaped as the loss."""
    gx = empty(x.shape, x.dtype)
    if x.size:
        rows, classes = x.shape
        x, target, weight, weighted = _prepared(x, target, weight)
        group = group_for(classes)
        _run(_margin_backward(group), grid(rows, group), (contiguous(gy), x, target, weight, gx), rows,
             classes, weighted, int(squared), int(reduction == "none"), int(reduction == "mean"),
             margin=margin)
    return gx
