"""Rows become ops: promotion, broadcasting, gradients."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from nbgrad import dtypes
from nbgrad.dtypes import dtype as DType
from nbgrad.engine.backward import waiting_sum
from nbgrad.engine.mode import state
from nbgrad.engine.node import Node, next_number
from nbgrad.engine.saved import unpack
from nbgrad.formulas.elementwise import TABLE
from nbgrad.formulas.row import Row
from nbgrad.kernels.elementwise import Plan, Spec, plan
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, broadcast_shapes
from nbgrad.kernels.memory import maker
from nbgrad.ops.apply import (
    BOTH,
    INPUT,
    ONLY_OUTPUT,
    ONLY_OUTPUTS,
    apply,
    keep,
    note_cuts,
    record,
    unrecorded,
)
from nbgrad.ops.op import Op
from nbgrad.ops.pair import Pair, pair_of
from nbgrad.ops.refusals import refuse
from nbgrad.tensor import Saved, Tensor

_NEEDS = ((False, False), (True, False), (False, True), (True, True))


#: rows that calls of another name choose
_CALLED = {"add_scaled": "add", "sub_scaled": "sub", "cube": "pow", "sqrt_pow": "pow",
           "logit_eps": "logit", "round_decimals": "round", "trunc_divide": "div", "lerp_w": "lerp",
           "clamp_between": "clamp", "clamp_above": "clamp_min", "clamp_below": "clamp_max",
           "gelu_tanh": "gelu"}


class Elementwise(Op):
    """The op of a row; `numbers` of its params are operands given as Python numbers."""

    def __init__(self, row: Row, numbers: int = 0) -> None:
        self.row, self.name, self.numbers = row, row.node, numbers
        self.label = f"{_CALLED.get(row.name, row.name.removesuffix('_b'))}_"
        self.pair: Pair | Literal[False] | None = None
        self.codes: dict[tuple[bool, ...], tuple[int, ...]] = {}
        self.launches: dict[tuple, tuple] = {}
        self.into: dict[tuple, Plan] = {}
        super().__init__()
        for name, code in {"self": 0, "other": 1, "exponent": 1, "result": -1}.items():
            setattr(self.node, f"_saved_{name}", _saved_property(code))

    def saves(self, needs: tuple[bool, ...], attrs: tuple) -> tuple[int, ...]:
        codes = self.codes.get(needs)
        if codes is None:
            codes = self.codes[needs] = self.row.saves(needs)
        return codes

    def run(self, inputs: tuple[Tensor, ...], attrs: tuple) -> Tensor:
        key: tuple = tuple([t._layout for t in inputs])
        if self.numbers:
            key += (type(attrs[-1]),)
        launch = self.launches.get(key) or self._launch(key, inputs, attrs)
        run, make, size, np_dtype, own, _, _ = launch
        data = make(size, np_dtype)
        run(data, *[t._data for t in inputs], *attrs)
        return Tensor(data, own)

    def two(self, a: Tensor, b: Tensor) -> Tensor:
        """`apply(self, (a, b))` written out: this is the price of every op of two tensors."""
        key = (a._layout, b._layout)
        launch = self.launches.get(key) or self._launch(key, (a, b), ())
        run, make, size, np_dtype, own, layouts, codes = launch
        data = make(size, np_dtype)
        run(data, a._data, b._data)
        out = Tensor(data, own)
        recording = state.grad
        if not recording:
            out._slot = recording
            return out
        if codes is None:
            plain = a._node is None and b._node is None and a._slot is None and b._slot is None
            return out if plain else unrecorded(self.name, (a, b), out)
        if a._view is not None:
            a._refresh()
        if b._view is not None:
            b._refresh()
        first, second = a._node, b._node
        if first is None and second is None:
            return out if a._slot is None and b._slot is None else unrecorded(self.name, (a, b), out)
        if state.watched:
            return record(self, (a, b), (), out)
        node = self.node()
        node.number = next_number()
        node.next = (first, second)
        node.layouts = layouts
        node.ports = ONLY_OUTPUTS if a._port < 0 and b._port < 0 else (a._port, b._port)
        node.attrs = node.saved = ()
        node.hooks = node.versions = node.place = None
        out._node = node
        kept = codes[(first is not None) + 2 * (second is not None)]
        if kept == BOTH and a._counter is None and b._counter is None:
            node.saved = (a, b)
        elif kept:
            keep(node, kept, (a, b), (out,))
        if (first is None and a._slot is not None) or (second is None and b._slot is not None):
            note_cuts(node, (a, b))
        return out

    def one(self, x: Tensor, attrs: tuple = ()) -> Tensor:
        """`apply(self, (x,), attrs)` written out, as `two`."""
        key = (x._layout, type(attrs[-1])) if self.numbers else (x._layout,)
        launch = self.launches.get(key) or self._launch(key, (x,), attrs)
        run, make, size, np_dtype, own, layouts, codes = launch
        data = make(size, np_dtype)
        run(data, x._data, *attrs)
        out = Tensor(data, own)
        recording = state.grad
        if not recording:
            out._slot = recording
            return out
        if codes is None:
            plain = x._node is None and x._slot is None
            return out if plain else unrecorded(self.name, (x,), out)
        if x._view is not None:
            x._refresh()
        before = x._node
        if before is None:
            return out if x._slot is None else unrecorded(self.name, (x,), out)
        if state.watched:
            return record(self, (x,), attrs, out)
        node = self.node()
        node.number = next_number()
        node.next = (before,)
        node.layouts = layouts
        node.ports = ONLY_OUTPUT if x._port < 0 else (x._port,)
        node.attrs = attrs
        node.saved = ()
        node.hooks = node.versions = node.place = None
        out._node = node
        kept = codes[1]
        if kept == INPUT and x._counter is None:
            node.saved = (x,)
        elif kept == ONLY_OUTPUT:
            node.saved = (Saved(out, -1),)
        elif kept:
            keep(node, kept, (x,), (out,))
        return out

    def of(self, *inputs: Tensor, attrs: tuple = ()) -> Tensor:
        """`apply(self, inputs, attrs)` in its shortest form."""
        if len(inputs) == 1:
            return self.one(inputs[0], attrs)
        return apply(self, inputs, attrs) if attrs or len(inputs) > 2 else self.two(*inputs)

    def _launch(self, key: tuple, inputs: tuple[Tensor, ...], attrs: tuple) -> tuple:
        """A plan as an exact tuple, which Python takes apart quickly.

        The kernel, how to make the result, its size, dtype and layout; the layouts of the inputs;
        and what to save given which of one or two inputs want a gradient, if any can.
        """
        run, (own,), size, (np_dtype,) = self._plan(inputs, attrs)
        codes = None
        if len(inputs) <= 2 and own.dtype.category == 2:
            codes = tuple([self.saves(needs[:len(inputs)], ()) for needs in _NEEDS])
        layouts = tuple([t._layout for t in inputs])
        launch = (run, maker(size, own.device), size, np_dtype, own, layouts, codes)
        return remember(self.launches, key, launch)

    def run_into(self, target: Tensor, others: tuple[Tensor, ...], attrs: tuple) -> None:
        for t in others:
            if t._data is target._data and t is not target:
                others = tuple([apart(target, t) for t in others])
                break
        inputs = (target, *others)
        whole = target._data.size == target._layout.numel
        key = (whole, type(attrs[-1]) if self.numbers else None, *[t._layout for t in inputs])
        found = self.into.get(key)
        if found is None:
            found = remember(self.into, key, self._plan(inputs, attrs, target, whole))
        found.run(target._data, *[t._data for t in others], *attrs)

    def _plan(self, inputs, attrs, target: Tensor | None = None, whole: bool = False) -> Plan:
        layouts = tuple(t._layout for t in inputs)
        shape = broadcast_shapes(*(l.shape for l in layouts))
        if shape is None:
            raise RuntimeError(_mismatch(layouts))
        numbers = attrs[len(attrs) - self.numbers:]
        try:
            compute, result = self.result(layouts, numbers)
        except NotImplementedError:
            if target is not None:  # what cannot be cast is told before what has no kernel
                refuse_cast(promote(layouts, numbers), target._layout.dtype)
            raise
        out = None
        if target is not None:
            own = target._layout
            if shape != own.shape:
                raise RuntimeError(f"output with shape {list(own.shape)} doesn't match the "
                                   f"broadcast shape {list(shape)}")
            refuse_cast(result, own.dtype)
            check_writable(own)
            out, result = (own,), own.dtype
        row = self.row
        spec = Spec(row.name, (row.formula,), row.inputs, row.params, row.kind, compute, (result,),
                    into=row.inputs[:1] if target is not None else ())
        return plan(spec, shape, layouts, out, whole)

    def result(self, layouts: tuple[Layout, ...], numbers: tuple = ()) -> tuple[DType, DType]:
        """The dtypes to compute in and to return."""
        kind = self.row.kind
        if kind == "where":
            layouts = tuple([l for l, name in zip(layouts, self.row.inputs) if name != "c"])
        common = promote(layouts, numbers)
        refuse(self.row.name, common,
               tuple([l.dtype for l in layouts]) + tuple(map(dtypes.of_number, numbers)))
        if kind == "float" and common.category < 2:
            common = dtypes.get_default_dtype()
        if kind in ("bool", "logical"):
            return common, dtypes.bool_
        if common is dtypes.bool_ and self.row.name in ("square", "cube"):
            common = dtypes.int64  # the exponent is an int
        return common, common

    def backward(self, node: Node, grad: Tensor):
        values = unpack(node)
        if len(node.layouts) == 2 and not (state.grad or state.nan_safe):
            a, b = node.layouts
            first, second = node.next
            if a is b and a is grad._layout and first is not None and second is not None:
                pair = self.pair
                if pair is None:
                    pair = self.pair = pair_of(self.row, self.numbers)
                if pair is not False:
                    total = waiting_sum(second) if node.hooks is None else None
                    if total is not None and total._layout is a:
                        return pair.add(grad, values, node.attrs, total), None
                    return pair.both(grad, values, node.attrs)
        return self.each(node, grad, values)

    def each(self, node: Node, grad: Tensor, values: tuple):
        """The gradient of each input by its own kernel."""
        grads: list[Tensor | None] = []
        needs = tuple([n is not None for n in node.next])
        for k, step in enumerate(program(self, needs, state.nan_safe)):
            if step is None:
                grads.append(None)
                continue
            op, takes = step
            if op is None:
                part = grad
            elif not op.row.inputs:
                part = grad.new_zeros(grad.shape)
            else:
                part = op.of(*[grad if t is None else _value(values[t], node) for t in takes],
                             attrs=op.pick(node.attrs))
            own = node.layouts[k]
            grads.append(part if part._layout is own else reduce_to(part, own))
        return tuple(grads)

    def pick(self, attrs: tuple) -> tuple:
        """The params of this op among those of the op whose gradient it is."""
        return ()


def _saved_property(code: int) -> property:
    """`grad_fn._saved_self` and its kin, by PyTorch's names."""
    def saved(node: Node) -> Tensor:
        codes = node.op.saves(tuple([n is not None for n in node.next]), node.attrs)
        if code not in codes:
            raise AttributeError(f"{node.name()} did not save this value")
        return _value(unpack(node)[codes.index(code)], node)
    return property(saved)


