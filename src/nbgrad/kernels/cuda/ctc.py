"""Connectionist temporal classification on a CUDA device; see kernels/cpu/ctc.py for the formulas.

A block walks through the time steps of a sequence, a thread beside the other for the entries of its
target. What each step and label adds to the gradient is summed up afterwards, for all steps at once: a
warp has a step, and a thread all the places of a label, in their order.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cpu.ctc import FRONT
from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.blocks import THREADS, WARP, WARPS, grid, meet, power, total_of
from nbgrad.kernels.cuda.launch import launch
from nbgrad.kernels.cuda.layouts import contiguous
from nbgrad.kernels.cuda.memory import empty
from nbgrad.kernels.cuda.provider import SIMULATED, cuda, inline, kernel, machine

_I64, _F64, _INF = np.dtype(np.int64), np.dtype(np.float64), math.inf
_MOST_THREADS = 4 if SIMULATED else 512
_total = total_of(WARP)


@inline
def _log_sum(a, b, c):
    """log(e^a + e^b + e^c)."""
    m = a if a > b else b
    m = c if c > m else m
    m = m if m > -_INF else np.float64(0)
    return m + math.log(math.exp(a - m) + math.exp(b - m) + math.exp(c - m))


@inline
def _label(targets, start, s, blank):
    """The class of entry s of a target with blanks."""
    return targets[np.uint64(start + s // 2)] if s % 2 == 1 else blank


@inline
def _may_skip(targets, start, s):
    """Whether a walk may come to entry s past the blank before it."""
    if s % 2 == 0 or s == 1:
        return False
    at = np.uint64(start + s // 2)
    return targets[at] != targets[at - np.uint64(1)]


@inline
def _loss(alpha, begin, last, length, width):
    """Minus the log-probability of ending at the last entry or the last but one."""
    if last < 0:
        return np.float64(0) if length == 0 else np.float64(_INF)
    end = np.uint64(begin + last * width + FRONT + 2 * length)
    return -_log_sum(alpha[end], alpha[end - np.uint64(1)], np.float64(-_INF))


@kernel
def ctc_forward(logp, targets, starts, times, lengths, alpha, loss, blank, zero_infinity, steps, batch,
                classes, width):
    for n in range(cuda.blockIdx.x, batch, cuda.gridDim.x):
        first, size, start = np.int64(cuda.threadIdx.x), 2 * lengths[n] + 1, starts[n]
        begin = n * steps * width
        coming = logp.dtype.type(0)  # what is read a step ahead of its use
        if first < size and times[n] > 0:
            coming = logp[np.uint64(n * classes + _label(targets, start, first, blank))]
        for t in range(times[n]):
            row, now = begin + t * width + FRONT, coming
            if first < size and t + 1 < times[n]:
                coming = logp[np.uint64(((t + 1) * batch + n) * classes
                                        + _label(targets, start, first, blank))]
            for s in range(first, size, cuda.blockDim.x):
                if s > first:
                    now = logp[np.uint64((t * batch + n) * classes + _label(targets, start, s, blank))]
                v = np.float64(0) if s < 2 else np.float64(-_INF)
                if t > 0:
                    at = np.uint64(row - width + s)
                    jump = np.float64(-_INF)
                    if _may_skip(targets, start, s):
                        jump = alpha[at - np.uint64(2)]
                    v = _log_sum(alpha[at], alpha[at - np.uint64(1)], jump)
                alpha[np.uint64(row + s)] = v + np.float64(now)
            if first < FRONT:
                alpha[np.uint64(row - FRONT + first)] = -_INF
            cuda.syncthreads()
        if first == 0:
            v = _loss(alpha, begin, times[n] - 1, lengths[n], width)
            loss[n] = 0 if zero_infinity and v == _INF else v


@kernel
def ctc_walks(logp, targets, starts, times, lengths, alpha, walks, after, loss, blank, steps, batch,
              classes, width):
    """walks[n, t, s]: the log of the probability of all walks through entry s at time t.

    `after` holds, of a step and the next one, that of walks from an entry on, with two impossible
    entries behind.
    """
    for n in range(cuda.blockIdx.x, batch, cuda.gridDim.x):
        first, size, start = np.int64(cuda.threadIdx.x), 2 * lengths[n] + 1, starts[n]
        begin, last = n * steps * width, times[n] - 1
        coming = logp.dtype.type(0)
        if first < size and last >= 0:
            coming = logp[np.uint64((last * batch + n) * classes
                                    + _label(targets, start, first, blank))]
        if first < 2:
            for k in range(2):
                after[np.uint64((2 * n + k) * width + size + first)] = -_INF
        if first == 0:
            loss[n] = _loss(alpha, begin, last, lengths[n], width)
        for back in range(times[n]):
            t, now = last - back, coming
            if first < size and t > 0:
                coming = logp[np.uint64(((t - 1) * batch + n) * classes
                                        + _label(targets, start, first, blank))]
            own, other = (2 * n + back % 2) * width, (2 * n + (back + 1) % 2) * width
            for s in range(first, size, cuda.blockDim.x):
                if s > first:
                    now = logp[np.uint64((t * batch + n) * classes + _label(targets, start, s, blank))]
                v = np.float64(0) if s >= size - 2 else np.float64(-_INF)
                if back > 0:
                    at = np.uint64(other + s)
                    jump = np.float64(-_INF)
                    if s + 2 < size and _may_skip(targets, start, s + 2):
                        jump = after[at + np.uint64(2)]
                    v = _log_sum(after[at], after[at + np.uint64(1)], jump)
                at = np.uint64(begin + t * width + FRONT + s)
                walks[at] = alpha[at] + v
                after[np.uint64(own + s)] = v + np.float64(now)
            cuda.syncthreads()


@kernel
def ctc_links(targets, starts, lengths, links, most):
    """For the places of each target: the next one of the same label, or 0; -1 less that if there is
    one before, too."""
    for i in range(cuda.grid(1), links.size, cuda.gridsize(1)):
        n = i // most
        k, start = i - n * most, starts[n]
        if k < lengths[n]:
            label = targets[np.uint64(start + k)]
            j = k + 1
            while j < lengths[n] and targets[np.uint64(start + j)] != label:
                j += 1
            j = j if j < lengths[n] else 0
            before = np.int64(0)
            while targets[np.uint64(start + before)] != label:
                before += 1
            links[i] = j if before == k else -1 - j


@kernel
def ctc_shares(g, logp, targets, starts, times, lengths, walks, loss, links, glogp, blank,
               zero_infinity, steps, batch, classes, width, most):
    lane = np.int64(cuda.threadIdx.x % WARP)
    for r in range(cuda.blockIdx.x * WARPS + cuda.threadIdx.x // WARP, steps * batch,
                   cuda.gridDim.x * WARPS):
        t = r // batch
        n = r - t * batch
        base, start, size, whole = r * classes, starts[n], 2 * lengths[n] + 1, loss[n]
        lost, slope = whole == _INF, np.float64(g[n])
        if t >= times[n] or (zero_infinity and lost):
            for c in range(lane, classes, WARP):
                glogp[np.uint64(base + c)] = 0
        elif lost:  # the share of each is 0 / 0
            for c in range(lane, classes, WARP):
                glogp[np.uint64(base + c)] = math.nan
        else:
            row = (n * steps + t) * width + FRONT
            total = np.float64(0)
            for s in range(lane, size, WARP):
                if _label(targets, start, s, blank) == blank:
                    total += math.exp(walks[np.uint64(row + s)] + whole)
            total = _total(total, loss, lane)
            for c in range(lane, classes, WARP):
                at = np.uint64(base + c)
                e = np.float64(math.exp(logp[at]))
                glogp[at] = (e - total if c == blank else e) * slope
            meet()
            for k in range(lane, lengths[n], WARP):
                link, label = links[np.uint64(n * most + k)], targets[np.uint64(start + k)]
                if link >= 0 and label != blank:
                    total = math.exp(walks[np.uint64(row + 2 * k + 1)] + whole)
                    while link > 0:
                        total += math.exp(walks[np.uint64(row + 2 * link + 1)] + whole)
                        link = -1 - links[np.uint64(n * most + link)]
                    at = np.uint64(base + label)
                    glogp[at] = (np.float64(math.exp(logp[at])) - total) * slope


@cache
def _sequences(function, dtypes: tuple, numbers: int, batch: int, entries: int):
    """The launch of a kernel that has a block for each sequence."""
    return machine.launcher(function, (*[(d, 1) for d in dtypes], *["int64"] * numbers))(
        batch, min(power(max(entries, WARP)), _MOST_THREADS))


def ctc(logp, targets, starts, times, lengths, blank, zero_infinity, most):
    """As kernels.cpu.ctc."""
    logp = contiguous(logp)
    steps, batch, classes = logp.shape
    width = FRONT + 2 * most + 1
    alpha, loss = empty((batch, steps, width), _F64), empty(batch, logp.dtype)
    _sequences(ctc_forward, (logp.dtype, *[_I64] * 4, _F64, logp.dtype), 6, batch, width)(
        logp, targets, starts, times, lengths, alpha, loss, blank, int(zero_infinity), steps, batch,
        classes, width)
    return loss, alpha


def ctc_backward(g, logp, targets, starts, times, lengths, blank, alpha, zero_infinity):
    """As kernels.cpu.ctc."""
    logp, dtype = contiguous(logp), logp.dtype
    (steps, batch, classes), width = logp.shape, alpha.shape[2]
    most = (width - FRONT) // 2
    walks, after, loss = empty(alpha.shape, _F64), empty((batch, 2, width), _F64), empty(batch, _F64)
    _sequences(ctc_walks, (dtype, *[_I64] * 4, *[_F64] * 4), 5, batch, width)(
        logp, targets, starts, times, lengths, alpha, walks, after, loss, blank, steps, batch, classes,
        width)
    links, glogp = empty(batch * most, _I64), empty(logp.shape, dtype)
    if most:
        launch(ctc_links, links.size, (_I64,) * 4, ("int64",))(targets, starts, lengths, links, most)
    _rows(dtype, grid(steps * batch, WARP))(
        contiguous(g), logp, targets, starts, times, lengths, walks, loss, links, glogp, blank,
        int(zero_infinity), steps, batch, classes, width, most)
    return glogp


@cache
def _rows(dtype: np.dtype, count: int):
    kinds = dtype, dtype, *[_I64] * 4, _F64, _F64, _I64, dtype
    return machine.launcher(ctc_shares, (*[(d, 1) for d in kinds], *["int64"] * 7))(count, THREADS)
