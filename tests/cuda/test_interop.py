"""Memory shared with other libraries by DLPack and `__cuda_array_interface__`."""

import copy
import gc
import sys

import numpy as np
import pytest

import nbgrad

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64"]


class Producer:
    """A tensor as an object of another library, with what it was asked for."""

    def __init__(self, tensor, versions=True):
        self.tensor, self.versions, self.asked = tensor, versions, {}

    def __dlpack__(self, **options):
        if not self.versions and "max_version" in options:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.asked = options
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


class Interface:
    """An object with `__cuda_array_interface__` alone."""

    def __init__(self, tensor, **changed):
        self.tensor = tensor
        self.__cuda_array_interface__ = tensor.__cuda_array_interface__ | changed


def sample(dtype="float32"):
    return nbgrad.arange(12, device="cuda").reshape(3, 4).to(getattr(nbgrad, dtype))


@pytest.mark.parametrize("versions", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_of_every_dtype(dtype, versions):
    x = sample(dtype)
    source = Producer(x, versions)
    y = nbgrad.from_dlpack(source)
    assert y.is_cuda and y.dtype is x.dtype and y.shape == x.shape and y.data_ptr() == x.data_ptr()
    assert (y == x).all()
    assert source.asked["stream"] == 1 and ("max_version" in source.asked) == versions


@pytest.mark.parametrize("window", ["x.t()", "x[1]", "x[:, 1::2]", "x[1, 2]", "x[:0]",
                                    "x[::2].unsqueeze(1)", "x[:1].expand(5, 4)"])
@pytest.mark.parametrize("share", [lambda t: nbgrad.from_dlpack(Producer(t)),
                                   lambda t: nbgrad.from_dlpack(t.__dlpack__()),
                                   lambda t: nbgrad.as_tensor(Interface(t), device="cuda")])
def test_windows_are_shared_both_ways(window, share):
    x = sample()
    part = eval(window)
    y = share(part)
    assert y.shape == part.shape and y.tolist() == part.tolist()
    if part.numel():
        assert y.data_ptr() == part.data_ptr()
        x.add_(1)
        assert y.tolist() == part.tolist()


def test_dlpack_names_the_device():
    assert sample().__dlpack_device__() == (2, 0) and sample().cpu().__dlpack_device__() == (1, 0)


@pytest.mark.parametrize("share", [lambda t: t.__dlpack__(), lambda t: t.__dlpack__(max_version=(1, 0)),
                                   lambda t: nbgrad.from_dlpack(Producer(t))])
def test_what_is_shared_keeps_the_memory_until_it_ends(share):
    gc.collect()
    before = nbgrad.cuda.memory_allocated()
    x = nbgrad.zeros(1000, device="cuda")
    held = share(x)
    del x
    assert nbgrad.cuda.memory_allocated() > before
    del held
    gc.collect()
    assert nbgrad.cuda.memory_allocated() == before


def test_an_interface_keeps_its_owner():
    owner = Interface(sample())
    count = sys.getrefcount(owner)
    y = nbgrad.as_tensor(owner, device="cuda")
    assert sys.getrefcount(owner) > count
    del y
    assert sys.getrefcount(owner) == count


def test_dlpack_across_devices_and_copies():
    x = sample()
    assert np.from_dlpack(x.cpu()).tolist() == x.tolist()
    assert nbgrad.from_dlpack(x.__dlpack__(dl_device=(1, 0))).tolist() == x.tolist()
    other = nbgrad.from_dlpack(x.__dlpack__(copy=True))
    assert other.data_ptr() != x.data_ptr() and (other == x).all()


@pytest.mark.parametrize(("call", "error"), [
    (lambda x: x.requires_grad_().__dlpack__(), BufferError),
    (lambda x: x.__dlpack__(stream=0), BufferError),
    (lambda x: x.__dlpack__(dl_device=(1, 0), copy=False), BufferError),
    (lambda x: x.cpu().__dlpack__(stream=1), BufferError),
    (lambda x: x.requires_grad_().__cuda_array_interface__, RuntimeError),
    (lambda x: x.bfloat16().__cuda_array_interface__, TypeError),
    (lambda x: x.cpu().__cuda_array_interface__, AttributeError),
    (lambda x: nbgrad.as_tensor(Interface(x, typestr="<c8")), TypeError),
    (lambda x: nbgrad.as_tensor(Interface(x, typestr=">f4")), TypeError),
    (lambda x: nbgrad.as_tensor(Interface(x, strides=(-16, 4))), ValueError),
    (lambda x: nbgrad.as_tensor(Interface(x, strides=(7, 4))), ValueError),
    (lambda x: nbgrad.as_tensor(Interface(x, mask=x)), TypeError),
])
def test_refusals(call, error):
    with pytest.raises(error):
        call(sample())
    assert not hasattr(nbgrad.ones(2), "__cuda_array_interface__")


def test_interface_says_where_and_how():
    x = sample()
    told = x.__cuda_array_interface__
    assert told == {"shape": (3, 4), "typestr": "<f4", "data": (x.data_ptr(), False), "version": 3,
                    "strides": None, "stream": 1}
    assert x.t().__cuda_array_interface__["strides"] == (4, 16)
    assert sample("float16").__cuda_array_interface__["typestr"] == "<f2"
    side = nbgrad.cuda.Stream()
    with side:
        assert x.__cuda_array_interface__["stream"] == side.cuda_stream


def test_memory_that_may_not_be_written_is_copied():
    x = sample()
    y = nbgrad.as_tensor(Interface(x, data=(x.data_ptr(), True)))
    assert y.data_ptr() != x.data_ptr() and (y == x).all()


@pytest.mark.parametrize(("make", "shared", "place"), [
    (lambda o: nbgrad.as_tensor(o), True, "cuda"),
    (lambda o: nbgrad.asarray(o), True, "cuda"),
    (lambda o: nbgrad.tensor(o), False, "cuda"),
    (lambda o: nbgrad.as_tensor(o, device="cpu"), False, "cpu"),
    (lambda o: nbgrad.as_tensor(o, dtype=nbgrad.float64), False, "cuda")])
def test_functions_that_take_an_interface(make, shared, place):
    x = sample()
    y = make(Interface(x))
    assert (y.data_ptr() == x.data_ptr()) == shared and y.device.type == place
    assert y.tolist() == x.tolist()


def test_shared_memory_takes_part_in_autograd_and_copies():
    x = sample()
    y = nbgrad.from_dlpack(Producer(x)).requires_grad_()
    (y * y).sum().backward()
    assert y.grad.tolist() == (2 * x).tolist()
    z = copy.deepcopy(y)
    assert z.data_ptr() != y.data_ptr() and (z == y).all()


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_with_another_library(library):
    other = pytest.importorskip(library)
    if library == "torch" and not other.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    x = sample()
    there = other.from_dlpack(x)
    there += 1
    assert x.tolist()[0] == [1, 2, 3, 4]
    back = nbgrad.from_dlpack(there)
    assert back.data_ptr() == x.data_ptr()
    assert nbgrad.as_tensor(there, device="cuda").data_ptr() == x.data_ptr()
    seen = other.asarray(x.t()) if library == "cupy" else other.as_tensor(x.t(), device="cuda")
    assert seen.tolist() == x.t().tolist()
