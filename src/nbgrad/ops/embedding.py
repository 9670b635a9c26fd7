"""Rows of a table by index, and one-hot vectors."""

from __future__ import annotations

import numpy as np

from nbgrad import dtypes
from nbgrad.kernels.backend import Twins
from nbgrad.ops.apply import apply
from nbgrad.ops.family import expect_tensor, saved
from nbgrad.ops.op import Op
from nbgrad.tensor import Tensor

kernels = Twins("index")


class Embedding(Op):
    """The rows idx (...) of a table (n, d), as (..., d); row `padding` gets no gradient."""

    name = "Embedding"

    def forward(self, weight, idx, padding):
        rows = kernels.take_rows(weight[None], idx.reshape(-1).astype(np.int64, copy=False))
        return rows.reshape(idx.shape + weight.shape[1:])

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        n = node.layouts[0].shape[0]
        return apply(EMBEDDING_BACKWARD, (grad, saved(node)[1]), (n, *node.attrs)), None


class EmbeddingBackward(Op):
    """Rows added at their indices in a table of n rows of zeros, but for those of `padding`."""

    name = "EmbeddingDenseBackward"

    def forward(self, grad, idx, n, padding):
        idx = idx.reshape(-1).astype(np.int64, copy=False)
        rows = grad.reshape(idx.size, grad.shape[-1])
        if padding is not None:
            rows, idx = rows[idx != padding], idx[idx != padding]
        return kernels.add_rows(rows[None], idx, n)[0]

    def saves(self, needs, attrs):
        return (1,)

    def backward(self, node, grad):
        _, padding = node.attrs
        idx = saved(node)[1]
        rows = apply(EMBEDDING, (grad, idx), (padding,))
        if padding is not None:
            rows = rows.masked_fill((idx == padding).unsqueeze(-1), 0.0)
        return rows, None


class OneHot(Op):
    """A 1 in the place idx tells, among `classes` zeros."""

    name = "OneHot"

    def forward(self, idx, classes):
        return (idx[..., None] == np.arange(classes)).astype(np.int64)


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
    flat = np.ascontiguousarray(input._array()).reshape(-1)
    if kernels.first_out_of_range(flat, 0, n) >= 0:
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
    idx = tensor._array()
    if idx.size == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if idx.size and idx.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    classes = int(idx.max()) + 1 if num_classes == -1 else num_classes
    if idx.size and idx.max() >= classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return apply(ONE_HOT, (tensor,), (classes,))


FUNCTIONS = {"embedding": embedding}
