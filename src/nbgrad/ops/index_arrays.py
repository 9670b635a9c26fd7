"""Reading and writing at index arrays; attrs hold (first indexed axis, an array for each axis)."""

from __future__ import annotations

import math

import numpy as np

from nbgrad import config
from nbgrad.devices import CPU
from nbgrad.kernels import memory
from nbgrad.kernels.backend import Twins
from nbgrad.kernels.cpu.index_rows import look_up, look_up_launch, put_rows
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout, layout
from nbgrad.ops.apply import apply, apply_
from nbgrad.ops.elementwise import reduce_to
from nbgrad.ops.op import Op, wrap
from nbgrad.tensor import Tensor

kernels, layouts = Twins("index"), Twins("layouts")


def beside(t: Tensor, array):
    """An array that lies on the device of a tensor."""
    place = t._layout.device
    if isinstance(array, np.ndarray):
        return array if place is CPU else memory.on(place).upload(array)
    if place is CPU:
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed "
                           "tensor (cpu)")
    return array


def inside(own: tuple[int, ...], d: int, idx: np.ndarray, axis: int) -> np.ndarray:
    """Indices, all of them inside an axis, made to count from its start."""
    n = own[d]
    if kernels.settle(idx, n):
        bad = layouts.number(idx, kernels.first_out_of_range(idx, -n, n))
        raise IndexError(f"index {bad} is out of bounds for dimension {axis} with size {n}")
    return idx


def spread(array, shape: tuple[int, ...]):
    """An array broadcast to a shape."""
    return array if array.shape == shape else layouts.spread(array, shape)


def index_shape(t: Tensor, indexing: tuple) -> tuple[int, ...]:
    """The shape of what is read from a tensor at index arrays."""
    lead, indices = indexing
    own = t._layout.shape
    return own[:lead] + indices[0].shape + own[lead + len(indices):]


def _rows(shape: tuple[int, ...], indexing: tuple) -> tuple[tuple[int, int, int], np.ndarray]:
    """A contiguous array's shape as (outer, n, inner) with the indexed axes as one; places on it."""
    lead, indices = indexing
    last = lead + len(indices)
    return ((math.prod(shape[:lead]), math.prod(shape[lead:last]), math.prod(shape[last:])),
            kernels.joint_places(indices[0], indices[1:], shape[lead + 1:last]))


def _offsets(shape, strides, offset: int, indexing: tuple) -> np.ndarray:
    """The storage position of every element of the indexing result."""
    lead, indices = indexing
    places = sum(i * strides[lead + k] for k, i in enumerate(indices))
    rank = len(shape) - len(indices)
    places = (places + offset).reshape((1,) * lead + indices[0].shape
                                       + (1,) * (rank - lead))
    rest = [*range(lead), *range(lead + len(indices), len(shape))]
    for j, axis in enumerate(rest):
        position = axis if j < lead else j + indices[0].ndim
        extent = [1] * places.ndim
        extent[position] = shape[axis]
        places = places + (np.arange(shape[axis], dtype=np.int64) * strides[axis]).reshape(extent)
    return np.ascontiguousarray(places)


class Index(Op):
    """Entries at index arrays."""

    name = "Index"

    def run(self, inputs, attrs) -> Tensor:
        (t,) = inputs
        own = t._layout
        if not own.contiguous and own.device is CPU:
            lead, indices = attrs
            return wrap(t._array()[(slice(None),) * lead + indices])
        rows, places = _rows(own.shape, attrs)
        found = kernels.take_rows(layouts.contiguous(t._array()).reshape(rows), places)
        return wrap(found.reshape(index_shape(t, attrs)))

    def backward(self, node, grad):
        return apply(INDEX_ADD_ZEROS, (grad,), (node.layouts[0].shape, *node.attrs))


