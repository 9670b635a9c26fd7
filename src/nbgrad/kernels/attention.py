"""softmax(scale q k^T + mask) v, a block of scores at a time.

q is [N, L, E], k [N, S, E], v [N, S, D], all contiguous. A mask is a pair: what is added to scores,
[M, L, S] of any strides, and which of the M is for each of the N. The scores of a block stay in the
cache, and those of all heads are never in memory at once: backward computes them again.
"""

from functools import cache

import numpy as np

from nbgrad.devices import CPU, device
from nbgrad.dtypes import from_numpy
from nbgrad.kernels import matmul
from nbgrad.kernels.cpu import attention as rows
from nbgrad.kernels.cuda.array import DeviceArray
from nbgrad.kernels.layout import layout
from nbgrad.kernels.memory import empty

#: Scores of a block, and the rows of a head that are at least in one.
BLOCK, ROWS = 1 << 18, 64
#: With fewer multiplications a forward pass takes less time than the calls of kernels.
FEW = 1 << 17


@cache
def _plan(dtype: np.dtype, a: tuple[int, ...], b: tuple[int, ...], ta: bool, tb: bool):
    own = from_numpy(dtype)
    return matmul.product(layout(own, a), layout(own, b), ta, tb).run


def _multiply(out, a, b, ta=False, tb=False):
    """out = a b for contiguous stacks of matrices."""
    _plan(out.dtype, a.shape, b.shape, ta, tb)(out.reshape(-1), a.reshape(-1), b.reshape(-1))


def _blocks(n: int, length: int, seen: int):
    """The blocks, as slices of the heads and of the rows."""
    heads = max(1, BLOCK // max(length * seen, 1))
    height = length if heads > 1 else max(ROWS, BLOCK // max(seen, 1))
    for head in range(0, n, heads):
        for row in range(0, length, height):
            yield slice(head, min(head + heads, n)), slice(row, min(row + height, length))


def _scores(q, k, mask, at, causal):
    """The scores of a block, and the keys that they are with."""
    head, row = at
    keys = slice(0, min(k.shape[1], row.stop) if causal else k.shape[1])
    if head.stop - head.start > 1:
        keys = slice(0, k.shape[1])
    a, b = q[head, row], k[head, keys]
    s = empty((a.shape[0], a.shape[1], b.shape[1]), q.dtype)
    _multiply(s, a, b, tb=True)
    if mask is not None:
        added, which = mask
        s += added[np.asarray(which[head]), row, keys]
    return s, keys


def _is_small(q, k, v, mask) -> bool:
    work = q.shape[0] * q.shape[1] * k.shape[1] * (q.shape[2] + v.shape[2])
    return mask is None and work < FEW


def _on_device():
    from nbgrad.kernels.cuda import attention
    return attention


def takes(place: device, n: int, length: int, e: int, d: int) -> bool:
    """Whether there are kernels for such sizes, and these are faster than products and a softmax."""
    return place is CPU or _on_device().takes(n, length, e, d)


def attend(q, k, v, mask, causal, scale=1.0):
    """(out, logsumexp): [N, L, D], and of the scores of every row [N, L] in float64."""
    if type(q) is DeviceArray:
        return _on_device().attend(q, k, v, mask, causal, scale)
    q = q * q.dtype.type(scale)
    n, length = q.shape[:2]
    out, logsumexp = empty((n, length, v.shape[2]), q.dtype), empty((n, length), np.float64)
    if _is_small(q, k, v, mask):
        rows.small(q, k, v, causal, out, logsumexp)
        return out, logsumexp
    for at in _blocks(n, length, k.shape[1]):
        head, row = at
        s, keys = _scores(q, k, mask, at, causal)
        found = np.empty(s.shape[:2])
        rows.probabilities(s.reshape(-1, s.shape[2]), row.start, s.shape[1], causal,
                           found.reshape(-1))
        logsumexp[head, row] = found
        _multiply(out[head, row], s, v[head, keys])
    return out, logsumexp


def attend_backward(g, q, k, v, out, logsumexp, mask, causal, scale=1.0):
    """(gq, gk, gv) for g, the gradient to `out`."""
    if type(q) is DeviceArray:
        return _on_device().attend_backward(g, q, k, v, out, logsumexp, mask, causal, scale)
    scale = q.dtype.type(scale)
    gq, gk, gv = _backward(g, q * scale, k, v, out, logsumexp, mask, causal)
    gq *= scale
    return gq, gk, gv


def _backward(g, q, k, v, out, logsumexp, mask, causal):
    if _is_small(q, k, v, mask):
        gq, gk, gv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
        rows.small_backward(g, q, k, v, out, logsumexp, causal, gq, gk, gv)
        return gq, gk, gv
    n, length = q.shape[:2]
    gq, gk, gv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    delta = np.einsum("nld,nld->nl", g, out)
    for at in _blocks(n, length, k.shape[1]):
        head, row = at
        s, keys = _scores(q, k, mask, at, causal)
        gs = empty(s.shape, s.dtype)
        _multiply(gs, g[head, row], v[head, keys], tb=True)
        wide = (-1, s.shape[2])
        rows.backward(s.reshape(wide), gs.reshape(wide),
                      np.ascontiguousarray(logsumexp[head, row]).reshape(-1),
                      delta[head, row].reshape(-1), row.start, s.shape[1], causal)
        _multiply(gq[head, row], gs, k[head, keys])
        for total, p, x in ((gv, s, g[head, row]), (gk, gs, q[head, row])):
            part = empty((x.shape[0], s.shape[2], x.shape[2]), q.dtype)
            _multiply(part, p, x, ta=True)
            total[head, keys] += part
    return gq, gk, gv
