"""Clipping gradients, and parameters as one vector."""

import pytest


def parameters(library, nn):
    layer = nn.Linear(2, 2)
    layer.weight.grad = library.tensor([[3.0, -4.0], [0.0, 12.0]])
    return layer.weight, layer.bias


@pytest.mark.parametrize("norm, expected", [(2.0, 13.0), (1, 19.0), (float("inf"), 12.0)])
def test_clip_norm(library, nn, norm, expected):
    weight, bias = parameters(library, nn)
    total = nn.utils.clip_grad_norm_([weight, bias], 1.0, norm)
    assert total.item() == pytest.approx(expected)
    assert weight.grad.norm(norm).item() == pytest.approx(1.0, abs=1e-4)
    before = weight.grad.tolist()
    nn.utils.clip_grad_norm_(weight, 5.0, norm)
    assert weight.grad.tolist() == before


def test_clip_norm_of_what_is_not_finite(library, nn):
    weight, _ = parameters(library, nn)
    weight.grad[0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        nn.utils.clip_grad_norm_(weight, 1.0, error_if_nonfinite=True)
    nn.utils.clip_grad_norm_(weight, 1.0)
    assert all(v != v for row in weight.grad.tolist() for v in row)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0


def test_clip_value(library, nn):
    weight, bias = parameters(library, nn)
    nn.utils.clip_grad_value_([weight, bias], 3.5)
    assert weight.grad.tolist() == [[3, -3.5], [0, 3.5]]


def test_vector(library, nn):
    weight, bias = parameters(library, nn)
    vector = nn.utils.parameters_to_vector([weight, bias])
    assert vector.shape == (6,) and vector.requires_grad
    nn.utils.vector_to_parameters(library.arange(6.0), [weight, bias])
    assert weight.tolist() == [[0, 1], [2, 3]] and bias.tolist() == [4, 5] and weight.is_leaf
