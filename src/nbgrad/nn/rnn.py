"""Recurrent networks: a state that every time step of a sequence changes."""

from __future__ import annotations

import math
import numbers
import warnings

from nbgrad.nn import functional as F
from nbgrad.nn import init
from nbgrad.nn.module import Module
from nbgrad.nn.parameter import Parameter
from nbgrad.nn.utils.rnn import PackedSequence, places
from nbgrad.ops.create import empty
from nbgrad.ops.recurrent import MODES, State, layer
from nbgrad.ops.shape import cat, stack
from nbgrad.tensor import Tensor


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
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if dropout > 0 and num_layers == 1:
            warnings.warn("dropout option adds dropout after all but last recurrent layer, so "
                          f"non-zero dropout expects num_layers greater than 1, but got "
                          f"dropout={dropout} and num_layers={num_layers}", UserWarning, stacklevel=3)
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = float(dropout), bidirectional, proj_size
        _, gates, self._states = MODES[mode]
        size, out = gates * hidden_size, proj_size or hidden_size
        for k in range(num_layers):
            for suffix in self._suffixes(k):
                width = out * (1 + bidirectional) if k else input_size
                shapes: dict[str, tuple] = {"weight_ih": (size, width), "weight_hh": (size, out)}
                shapes |= {"bias_ih": (size,), "bias_hh": (size,)} if bias else {}
                shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
                for name, shape in shapes.items():
                    values = empty(shape, device=device, dtype=dtype)
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

    def forward(self, input: Tensor | PackedSequence, hx=None):
        name = type(self).__name__
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if not isinstance(input, Tensor):
            raise NotImplementedError(f"{name}: only tensors and packed sequences are supported as "
                                      f"input, not {type(input).__name__}")
        if input.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        self._check(x)
        if x.size(0) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        x, last = self._layers(x, (x.size(1),) * x.size(0), self._starts(x, hx, batched))
        if not batched:
            x, last = x.squeeze(1), tuple([t.squeeze(1) for t in last])
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, last[0] if len(last) == 1 else last

    def _packed(self, input: PackedSequence, hx):
        """The same for sequences of unlike lengths."""
        data, sizes = input.data, input.sizes
        if data.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
        if sizes[-1] < 1 or list(sizes) != sorted(sizes, reverse=True):
            raise RuntimeError(f"batch_sizes of a packed sequence must fall, and be 1 or more: {sizes}")
        self._check(data)
        at, shape = places(sizes, len(sizes)).to(data.device), (len(sizes), sizes[0])
        x = data.new_zeros((shape[0] * shape[1], data.size(1))).index_copy(0, at, data)
        x = x.reshape(*shape, data.size(1))
        starts = self._starts(x, hx, True)
        if hx is not None and input.sorted_indices is not None:
            starts = tuple([t.index_select(1, input.sorted_indices) for t in starts])
        x, last = self._layers(x, sizes, starts)
        if input.unsorted_indices is not None:
            last = tuple([t.index_select(1, input.unsorted_indices) for t in last])
        packed = PackedSequence(x.flatten(0, 1).index_select(0, at), *input[1:])
        return packed, last[0] if len(last) == 1 else last

    def _layers(self, x: Tensor, sizes: tuple[int, ...], starts: State) -> tuple[Tensor, State]:
        """All layers over (L, N, input_size), of which sizes[s] have step s; the last states."""
        ends: list[State] = []
        for k in range(self.num_layers):
            sides = []
            for suffix in self._suffixes(k):
                outputs, end = layer(self.mode, suffix.endswith("reverse"), sizes, x,
                                     *self._weights(suffix, tuple([s[len(ends)] for s in starts])))
                sides.append(outputs)
                ends.append(end)
            x = cat(sides, -1) if len(sides) > 1 else sides[0]
            if k < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple([stack(states) for states in zip(*ends)])

    def _weights(self, suffix: str, start: State) -> tuple:
        """The arguments of a layer, after its input."""
        w, u, *rest = [getattr(self, name + suffix, None) for name in (
            "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")]
        return (w, u, start, *(rest if self.proj_size else rest[:2]))

    def _check(self, x: Tensor) -> None:
        dtype = self.weight_ih_l0.dtype
        if x.dtype is not dtype:
            raise ValueError(f"RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                             f"Convert input: input.to({dtype}), or convert model: "
                             f"model.to({x.dtype})")
        if x.size(-1) != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected "
                               f"{self.input_size}, got {x.size(-1)}")

    def _starts(self, x: Tensor, hx, batched: bool) -> State:
        """The states that all layers and directions begin with, each (layers, N, size)."""
        count = self.num_layers * (1 + self.bidirectional)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)[:self._states]
        shapes = [(count, x.size(1), size) for size in sizes]
        if hx is None:
            return tuple([x.new_zeros(shape) for shape in shapes])
        given = (hx,) if self._states == 1 else tuple(hx)
        for t in given:
            rank = 3 if batched else 2
            if t.dim() != rank:
                raise RuntimeError(f"For {'batched' if batched else 'unbatched'} {rank}-D input, hx "
                                   f"should also be {rank}-D but got {t.dim()}-D tensor")
        given = given if batched else tuple([t.unsqueeze(1) for t in given])
        for t, shape in zip(given, shapes, strict=True):
            if tuple(t.shape) != shape:
                raise RuntimeError(f"Expected hidden size {shape}, got {list(t.shape)}")
        return given

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
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

    i, f and o are sigmoids and g a tanh of affine maps of x and h. The state is a pair (h, c). With
    proj_size, h is mapped to so many numbers by W_hr, before it is put out and carried on.
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
