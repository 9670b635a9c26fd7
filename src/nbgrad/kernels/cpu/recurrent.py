"""One layer of a recurrent network in one direction, over all time steps.

For L steps of a batch N and H units all arrays are contiguous vectors of memory:

    h [L + 1, N, H]     states: where the layer starts in slot 0 and the outputs above it; where it
                        runs from the end to the start, its start in slot L, the outputs below it
    a [L, N, gates, H]  gates: the input's part of their sums, which become their values
    e [L + 1, N, H]     LSTM: cells, in the slots of h; GRU: what r is multiplied with

Step s goes from slot s to s + 1, or from s + 1 to s: from `before` to `now`. Only the first sizes[s]
sequences of the batch, of falling length, have a step s. Its product of h with the weights
(gates * H, H) is added to the gates of a block of units, which become the state of these units while
they are in the cache. A task does that for `tall` rows of the batch and `wide` units: over all steps
if it has all units, for rows know nothing of each other; otherwise all tasks meet after every step.
Backward goes the same way from the last step to the first. How the work is cut changes no bit of it.
"""

import numpy as np

from nbgrad.kernels.cpu.lanes import LANES, choose, elements, get, load, put, store
from nbgrad.kernels.cpu.maths import exp, tanh
from nbgrad.kernels.cpu.matmul import pack
from nbgrad.kernels.cpu.simd import (
    aligned_start,
    stack_lanes,
    tile,
    tile_columns,
    tile_rows,
    tile_shape,
    wide_vectors,
)
from nbgrad.kernels.cpu.tasks import each, launch
from nbgrad.kernels.memory import empty, zeros
from nbgrad.kernels.options import folded, get_num_threads, inline, kernel, use_threads

#: Terms of the sums that are taken at a time: a panel of so many rows stays in the first cache.
_DEPTH = 256


@folded
def _height(mr, rows):
    """Rows of the next tile, which takes as long as mr, mr / 2 or mr / 4 of them, four at the least."""
    half, quarter = (mr + 1) // 2, (mr + 3) // 4
    return rows - quarter if quarter >= 4 and half < rows < half + quarter else min(mr, rows)


@folded
def _multiply(k, x, xo, panels, po, y, yo, step, i0, i1, columns, adds):
    """y[i, j] (+)= sum over p < k of x[i, p] w[p, j] for rows i0 to i1, w from its panel at po on."""
    mr, nr = tile_rows(y), tile_columns(y)
    for p in range(0, k, _DEPTH):
        for j in range(0, columns, nr):
            i = i0
            while i < i1:
                rows = _height(mr, i1 - i)
                tile(min(_DEPTH, k - p), x, xo + i * k + p, 1, k, panels, po + j * k + p * nr, nr,
                     y, yo + i * step + j, step, rows, min(nr, columns - j), adds or p > 0)
                i += rows


@folded
def _each(f, v, like):
    """A function of every number in lanes: over an array on the stack its loop vectorises."""
    x = stack_lanes(like)
    store(x, 0, v)
    for i in range(LANES):
        x[i] = f(x[i])
    return load(x, 0)


@folded
def _logistic(x):
    one = type(x)(1)
    return one / (one + exp(-x))


@folded
def _sigmoid(x, at, count):
    return _each(_logistic, get(x, at, count), x)


@folded
def _tanh(v, like):
    return _each(tanh, v, like)


# Cells for LANES units: gates at q, `width` from one to the next; slots of h and e at `before`, `now`.


@folded
def _tanh_cell(a, e, h, q, width, before, now, count):
    put(h, now, _tanh(get(a, q, count), a), count)


@folded
def _relu_cell(a, e, h, q, width, before, now, count):
    x = get(a, q, count)
    put(h, now, choose(x < 0, 0, x), count)


@folded
def _gru_cell(a, e, h, q, width, before, now, count):
    r, z = _sigmoid(a, q, count), _sigmoid(a, q + width, count)
    n = _tanh(get(a, q + 2 * width, count) + r * get(e, now, count), a)
    put(a, q, r, count)
    put(a, q + width, z, count)
    put(a, q + 2 * width, n, count)
    put(h, now, n + z * (get(h, before, count) - n), count)


