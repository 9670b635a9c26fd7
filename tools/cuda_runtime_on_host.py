"""PyTorch and CuPy for CUDA without a GPU: NVIDIA's libraries on memory of the host.

As a plugin of pytest it loads `cuda_runtime_on_host.c` under the names of NVIDIA's libraries, before
anything else asks for those. PyTorch then takes it for them. CuPy has a copy of the runtime library
inside, so its module that calls it is compiled anew, from CuPy's source of the same version.

Both can then make arrays, copy them and share them, and no more: neither can run a kernel. Before a
copy on a stream they do what nbgrad's simulator gave to that stream.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import nvidia.cu13
import pytest

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "cuda_runtime"
NVIDIA = Path(nvidia.cu13.__path__[0])


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Make the libraries, and load them before NVIDIA's are."""
    import cupy_backends.cuda.api

    BUILD.mkdir(parents=True, exist_ok=True)
    os.environ["CUPY_CACHE_DIR"] = str(BUILD)
    header = (NVIDIA / "include/cuda.h").read_text()
    _loaded("libcuda.so.1", set(re.findall(r"\bcu[A-Z]\w+", header)))
    exported = _run("nm", "-D", "--defined-only", NVIDIA / "lib/libcudart.so.13")
    runtime = _loaded("libcudart.so.13", set(re.findall(r" T (\w+)", exported)))
    runtime.cudaHostBefore(_before)
    _make_for_cupy(runtime._name)
    cupy_backends.cuda.api.__path__.insert(0, str(BUILD))


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _before(stream) -> None:
    """Do what nbgrad gave to a stream."""
    from nbgrad.kernels.cuda.provider import machine

    machine.synchronize(stream or 0)


def _loaded(name: str, functions: set[str]) -> ctypes.CDLL:
    """A library that has these functions: those of the C file, and stubs for the others."""
    made, stubs, exports = BUILD / name, BUILD / f"{name}.c", BUILD / f"{name}.map"
    stubs.write_text("int missing(const char *);\n" + "\n".join(
        f'__attribute__((weak)) int {f}(void) {{ return missing("{f}"); }}' for f in functions))
    exports.write_text(f"{name} {{ global: cudaHostBefore; {'; '.join(functions)}; local: *; }};")
    _run("gcc", "-O1", "-w", "-shared", "-fPIC", f"-I{NVIDIA}/include", HERE / "cuda_runtime_on_host.c",
         stubs, "-o", made, f"-Wl,-soname,{name},--version-script={exports}")
    return ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)


def _make_for_cupy(library: str) -> None:
    """CuPy's module that calls the runtime library, linked to ours."""
    version = metadata.version("cupy-cuda13x")
    source, made = BUILD / f"cupy-{version}", BUILD / f"runtime{sysconfig.get_config_var('EXT_SUFFIX')}"
    api = source / "cupy_backends/cuda/api"
    if not source.exists():  # its setup wants CUDA, except where its documentation is made
        _run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "cupy", "-d", BUILD,
             f"cupy=={version}", env=os.environ | {"READTHEDOCS": "True"})
        _run("tar", "xzf", f"{source}.tar.gz", "-C", BUILD)
    if not made.exists():
        known = "CUPY_CUDA_VERSION=13000,CUPY_HIP_VERSION=0,CUPY_USE_CUDA_PYTHON=False"
        _run(sys.executable, "-m", "cython", "--cplus", "-3", "-E", known,
             "-X", "warn.deprecated.IF=False", api / "runtime.pyx", "-o", f"{made}.cpp")
        _run("g++", "-w", "-shared", "-fPIC", f"-I{NVIDIA}/include", f"-I{api}",
             f"-I{sysconfig.get_path('include')}", f"{made}.cpp", library, "-o", made)


def _run(*words, **options) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout
