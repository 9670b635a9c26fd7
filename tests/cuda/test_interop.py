"""Memory shared with other libraries by DLPack and `__cuda_array_interface__`."""

import copy
import ctypes
import gc
import sys

import numpy as np
import pytest

import nbgrad
from nbgrad.kernels.cuda.provider import SIMULATED, machine

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64"]


class Producer:
    """A tensor as an object of another library, with its own stream, and what it was asked for."""

    def __init__(self, tensor, versions=True):
        self.tensor, self.versions, self.asked = tensor, versions, {}
        self.stream = nbgrad.cuda.current_stream()

    def __dlpack__(self, **options):
        if not self.versions and "max_version" in options:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.asked = options
        with self.stream:
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


@pytest.fixture
def late(monkeypatch):
    """Let the simulator do its work when somebody waits for it."""
    nbgrad.cuda.synchronize()
    if SIMULATED:
        monkeypatch.setattr(machine, "late", True)
    yield
    nbgrad.cuda.synchronize()


@pytest.mark.parametrize("versions", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_of_every_dtype(dtype, versions):
    x = sample(dtype)
    source = Producer(x, versions)
    y = nbgrad.from_dlpack(source)
    assert y.is_cuda and y.dtype is x.dtype and y.shape == x.shape and y.data_ptr() == x.data_ptr()
    assert (y == x).all()
    assert source.asked["stream"] == 1 and ("max_version" in source.asked) == versions


WINDOWS = [lambda x: x.t(), lambda x: x[1], lambda x: x[:, 1::2], lambda x: x[1, 2], lambda x: x[:0],
           lambda x: x[::2].unsqueeze(1), lambda x: x[:1].expand(5, 4)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("share", [lambda t: nbgrad.from_dlpack(Producer(t)),
                                   lambda t: nbgrad.from_dlpack(t.__dlpack__()),
                                   lambda t: nbgrad.as_tensor(Interface(t), device="cuda")])
def test_windows_are_shared_both_ways(window, share):
    x = sample()
    part = window(x)
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
    (lambda x: x.__dlpack__(stream=-2), BufferError),
    (lambda x: x.__dlpack__(dl_device=(1, 0), copy=False), BufferError),
    (lambda x: x.cpu().__dlpack__(stream=1), BufferError),
    (lambda x: x.requires_grad_().__cuda_array_interface__, RuntimeError),
    (lambda x: x.__dlpack__(stream="default"), TypeError),
    (lambda x: nbgrad.from_dlpack(Producer(x), device="cpu", copy=False), ValueError),
    (lambda x: nbgrad.from_dlpack(x.__dlpack__(), copy=True), AssertionError),
    (lambda x: nbgrad.from_dlpack(3), RuntimeError),
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
    for dtype, name in {"float16": "<f2", "bfloat16": "<V2", "bool": "|b1", "int64": "<i8"}.items():
        assert sample(dtype).__cuda_array_interface__["typestr"] == name
    assert x[:0].__cuda_array_interface__["data"] == (0, False)
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


@pytest.mark.parametrize("dtype", DTYPES)
def test_interfaces_of_every_dtype(dtype):
    x = sample(dtype)
    y = nbgrad.as_tensor(Interface(x), device="cuda")
    assert y.dtype is x.dtype and y.data_ptr() == x.data_ptr() and (y == x).all()


@pytest.mark.parametrize(("options", "shared", "place"), [
    ({}, True, "cuda"), ({"device": "cuda"}, True, "cuda"), ({"copy": True}, False, "cuda"),
    ({"copy": False}, True, "cuda"), ({"device": "cpu"}, False, "cpu"),
    ({"device": "cpu", "copy": True}, False, "cpu")])
@pytest.mark.parametrize("wrap", [Producer, lambda t: t])
def test_from_dlpack_to_a_device_and_copied(options, shared, place, wrap):
    x = sample()
    y = nbgrad.from_dlpack(wrap(x), **options)
    assert y.device.type == place and (y.data_ptr() == x.data_ptr()) == shared
    assert y.tolist() == x.tolist()
    assert nbgrad.from_dlpack(wrap(x.cpu()), device="cuda").tolist() == x.tolist()


@pytest.mark.parametrize(("wrap", "take"), [(Producer, nbgrad.from_dlpack),
                                            (Interface, nbgrad.as_tensor)])
def test_a_consumer_waits_for_what_comes_before(wrap, take, late):
    side, there = nbgrad.cuda.Stream(), nbgrad.cuda.Stream()
    with side:
        x = wrap(sample())
    with there:
        assert take(x).tolist() == np.arange(12).reshape(3, 4).tolist()


def test_no_stream_is_numbered_as_default_ones_are():
    assert {s.cuda_stream for s in [nbgrad.cuda.Stream() for _ in range(40)]}.isdisjoint([0, 1, 2])


def test_which_stream_waits(monkeypatch):
    waits, x = [], sample()
    side, there = nbgrad.cuda.Stream(), nbgrad.cuda.Stream()
    monkeypatch.setattr(machine, "wait", lambda stream, event: waits.append(stream))
    with side:
        for stream in (None, 1, 2, -1, side.cuda_stream, there.cuda_stream):
            x.__dlpack__(stream=stream)
    assert waits == [0, 0, 2, there.cuda_stream]


def test_memory_is_not_lent_while_a_consumer_reads_it(late):
    there = nbgrad.cuda.Stream()
    x, seen = sample(), nbgrad.zeros(3, 4, device="cuda")
    capsule = x.__dlpack__(stream=there.cuda_stream)
    machine.copy(seen.data_ptr(), x.data_ptr(), x.nbytes, there.cuda_stream)
    del x, capsule
    [nbgrad.zeros(3, 4, device="cuda") for _ in range(4)]
    nbgrad.cuda.synchronize()
    assert seen.tolist() == np.arange(12).reshape(3, 4).tolist()


# DLPack as a library in C speaks it


class DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", Deleter)]


class Versioned(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32 * 2), ("context", ctypes.c_void_p), ("deleter", Deleter),
                ("flags", ctypes.c_uint64), ("tensor", DLTensor)]


KINDS = {b"dltensor": Managed, b"dltensor_versioned": Versioned}
API = ctypes.PyDLL("pythonapi", handle=ctypes.pythonapi._handle)
for name, result, arguments in [
        ("GetPointer", ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]),
        ("GetName", ctypes.c_char_p, [ctypes.py_object]),
        ("SetName", ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]),
        ("New", ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p])]:
    function = getattr(API, f"PyCapsule_{name}")
    function.restype, function.argtypes = result, arguments
