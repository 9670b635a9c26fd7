"""Rows of a table by index, and one-hot vectors."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_tensor, saved
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor

kernels, layouts = Twins("index"), Twins("layouts")


class Embedding(Op):
    """The rows idx (...) of a table (n, d), as (..., d); row `padding` gets no gradient."""

    name = "Embedding"

    def forward(self, weight, idx, padding):
        found = kernels.take_rows(layouts.contiguous(weight).reshape(1, *weight.shape), _vector(idx))
        return found.reshape(idx.shape + weight.shape[1:])

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        n = node.layouts[0].shape[0]
        return apply(EMBEDDING_BACKWARD, (grad, saved(node)[1]), (n, *node.attrs)), None


class EmbeddingBackward(Op):
    """Rows added at their indices in a table of n rows of zeros, but for those of `padding`."""

    name = "EmbeddingDenseBackward"

    def forward(self, grad, idx, n, padding):
        width = grad.shape[-1]
        rows = layouts.contiguous(grad).reshape(1, idx.size, width)
        found = kernels.add_rows(rows, _vector(idx), n).reshape(n, width)
        if padding is not None:
            layouts.clear(found, padding)
        return found

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        _, padding = node.attrs
        idx = saved(node)[1]
        rows = apply(EMBEDDING, (grad, idx), (padding,))
        if padding is not None:
            rows = rows.masked_fill((idx == padding).unsqueeze(-1), 0.0)
        return rows, None


def _vector(idx):
    return layouts.cast(layouts.contiguous(idx), np.int64).reshape(-1)


class OneHot(Op):
    """A 1 in the place idx tells, among `classes` zeros."""

    name = "OneHot"

    def forward(self, idx, classes):
        return kernels.one_hot(idx, classes)


EMBEDDING, EMBEDDING_BACKWARD, ONE_HOT = Embedding(), EmbeddingBackward(), OneHot()


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """The rows `input` (...) of `weight` (n, d), as (..., d).

    Args:
        padding_idx: a row that gets no gradient; may be negative.

    Example:
        >>> import nbgrad
        >>> embedding(nbgrad.tensor([0, 2]), nbgrad.eye(3))
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
    """
    expect_tensor("embedding", input=input, weight=weight)
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError("embedding: max_norm, scale_grad_by_freq and sparse are not "
                                  "supported; renormalise or scale the weight yourself")
    idx, table = input._layout, weight._layout
    if len(table.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    if idx.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got torch.{idx.dtype.legacy}Tensor instead (while checking arguments "
            "for embedding)")
    n = table.shape[0]
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= n
    if kernels.first_out_of_range(input._stored(), 0, n) >= 0:
        raise IndexError("index out of range in self")
    return apply(EMBEDDING, (weight, input), (padding_idx,))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integers (...) as vectors (..., num_classes) of zeros with a single 1.

    Args:
        num_classes: one more than the largest entry where negative.
    """
    expect_tensor("one_hot", tensor=tensor)
    if tensor._layout.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if tensor._layout.numel == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if num_classes > 0 and kernels.first_out_of_range(tensor._stored(), 0, num_classes) < 0:
        return apply(ONE_HOT, (tensor,), (num_classes,))
    low, high = map(int, kernels.span(tensor._stored()))
    if low < 0:
        raise RuntimeError("Class values must be non-negative.")
    classes = high + 1 if num_classes == -1 else num_classes
    if high >= classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return apply(ONE_HOT, (tensor,), (classes,))


FUNCTIONS = {"embedding": embedding}
