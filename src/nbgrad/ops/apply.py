"""The single door: every operation on tensors is run and recorded here.

Elementwise.one and two are this door written out for the commonest ops.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from nbgrad.devices import CPU, device
from nbgrad.dtypes import InHalf, float32
from nbgrad.dtypes import dtype as DType
from nbgrad.engine import provenance
from nbgrad.engine.mode import no_grad, state
from nbgrad.engine.node import Node, hooks_of, next_number
from nbgrad.engine.saved import Counter, pack, save, version
from nbgrad.engine.window import View
from nbgrad.kernels.cuda.array import Mixed, OnHost
from nbgrad.kernels.cuda.bounds import forget
from nbgrad.kernels.layout import Layout, common
from nbgrad.ops.op import Op
from nbgrad.tensor import AccumulateGrad, Saved, Tensor


def apply(op: Op, inputs: tuple[Tensor, ...], attrs: tuple = ()):
    """Run `op`; record it if this thread records and some input wants a gradient."""
    try:
        out = op.run(inputs, attrs)
    except NotImplementedError as error:
        out = _run_otherwise(error, op, inputs, attrs)
    recording = state.grad
    if not recording:
        mark(out if type(out) is tuple else (out,), recording)
        return out
    after_cut = False
    for t in inputs:
        if t._node is not None or t._view is not None:
            return record(op, inputs, attrs, out)
        if t._slot is not None:
            after_cut = True
    return unrecorded(op.name, inputs, out) if after_cut else out


#: so many cuts are told of; more would grow without end where a sum is carried on
_TOLD = 8


def unrecorded(name: str, inputs: tuple[Tensor, ...], out):
    """Results that have no history, marked with the reasons why, if there are any."""
    outs = out if type(out) is tuple else (out,)
    nodes = tuple([ref(t._node) for t in inputs if t._node is not None])
    cuts = _cuts(inputs)
    if nodes:
        what = f"{name.removesuffix('Backward0').lower()}, which has no gradient,"
        kind = f"a cast to {outs[0].dtype.name}" if name == "ToCopy" else what
        cuts = ((kind, provenance.here(3), nodes), *cuts)
    if cuts:
        mark(outs, cuts)
    return out


def _cuts(inputs: tuple[Tensor, ...]) -> provenance.Cuts:
    """All cuts that inputs without history come after."""
    found = [provenance.cuts_of(t._slot) for t in inputs if t._node is None and t._slot is not None]
    if len(found) < 2:
        return found[0] if found else ()
    return tuple({id(cut): cut for cuts in found for cut in cuts}.values())[:_TOLD]


def mark(outs: tuple[Tensor, ...], cuts: provenance.Cuts) -> None:
    """Say of tensors why they have no history."""
    for t in outs:
        if t is not None:
            t._slot = cuts


def note_cuts(node: Node, inputs: tuple[Tensor, ...]) -> None:
    """Tell a node why inputs of it have no history."""
    cuts = _cuts(inputs)
    if cuts:
        node.cuts = cuts


def _run_otherwise(error: Exception, op: Op, inputs: tuple[Tensor, ...], attrs: tuple):
    """Run an op that refused its inputs for their dtype or their device."""
    if isinstance(error, Mixed):
        together = _together(error, inputs)
        with no_grad():
            return run(op, tuple([t.to(together) for t in inputs]), attrs)
    if isinstance(error, InHalf):
        return _run_in_float(error, op, inputs, attrs)
    if isinstance(error, OnHost):
        return _run_on_host(error, op, inputs, attrs)
    raise error


def run(op: Op, inputs: tuple[Tensor, ...], attrs: tuple):
    """Run an op without recording it."""
    try:
        return op.run(inputs, attrs)
    except NotImplementedError as error:
        return _run_otherwise(error, op, inputs, attrs)


def _together(error: Mixed, inputs: tuple[Tensor, ...]) -> device:
    """The device to which numbers of the host are moved, if that is what the kernel refused."""
    place = common(*[t._layout for t in inputs])
    if all(t._layout.device is place for t in inputs):
        raise error
    return place


def _run_on_host(error: OnHost, op: Op, inputs: tuple[Tensor, ...], attrs: tuple):
    """Run an op that has no CUDA kernel: on copies in host memory, with results moved back."""
    place = common(*[t._layout for t in inputs])
    if place is CPU:
        raise error
    with no_grad():
        out = run(op, tuple([t.cpu() for t in inputs]), attrs)
        if type(out) is Tensor:
            return out.to(place)
        return tuple([None if t is None else t.to(place) for t in out])


def _run_in_float(error: InHalf, op: Op, inputs: tuple[Tensor, ...], attrs: tuple):
    """Run an op that knows no 16-bit floats: on float32, with results in 16 bits again."""
    halves = [t._layout.dtype for t in inputs if t._layout.dtype.half]
    if not halves or any(d is not halves[0] for d in halves):
        raise error
    with no_grad():
        out = run(op, tuple([t.float() if t._layout.dtype.half else t for t in inputs]), attrs)
        mixed = any(t._layout.dtype.category == 2 and not t._layout.dtype.half for t in inputs)
        if type(out) is Tensor:
            return _narrow(out, halves[0], mixed)
        return tuple([_narrow(t, halves[0], mixed) for t in out])


def _narrow(t: Tensor, dtype: DType, mixed: bool) -> Tensor:
    return t if mixed or t._layout.dtype is not float32 else t.to(dtype)


def _run_into_otherwise(error: Exception, op: Op, target: Tensor,
                        others: tuple[Tensor, ...], attrs: tuple) -> None:
    """The same for an op that writes to its first input."""
    inputs = (target, *others)
    if isinstance(error, Mixed):
        together = _together(error, inputs)
        with no_grad():
            return op.run_into(target, tuple([t.to(together) for t in others]), attrs)
    with no_grad():
        if isinstance(error, InHalf) and any(t._layout.dtype.half for t in inputs):
            first, *rest = [t.outside().float() if t._layout.dtype.half else t for t in inputs]
        elif isinstance(error, OnHost) and common(*[t._layout for t in inputs]) is not CPU:
            first, *rest = [t.outside().cpu() for t in inputs]
        else:
            raise error
        try:
            op.run_into(first, tuple(rest), attrs)
        except NotImplementedError as again:
            _run_into_otherwise(again, op, first, tuple(rest), attrs)
        if first is not target:
            target.data.copy_(first)


def record(op: Op, inputs: tuple[Tensor, ...], attrs: tuple, out):
    """Make the node of an operation that was run, and hang it on its differentiable outputs."""
    for t in inputs:
        if t._view is not None:
            t._refresh()
    if len(inputs) == 2:  # unrolled: this is the price of every recorded op
        a, b = inputs
        following: tuple = (a._node, b._node)
        needs: tuple[bool, ...] = (following[0] is not None, following[1] is not None)
    else:
        following = tuple([t._node for t in inputs])
        needs = tuple([n is not None for n in following])
    if not any(needs):
        return unrecorded(op.name, inputs, out)
    single = type(out) is Tensor
    if single:
        if out._layout.dtype.category != 2:
            return unrecorded(op.name, inputs, out)
        node = link(op.node(), inputs, following, attrs)
        out._node = node
    else:
        node = link(op.node(), inputs, following, attrs)
        node_outputs(node, out)
        others = tuple([t for t in out if t is not None and t._node is None])
        if others:
            unrecorded(op.name, inputs, others)
    codes = op.saves(needs, attrs)
    if codes:
        keep(node, codes, inputs, (out,) if single else out)
    if None in following:
        note_cuts(node, inputs)
    if state.checker is not None:
        state.checker.forward(node, inputs, out)
    return out


def keep(node: Node, codes: tuple[int, ...], inputs: tuple, outputs: tuple) -> None:
    """Save for backward the inputs (0, 1, …) and the outputs (-1, -2, …) that `codes` name."""
    save(node, inputs if codes == BOTH else tuple(
        [inputs[k] if k >= 0 else Saved(outputs[-1 - k], outputs[-1 - k]._port) for k in codes]))


INPUT, BOTH = (0,), (0, 1)
ONLY_OUTPUT, ONLY_OUTPUTS = (-1,), (-1, -1)


def link(node: Node, inputs, following, attrs) -> Node:
    """Fill in a fresh node."""
    node.number = next_number()
    node.next = following
    node.attrs = attrs
    node.saved = ()
    node.hooks = node.versions = None
    node.place = None
    if state.watched:
        _watch(node)
    if len(inputs) == 2:
        a, b = inputs
        key = (a._layout, b._layout)
        node.layouts = _PAIRS.get(key) or _pair(key)
        node.ports = (a._port, b._port) if a._port >= 0 or b._port >= 0 else ONLY_OUTPUTS
    elif len(inputs) == 1:
        (a,) = inputs
        node.layouts = (a._layout,)
        node.ports = ONLY_OUTPUT if a._port < 0 else (a._port,)
    else:
        node.layouts = tuple([t._layout for t in inputs])
        node.ports = tuple([t._port for t in inputs])
    return node


def _watch(node: Node) -> None:
    """Note where a node was recorded."""
    if state.places:
        node.place = provenance.trace(4, state.running)
    if state.stream is not None:
        node.stream = state.stream


# Pairs of layouts, shared by nodes: fewer objects for the garbage collector to walk.
_PAIRS: dict[tuple, tuple] = {}


def _pair(key: tuple) -> tuple:
    if len(_PAIRS) > 4096:
        _PAIRS.clear()
    return _PAIRS.setdefault(key, key)


def node_outputs(node: Node, outputs: tuple[Tensor, ...]) -> None:
    """Hang one node on several outputs."""
    for port, t in enumerate(outputs):
        if t._layout.dtype.category == 2:
            t._node, t._port = node, port


def view(op: Any, t: Tensor, attrs: tuple = (), kind: str = "default") -> Tensor:
    """Run a ViewOp, whose result is a window on its input's memory; see Tensor._refresh."""
    own = t._layout
    out = Tensor(t._data, op.opened.get((own, attrs)) or op.open(own, attrs))
    counter = out._counter = t._count()
    base, recording = t, state.grad
    if t._view is not None:
        t._refresh()
        base = t._view.base
        kind = t._view.kind if kind == "default" else kind
    if not recording and kind == "default":
        kind = "inference" if state.inference else "no_grad"
    out._view = View(base, counter.count, kind)
    if recording and t._node is not None and own.dtype.category == 2:
        out._node = link(op.node(), (t,), (t._node,), attrs)
    elif not recording:
        out._slot = recording
    elif isinstance(t._slot, tuple):
        out._slot = t._slot
    return out


