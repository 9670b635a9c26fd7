"""Normalisation against torch."""

import numpy as np
import pytest

N = np.random.default_rng(3).standard_normal
AFFINE = [(True, True), (False, False), (True, False), (False, True)]
SHAPES = [(4, 3, 5, 6), (2, 3, 63), (7, 5), (2, 1, 3), (1, 4, 9), (5, 130)]


def given(shape, weight, bias):
    return [N(shape), *([N(shape[1])] if weight else []), *([N(shape[1])] if bias else [])]


def named(lib, weight, bias, rest):
    """Weight and bias by name; for its second derivatives torch needs a weight and gets ones."""
    names = [n for n, there in (("weight", weight), ("bias", bias)) if there]
    theirs = lib.Tensor.__module__.startswith("torch")
    return ({"weight": lib.ones_like(rest[0].detach())} if theirs and bias and not weight else {}) \
        | dict(zip(names, rest))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weight, bias", AFFINE)
def test_batch_norm_of_a_batch(same, shape, weight, bias):
    def call(lib, x, *rest):
        return lib.batch_norm(x, None, None, training=True, **named(lib, weight, bias, rest))

    same(call, *given(shape, weight, bias))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weight, bias", AFFINE)
@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_of_running_statistics(same, shape, weight, bias, frozen):
    def call(lib, x, mean, var, *rest):
        return lib.batch_norm(x, mean, var, eps=1e-3, **named(lib, weight, bias, rest))

    x, *rest = given(shape, weight, bias)
    grad = [0] if frozen else [0, *range(3, 3 + len(rest))]
    same(call, x, N(shape[1]), np.abs(N(shape[1])) + 0.5, *rest, grad=grad)


def test_batch_norm_with_frozen_parts(same):
    def call(lib, x, w, b):
        return lib.batch_norm(x, None, None, w, b, True)

    for grad in ([0], [1], [2], [0, 2], [1, 2]):
        same(call, N((4, 3, 5)), N(3), N(3), grad=grad)


def test_eval_batch_norm_with_frozen_parts(same):
    def call(lib, x, m, v, w, b):
        return lib.batch_norm(x, m, v, w, b)

    for grad in ([0], [3], [4], [0, 3], [0, 4], [3, 4]):
        same(call, N((4, 3, 5)), N(3), np.abs(N(3)) + 1, N(3), N(3), grad=grad)


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, 0.75])
def test_running_statistics_move(library, same, momentum):
    def call(lib, x, mean, var):
        with lib.no_grad():
            lib.batch_norm(x, mean, var, training=True, momentum=momentum)
        return mean, var

    same(call, N((4, 3, 5)), N(3), np.abs(N(3)), grad=[])
    mean, var = library.zeros(3), library.ones(3)
    library.batch_norm(library.ones(2, 3, requires_grad=True), mean, var, training=True)
    assert mean._version > 0 and var._version > 0
    assert mean.grad_fn is None and not mean.requires_grad


def test_large_mean(same):
    same(lambda lib, x: lib.batch_norm(x, None, None, training=True), N((8, 3, 50)) + 100)
    same(lambda lib, x: lib.layer_norm(x, (50,)), N((8, 3, 50)) + 100)


@pytest.mark.parametrize("shape, inner", [
    ((4, 6), 1), ((2, 3, 5), 2), ((2, 3, 5), 3), ((70, 33), 1), ((7,), 1), ((0, 3), 1)], ids=str)
@pytest.mark.parametrize("weight, bias", AFFINE)
def test_layer_norm(same, shape, inner, weight, bias):
    own = shape[-inner:]
    rest = [N(own) for there in (weight, bias) if there]
    same(lambda lib, x, *rest: lib.layer_norm(x, own, **named(lib, weight, bias, rest)), N(shape),
         *rest)


def test_layer_norm_with_frozen_parts(same):
    for grad in ([0], [1], [2], [0, 1], [1, 2]):
        same(lambda lib, x, w, b: lib.layer_norm(x, (5,), w, b), N((4, 5)), N(5), N(5), grad=grad)