@folded
def _lstm_cell(a, e, h, q, width, before, now, count):
    i, f = _sigmoid(a, q, count), _sigmoid(a, q + width, count)
    g, o = _tanh(get(a, q + 2 * width, count), a), _sigmoid(a, q + 3 * width, count)
    c = f * get(e, before, count) + i * g
    put(a, q, i, count)
    put(a, q + width, f, count)
    put(a, q + 2 * width, g, count)
    put(a, q + 3 * width, o, count)
    put(e, now, c, count)
    put(h, now, o * _tanh(c, a), count)


# And back: from the gradient gy to an output, and gh, gc to the state of step s by what follows, at r,
# to that of the gates' sums: ga of the input's part, gb of the state's. What of gh and gc goes to the
# step before, past the gates, is left there.


@folded
def _tanh_back(gy, gh, gc, a, e, h, ga, gb, q, width, r, k, before, now, count):
    y = get(h, now, count)
    put(ga, q, (get(gy, r, count) + get(gh, k, count)) * (1 - y * y), count)


@folded
def _relu_back(gy, gh, gc, a, e, h, ga, gb, q, width, r, k, before, now, count):
    g = get(gy, r, count) + get(gh, k, count)
    put(ga, q, choose(get(h, now, count) > 0, g, 0), count)


@folded
def _gru_back(gy, gh, gc, a, e, h, ga, gb, q, width, r, k, before, now, count):
    y, x, u = get(a, q, count), get(a, q + width, count), get(a, q + 2 * width, count)
    g = get(gy, r, count) + get(gh, k, count)
    gn = g * (1 - x) * (1 - u * u)
    gr = gn * get(e, now, count) * y * (1 - y)
    gz = g * (get(h, before, count) - u) * x * (1 - x)
    put(ga, q, gr, count)
    put(gb, q, gr, count)
    put(ga, q + width, gz, count)
    put(gb, q + width, gz, count)
    put(ga, q + 2 * width, gn, count)
    put(gb, q + 2 * width, gn * y, count)
    put(gh, k, g * x, count)


@folded
def _lstm_back(gy, gh, gc, a, e, h, ga, gb, q, width, r, k, before, now, count):
    i, f = get(a, q, count), get(a, q + width, count)
    g, o = get(a, q + 2 * width, count), get(a, q + 3 * width, count)
    y = _tanh(get(e, now, count), a)
    d = get(gy, r, count) + get(gh, k, count)
    c = get(gc, k, count) + d * o * (1 - y * y)
    put(ga, q, c * g * i * (1 - i), count)
    put(ga, q + width, c * get(e, before, count) * f * (1 - f), count)
    put(ga, q + 2 * width, c * i * (1 - g * g), count)
    put(ga, q + 3 * width, d * y * o * (1 - o), count)
    put(gc, k, c * f, count)