def views(op: Op, t: Tensor, attrs: tuple = ()) -> tuple[Tensor, ...]:
    """Run an op whose results are several windows, which may not be written through."""
    outs = op.run((t,), attrs)
    counter = t._count()
    if t._view is not None:
        t._refresh()
    base = t if t._view is None else t._view.base
    if state.grad and t._node is not None and outs:
        node = link(op.node(), (t,), (t._node,), attrs)
        node.outputs = len(outs)  # type: ignore[misc]
        node_outputs(node, outs)
    for out in outs:
        out._counter = counter
        out._view = View(base, counter.count, "multi")
    return outs


def apply_(op: Op, target: Tensor, others: tuple[Tensor, ...] = (), attrs: tuple = (),
           label: str | None = None) -> Tensor:
    """Run `op` on `target` and others, into the memory of `target`; messages call it `label`."""
    inputs = (target, *others)
    recording = False
    counter = target._counter
    if counter is not None and type(counter) is not Counter:
        counter.writing()
    if state.grad:
        for t in inputs:
            if t._node is not None or t._view is not None:
                recording = _check_writable(op, target, others)
                break
    codes: tuple[int, ...] = ()
    if recording:
        for t in inputs:
            if t._view is not None:
                t._refresh()
        following = tuple([t._node for t in inputs])
        codes = op.saves(tuple([n is not None for n in following]), attrs)
        node = link(op.node(), inputs, following, attrs)
        before = _before(target) if 0 in codes else None
        versions = [version(t) for t in inputs]
    try:
        op.run_into(target, others, attrs)
    except NotImplementedError as error:
        _run_into_otherwise(error, op, target, others, attrs)
    finally:
        if target._layout.device is not CPU:
            forget(target._data)
    counter = target._counter
    if counter is None:
        counter = target._counter = Counter()
    counter.bump(label or op.label)
    if recording:
        if codes:
            node.saved = tuple([before if k == 0 else inputs[k] if k > 0 else Saved(target, -1)
                                for k in codes])
            node.versions = tuple([versions[k] if k > 0 else version(v)
                                   for k, v in zip(codes, node.saved)])
            if state.packer is not None:
                pack(node)
        rebase(target, node)
        if state.checker is not None:
            state.checker.forward(node, others, target)
    return target


