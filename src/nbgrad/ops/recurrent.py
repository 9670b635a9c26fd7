"""Recurrent layers: cells as formulas, and whole layers over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nbgrad.dtypes import float32, float64
from nbgrad.engine import backward as engine
from nbgrad.engine.mode import no_grad, state
from nbgrad.engine.node import Node
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.create import zeros_like
from nbgrad.ops.family import needs, optional, present, saved
from nbgrad.ops.matmul import linear, matmul
from nbgrad.ops.op import Op, wrap
from nbgrad.ops.shape import cat, flatten, stack, unbind
from nbgrad.tensor import Tensor

kernels = Twins("recurrent")

#: What a step carries on: (h,), or (h, c).
State = tuple[Tensor, ...]


def _rnn_step(activation: str):
    def step(x: Tensor, before: State, weight: Tensor, bias: Tensor | None) -> State:
        return (getattr(x + linear(before[0], weight, bias), activation)(),)

    return step


def _gru_step(x: Tensor, before: State, weight: Tensor, bias: Tensor | None) -> State:
    (h,) = before
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = linear(h, weight, bias).chunk(3, -1)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    n = (xn + r * hn).tanh()
    return (n + z * (h - n),)


def _lstm_step(x: Tensor, before: State, weight: Tensor, bias: Tensor | None,
               projection: Tensor | None = None) -> State:
    h, c = before
    i, f, g, o = (x + linear(h, weight, bias)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return h if projection is None else linear(h, projection), c


class Mode(NamedTuple):
    """A kind of cell: a step from the input's part of the gates and the state before."""

    step: Callable[..., State]
    gates: int
    states: int


MODES = {"RNN_TANH": Mode(_rnn_step("tanh"), 1, 1), "RNN_RELU": Mode(_rnn_step("relu"), 1, 1),
         "GRU": Mode(_gru_step, 3, 1), "LSTM": Mode(_lstm_step, 4, 2)}


def _by_steps(mode: str, back: bool, sizes: tuple[int, ...], x: Tensor, w: Tensor, u: Tensor,
              start: State, bias: Tensor | None, hidden_bias: Tensor | None,
              *projection: Tensor) -> tuple[Tensor, ...]:
    """A layer as a formula: all outputs, zeros where a sequence has none, and the last state."""
    now, outputs = start, []
    steps = [*zip(unbind(linear(x, w, bias)), sizes)]
    for step, n in reversed(steps) if back else steps:
        whole = n == x._layout.shape[1]
        own = now if whole else tuple([t[:n] for t in now])
        made = MODES[mode].step(step if whole else step[:n], own, u, hidden_bias, *projection)
        now = made if whole else tuple([cat([m, t[n:]]) for m, t in zip(made, now)])
        outputs.append(now[0] if whole else cat([made[0], zeros_like(now[0][n:])]))
    return stack(outputs[::-1] if back else outputs), *now


