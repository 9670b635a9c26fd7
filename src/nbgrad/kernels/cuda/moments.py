"""Sums over channels on a CUDA device, and what batch and group normalisation make of them.

x is (samples, channels, length), each row (sample, channel) contiguous. Statistics belong to
channels, or to groups of `per` rows: row r has those of number r // per % period. One pass over the
entries, less an entry of theirs, sums them and their squares in float64.
"""

from functools import cache

import numpy as np

from nbgrad.kernels.cuda import maths as math
from nbgrad.kernels.cuda.blocks import (
    THREADS,
    WARP,
    WARPS,
    grid,
    group_for,
    power,
    slabs_for,
    sync,
    total_of,
)
from nbgrad.kernels.cuda.provider import cuda, kernel, machine

#: Entries a thread reads at once.
EACH = 4

_warp_total, _block_total = total_of(WARP), total_of(THREADS)


@cache
def _channel_sums(group: int):
    """Sums of f - p and of (f - p) (s - q) over part k of a channel, for a block."""
    height = THREADS // group

    @kernel
    def channel_sums(f, s, mean, part, samples, channels, length, slabs, slab, cuts, cut, per, own):
        # own: p and q are the channel's first entry; else p is 0 and q the mean
        sums = cuda.shared.array(WARPS, np.float64)
        thread = np.int64(cuda.threadIdx.x)
        beside, below = thread % group, thread // group
        for b in range(cuda.blockIdx.x, channels * slabs * cuts, cuda.gridDim.x):
            c = b // (slabs * cuts)
            k = b - c * slabs * cuts
            left = k % cuts * cut
            right = min(left + cut, length)
            top = k // cuts * slab
            p = np.float64(s[np.uint64(c * length)]) if own else np.float64(0)
            q = p if own else np.float64(mean[np.uint64(c // per)])
            u, v = np.float64(0), np.float64(0)
            for i in range(top + below, min(top + slab, samples), height):
                at = (i * channels + c) * length
                for l in range(left + beside, right, group * EACH):
                    for j in range(EACH):
                        if l + j * group < right:
                            place = np.uint64(at + l + j * group)
                            d = np.float64(f[place]) - p
                            u += d
                            v += d * (np.float64(s[place]) - q)
            u = _block_total(u, sums, thread)
            v = _block_total(v, sums, thread)
            if thread == 0:
                part[np.uint64(2 * b)] = u
                part[np.uint64(2 * b + 1)] = v

    return channel_sums


@kernel
def column_sums(f, s, mean, part, samples, channels, slabs, slab, own):
    """The same for rows of one entry: a warp's channels side by side."""
    us = cuda.shared.array(THREADS, np.float64)
    vs = cuda.shared.array(THREADS, np.float64)
    thread = np.int64(cuda.threadIdx.x)
    beside, below = thread % WARP, thread // WARP
    tiles = (channels + WARP - 1) // WARP
    for b in range(cuda.blockIdx.x, tiles * slabs, cuda.gridDim.x):
        k = b // tiles
        c = (b - k * tiles) * WARP + beside
        u, v = np.float64(0), np.float64(0)
        if c < channels:
            p = np.float64(s[np.uint64(c)]) if own else np.float64(0)
            q = p if own else np.float64(mean[np.uint64(c)])
            end = min((k + 1) * slab, samples)
            for i in range(k * slab + below, end, WARPS * EACH):
                for j in range(EACH):
                    if i + j * WARPS < end:
                        place = np.uint64((i + j * WARPS) * channels + c)
                        d = np.float64(f[place]) - p
                        u += d
                        v += d * (np.float64(s[place]) - q)
        us[thread] = u
        vs[thread] = v
        sync()
        if below == 0 and c < channels:
            for j in range(1, WARPS):
                u += us[thread + j * WARP]
                v += vs[thread + j * WARP]
            part[np.uint64(2 * (c * slabs + k))] = u
            part[np.uint64(2 * (c * slabs + k) + 1)] = v
        sync()


@kernel
def moments(part, x, mean, var, inverse, channels, length, parts, count, eps):
    """Mean, biased variance and 1 / std of every channel, from its parts; a warp for each."""
    cast = x.dtype.type
    thread = np.int64(cuda.threadIdx.x)
    for c0 in range(cuda.blockIdx.x * WARPS, channels, cuda.gridDim.x * WARPS):
        c = c0 + thread // WARP
        u, v = np.float64(0), np.float64(0)
        if c < channels:
            for k in range(thread % WARP, parts, WARP):
                u += part[np.uint64(2 * (c * parts + k))]
                v += part[np.uint64(2 * (c * parts + k) + 1)]
        u = _warp_total(u, part, thread) / count
        v = _warp_total(v, part, thread) / count - u * u
        if c < channels and thread % WARP == 0:
            v = np.float64(0) if v < 0 else v
            mean[c] = cast(np.float64(x[np.uint64(c * length)]) + u)
            var[c] = cast(v)
            inverse[c] = cast(np.float64(1) / math.sqrt(v + eps))


@kernel
def slopes(part, inverse, w, shares, shift, slope, groups, per, parts, count, channels, weighted):
    """What the gradient needs of every group of `per` channels, from their parts; a warp for each.

    For h = g w and n = (x - mean) / std: shift = mean(h) / std, slope = mean(h n) / std^2. Shares
    [sample, 2, channel] are the parts of gw = sum(g n) and gb = sum(g).
    """
    cast = inverse.dtype.type
    thread = np.int64(cuda.threadIdx.x)
    for r0 in range(cuda.blockIdx.x * WARPS, groups, cuda.gridDim.x * WARPS):
        r = r0 + thread // WARP
        s = np.float64(inverse[r]) if r < groups else np.float64(0)
        sum_h, sum_hn = np.float64(0), np.float64(0)
        for j in range(per if r < groups else 0):
            row = r * per + j
            total, dot = np.float64(0), np.float64(0)
            for k in range(thread % WARP, parts, WARP):
                total += part[np.uint64(2 * (row * parts + k))]
                dot += part[np.uint64(2 * (row * parts + k) + 1)]
            total = _warp_total(total, part, thread)
            dot = _warp_total(dot, part, thread) * s
            c = row % channels
            at = row // channels * 2 * channels + c
            a = np.float64(w[np.uint64(c)]) if weighted else np.float64(1)
            sum_h += total * a
            sum_hn += dot * a
            if thread % WARP == 0:
                shares[np.uint64(at)] = dot
                shares[np.uint64(at + channels)] = total
        if r < groups and thread % WARP == 0:
            shift[r] = cast(sum_h / count * s)
            slope[r] = cast(sum_hn / count * s * s)


@cache
def _scaled(group: int):
    """y = (x - mean) w / std + b of every row, or of its pieces."""
    @kernel
    def scaled(x, mean, inverse, w, b, y, rows, length, pieces, piece, per, period, channels, given):
        # given: bits for a weight, a bias and a mean
        cast = x.dtype.type
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * (THREADS // group), rows * pieces,
                        cuda.gridDim.x * (THREADS // group)):
            k = r0 + thread // group
            if k < rows * pieces:
                r = k // pieces
                first = (k - r * pieces) * piece
                i, c = r // per % period, r % channels
                m = mean[np.uint64(i)] if given & 4 else cast(0)
                a = inverse[np.uint64(i)]
                if given & 1:
                    a *= w[np.uint64(c)]
                shift = b[np.uint64(c)] if given & 2 else cast(0)
                end = r * length + min(first + piece, length)
                for j in range(r * length + first + lane, end, group * EACH):
                    for e in range(EACH):
                        if j + e * group < end:
                            at = np.uint64(j + e * group)
                            y[at] = (x[at] - m) * a + shift

    return scaled


@cache
def _descended(group: int):
    """gx = g w / std - shift - (x - mean) slope of every row, or of its pieces."""
    @kernel
    def descended(g, x, mean, inverse, w, shift, slope, gx, rows, length, pieces, piece, per, period,
                  channels, weighted):
        thread = np.int64(cuda.threadIdx.x)
        lane = thread % group
        for r0 in range(cuda.blockIdx.x * (THREADS // group), rows * pieces,
                        cuda.gridDim.x * (THREADS // group)):
            k = r0 + thread // group
            if k < rows * pieces:
                r = k // pieces
                first = (k - r * pieces) * piece
                i = np.uint64(r // per % period)
                m, a, by, less = mean[i], inverse[i], slope[i], shift[i]
                if weighted:
                    a *= w[np.uint64(r % channels)]
                end = r * length + min(first + piece, length)
                for j in range(r * length + first + lane, end, group * EACH):
                    for e in range(EACH):
                        if j + e * group < end:
                            at = np.uint64(j + e * group)
                            gx[at] = (g[at] * a - less) - (x[at] - m) * by

    return descended


def _bound(made, dtypes, numbers, blocks, *floats):
    run = machine.launcher(made, (*[(d, 1) for d in dtypes], *["int64"] * len(numbers),
                                  *["float64"] * len(floats)))(blocks, THREADS)
    return lambda *arrays: run(*arrays, *numbers, *floats)


@cache
def summing(dtype, samples: int, channels: int, length: int, per: int, own: bool):
    """(launch of (f, s, mean, part), the number of parts of a channel)."""
    wide = np.dtype(np.float64)
    dtypes = (dtype, dtype, dtype, wide)
    if length == 1 and per == 1:
        tiles = -(-channels // WARP)
        slabs = slabs_for(tiles, samples, 2 * EACH * WARPS)
        slab = -(-samples // slabs)
        return _bound(column_sums, dtypes, (samples, channels, slabs, slab, int(own)),
                      grid(tiles * slabs)), slabs
    group = min(power(length), THREADS)
    wanted = slabs_for(channels, samples * length, 8 * THREADS)
    slabs = min(wanted, max(samples // (THREADS // group), 1))
    cuts = max(min(wanted // slabs, length // (EACH * THREADS)), 1)
    cut = -(-length // cuts)
    numbers = (samples, channels, length, slabs, -(-samples // slabs), cuts, cut, per, int(own))
    return _bound(_channel_sums(group), dtypes, numbers, grid(channels * slabs * cuts)), slabs * cuts


@cache
def finding(dtype, channels: int, length: int, parts: int, count: int, eps: float):
    """The launch of `moments`."""
    return _bound(moments, (np.dtype(np.float64), *[dtype] * 4), (channels, length, parts, count),
                  grid(channels, WARP), eps)


@cache
def leaning(dtype, shares, groups: int, per: int, parts: int, count: int, channels: int,
            weighted: bool):
    """The launch of `slopes`."""
    return _bound(slopes, (np.dtype(np.float64), dtype, dtype, shares, dtype, dtype),
                  (groups, per, parts, count, channels, int(weighted)), grid(groups, WARP))


def _pieces(rows: int, length: int) -> tuple[int, tuple[int, ...], int]:
    group = group_for(length, EACH)
    pieces = slabs_for(rows, length, 4 * THREADS) if group == THREADS else 1
    return group, (rows, length, pieces, -(-length // pieces)), grid(rows * pieces, group)


@cache
def scaling(dtype, rows: int, length: int, per: int, period: int, channels: int, given: int):
    """The launch of `scaled`."""
    group, numbers, count = _pieces(rows, length)
    return _bound(_scaled(group), (dtype,) * 6, (*numbers, per, period, channels, given), count)


@cache
def descending(dtype, rows: int, length: int, per: int, period: int, channels: int,
               weighted: bool):
    """The launch of `descended`."""
    group, numbers, count = _pieces(rows, length)
    return _bound(_descended(group), (dtype,) * 8, (*numbers, per, period, channels, int(weighted)),
                  count)