def _value(saved, node: Node) -> Tensor:
    return saved.tensor(node) if type(saved) is Saved else saved


class _Derived(Elementwise):
    """The op of a gradient row; takes from the attrs of the op it belongs to its own params."""

    def __init__(self, row: Row, of: tuple[str, ...]) -> None:
        super().__init__(row)
        self._picked = tuple(of.index(p) for p in row.params)

    def pick(self, attrs: tuple) -> tuple:
        return tuple([attrs[k] for k in self._picked])


_OPS: dict[Row, Elementwise] = {}


@lru_cache(None)
def program(op: Elementwise, needs: tuple[bool, ...], safe: bool = False) -> tuple:
    """For each needed input the op of its gradient and where its inputs are among the saved."""
    codes = op.row.saves(needs)
    steps: list = []
    for k, need in enumerate(needs):
        if not need:
            steps.append(None)
            continue
        row, takes = op.row.vjp(k, safe)
        if row.formula.is_var and takes == (-2,):
            steps.append((None, ()))
            continue
        derived = _OPS.get(row) or _Derived(row, op.row.params)
        steps.append((derived, tuple(None if t == -2 else codes.index(t) for t in takes)))
    return tuple(steps)


def reduce_to(grad: Tensor, like: Layout) -> Tensor:
    """The gradient of a broadcast operand: summed to its shape, cast to its dtype."""
    if grad._layout.shape != like.shape:
        grad = grad.sum_to_size(like.shape)
    return grad if grad._layout.dtype is like.dtype else grad.to(like.dtype)


