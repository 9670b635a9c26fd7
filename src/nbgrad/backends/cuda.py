"""Choices that concern a CUDA device."""

from importlib.util import find_spec
from types import SimpleNamespace

from nbgrad import config
from nbgrad.ops.matmul import forget_plans

#: switches that programs set: float32 is multiplied as such, and 16-bit floats are added up in it
matmul = SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=False,
                         allow_bf16_reduced_precision_reduction=False)


def is_built() -> bool:
    """Whether numba-cuda is installed, which a CUDA device is used through."""
    return find_spec("numba_cuda") is not None


def preferred_blas_library(backend: str | None = None) -> str:
    """Who multiplies matrices of floats on a CUDA device, from now on if it is given.

    Args:
        backend: "default" for nbgrad's own kernels, "cublas" for NVIDIA's cuBLAS, which needs
            `pip install 'nbgrad[cublas]'`. NBGRAD_CUDA_MATMUL in the environment is where it starts.

    Raises:
        RuntimeError: another name, or cuBLAS without nvmath-python.
    """
    if backend is not None:
        if not isinstance(backend, str):
            raise RuntimeError("Unknown input value type.")
        if backend not in config.MATMUL_LIBRARIES:
            raise RuntimeError(
                f"Unknown input value. Choose from: {', '.join(config.MATMUL_LIBRARIES)}.")
        if backend == "cublas":
            from nbgrad.kernels.cuda import cublas
            cublas.bindings()
        if backend != config.CUDA_MATMUL:
            config.CUDA_MATMUL = backend
            forget_plans()
    return config.CUDA_MATMUL
