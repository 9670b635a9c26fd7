"""Random numbers on the device: those of the CPU for the same seed."""

import numpy as np
import pytest

import nbgrad
import nbgrad.nn.functional as F

N = 41

#: name: (draw on a device, units in the last place that may differ)
DRAWS = {
    "rand": (lambda d: nbgrad.rand(N, device=d), 0),
    "rand, doubles": (lambda d: nbgrad.rand(3, 7, dtype=nbgrad.float64, device=d), 0),
    "rand, halves": (lambda d: nbgrad.rand(N, dtype=nbgrad.float16, device=d).float(), 0),
    "rand, none": (lambda d: nbgrad.rand(0, 3, device=d), 0),
    "uniform_": (lambda d: nbgrad.empty(N, device=d).uniform_(-3, 5), 0),
    "uniform_, strided": (lambda d: nbgrad.zeros(6, 8, device=d)[:, ::3].uniform_(1, 2), 0),
    "randn": (lambda d: nbgrad.randn(N, device=d), 2),
    "randn, doubles": (lambda d: nbgrad.randn(N, dtype=nbgrad.float64, device=d), 2),
    "randn_like": (lambda d: nbgrad.randn_like(nbgrad.ones(4, 5, device=d).T), 2),
    "normal_": (lambda d: nbgrad.empty(N, device=d).normal_(100, 3), 2),
    "normal": (lambda d: nbgrad.normal(nbgrad.ones(3, 1, device=d), nbgrad.ones(4, device=d)), 2),
    "normal, one": (lambda d: nbgrad.normal(2.0, nbgrad.ones(4, 3, device=d)), 2),
    "randint": (lambda d: nbgrad.randint(-5, 7, (N,), device=d), 0),
    "randint, rejecting": (lambda d: nbgrad.randint(0, 2**24 - 1, (N,), device=d), 0),
    "randint, wide": (lambda d: nbgrad.randint(-2**62, 2**62 + 2**61, (N,), device=d), 0),
    "randint, small": (lambda d: nbgrad.randint(0, 200, (N,), dtype=nbgrad.uint8, device=d), 0),
    "random_": (lambda d: nbgrad.empty(N, device=d).random_(), 0),
    "random_, bool": (lambda d: nbgrad.empty(N, dtype=nbgrad.bool, device=d).random_(), 0),
    "randperm": (lambda d: nbgrad.randperm(N, device=d), 0),
    "randperm, few": (lambda d: nbgrad.cat([nbgrad.randperm(n, device=d) for n in range(5)]), 0),
    "randperm, floats": (lambda d: nbgrad.randperm(300, dtype=nbgrad.float16, device=d).float(), 0),
    "bernoulli_": (lambda d: nbgrad.empty(N, device=d).bernoulli_(0.3), 0),
    "bernoulli_, always": (lambda d: nbgrad.empty(N, device=d).bernoulli_(1.0), 0),
    "bernoulli_, tensor": (lambda d: nbgrad.empty(4, N, device=d).bernoulli_(
        nbgrad.linspace(0, 1, N, device=d)), 0),
    "bernoulli": (lambda d: nbgrad.bernoulli(nbgrad.full((N,), 0.4, device=d)), 0),
    "exponential_": (lambda d: nbgrad.empty(N, device=d).exponential_(2.0), 4),
    "log_normal_": (lambda d: nbgrad.empty(N, dtype=nbgrad.float64, device=d).log_normal_(0, 1), 8),
    "geometric_": (lambda d: nbgrad.empty(N, device=d).geometric_(0.3), 0),
    "poisson": (lambda d: nbgrad.poisson(nbgrad.full((N,), 3.0, device=d)), 0),
    "poisson, any": (lambda d: nbgrad.poisson(nbgrad.linspace(0, 90, 5, device=d).expand(4, 5)), 0),
    "binomial": (lambda d: nbgrad.binomial(nbgrad.linspace(0, 99, 10, device=d),
                                           nbgrad.tensor([[0.0], [0.2], [0.7], [1.0]], device=d)), 0),
    "multinomial": (lambda d: nbgrad.multinomial(nbgrad.linspace(0, 1, N, device=d), 5), 0),
    "multinomial, one": (lambda d: nbgrad.multinomial(nbgrad.ones(3, N, device=d), 1), 0),
    "multinomial, repeated": (lambda d: nbgrad.multinomial(
        nbgrad.linspace(0, 1, 2 * N, device=d).view(2, N), 9, True), 0),
    "dropout": (lambda d: F.dropout(nbgrad.linspace(-1, 1, N, device=d), 0.3), 0),
    "dropout, in place": (lambda d: F.dropout(nbgrad.ones(3, 5, device=d).T, 0.3, inplace=True), 0),
    "dropout2d": (lambda d: F.dropout2d(nbgrad.ones(3, 4, 2, 2, device=d), 0.5), 0),
    "alpha_dropout": (lambda d: F.alpha_dropout(nbgrad.linspace(1, 2, N, device=d), 0.3, True), 2),
}


def drawn(name, device):
    nbgrad.manual_seed(11)
    nbgrad.rand(5, device=device)
    found = DRAWS[name][0](device)
    assert found.device.type == device
    return found.cpu().numpy(), nbgrad.default_generator.get_state().numpy()


@pytest.mark.parametrize("name", DRAWS)
def test_the_numbers_of_the_cpu(name):
    (ours, our_state), (expected, state) = drawn(name, "cuda"), drawn(name, "cpu")
    assert ours.dtype == expected.dtype and np.array_equal(our_state, state)
    if DRAWS[name][1]:
        np.testing.assert_array_max_ulp(ours, expected, DRAWS[name][1], ours.dtype)
    else:
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("drop", [F.dropout, F.alpha_dropout])
def test_the_gradient_of_dropout_has_its_mask(drop):
    x = nbgrad.ones(N, device="cuda", requires_grad=True)
    y = drop(x, 0.4, True)
    y.sum().backward()
    kept = y.detach() > 1 if drop is F.dropout else y.detach() > 0
    assert np.array_equal(x.grad.cpu().numpy() != 0, kept.cpu().numpy())
