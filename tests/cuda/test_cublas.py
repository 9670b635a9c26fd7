"""Products by cuBLAS: itself on a GPU; in the simulator a library that does as the manual says."""

import ctypes
import itertools
import os
import subprocess
import sys
import threading
from types import ModuleType

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import nbgrad
from nbgrad import config
from nbgrad.backends.cuda import preferred_blas_library
from nbgrad.kernels.cuda import cublas
from nbgrad.kernels.cuda.provider import SIMULATED, machine
from nbgrad.nn import functional as F

RNG = np.random.default_rng(0)
#: far below TF32's 1e-3; and one rounding of a result in 16 bits
CLOSE = {nbgrad.float32: 2e-6, nbgrad.float64: 1e-14, nbgrad.float16: 2.0**-11,
         nbgrad.bfloat16: 2.0**-8}

#: cudaDataType: how it lies in memory
STORED = {0: np.float32, 1: np.float64, 2: np.float16, 14: np.uint16}
#: cublasComputeType_t: the type of sums, of alpha and of beta, and the operands it takes
SUMS = {68: (np.float32, {0, 2, 14}), 70: (np.float64, {1})}


class Manual:
    """`nvmath.bindings.cublas` as cuBLAS's manual describes it, on memory of the host.

    Matrices lie by columns: entry (r, c) of one is r + c * ld from its start.
    """

    class cuBLASError(Exception):
        pass

    def __init__(self):
        self.handles, self.short = {}, 0

    def create(self):
        if self.short:
            self.short -= 1
            raise self.cuBLASError("ALLOC_FAILED (3)")
        self.handles[len(self.handles) + 1] = {"stream": 0, "mode": 0}
        return len(self.handles)

    def set_stream(self, handle, stream):
        self.handles[handle]["stream"] = stream

    def set_math_mode(self, handle, mode):
        self.handles[handle]["mode"] = mode

    def gemm_ex_64(self, handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta,
                   c, ctype, ldc, compute_type, algo):
        self.gemm_strided_batched_ex_64(handle, transa, transb, m, n, k, alpha, a, atype, lda, 0,
                                        b, btype, ldb, 0, beta, c, ctype, ldc, 0, 1, compute_type,
                                        algo)

    def gemm_strided_batched_ex_64(self, handle, transa, transb, m, n, k, alpha, a, atype, lda,
                                   stride_a, b, btype, ldb, stride_b, beta, c, ctype, ldc, stride_c,
                                   batch_count, compute_type, algo):
        assert self.handles[handle] == {"stream": machine.stream, "mode": 16} and algo == -1
        assert min(m, n, k, batch_count) > 0 and {transa, transb} <= {0, 1}
        of_sums, takes = SUMS[compute_type]
        assert atype == btype == ctype and atype in takes
        assert batch_count == 1 or abs(stride_c) >= ldc * n  # matrices of C do not overlap
        alpha, beta = (np.frombuffer(ctypes.string_at(s, np.dtype(of_sums).itemsize), of_sums)[0]
                       for s in (alpha, beta))
        for i in range(batch_count):
            x = self.matrix(a, atype, i * stride_a, *((k, m) if transa else (m, k)), lda)
            y = self.matrix(b, btype, i * stride_b, *((n, k) if transb else (k, n)), ldb)
            x, y = (self.opened(v.T if t else v, of_sums) for v, t in ((x, transa), (y, transb)))
            out = self.matrix(c, ctype, i * stride_c, m, n, ldc)
            result = alpha * (x @ y)
            if beta != 0:  # else C is not read
                result += beta * self.opened(out, of_sums)
            out[...] = self.rounded(result, out.dtype)

    def matrix(self, start, kind, step, rows, columns, ld):
        dtype = np.dtype(STORED[kind])
        assert ld >= max(1, rows)
        start, size = start + step * dtype.itemsize, (columns - 1) * ld + rows
        held = {p: memory.nbytes for p, memory in machine._held.items()}
        assert any(p <= start and start + size * dtype.itemsize <= p + n for p, n in held.items())
        raw = np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(start), dtype)
        return as_strided(raw, (rows, columns), (dtype.itemsize, ld * dtype.itemsize))

    @staticmethod
    def opened(values, of_sums):
        if values.dtype == np.uint16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(of_sums)

    @staticmethod
    def rounded(values, dtype):
        if dtype != np.uint16:
            return values.astype(dtype)
        bits = np.ascontiguousarray(values).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


MANUAL = Manual()


class Spy:
    """A library, and the calls of products."""

    def __init__(self, library):
        self.library, self.calls = library, []

    def __getattr__(self, name):
        found = getattr(self.library, name)
        if not name.startswith("gemm"):
            return found
        return lambda *args: (self.calls.append(args), found(*args))[1]