def promote(layouts: tuple[Layout, ...], numbers: tuple = ()) -> DType:
    """PyTorch's result type of tensors and Python numbers."""
    first = layouts[0].dtype
    if not numbers and all(l.dtype is first for l in layouts):
        return first
    return dtypes.result_type([l.dtype for l in layouts if l.shape],
                              [l.dtype for l in layouts if not l.shape],
                              [dtypes.of_number(n) for n in numbers])


def can_cast(source: DType, to: DType) -> bool:
    return source.category <= to.category


def refuse_cast(source: DType, to: DType) -> None:
    """RuntimeError where a result of one dtype may not be written into another."""
    if not can_cast(source, to):
        raise RuntimeError(f"result type {source.legacy} can't be cast to the desired output type "
                           f"{to.legacy}")


def check_writable(own: Layout) -> None:
    """Refuse a write into a layout that shows one element at several indices."""
    if any(s == 0 and n > 1 for n, s in zip(own.shape, own.strides)):
        raise RuntimeError(_SHARED)


def apart(target: Tensor, t: Tensor) -> Tensor:
    """An input of a write into `target`, copied where it may read what was written.

    As PyTorch, refuse what overlaps for certain: memory without gaps, read at other indices.
    """
    own, other = target._layout, t._layout
    if t._data is not target._data or (other.offset, other.strides, other.shape) == (
            own.offset, own.strides, own.shape):
        return t
    if max(own.offset, other.offset) >= min(own.offset + own.span, other.offset + other.span):
        return t
    if own.dense and other.dense:
        raise RuntimeError(_OVERLAP)
    return t.detach().clone()