@pytest.mark.parametrize("shape, groups", [((2, 4, 5), 2), ((2, 6, 3, 3), 3), ((3, 4), 1)], ids=str)
def test_group_norm(same, shape, groups):
    same(lambda lib, x, w, b: lib.group_norm(x, groups, w, b), N(shape), N(shape[1]), N(shape[1]))
    same(lambda lib, x: lib.group_norm(x, groups), N(shape))


def test_instance_norm(same):
    x, w, b = N((2, 3, 4, 5)), N(3), N(3)
    same(lambda lib, x, w, b: lib.instance_norm(x, weight=w, bias=b), x, w, b)

    def running(lib, x, mean, var):
        y = lib.instance_norm(x, mean, var)
        return y, mean, var

    same(running, x, N(3), np.abs(N(3)), grad=[0])


@pytest.mark.parametrize("eps", [None, 1e-2])
def test_rms_norm(same, eps):
    same(lambda lib, x, w: lib.rms_norm(x, (3, 5), w, eps), N((2, 3, 5)), N((3, 5)))
    same(lambda lib, x: lib.rms_norm(x, (5,), eps=eps), N((2, 5)))


def test_strides(same):
    x = N((2, 5, 6, 3)).transpose(0, 3, 1, 2)
    same(lambda lib, x: lib.batch_norm(x, None, None, training=True), x)
    same(lambda lib, x: lib.layer_norm(x, x.shape[2:]), x)


def test_only_what_is_needed_is_saved(saved):
    shape, c = (4, 3, 5), (3,)

    def train(lib, x, w, b):
        return lib.batch_norm(x, None, None, w, b, True)

    def evaluate(lib, x, m, v, w, b):
        return lib.batch_norm(x, m, v, w, b)

    def layer(lib, x, w, b):
        return lib.layer_norm(x, (5,), w, b)

    assert saved(train, N(shape), N(c), N(c), grad=[2]) == []
    assert saved(train, N(shape), N(c), N(c), grad=[1]) == [shape, c, c]
    assert saved(train, N(shape), N(c), N(c), grad=[0]) == [shape, c, c, c]
    assert saved(evaluate, N(shape), N(c), N(c) ** 2, N(c), N(c), grad=[0]) == [c, c]
    assert saved(evaluate, N(shape), N(c), N(c) ** 2, N(c), N(c), grad=[4]) == []
    assert saved(layer, N((4, 5)), N(5), N(5), grad=[2]) == []


def test_node_names(library):
    x = library.from_numpy(N((2, 3))).requires_grad_()
    y = library.batch_norm(x, None, None, training=True)
    assert y.grad_fn.name() == "NativeBatchNormBackward0"
    assert library.layer_norm(x, (3,)).grad_fn.name() == "NativeLayerNormBackward0"


ERRORS = [
    "batch_norm(z(1, 3, 1, 1), None, None, training=True)", "batch_norm(z(2, 3), None, None)",
    "batch_norm(z(2, 3, 2, 2), z(4), z(3))", "batch_norm(z(2, 3), z(3), z(3), z(4))",
    "batch_norm(z(2, 3), z(3), z(3), z(3), z(4))", "batch_norm(z(3), z(3), z(3))",
    "batch_norm(z(2, 3, dtype=d), z(3), z(3), z(3), z(3))",
    "batch_norm(z(2, 3).long(), z(3), z(3), z(3), z(3))", "layer_norm(z(2, 3), (4,))",
    "layer_norm(z(2, 3), ())", "layer_norm(z(2, 3), (3,), z(4))", "layer_norm(z(2, 3), 3)",
    "layer_norm(z(2, 3), (3,), z(3), z(4))", "layer_norm(z(2, 3, dtype=d), (3,), z(3), z(3))",
    "group_norm(z(2, 3, 2), 2)", "group_norm(z(2, 4, 2), 2, z(3))", "rms_norm(z(2, 3), (4,))",
    "instance_norm(z(2, 3, 1))",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros, "d": lib.float64}))