def provide(monkeypatch, library):
    package, inner = ModuleType("nvmath"), ModuleType("nvmath.bindings")
    package.bindings, inner.cublas = inner, library
    monkeypatch.setitem(sys.modules, "nvmath", package)
    monkeypatch.setitem(sys.modules, "nvmath.bindings", inner)


@pytest.fixture
def calls(monkeypatch):
    """cuBLAS is preferred; the list of its calls."""
    if SIMULATED:
        provide(monkeypatch, MANUAL)
    else:
        pytest.importorskip("nvmath")
    spy = Spy(cublas.bindings())
    monkeypatch.setattr(cublas, "bindings", lambda: spy)
    assert preferred_blas_library("cublas") == "cublas"
    yield spy.calls
    preferred_blas_library("default")


def made(shape, dtype):
    """Numbers on the device, and the same in NumPy's float64."""
    t = nbgrad.tensor(RNG.uniform(-1, 1, shape)).to(dtype)
    return t.to("cuda"), t.double().numpy()


def close(found, expected, dtype, size=1):
    """Equal but for the rounding of sums of `size` products, and of a result in 16 bits."""
    assert found.is_cuda and found.dtype is dtype and found.shape == expected.shape
    np.testing.assert_allclose(found.cpu().double().numpy(), expected, rtol=CLOSE[dtype],
                               atol=size * (1e-7 if dtype.itemsize < 8 else 1e-16))


#: how (rows, columns) lie in memory: what is made, and the view of it; the last three are copied
LIES = {
    "rows": (lambda r, c: (r, c), lambda t: t),
    "columns": (lambda r, c: (c, r), lambda t: t.T),
    "part": (lambda r, c: (r + 2, c + 3), lambda t: t[1:-1, 2:-1]),
    "part of columns": (lambda r, c: (c + 3, r + 1), lambda t: t[2:-1, 1:].T),
    "gaps": (lambda r, c: (2 * r, 2 * c), lambda t: t[::2, 1::2]),
    "one row": (lambda r, c: (1, c), lambda t: t),
    "one number": (lambda r, c: (1, 1), lambda t: t),
}


def lying(how, rows, columns, dtype):
    shape, view = LIES[how]
    t, x = made(shape(rows, columns), dtype)
    return view(t).expand(rows, columns), np.broadcast_to(view(x), (rows, columns))


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(("m", "n", "k"), [(2, 3, 4), (9, 5, 1), (33, 17, 65), (2, 2, 2)])
def test_matrices_however_they_lie(m, n, k, dtype, calls):
    for first, second in itertools.product(LIES, repeat=2):
        (a, x), (b, y) = lying(first, m, k, dtype), lying(second, k, n, dtype)
        close(a @ b, x @ y, dtype, k)
    assert len(calls) == len(LIES) ** 2


@pytest.mark.parametrize("dtype", [nbgrad.float16, nbgrad.bfloat16], ids=str)
def test_vectors_of_16_bits(dtype, calls):
    (a, x), (v, y), (w, z) = (made(shape, dtype) for shape in ((7, 9), (9,), (7,)))
    for found, expected in ((a @ v, x @ y), (w @ a, z @ x), (a.T @ w, x.T @ z), (v @ v, y @ y),
                            (a[:, ::2] @ v[::2], x[:, ::2] @ y[::2]), (a[:1] @ a.T, x[:1] @ x.T)):
        close(found, expected, dtype, 9)
    assert len(calls) == 6


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(("f", "count"), [
    (lambda a, b: a @ b, 6),
    (lambda a, b: b.swapaxes(2, 3) @ a.swapaxes(2, 3), 6),
    (lambda a, b: a.swapaxes(0, 1) @ b.swapaxes(0, 1), 6),
    (lambda a, b: a.swapaxes(1, 2) @ b[:, :1], 10),
    (lambda a, b: a[:, :2] @ b[:, :2], 4),
    (lambda a, b: a[:, 1] @ b[:, 2], 2),
    (lambda a, b: a @ b[:, :1], 6),
    (lambda a, b: a[0, 0] @ b, 6),
    (lambda a, b: a @ b[0, 0], 1),
], ids=["stack", "turned", "permuted", "heads", "first two", "every third", "one for three",
        "one on the left", "one on the right"])