def _forward(cell, gates, apart):
    """The body of a layer; the products of the last gate go to e if it is `apart`."""
    inside = gates - apart

    @inline
    def task(u, start, stop, cut, sizes, panels, a, e, h):
        wide_vectors()
        steps, n, width, back, tall, wide, per = cut
        pieces = -(-width // wide)
        i0, j0 = u // pieces * tall, u % pieces * wide
        j1 = min(width, j0 + wide)
        size, row, first = n * width, gates * width, aligned_start(panels)
        for t in range(start, stop):
            s = steps - 1 - t if back else t
            before, now = (s + 1, s) if back else (s, s + 1)
            i1 = min(sizes[s], i0 + tall)
            for j in range(j0, j1, LANES):
                count = min(LANES, j1 - j)
                for k in range(inside):
                    _multiply(width, h, before * size, panels, first + k * per + j * width,
                              a, s * n * row + k * width + j, row, i0, i1, count, True)
                if apart:
                    _multiply(width, h, before * size, panels, first + inside * per + j * width,
                              e, now * size + j, width, i0, i1, count, True)
                for i in range(i0, i1):
                    k = i * width + j
                    cell(elements(a), elements(e), elements(h), (s * n + i) * row + j, width,
                         before * size + k, now * size + k, count)

    return task


def _backward(cell, gates, adds):
    """The body of a layer's backward; the cell leaves something in gh if the product `adds` to it."""

    @inline
    def task(u, start, stop, cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb):
        wide_vectors()
        steps, n, width, back, tall, wide, _ = cut
        pieces = -(-width // wide)
        i0, j0 = u // pieces * tall, u % pieces * wide
        j1 = min(width, j0 + wide)
        size, row, first = n * width, gates * width, aligned_start(panels)
        for t in range(start, stop):
            s = t if back else steps - 1 - t
            before, now, later = (s + 1, s, s - 1) if back else (s, s + 1, s + 1)
            i1 = min(sizes[s], i0 + tall) if t < steps else i0
            i2 = min(sizes[later], i0 + tall) if t > 0 else i0
            for j in range(j0, j1, LANES):
                count = min(LANES, j1 - j)
                _multiply(row, gb, later * n * row, panels, first + j * row,
                          gh, j, width, i0, i2, count, adds)
                for i in range(i0, i1):
                    k = i * width + j
                    cell(elements(gy), elements(gh), elements(gc), elements(a), elements(e),
                         elements(h), elements(ga), elements(gb), (s * n + i) * row + j, width,
                         s * size + k, k, before * size + k, now * size + k, count)

    return task


_rnn_tanh_task, _rnn_tanh_back_task = _forward(_tanh_cell, 1, 0), _backward(_tanh_back, 1, False)
_rnn_relu_task, _rnn_relu_back_task = _forward(_relu_cell, 1, 0), _backward(_relu_back, 1, False)
_gru_task, _gru_back_task = _forward(_gru_cell, 3, 1), _backward(_gru_back, 3, True)
_lstm_task, _lstm_back_task = _forward(_lstm_cell, 4, 0), _backward(_lstm_back, 4, False)


@kernel
def _rnn_tanh(loop, tasks, stops, cut, sizes, panels, a, e, h):
    for t in range(stops.size - 1):
        each(loop, tasks, _rnn_tanh_task, (stops[t], stops[t + 1], cut, sizes, panels, a, e, h))


@kernel
def _rnn_relu(loop, tasks, stops, cut, sizes, panels, a, e, h):
    for t in range(stops.size - 1):
        each(loop, tasks, _rnn_relu_task, (stops[t], stops[t + 1], cut, sizes, panels, a, e, h))


@kernel
def _gru(loop, tasks, stops, cut, sizes, panels, a, e, h):
    for t in range(stops.size - 1):
        each(loop, tasks, _gru_task, (stops[t], stops[t + 1], cut, sizes, panels, a, e, h))


@kernel
def _lstm(loop, tasks, stops, cut, sizes, panels, a, e, h):
    for t in range(stops.size - 1):
        each(loop, tasks, _lstm_task, (stops[t], stops[t + 1], cut, sizes, panels, a, e, h))


@kernel
def _rnn_tanh_backward(loop, tasks, stops, cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb):
    for t in range(stops.size - 1):
        each(loop, tasks, _rnn_tanh_back_task,
             (stops[t], stops[t + 1], cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb))


@kernel
def _rnn_relu_backward(loop, tasks, stops, cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb):
    for t in range(stops.size - 1):
        each(loop, tasks, _rnn_relu_back_task,
             (stops[t], stops[t + 1], cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb))


@kernel
def _gru_backward(loop, tasks, stops, cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb):
    for t in range(stops.size - 1):
        each(loop, tasks, _gru_back_task,
             (stops[t], stops[t + 1], cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb))


@kernel
def _lstm_backward(loop, tasks, stops, cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb):
    for t in range(stops.size - 1):
        each(loop, tasks, _lstm_back_task,
             (stops[t], stops[t + 1], cut, sizes, panels, gy, gh, gc, a, e, h, ga, gb))


#: mode -> its kernels there and back, and the number of its gates
_KERNELS = {"RNN_TANH": (_rnn_tanh, _rnn_tanh_backward, 1),
            "RNN_RELU": (_rnn_relu, _rnn_relu_backward, 1),
            "GRU": (_gru, _gru_backward, 3), "LSTM": (_lstm, _lstm_backward, 4)}


def _packed(w, count, lines, k, step, stride):
    """Panels of `count` matrices in w, as _multiply reads them, and the numbers of one matrix.

    Entry p < k of column j < lines lies at j * step + p * stride.
    """
    height = tile_shape(w.dtype)[1]
    per = -(-lines // height)
    panels = empty(count * per * height * k + 64 // w.itemsize, w.dtype)
    table = np.array([count * per, per, lines, k, step, stride, height, height,
                      0, 0, 1, count, lines * k, lines * k], np.int64)
    launch(pack, use_threads(w.size), table, panels, w.reshape(-1))
    return panels, per * height * k


def _run(run, steps, w, back, sizes, panels, per, a, arrays):
    """Run a kernel over the steps, cut for the threads there are."""
    (length, n), width = a.shape[:2], w.shape[1]
    tall, wide, span, threads = max(n, 1), width, steps, 1
    if use_threads(a.size * width // 16):
        threads = get_num_threads()
        if n >= 2 * threads:
            tall = -(-n // threads)
        elif use_threads(n * w.size // 4):
            wide, span = -(-width // threads // LANES) * LANES, 1
    tasks = -(-n // tall) * -(-width // wide)
    stops = np.array([*range(0, steps, span), steps])
    launch(run, threads > 1, tasks, stops, (length, n, width, int(back), tall, wide, per),
           np.array(sizes), panels, *[x.reshape(-1) for x in arrays])


def biases(own, hidden, mode):
    """(what is added to the gates, what to the states' part of GRU's last gate) of two biases."""
    if mode != "GRU":
        return own + hidden, None
    common, total = own.size // 3 * 2, own.copy()
    total[:common] += hidden[:common]
    return total, hidden[common:]


def forward(a, w, start, bias, mode, back, sizes):
    """(outputs (L, N, H), each of the last states, a, e, h) of a layer.

    Args:
        a: the input's part of the gates' sums (L, N, gates * H), with biases; then the gates.
        w: weights (gates * H, H).
        start: the states to start from, one or two of (N, H).
        bias: GRU's, of the last gate's part by the state, (H,), or None.
        mode: RNN_TANH, RNN_RELU, GRU or LSTM.
        back: whether it runs from the end to the start; sequences start in the slot of their length.
        sizes: how many sequences have each step.
    """
    run, _, gates = _KERNELS[mode]
    length, (n, width) = len(sizes), start[0].shape
    make = empty if sizes[-1] == n else zeros
    h = make((length + 1, n, width), a.dtype)
    e = make((length + 1, n, width) if mode in ("GRU", "LSTM") else (0,), a.dtype)
    if mode == "GRU":
        e[...] = 0 if bias is None else bias
    ends = length  # slots, or slots and rows
    if make is zeros:
        ends = np.searchsorted(-np.array(sizes), -np.arange(n)), np.arange(n)
    first, last = (ends, 0) if back else (0, ends)
    for states, own in zip((h, e), start):
        states[first] = own
    w = np.ascontiguousarray(w)
    panels, per = _packed(w, gates, width, width, width, 1)
    _run(run, length, w, back, sizes, panels, per, a, (a, e, h))
    found = [states[last].copy() for states, _ in zip((h, e), start)]
    return h[:-1] if back else h[1:], *found, a, e, h


def backward(a, w, e, h, gy, ends, mode, back, sizes):
    """(ga, gb, the gradients to each of the states to start from): both of a's shape, see above.

    gy (L, N, H), to the outputs, and `ends` (N, H), to the last states, may be None. Of LSTM and RNN
    ga and gb are one array.
    """
    _, run, _ = _KERNELS[mode]
    shape = h[1:].shape
    gy = zeros(shape, h.dtype) if gy is None else np.ascontiguousarray(gy)
    ends = [np.zeros(shape[1:], h.dtype) if g is None else g.copy() for g in ends]
    make = empty if sizes[-1] == shape[1] else zeros
    ga = make(a.shape, a.dtype)
    gb = make(a.shape, a.dtype) if mode == "GRU" else ga
    w = np.ascontiguousarray(w)
    panels, per = _packed(w, 1, w.shape[1], w.shape[0], 1, w.shape[1])
    _run(run, len(sizes) + 1, w, back, sizes, panels, per, a,
         (gy, ends[0], ends[-1], a, e, h, ga, gb))
    return ga, gb, *ends
