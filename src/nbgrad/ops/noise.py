"""Activations that draw random numbers."""

from __future__ import annotations

from nbgrad.ops.activations import real
from nbgrad.ops.apply import apply_
from nbgrad.ops.create import empty_like, zeros_like
from nbgrad.ops.elementwise import OPS
from nbgrad.ops.family import expect_float, expect_tensor
from nbgrad.ops.softmax import softmax
from nbgrad.tensor import Tensor


def rrelu(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
          inplace: bool = False) -> Tensor:
    """x where positive, else a * x; in training, a is drawn for each x from lower … upper.

    Otherwise a is their mean. Source: Xu et al. 2015, "Empirical Evaluation of Rectified
    Activations in Convolutional Network".
    """
    low, high = real("rrelu", "lower", lower), real("rrelu", "upper", upper)
    expect_tensor("rrelu", input=input)
    expect_float("rrelu_with_noise_out_cpu" if training else "leaky_relu_cpu", input._layout)
    if low > high:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound, got "
                           f"{low} and {high}")
    if training:
        slope = empty_like(input).uniform_(low, high).masked_fill_(input > 0, 1.0)
        return input.mul_(slope) if inplace else input * slope
    row, mean = OPS["leaky_relu"], ((low + high) / 2,)
    return apply_(row, input, (), mean) if inplace else row.one(input, mean)


def rrelu_(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3,
           training: bool = False) -> Tensor:
    """`rrelu`, in place."""
    return rrelu(input, lower, upper, training, True)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Tensor:
    """softmax((logits + g) / tau) along `dim`, with g drawn from the Gumbel distribution.

    Args:
        hard: one-hot vectors of the largest entry, with the gradient of the softmax.
        eps: without effect, as in PyTorch.

    Source: Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax".
    """
    noise = -empty_like(logits).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.detach().argmax(dim, keepdim=True)
    return zeros_like(soft).scatter_(dim, chosen, 1.0) - soft.detach() + soft


FUNCTIONS = {"rrelu": rrelu, "rrelu_": rrelu_}
