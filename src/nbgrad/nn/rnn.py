"""Recurrent networks: a state that every time step of a sequence changes."""

from __future__ import annotations

import math
import numbers
import warnings

from nbgrad.nn import functional as F
from nbgrad.nn import init
from nbgrad.nn.module import Module
from nbgrad.nn.parameter import Parameter
from nbgrad.ops.create import empty
from nbgrad.ops.shape import cat, stack
from nbgrad.tensor import Tensor

#: What a step carries on: (h,), or (h, c).
State = tuple[Tensor, ...]


def _rnn_step(activation):
    def step(x: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        return (activation(x + F.linear(state[0], weight, bias)),)

    return step


def _gru_step(x: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    (h,) = state
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = F.linear(h, weight, bias).chunk(3, -1)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    n = (xn + r * hn).tanh()
    return (n + z * (h - n),)


def _lstm_step(x: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    h, c = state
    i, f, g, o = (x + F.linear(h, weight, bias)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


#: mode -> (the step of the input's part of the gates and the state, number of gates, of states)
MODES = {"RNN_TANH": (_rnn_step(F.tanh), 1, 1), "RNN_RELU": (_rnn_step(F.relu), 1, 1),
         "GRU": (_gru_step, 3, 1), "LSTM": (_lstm_step, 4, 2)}


def _mode(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
    return f"RNN_{nonlinearity.upper()}"


class RNNBase(Module):
    """Layers of one kind of cell, run over a sequence; see RNN, GRU and LSTM."""

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1,
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
                 bidirectional: bool = False, proj_size: int = 0, device=None, dtype=None) -> None:
        super().__init__()
        if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) \
                or not 0 <= dropout <= 1:  # type: ignore[operator]
            raise ValueError("dropout should be a number in range [0, 1] representing the "
                             "probability of an element being zeroed")
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size:
            raise NotImplementedError(f"{type(self).__name__}(proj_size=...) is not supported")
        if dropout > 0 and num_layers == 1:
            warnings.warn("dropout option adds dropout after all but last recurrent layer, so "
                          f"non-zero dropout expects num_layers greater than 1, but got "
                          f"dropout={dropout} and num_layers={num_layers}", UserWarning, stacklevel=3)
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = float(dropout), bidirectional, 0
        self._step, gates, self._states = MODES[mode]
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
                shapes: dict[str, tuple] = {"weight_ih": (width,), "weight_hh": (hidden_size,)}
                shapes |= {"bias_ih": (), "bias_hh": ()} if bias else {}
                for name, shape in shapes.items():
                    values = empty(gates * hidden_size, *shape, device=device, dtype=dtype)
                    setattr(self, name + suffix, Parameter(values))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][:1 + self.bidirectional]

    def reset_parameters(self) -> None:
        """Draw the weights anew, uniformly in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: for PyTorch's CUDA kernels."""

    def forward(self, input: Tensor, hx=None):
        if not isinstance(input, Tensor):
            raise NotImplementedError(f"{type(self).__name__}: only tensors are supported as input, "
                                      f"not {type(input).__name__}")
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got "
                             f"{input.dim()}D instead")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        if x.size(-1) != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected "
                               f"{self.input_size}, got {x.size(-1)}")
        if x.size(0) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        starts = self._starts(x, hx, batched)
        ends: list[State] = []
        for layer in range(self.num_layers):
            sides = []
            for suffix in self._suffixes(layer):
                start = tuple([s[len(ends)] for s in starts])
                outputs, end = self._pass(x, start, suffix)
                sides.append(outputs)
                ends.append(end)
            x = cat(sides, -1) if len(sides) > 1 else sides[0]
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        last = [stack([end[k] for end in ends]) for k in range(self._states)]
        if not batched:
            x, last = x.squeeze(1), [t.squeeze(1) for t in last]
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, last[0] if len(last) == 1 else tuple(last)

    def _starts(self, x: Tensor, hx, batched: bool) -> State:
        """The states that all layers and directions begin with, each (layers, N, hidden_size)."""
        count = self.num_layers * (1 + self.bidirectional)
        shape = (count, x.size(1), self.hidden_size)
        if hx is None:
            return (x.new_zeros(shape),) * self._states
        given = (hx,) if self._states == 1 else tuple(hx)
        for t in given:
            rank = 3 if batched else 2
            if t.dim() != rank:
                raise RuntimeError(f"For {'batched' if batched else 'unbatched'} {rank}-D input, hx "
                                   f"should also be {rank}-D but got {t.dim()}-D tensor")
        given = given if batched else tuple([t.unsqueeze(1) for t in given])
        for t in given:
            if tuple(t.shape) != shape:
                raise RuntimeError(f"Expected hidden size {shape}, got {list(t.shape)}")
        return given

    def _pass(self, x: Tensor, state: State, suffix: str) -> tuple[Tensor, State]:
        """One layer in one direction over (L, N, input); all outputs, and the last state."""
        w_in, w = getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}")
        b_in, b = [getattr(self, f"bias_{k}{suffix}") if self.bias else None for k in ("ih", "hh")]
        steps = F.linear(x, w_in, b_in).unbind(0)
        back = suffix.endswith("reverse")
        outputs = []
        for step in reversed(steps) if back else steps:
            state = self._step(step, state, w, b)
            outputs.append(state[0])
        return stack(outputs[::-1] if back else outputs), state

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
                    "bidirectional": False}
        shown += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join(shown)


