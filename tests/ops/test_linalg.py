"""Matrices without an inverse, factor or solution; gradients where they are not unique."""

import numpy as np
import pytest

import nbgrad
from nbgrad import linalg

SINGULAR = [[1.0, 2.0], [2.0, 4.0]]
FINE = [[2.0, 1.0], [1.0, 2.0]]


def test_error_is_a_runtime_error():
    assert issubclass(linalg.LinAlgError, RuntimeError)


@pytest.mark.parametrize("call, message", [
    (lambda a: linalg.inv(a), "linalg.inv: The diagonal element 2 is zero, the inversion could"),
    (lambda a: linalg.inv(nbgrad.stack([nbgrad.tensor(FINE), a])),
     r"linalg.inv: \(Batch element 1\): The diagonal element 2 is zero"),
    (lambda a: linalg.inv_ex(a, check_errors=True), "linalg.inv_ex: The diagonal element 2"),
    (lambda a: nbgrad.inverse(a * 0), "The diagonal element 1 is zero"),
    (lambda a: linalg.solve(a, a), "linalg.solve: The solver failed because the input matrix is"),
    (lambda a: linalg.solve_ex(a, a, check_errors=True), "The solver failed"),
    (lambda a: linalg.cholesky(a - 1), "leading minor of order 1 is not positive-definite"),
    (lambda a: linalg.cholesky(-nbgrad.stack([-nbgrad.tensor(FINE), a])),
     r"\(Batch element 1\): .* order 1 is not"),
    (lambda a: linalg.cholesky(nbgrad.tensor([[1.0, 0.0], [2.0, 1.0]])), "order 2 is not"),
    (lambda a: linalg.cholesky_ex(-a, check_errors=True), "order 1 is not"),
    (lambda a: linalg.matrix_power(a, -1), "is singular"),
])
def test_refused(call, message):
    with pytest.raises(linalg.LinAlgError, match=message):
        call(nbgrad.tensor(SINGULAR))


def test_the_other_matrices_of_a_stack_are_computed():
    stack = nbgrad.tensor([SINGULAR, FINE])
    inverse, info = linalg.inv_ex(stack)
    assert info.tolist() == [2, 0]
    np.testing.assert_allclose((inverse[1] @ stack[1]).numpy(), np.eye(2), atol=1e-6)
    solution, info = linalg.solve_ex(stack, stack)
    assert info.tolist() == [2, 0]
    np.testing.assert_allclose(solution[1].numpy(), np.eye(2), atol=1e-6)
    factor, info = linalg.cholesky_ex(stack - 1)
    assert info.tolist() == [1, 0]
    assert bool(factor[0].isnan().all()) and factor[1].tolist() == [[1, 0], [0, 1]]


def test_gradient_of_a_vanishing_determinant():
    """The cofactors, where PyTorch gives zeros for a matrix of rank n - 1."""
    a = nbgrad.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 1.0]], dtype=nbgrad.float64,
                      requires_grad=True)
    nbgrad.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[-2, -2, 2], [1, 1, -1], [0, 0, 0]], atol=1e-12)


def test_what_decompositions_multiply_to():
    random = np.random.default_rng(1)
    for shape in ((5, 3), (2, 3, 5), (4, 4), (0, 3)):
        a = nbgrad.from_numpy(random.standard_normal(shape))
        for mode in ("reduced", "complete"):
            q, r = linalg.qr(a, mode)
            np.testing.assert_allclose((q @ r).numpy(), a.numpy(), atol=1e-12)
        u, s, vh = linalg.svd(a, full_matrices=False)
        np.testing.assert_allclose(((u * s.unsqueeze(-2)) @ vh).numpy(), a.numpy(), atol=1e-12)