class Layer(Op):
    """A layer in one direction; attrs (mode, back, sizes).

    Inputs are x (L, N, inputs), weights of x and of h, the state to start from, one or two of
    (N, H), and both biases or none. Outputs are h of all steps, the last state, and what only
    backward reads, as kernels/cpu/recurrent.py describes it: a, e, and h with the start.
    """

    def __init__(self, states: int) -> None:
        self.name, self.states = "RnnLayer", states
        self.outputs = 1 + states + 3
        super().__init__()

    def parts(self, inputs) -> tuple:
        """x, w, u, the start and two biases, which may be None."""
        x, w, u, *rest = inputs
        return x, w, u, tuple(rest[:self.states]), *(rest[self.states:] or (None, None))

    def run(self, inputs, attrs):
        x, w, u, start, bias, rest = self.parts(inputs)
        if bias is not None:
            total, rest = kernels.biases(bias._array(), rest._array(), attrs[0])
            bias = wrap(total)
        with no_grad():
            a = linear(x, w, bias)._array()
        return wrap(kernels.forward(a, u._array(), [t._array() for t in start], rest, *attrs))

    def saves(self, needs, attrs):
        return (*range(len(needs)), -1, 2 - self.outputs, 1 - self.outputs, -self.outputs)

    def backward(self, node, *grads):
        *inputs, _, a, e, h = saved(node).values()
        grads = grads[:1 + self.states]
        if state.grad:
            return self.again(node, inputs, grads)
        (mode, back, _), wants = node.attrs, needs(node)
        x, w, u, *_ = inputs
        given = tuple([g is not None for g in grads])
        ga, gb, *gstart = apply(LAYER_BACKWARD, (*present(*grads), u, a, e, h),
                                (*node.attrs, given))
        before = h[1:] if back else h[:-1]
        gx = matmul(ga, w) if wants[0] else None
        gw = matmul(flatten(ga, 0, 1).t(), flatten(x, 0, 1)) if wants[1] else None
        gu = matmul(flatten(gb, 0, 1).t(), flatten(before, 0, 1)) if wants[2] else None
        sums = ()
        if len(wants) > 3 + self.states:
            total = ga.sum((0, 1))
            sums = total, gb.sum((0, 1)) if mode == "GRU" else total
        return gx, gw, gu, *gstart, *sums

    def again(self, node: Node, inputs: list[Tensor], grads) -> tuple[Tensor | None, ...]:
        """The gradients as functions of all they depend on, by the formula."""
        own = [t.view(t._layout.shape) for t in inputs]  # one tensor may be several inputs
        outputs = _by_steps(*node.attrs, *self.parts(own))
        roots = [(t._node, t._port, g) for t, g in zip(outputs, grads) if g is not None]
        wanted: dict = {(t._node, t._port): [] for t in own if t._node is not None}
        found: dict = engine.run(roots, keep_graph=True, create_graph=True, wanted=wanted,
                                 accumulate=False)
        return tuple([found.get((t._node, t._port)) for t in own])


class LayerBackward(Op):
    """The gradients to both parts of the gates' sums, and to the start; attrs (..., given).

    Inputs are the gradients that are given, of all outputs and the last state, and u, a, e, h.
    """

    name = "RnnLayerBackward"

    def run(self, inputs, attrs):
        *how, given = attrs
        *grads, u, a, e, h = [t._array() for t in inputs]
        gy, *ends = optional(grads, given)
        return wrap(kernels.backward(a, u, e, h, gy, ends, *how))


_LAYERS, LAYER_BACKWARD = {n: Layer(n) for n in (1, 2)}, LayerBackward()


def layer(mode: str, back: bool, sizes: tuple[int, ...], x: Tensor, w: Tensor, u: Tensor,
          start: State, bias: Tensor | None, hidden_bias: Tensor | None,
          *projection: Tensor) -> tuple[Tensor, State]:
    """A recurrent layer over x (L, N, inputs): all outputs (L, N, H), and the last state.

    Args:
        mode: RNN_TANH, RNN_RELU, GRU or LSTM.
        back: whether it runs from the end to the start.
        sizes: how many of the N sequences, which are of falling length, have each of the L steps.
        w, u: weights of x (gates * H, inputs) and of h (gates * H, H).
        start: one or two of (N, H).
        bias, hidden_bias: (gates * H,).
        projection: (P, H), for outputs of size P.
    """
    tensors = (x, w, u, *start, *present(bias, hidden_bias))
    if projection or not _fit(mode, tensors):
        out, *end = _by_steps(mode, back, sizes, x, w, u, start, bias, hidden_bias, *projection)
    else:
        out, *rest = apply(_LAYERS[len(start)], tensors, (mode, back, sizes))
        end = rest[:len(start)]
    return out, tuple(end)


def _fit(mode: str, tensors: tuple[Tensor, ...]) -> bool:
    """Whether the kernels take these inputs of a layer; the formula refuses what is amiss."""
    (_, n, inputs), dtype = tensors[0]._layout.shape, tensors[0]._layout.dtype
    _, gates, states = MODES[mode]
    width = tensors[3]._layout.shape[-1]
    size = gates * width
    shapes = ((size, inputs), (size, width), *((n, width),) * states, (size,), (size,))
    return dtype in (float32, float64) and all(
        t._layout.dtype is dtype and t._layout.shape == shape for t, shape in zip(tensors[1:], shapes))