USED = {name: b"used_" + name for name in KINDS}


def taken(capsule):
    """What a consumer takes out of a capsule, which is used then."""
    name = API.PyCapsule_GetName(capsule)
    found = KINDS[name].from_address(API.PyCapsule_GetPointer(capsule, name))
    API.PyCapsule_SetName(capsule, USED[name])
    return found


CODES = {"bool": (6, 8), "uint8": (1, 8), "int8": (0, 8), "int16": (0, 16), "int32": (0, 32),
         "int64": (0, 64), "float16": (2, 16), "bfloat16": (4, 16), "float32": (2, 32),
         "float64": (2, 64)}


@pytest.mark.parametrize("options", [{}, {"max_version": (0, 8)}, {"max_version": (1, 1)},
                                     {"max_version": (1, 0), "copy": True, "dl_device": (2, 0)}])
@pytest.mark.parametrize("window", [lambda x: x, lambda x: x.t()[1:], lambda x: x[1, 2],
                                    lambda x: x[:0]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_consumer_in_c(dtype, window, options):
    gc.collect()
    before = nbgrad.cuda.memory_allocated()
    x = sample(dtype)
    part = window(x)
    capsule = part.__dlpack__(**options)
    found = taken(capsule)
    told, versioned = found.tensor, options.get("max_version", (0,))[0] >= 1
    assert isinstance(found, Versioned if versioned else Managed)
    assert tuple(told.device) == (2, 0) and (told.code, told.bits) == CODES[dtype] and told.lanes == 1
    assert tuple(told.shape[:told.ndim]) == part.shape and told.byte_offset == 0
    if part.numel():
        assert (told.data == part.data_ptr()) == ("copy" not in options)
        if "copy" not in options:
            assert tuple(told.strides[:told.ndim]) == part.stride()
    else:
        assert told.data is None
    if versioned:
        assert found.version[0] == 1 and found.flags == (2 if "copy" in options else 0)
    del x, part, capsule, told
    assert nbgrad.cuda.memory_allocated() > before
    found.deleter(ctypes.addressof(found))
    gc.collect()
    assert nbgrad.cuda.memory_allocated() == before


LOADED = []  # a library outlives its capsules


class Library:
    """Makes capsules over a tensor's memory as a library in C does, and counts what is deleted."""

    def __init__(self, tensor, kind=Managed, flags=0, strides=True, offset=0):
        self.tensor, self.kind, self.deleted, self.asked = tensor, kind, 0, None
        self.name = next(name for name, k in KINDS.items() if k is kind)
        words = ctypes.c_int64 * max(tensor.dim(), 1)
        self.shape, self.strides = words(*tensor.shape), words(*tensor.stride())
        made = self.made = kind()
        told, pointer = made.tensor, ctypes.POINTER(ctypes.c_int64)
        told.data = tensor.data_ptr() - offset if tensor.numel() else None
        told.byte_offset, told.device[0] = offset if tensor.numel() else 0, 2
        told.ndim, told.lanes = tensor.dim(), 1
        told.code, told.bits = CODES[str(tensor.dtype).removeprefix("nbgrad.")]
        told.shape = ctypes.cast(self.shape, pointer)
        told.strides = ctypes.cast(self.strides, pointer) if strides else None
        if kind is Versioned:
            made.version[0], made.flags = 1, flags
        made.deleter = Deleter(self.delete)
        self.destructor = Deleter(self.destroy)
        LOADED.append(self)

    def delete(self, which):
        assert which == ctypes.addressof(self.made)
        self.deleted += 1

    def destroy(self, capsule):
        """As PyTorch and CuPy do: a capsule that nobody took deletes what is in it."""
        name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_GetName", API))
        if name_of(capsule) == self.name:
            self.made.deleter(ctypes.addressof(self.made))

    def __dlpack__(self, *, stream=None, max_version=None):
        self.asked = stream, max_version
        return API.PyCapsule_New(ctypes.addressof(self.made), self.name,
                                 ctypes.cast(self.destructor, ctypes.c_void_p))

    def __dlpack_device__(self):
        return (2, 0)


@pytest.mark.parametrize("options", [{}, {"kind": Versioned}, {"strides": False}, {"offset": 16},
                                     {"kind": Versioned, "flags": 1}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_producer_in_c(dtype, options):
    x = sample(dtype)
    library = Library(x, **options)
    y = nbgrad.from_dlpack(library)
    sealed = options.get("flags") == 1
    assert library.asked == (1, (1, 0)) and y.dtype is x.dtype and y.shape == x.shape and (y == x).all()
    assert (y.data_ptr() == x.data_ptr()) != sealed and library.deleted == sealed
    view = y[1:].t()
    del y
    assert library.deleted == sealed and view.tolist() == x[1:].t().tolist()
    del view
    gc.collect()
    assert library.deleted == 1


@pytest.mark.parametrize("window", [lambda x: x.t(), lambda x: x[:0], lambda x: x[1, 2],
                                    lambda x: x[:1].expand(5, 4)])
def test_windows_of_a_producer_in_c(window):
    x = sample()
    part = window(x)
    library = Library(part)
    side = nbgrad.cuda.Stream()
    with side:
        y = nbgrad.from_dlpack(library)
    assert library.asked[0] == side.cuda_stream
    assert y.shape == part.shape and y.stride() == part.stride() and y.tolist() == part.tolist()


def test_what_no_dtype_stands_for_is_refused_and_deleted():
    for field, value in {"lanes": 4, "bits": 12, "code": 5, "byte_offset": 1}.items():
        library = Library(sample())
        setattr(library.made.tensor, field, value)
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            nbgrad.from_dlpack(library)
        gc.collect()
        assert library.deleted == 1


@pytest.mark.parametrize(("version", "flags"), [(2, 0), (1, 1)])
def test_a_later_version_and_sealed_memory_are_refused_and_deleted(version, flags):
    library = Library(sample(), Versioned, flags)
    library.made.version[0] = version
    with pytest.raises(BufferError):
        nbgrad.from_dlpack(library, copy=False)
    gc.collect()
    assert library.deleted == 1


@pytest.mark.parametrize("kind", [Managed, Versioned])
def test_a_capsule_is_used_once(kind):
    library = Library(sample(), kind)
    capsule = library.__dlpack__()
    y = nbgrad.from_dlpack(capsule)
    assert API.PyCapsule_GetName(capsule) == USED[library.name]
    with pytest.raises(RuntimeError, match="consumed only once"):
        nbgrad.from_dlpack(capsule)
    del capsule
    assert library.deleted == 0
    del y
    assert library.deleted == 1


def test_a_refused_capsule_may_still_be_used():
    library = Library(sample())
    capsule, library.strides[0] = library.__dlpack__(), -4
    with pytest.raises(ValueError, match="negative strides"):
        nbgrad.from_dlpack(capsule)
    library.strides[0] = 4
    assert nbgrad.from_dlpack(capsule).tolist() == sample().tolist()
    assert library.deleted == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_negative_strides_as_cupy_writes_them(dtype):
    x = sample(dtype)
    library = Library(x)
    library.strides[0] = (2**64 - 4 * x.itemsize) // x.itemsize - (2**64 if x.itemsize == 1 else 0)
    with pytest.raises(ValueError, match="negative strides"):
        nbgrad.from_dlpack(library)
    gc.collect()
    assert library.deleted == 1
    row = Library(x[:1])
    row.strides[0] = library.strides[0]
    assert nbgrad.from_dlpack(row).tolist() == x[:1].tolist()


# CuPy and PyTorch themselves: on a GPU, or without one by tools/cuda_runtime_on_host.py, which runs no
# kernels of theirs


class CuPy:
    def __init__(self):
        self.library = cupy = pytest.importorskip("cupy")
        self.dlpack = [cupy.from_dlpack]
        self.interface = [cupy.asarray, lambda t: cupy.array(t, copy=False)]
        self.waits = [cupy.from_dlpack, cupy.asarray]

    def make(self, x):
        return self.library.asarray(x.cpu().numpy())

    def told(self, a):
        return a.data.ptr, a.shape, tuple(s // a.itemsize for s in a.strides)

    def write(self, a, values):
        a.set(np.array(values).astype(a.dtype))

    def stream(self):
        made = self.library.cuda.Stream(non_blocking=True)
        return made, made.ptr

    def used(self):
        return self.library.get_default_memory_pool().used_bytes()


class PyTorch:
    def __init__(self):
        self.library = torch = pytest.importorskip("torch")
        self.dlpack = [torch.from_dlpack, lambda t: torch.from_dlpack(t.__dlpack__()),
                       lambda t: torch.from_dlpack(t.__dlpack__(max_version=(1, 0)))]
        self.interface = [lambda t: torch.as_tensor(t, device="cuda")]
        self.waits = [torch.from_dlpack]

    def make(self, x):
        return self.library.from_dlpack(x.cpu()).cuda()

    def told(self, a):
        return a.data_ptr(), tuple(a.shape), a.stride()

    def write(self, a, values):
        a.copy_(self.library.tensor(values))

    def stream(self):
        made = self.library.cuda.Stream()
        return self.library.cuda.stream(made), made.cuda_stream

    def used(self):
        return self.library.cuda.memory_allocated()


@pytest.fixture(params=[CuPy, PyTorch])
def other(request):
    made = request.param()
    if not made.library.cuda.is_available():
        pytest.skip(f"{request.param.__name__} has no device")
    return made


TAKES = [nbgrad.from_dlpack, lambda a: nbgrad.from_dlpack(a.__dlpack__()),
         lambda a: nbgrad.from_dlpack(a.__dlpack__(max_version=(1, 0))),
         lambda a: nbgrad.as_tensor(a, device="cuda"), nbgrad.asarray]


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_library_shares_every_dtype(other, dtype):
    half = dtype == "bfloat16"  # neither reads it by the interface, and CuPy knows it by ml_dtypes
    if half and type(other) is CuPy:
        pytest.importorskip("ml_dtypes")
    for share in other.dlpack + ([] if half else other.interface):
        x = sample(dtype)
        there = share(x)
        assert other.told(there) == (x.data_ptr(), x.shape, x.stride())
        assert there.tolist() == x.tolist()
        other.write(there, [[1, 0, 1, 1]] * 3)
        assert x.tolist() == [[1, 0, 1, 1]] * 3
        for take in TAKES:
            y = take(there)
            assert y.dtype is x.dtype and y.data_ptr() == x.data_ptr()
            y.zero_()
            assert there.tolist() == y.tolist() == [[0] * 4] * 3


@pytest.mark.parametrize("window", WINDOWS)
def test_another_library_shares_windows(other, window):
    part = window(sample())
    for share in other.dlpack + other.interface:
        there = share(part)
        address, shape, strides = other.told(there)
        assert shape == part.shape
        if part.numel():
            assert (address, strides) == (part.data_ptr(), part.stride())
        for take in TAKES:
            y = take(there)
            assert y.shape == part.shape and y.tolist() == part.tolist()
            assert not part.numel() or (y.data_ptr(), y.stride()) == (address, strides)


@pytest.mark.parametrize("way", range(5))
def test_memory_ends_with_the_last_who_shares_it(other, way):
    gc.collect()
    before, used = nbgrad.cuda.memory_allocated(), other.used()
    x, shares = nbgrad.zeros(3000, device="cuda"), other.dlpack + other.interface
    there = shares[way % len(shares)](x)[1:]
    del x
    assert nbgrad.cuda.memory_allocated() > before
    del there
    assert nbgrad.cuda.memory_allocated() == before
    there = other.make(nbgrad.arange(3000))
    y = TAKES[way](there)[1:]
    del there
    assert other.used() > used and y[-1] == 2999
    del y
    assert other.used() == used


def test_another_library_says_its_stream(other):
    x, (within, handle) = Producer(sample()), other.stream()
    other.library.from_dlpack(x)
    assert x.asked["stream"] == 1
    with within:
        other.library.from_dlpack(x)
    assert x.asked["stream"] == handle


def test_another_library_waits_for_what_comes_before(other, late):
    side, (within, _) = nbgrad.cuda.Stream(), other.stream()
    for share in other.waits:
        with within, side:
            there = share(sample())
            assert there.tolist() == np.arange(12).reshape(3, 4).tolist()
            for take in TAKES:
                assert take(there).tolist() == there.tolist()


@pytest.mark.parametrize(("call", "error"), [
    (lambda other, t: other.dlpack[0](t.requires_grad_()), BufferError),
    (lambda other, t: other.interface[0](t.requires_grad_()), (BufferError, RuntimeError)),
    (lambda other, t: [other.dlpack[0](t.__dlpack__(stream=-5))], BufferError),
    (lambda other, t: [nbgrad.from_dlpack(c) for c in [other.make(t).__dlpack__()] * 2], RuntimeError)])
def test_another_library_is_refused(other, call, error):
    with pytest.raises(error):
        call(other, sample())