def test_stacks(f, count, dtype, calls):
    (a, x), (b, y) = made((2, 3, 5, 7), dtype), made((2, 3, 7, 4), dtype)
    close(f(a, b), f(x, y), dtype, 7)
    (call,) = calls
    assert count == (call[-3] if len(call) == 23 else 1)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_a_bias_rides_along(dtype, calls):
    (x, p), (w, q), (b, r) = (made(shape, dtype) for shape in ((2, 6, 9), (5, 9), (5,)))
    close(F.linear(x, w, b), p @ q.T + r, dtype, 9)
    close(nbgrad.addmm(b, x[1], w.T), p[1] @ q.T + r, dtype, 9)
    close(nbgrad.baddbmm(b, x, w.T.expand(2, 9, 5)), p @ q.T + r, dtype, 9)
    assert len(calls) == 3


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(("ta", "tb"), [*itertools.product((False, True), repeat=2)])
def test_gradients(ta, tb, dtype, calls):
    for stack in ((), (3,)):
        (a, x), (b, y), (g, z) = (made((*stack, *shape), dtype) for shape in (
            (8, 6) if ta else (6, 8), (5, 8) if tb else (8, 5), (6, 5)))
        a.requires_grad_()
        b.requires_grad_()
        (u, p), (v, q) = ((w.swapaxes(-1, -2), o.swapaxes(-1, -2)) if t else (w, o)
                          for w, o, t in ((a, x, ta), (b, y, tb)))
        nbgrad.matmul(u, v).backward(g)
        ga, gb = z @ q.swapaxes(-1, -2), p.swapaxes(-1, -2) @ z
        close(a.grad, ga.swapaxes(-1, -2) if ta else ga, dtype, 8)
        close(b.grad, gb.swapaxes(-1, -2) if tb else gb, dtype, 8)
    assert len(calls) == 6


def test_what_is_no_product_of_floats_stays(calls):
    a = nbgrad.ones(3, 4, device="cuda")
    assert (a[:, :0] @ a[:, :0].T).sum() == 0 and (a[:0] @ a.T).numel() == 0
    assert (a.int() @ a.int().T).sum() == 36
    assert (a @ a[0]).tolist() == [4, 4, 4]
    assert calls == []


def test_plans_are_chosen_anew_by_a_switch(calls):
    (a, x), (b, y), (c, z) = (made(shape, nbgrad.float32) for shape in ((4, 6), (6, 5), (5,)))
    for name, count in (("cublas", 2), ("default", 2), ("cublas", 4), ("cublas", 6), ("default", 6)):
        assert preferred_blas_library(name) == preferred_blas_library() == name
        close(a @ b, x @ y, nbgrad.float32, 6)
        close(nbgrad.addmm(c, a, b), x @ y + z, nbgrad.float32, 6)
        assert len(calls) == count


def test_a_handle_for_each_stream_and_thread(calls):
    a, s = nbgrad.ones(3, 4, device="cuda"), nbgrad.cuda.Stream()

    def handles():
        calls.clear()
        _ = a @ a.T
        with nbgrad.cuda.stream(s):
            _ = a @ a.T
        _ = a @ a.T
        return [call[0] for call in calls]

    def elsewhere():
        found = []
        thread = threading.Thread(target=lambda: found.extend(handles()))
        thread.start()
        thread.join()
        return found

    here, there, later = handles(), elsewhere(), elsewhere()
    assert here[0] == here[2] != here[1] and not {*here} & {*there}
    assert later == there  # that thread has ended


@pytest.mark.skipif(not SIMULATED, reason="a device is not filled up")
def test_a_handle_gets_memory_that_was_kept_for_later(calls):
    a = nbgrad.ones(3, 4, device="cuda")
    with nbgrad.cuda.stream(nbgrad.cuda.Stream()):
        MANUAL.short = 1
        assert (a @ a.T).sum() == 36
    with nbgrad.cuda.stream(nbgrad.cuda.Stream()):
        MANUAL.short = 2
        with pytest.raises(Manual.cuBLASError, match="ALLOC_FAILED"):
            a @ a.T


def test_same_bits_again(calls):
    (a, _), (b, _) = made((65, 300), nbgrad.float32), made((300, 33), nbgrad.float32)
    first = (a @ b).cpu().numpy().tobytes()
    assert all((a @ b).cpu().numpy().tobytes() == first for _ in range(3))


def test_without_nvmath_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath", None)
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    with pytest.raises(RuntimeError, match=r"pip install 'nbgrad\[cublas\]'"):
        preferred_blas_library("cublas")
    assert preferred_blas_library() == "default"
    a = nbgrad.ones(3, 11, device="cuda")
    assert (a @ a.T).sum() == 99
    monkeypatch.setattr(config, "CUDA_MATMUL", "cublas")  # as by the environment
    with pytest.raises(RuntimeError, match=r"pip install 'nbgrad\[cublas\]'"):
        a.T @ a


@pytest.mark.parametrize("wrong", ["cublaslt", "", 3])
def test_other_names(wrong):
    with pytest.raises(RuntimeError, match="Unknown input value"):
        preferred_blas_library(wrong)


@pytest.mark.parametrize(("name", "says"), [
    ("cublas", "cublas"), ("", "not ''"), ("cuBLAS", "not 'cuBLAS'")])
def test_the_environment(name, says):
    program = "import nbgrad; print(nbgrad.backends.cuda.preferred_blas_library())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "NBGRAD_CUDA_MATMUL": name})
    assert says in (done.stdout or done.stderr)
