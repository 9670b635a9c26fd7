"""Who compiles and runs CUDA kernels: numba-cuda and the driver, or Numba's simulator without a GPU.

It is imported when a CUDA device is first used. Kernels take `cuda` and their decorators from here;
beside this file only driver.py and simulator.py know `numba.cuda`. Whoever wants memory, copies
and launches asks `machine`, which is driver.Driver or, under NUMBA_ENABLE_CUDASIM=1,
simulator.Simulator.
"""

import os

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def _import():
    try:
        from numba import cuda
    except ImportError as error:
        raise RuntimeError(f"CUDA needs numba-cuda: pip install 'nbgrad[cuda]' ({error})") from None
    except AttributeError as error:  # numba-cuda 0.30.4 on NumPy 2.5 or later
        raise RuntimeError("this numba-cuda does not work with the installed numba or NumPy: "
                           f"pip install 'nbgrad[cuda]' ({error})") from None
    if SIMULATED:
        from nbgrad.kernels.cuda.threads import cuda
    elif getattr(cuda, "implementation", "") != "NVIDIA":
        raise RuntimeError("CUDA needs numba-cuda, which Numba did not find: "
                           "pip install 'nbgrad[cuda]'")
    return cuda


cuda = _import()
from numba.cuda import libdevice  # noqa: E402, F401

#: Threads of a block, and blocks that a launch over many elements has at most.
BLOCK, MOST_BLOCKS = (4, 2) if SIMULATED else (256, 132 * 16)


class Kernel:
    """A kernel, compiled for a signature when its first launch is made."""

    def __init__(self, function, **options) -> None:
        self.function, self.options = function, options
        self.compiled = None  # what numba.cuda makes of it

    def dispatcher(self):
        if self.compiled is None:
            self.compiled = cuda.jit(**self.options)(self.function)
        return self.compiled


def kernel(function=None, **options):
    """Mark a function as a kernel; options are `cuda.jit`'s (`max_registers`, `launch_bounds`)."""
    if function is None:
        return lambda f: Kernel(f, **options)
    return Kernel(function)


def inline(function):
    """A function on the device that is folded into the kernels calling it."""
    return function if SIMULATED else cuda.jit(device=True, inline="always")(function)


def blocks(work: int, each: int = BLOCK) -> int:
    """Blocks for so many elements, `each` a block: fewer where the threads loop over the rest."""
    return max(1, min(-(-work // each), MOST_BLOCKS))


if SIMULATED:
    from nbgrad.kernels.cuda.simulator import Simulator as Machine
else:
    from nbgrad.kernels.cuda.driver import Driver as Machine  # type: ignore[assignment]

machine = Machine()
