"""Functions that only kernels call: typed and optimised like kernels, never made into machine code.

Numba compiles a function that a kernel calls as if Python could call it, too: with a wrapper that
unpacks Python's objects, and with machine code for both. The kernel needs neither: it takes a copy
of the function in LLVM's language, which is folded in or becomes part of the kernel's own code.
"""

from functools import cached_property

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher


class _NoEnvironment:
    """Where a library's functions would be told which Python globals they live with."""

    def set_env(self, name, environment) -> None:
        pass


class _Library(JITCodeLibrary):
    """Code for other libraries to copy."""

    codegen = _NoEnvironment()

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _Compiler(Compiler):
    def define_pipelines(self):
        state = self.state
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().define_pipelines()


class Helper(CPUDispatcher):
    """A function for kernels to call. A call from Python compiles it once more, by itself."""

    def __init__(self, function, variables, flags) -> None:
        self._flags = flags
        super().__init__(function, variables, flags | {"no_cpython_wrapper": True}, _Compiler)

    def __call__(self, *args):
        return self._alone(*args)

    @cached_property
    def _alone(self):
        return CPUDispatcher(self.py_func, self.locals, self._flags)


def helper(function, **flags):
    """Compile a function under flags of `numba.njit`, for kernels alone."""
    return Helper(function, {}, {"nopython": True, **flags})