def _before(target: Tensor) -> Tensor:
    """What a tensor is before a write, history included."""
    copy = target.detach().clone()
    copy._node, copy._port = target._node, target._port
    return copy


def rebase(target: Tensor, node: Node) -> None:
    """Make `node` the history of a tensor that was written to, and of what it is a view of."""
    if target.retains_grad:
        target._node.hooks.retained.pop(target._port, None)
        hooks_of(node).retained[-1] = target._slot
    if target._view is None:
        target._node, target._port = node, -1
        return
    base = target._view.base
    copied = CopySlices()
    copied.inner, copied.window, copied.whole = node, target._layout, base._layout
    link(copied, (base,), (base._node,), ())
    copied.next = (base._node, *node.next[1:])
    copied.ports = (base._port, *node.ports[1:])
    base._node, base._port = copied, -1
    target._view.version = target._counter.count
    target._rebase(base)


class CopySlices(Node):
    """A write into a view, seen from its base: the base's gradient, less what was overwritten.

    Saved values are those of the node of the write itself.
    """

    __slots__ = ("inner", "whole", "window")
    inner: Node
    whole: Layout
    window: Layout

    @property
    def saved(self):  # type: ignore[override]
        return self.inner.saved

    @saved.setter
    def saved(self, value) -> None:
        if value:
            self.inner.saved = value

    @staticmethod
    def back(node: CopySlices, grad: Tensor):
        window, whole = node.window, node.whole
        rest = grad.clone()
        if rest._layout.strides != whole.strides:
            if not whole.dense:
                raise RuntimeError("in-place write through a view of a tensor whose memory has gaps:"
                                   " clone() the tensor before taking the view")
            rest = grad.new_empty(grad.shape).as_strided(whole.shape, whole.strides, 0).copy_(grad)
        part = rest.as_strided(window.shape, window.strides, window.offset - whole.offset)
        inner = node.inner.back(node.inner, part.clone())
        own, *others = inner if type(inner) is tuple else (inner,)
        if own is None:
            part.zero_()
        else:
            part.copy_(own)
        return (rest, *others)


def _check_writable(op: Op, target: Tensor, others: tuple[Tensor, ...]) -> bool:
    """True if the write must be recorded; raises where PyTorch forbids it."""
    wants = target.requires_grad or any(t.requires_grad for t in others)
    view = target._view
    if view is not None and (wants or view.base._node is not None):
        if view.kind != "default":
            view.refuse(target._node, target._port)
        if type(view.base._node) is AccumulateGrad:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an "
                               "in-place operation.")
    if type(target._node) is AccumulateGrad:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place "
                           "operation.")
    return wants and target._layout.dtype.category == 2