class RNN(RNNBase):
    """`h = tanh(W_ih x + b_ih + W_hh h + b_hh)` over a sequence, layer on layer.

    Args:
        input_size, hidden_size: features of inputs and of states.
        num_layers: layers, each of which takes the states of the one below.
        nonlinearity: "tanh" or "relu".
        bias: whether to add b_ih and b_hh.
        batch_first: (N, L, ...) instead of (L, N, ...).
        dropout: the share of states dropped between layers in training.
        bidirectional: another set of layers runs from the end to the start.

    Shape: inputs (L, N, input_size), states (layers, N, hidden_size) or None -> outputs
    (L, N, hidden_size), or twice as wide in two directions, and the last states; all may lack N.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1,
                 nonlinearity: str = "tanh", bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, device=None,
                 dtype=None) -> None:
        super().__init__(_mode(nonlinearity), input_size, hidden_size, num_layers, bias,
                         batch_first, dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """Gated recurrent units: `h = n + z (h - n)`; arguments and shapes as for RNN.

    r and z are sigmoids, and `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device=None, dtype=None) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)


class LSTM(RNNBase):
    """Long short-term memory: `c = f c + i g`, `h = o tanh(c)`; arguments as for RNN.

    i, f and o are sigmoids and g a tanh of affine maps of x and h. The state is a pair (h, c).
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int = 0, device=None, dtype=None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype)


class RNNCellBase(Module):
    """One step of a recurrent network; see RNNCell, GRUCell and LSTMCell."""

    def __init__(self, mode: str, input_size: int, hidden_size: int, bias: bool, device=None,
                 dtype=None) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._step, gates, self._states = MODES[mode]
        for name, shape in (("weight_ih", (input_size,)), ("weight_hh", (hidden_size,)),
                            ("bias_ih", ()), ("bias_hh", ())):
            made = empty(gates * hidden_size, *shape, device=device, dtype=dtype)
            kept = bias or name.startswith("weight")
            self.register_parameter(name, Parameter(made) if kept else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, uniformly in +-1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, input: Tensor, hx=None):
        name = type(self).__name__
        given = () if hx is None else (hx,) if self._states == 1 else tuple(hx)
        for label, t in (("input", input), *[("hidden", t) for t in given]):
            if t.dim() not in (1, 2):
                raise ValueError(f"{name}: Expected {label} to be 1D or 2D, got {t.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if x.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.size(1)} expected "
                               f"{self.input_size}")
        state = tuple([t if batched else t.unsqueeze(0) for t in given]) \
            or (x.new_zeros((x.size(0), self.hidden_size)),) * self._states
        for t in state:
            if tuple(t.shape) != (x.size(0), self.hidden_size):
                raise RuntimeError(f"hidden of shape {list(t.shape)} does not fit input of shape "
                                   f"{list(x.shape)}: expected {[x.size(0), self.hidden_size]}")
        state = self._step(F.linear(x, self.weight_ih, self.bias_ih), state, self.weight_hh,
                           self.bias_hh)
        state = state if batched else tuple([t.squeeze(0) for t in state])
        return state[0] if self._states == 1 else state

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of RNN: (N, input_size) and a state (N, hidden_size) -> the next state."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device=None, dtype=None) -> None:
        super().__init__(_mode(nonlinearity), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity


class GRUCell(RNNCellBase):
    """One step of GRU: (N, input_size) and a state (N, hidden_size) -> the next state."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device=None,
                 dtype=None) -> None:
        super().__init__("GRU", input_size, hidden_size, bias, device, dtype)


class LSTMCell(RNNCellBase):
    """One step of LSTM: (N, input_size) and a state (h, c) -> the next (h, c)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device=None,
                 dtype=None) -> None:
        super().__init__("LSTM", input_size, hidden_size, bias, device, dtype)
