"""Convolutions against torch."""

import numpy as np
import pytest

from nbgrad.kernels.cpu import conv as kernels

N = np.random.default_rng(1).standard_normal

# x, w, options of conv2d
CASES = [
    ((2, 3, 8, 9), (4, 3, 3, 3), {}),
    ((2, 3, 8, 9), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 4, 7, 7), (6, 2, 3, 2), {"padding": (2, 1), "groups": 2, "dilation": (1, 2)}),
    ((2, 6, 9, 5), (6, 1, 3, 3), {"stride": (2, 1), "padding": 1, "groups": 6}),
    ((1, 2, 6, 6), (3, 2, 4, 2), {"padding": "same"}),
    ((1, 2, 7, 6), (3, 2, 4, 3), {"padding": "same", "dilation": (1, 3)}),
    ((1, 2, 6, 6), (3, 2, 3, 3), {"padding": "valid", "stride": 3}),
    ((3, 5, 1, 1), (2, 5, 1, 1), {}),
    ((0, 2, 5, 5), (3, 2, 3, 3), {"padding": 1}),
    ((2, 5, 5), (3, 2, 3, 3), {"padding": 1}),
    ((1, 17, 13, 11), (33, 17, 1, 1), {}),
    ((1, 3, 19, 17), (8, 3, 7, 7), {"stride": 2, "padding": 3}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own remark
@pytest.mark.parametrize("x, w, options", CASES, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_conv2d(same, x, w, options, bias):
    given = [N(x), N(w), *([N(w[0])] if bias else [])]
    same(lambda lib, *tensors: lib.conv2d(*tensors, **options), *given)


def test_strides(same):
    same(lambda lib, x, w: lib.conv2d(x, w, padding=1), N((2, 6, 5, 3)).transpose(0, 3, 1, 2),
         N((3, 4, 3, 3)).swapaxes(0, 1))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("x, w, options", [
    ((2, 3, 9), (4, 3, 3), {"padding": 1}), ((4, 9), (4, 2, 3), {"groups": 2, "stride": 2}),
    ((2, 3, 9), (4, 3, 4), {"padding": "same"}), ((2, 3, 9), (4, 3, 3), {"dilation": 2}),
], ids=str)
def test_conv1d(same, x, w, options):
    same(lambda lib, x, w, b: lib.conv1d(x, w, b, **options), N(x), N(w), N(w[0]))


@pytest.mark.parametrize("x, w, options", [
    ((2, 3, 5, 4), (3, 4, 3, 3), {}), ((3, 5, 4), (3, 4, 3, 3), {}),
    ((2, 3, 5, 4), (3, 4, 3, 2), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 4, 3, 3), (4, 2, 2, 3), {"groups": 2, "dilation": 2, "stride": (1, 2)}),
], ids=str)
def test_conv_transpose2d(same, x, w, options):
    channels = w[1] * options.get("groups", 1)
    same(lambda lib, x, w, b: lib.conv_transpose2d(x, w, b, **options), N(x), N(w), N(channels))


def test_only_what_is_needed_is_saved(saved):
    x, w, b = (1, 2, 5, 5), (3, 2, 3, 3), (3,)

    def call(lib, *tensors):
        return lib.conv2d(*tensors)

    assert saved(call, N(x), N(w), N(b), grad=[0]) == [w]
    assert saved(call, N(x), N(w), N(b), grad=[1]) == [x]
    assert saved(call, N(x), N(w), N(b), grad=[2]) == []
    assert saved(call, N(x), N(w)) == [x, w]


def test_only_what_is_needed_is_computed(library, monkeypatch):
    monkeypatch.setattr(kernels, "conv2d_input", None)
    x, w = library.from_numpy(N((1, 2, 5, 5))), library.from_numpy(N((3, 2, 3, 3)))
    y = library.conv2d(x, w.requires_grad_())
    assert y.grad_fn.name() == "ConvolutionBackward0"
    y.sum().backward()
    assert w.grad.shape == w.shape


ERRORS = [
    "conv2d(z(4, 3, 32, 32), z(16, 8, 3, 3))", "conv2d(z(4, 8, 2, 2), z(16, 8, 3, 3))",
    "conv2d(z(4, 8, 2, 2), z(16, 8, 3, 3), padding='same', stride=2)",
    "conv2d(z(4, 8, 2, 2), z(16, 8, 3, 3), padding='foo')", "conv2d(z(4, 8), z(16, 8, 3, 3))",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), z(4))",
    "conv2d(z(4, 8, 4, 4), z(16, 4, 3, 3), groups=3)",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), stride=0)", "conv2d(z(4, 8, 0, 4), z(16, 8, 1, 1))",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), padding=-1)",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), dilation=0)",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3, dtype=d))", "conv2d(z(4, 8, 4, 4), z(16, 8, 3))",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), z(16, dtype=d))",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), stride=(1, 2, 3))",
    "conv2d(z(4, 8, 4, 4), z(16, 8, 3, 3), groups=0)", "conv1d(z(4, 8, 4, 4), z(16, 8, 3))",
    "conv_transpose2d(z(4, 8, 4, 4), z(7, 8, 3, 3))",
    "conv_transpose2d(z(4, 8, 4, 4), z(8, 8, 3, 3), output_padding=1)",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(same_error, text):
    start = "Input type (" if "dtype=d" in text else None  # torch's text goes on about MKLDNN
    same_error(lambda lib: eval(text, vars(lib) | {"z": lib.zeros, "d": lib.float64}), start)