_SHARED = ("unsupported operation: more than one element of the written-to tensor refers to a "
           "single memory location. Please clone() the tensor before performing the operation.")
_OVERLAP = ("unsupported operation: some elements of the input tensor and the written-to tensor "
            "refer to a single memory location. Please clone() the tensor before performing the "
            "operation.")


def _mismatch(layouts: tuple[Layout, ...]) -> str:
    shapes = [l.shape for l in layouts]
    for i, a in enumerate(shapes):
        for b in shapes[i + 1:]:
            for k in range(1, min(len(a), len(b)) + 1):
                if a[-k] != b[-k] and 1 not in (a[-k], b[-k]):
                    return (f"The size of tensor a ({a[-k]}) must match the size of tensor b "
                            f"({b[-k]}) at non-singleton dimension {max(len(a), len(b)) - k}")
    return f"shapes {', '.join(map(str, shapes))} cannot be broadcast together"


OPS: dict[str, Elementwise] = {}
for _name, _row in TABLE.items():
    OPS[_name] = _OPS[_row] = Elementwise(_row)


@lru_cache(None)
def with_number(name: str, operand: str) -> Elementwise:
    """The op of a row with one operand given as a Python number."""
    return Elementwise(TABLE[name].with_param(operand), numbers=1)


_sums: dict = {}


def accumulate_(self: Tensor, other: Tensor) -> None:
    """Add in place to a sum that nobody else sees: no version, no history."""
    key = (self._layout, other._layout)
    found = _sums.get(key)
    if found is None:
        own, row = self._layout, TABLE["add"]
        spec = Spec("add", (row.formula,), ("a", "b"), (), "arith", own.dtype, (own.dtype,),
                    into=("a",))
        found = remember(_sums, key, plan(spec, own.shape, key, (own,), whole=True))
    found.run(self._data, other._data)


_copies: dict = {}


def write(storage: np.ndarray, own: Layout, source: Tensor) -> None:
    """Elements of `source`, broadcast and converted, to where `own` lies in a storage."""
    key = (own, source._layout)
    found = _copies.get(key)
    if found is None:
        row = TABLE["clone"]
        spec = Spec("copy", (row.formula,), row.inputs, (), "arith", key[1].dtype, (own.dtype,))
        found = remember(_copies, key, plan(spec, own.shape, key[1:], (own,)))
    found.run(storage, source._data)