class LookUp(Index):
    """Rows of a contiguous tensor at an index array, which is checked, and counts from 0 afterwards."""

    def __init__(self) -> None:
        self.plans: dict[tuple, tuple] = {}
        super().__init__()

    def run(self, inputs, attrs) -> Tensor:
        (t,), (_, (idx,)) = inputs, attrs
        own, data = t._layout, t._data
        key = (own, idx.shape)
        found, size, launch, n, inner = self.plans.get(key) or remember(
            self.plans, key, self._plan(own, idx))
        if launch is None:
            run = look_up if own.device is CPU else kernels.look_up
            out, outside = run(data, own.offset, n, inner, idx.reshape(-1))
        else:
            out = np.empty(size, data.dtype)
            outside = launch(data, own.offset, n, inner, idx.reshape(-1), out)
        if outside:
            inside(own.shape, 0, idx, 0)
        return Tensor(out, found)

    def _plan(self, own: Layout, idx) -> tuple:
        """The result's layout and size, the launch if that is small, the rows and their entries."""
        n, rest = own.shape[0], own.shape[1:]
        found = layout(own.dtype, idx.shape + rest, None, 0, own.device)
        small = own.device is CPU and found.numel < config.PARALLEL_THRESHOLD
        launch = look_up_launch(False, own.dtype.storage) if small else None
        return found, found.numel, launch, n, math.prod(rest)


class IndexAddZeros(Op):
    """Zeros with values added at index arrays: the adjoint of Index."""

    name = "IndexBackward"

    def forward(self, grad, shape, *indexing):
        rows, places = _rows(shape, indexing)
        values = layouts.contiguous(grad).reshape(rows[0], places.size, rows[2])
        return kernels.add_rows(values, places, rows[1]).reshape(shape)

    def backward(self, node, grad):
        _, *indexing = node.attrs
        return apply(INDEX, (grad,), tuple(indexing))


class IndexPut(Op):
    """In place: values written (or added) at index arrays."""

    name = "IndexPut"
    label = "index_put_"

    def run_into(self, target, others, attrs) -> None:
        indexing, accumulate = attrs
        own = target._layout
        values = spread(beside(target, others[0]._array()), index_shape(target, indexing))
        if others[0]._data is target._data:
            values = layouts.copied(values)
        if own.contiguous or own.device is not CPU:
            rows, places = _rows(own.shape, indexing)
            values = layouts.contiguous(values).reshape(rows[0], places.size, rows[2])
            def write(t):
                if accumulate:
                    kernels.reduce_rows(t, places, values, "sum")
                else:
                    kernels.put_rows(t, places, values)

            layouts.changed(target._array(), rows, write)
        else:
            places = _offsets(own.shape, own.strides, own.offset, indexing)
            run = kernels.add_flat if accumulate else kernels.put_flat
            run(target._data, places, values)

    def backward(self, node, grad):
        indexing, accumulate = node.attrs
        own, value = node.next[0], node.next[1]
        gv = None
        if value is not None:
            gv = reduce_to(apply(INDEX, (grad,), indexing), node.layouts[1])
        if own is not None and not accumulate:
            grad = grad.clone()
            apply_(self, grad, (grad.new_zeros(()),), (indexing, False))
        return (None if own is None else grad), gv


class PutRows(Op):
    """In place, unrecorded: a number or values at places on the first axes taken as one."""

    name = "PutRows"

    def run_into(self, target, others, attrs) -> None:
        own, (count, places) = target._layout, attrs
        inner = math.prod(own.shape[count:])
        values = others[0]._array()
        if others[0]._data is target._data:
            values = layouts.copied(values)
        at = (1, places.size, inner)
        put_rows(target._stored().reshape(1, -1, inner), places.reshape(-1),
                 values.reshape(at) if values.shape else layouts.spread(values, at))


PUT_ROWS = PutRows()
INDEX, LOOK_UP, INDEX_ADD_ZEROS, INDEX_PUT = Index(), LookUp(), IndexAddZeros(), IndexPut()
