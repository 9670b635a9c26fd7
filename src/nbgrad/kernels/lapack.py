"""LAPACK's decompositions through NumPy, on one thread.

NumPy's threads know nothing of `set_num_threads`, wait by spinning, and change the last bits of the
results; so they are sent home for the time of a call, where NumPy is built with OpenBLAS.
"""

import ctypes
from functools import cache, wraps

import numpy as np
from numpy.linalg import LinAlgError

#: under this name NumPy's wheels carry OpenBLAS; it sets the number of this thread, and returns it
_SETTERS = ("openblas_set_num_threads_local", "scipy_openblas_set_num_threads_local64_",
            "scipy_openblas_set_num_threads_local", "openblas_set_num_threads_local64_")


@cache
def _setter():
    try:
        library = ctypes.CDLL(np.linalg._umath_linalg.__file__)
    except (AttributeError, OSError):
        return None
    return next((getattr(library, name) for name in _SETTERS if hasattr(library, name)), None)


def _on_one_thread(function):
    @wraps(function)
    def run(*args, **options):
        threads = _setter()
        if threads is None:
            return function(*args, **options)
        before = threads(1)
        try:
            return function(*args, **options)
        finally:
            threads(before)

    return run


cholesky, qr, svd, eigh, eigvalsh = map(_on_one_thread, (
    np.linalg.cholesky, np.linalg.qr, np.linalg.svd, np.linalg.eigh, np.linalg.eigvalsh))
det, slogdet, matmul = map(_on_one_thread, (np.linalg.det, np.linalg.slogdet, np.matmul))


def _in_own_dtype(name: str):
    """What np.linalg.<name> is made of: that solves float32 in float64, at a quarter of the speed."""
    ufunc = getattr(np.linalg._umath_linalg, name)

    def run(*arrays):
        with np.errstate(all="ignore"):
            return ufunc(*arrays)

    return _on_one_thread(run)


#: of (..., n, n), and of (..., n, n) and (..., n, k); NaN for a singular matrix
inv, solve = map(_in_own_dtype, ("inv", "solve"))

__all__ = ["LinAlgError", "cholesky", "det", "eigh", "eigvalsh", "inv", "matmul", "qr", "slogdet",
           "solve", "svd"]
