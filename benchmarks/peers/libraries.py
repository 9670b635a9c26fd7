"""How each library does a workload."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from benchmarks.peers.workload import Workload


class Job(NamedTuple):
    """What a worker times: `call()`, or `call(before())` with `before` not timed."""

    call: Callable[..., Any]
    before: Callable[[], Any] | None = None


def leaves(result: Any) -> list[Any]:
    """The tensors in nested tuples and lists."""
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


class Torch:
    """PyTorch, and nbgrad, which is spelled like it."""

    def __init__(self, module: str, threads: int, device: str) -> None:
        self.torch, self.device = importlib.import_module(module), device
        self.torch.set_num_threads(threads)
        self.version = self.torch.__version__
        if device == "cuda":  # models are made there; float32 is multiplied as such, in all libraries
            if not self.torch.cuda.is_available():
                raise SystemExit(f"this {module} ({self.version}) finds no CUDA device")
            self.version += f" on {self.torch.cuda.get_device_name()}"
            self.torch.set_default_device(device)
            self.torch.backends.cuda.matmul.allow_tf32 = False
            self.torch.backends.cudnn.allow_tf32 = False

    def takes(self, workload: Workload) -> bool:
        return True

    def tensor(self, array: np.ndarray) -> Any:
        """A tensor in the library's own memory, with the layout of the array."""
        if array.ndim == 2 and not array.flags.c_contiguous:
            return self.tensor(array.T).T
        return self.torch.from_numpy(array).clone().to(self.device)

    def wait(self, result: Any) -> None:
        """Return when the result is there."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [leaf.detach().cpu().numpy() for leaf in leaves(result)]

    def function(self, workload: Workload) -> Callable[..., Any]:
        return lambda *xs: workload.function(self.torch, *xs)

    def job(self, w: Workload) -> Job:
        """The inputs made, and what is to be timed on them."""
        f, xs = self.function(w), [self.tensor(array) for array in w.arrays()]
        if w.mode == "program":
            return Job(f(*xs))
        if w.mode == "forward":
            return Job(lambda: f(*xs))
        wanted = [xs[k].requires_grad_() for k in w.gradients]
        if w.mode == "record":
            return Job(lambda _: f(*xs), before=lambda: None)
        gy = self.tensor(w.seed(f(*xs).shape))

        def backward(y):
            y.backward(gy)
            grads = [x.grad for x in wanted]
            for x in wanted:
                x.grad = None
            return grads

        if w.mode == "backward":
            return Job(backward, before=lambda: f(*xs))

        def both():
            y = f(*xs)
            return y, backward(y)

        return Job(both)


class Compiled(Torch):
    """torch.compile, where there is something to fuse."""

    GROUPS = ("elementwise-fresh", "reductions", "norms")

    def takes(self, workload: Workload) -> bool:
        return workload.group.name in self.GROUPS and workload.mode in ("forward", "both")

    def function(self, workload: Workload) -> Callable[..., Any]:
        self.torch._dynamo.reset()
        return self.torch.compile(super().function(workload), dynamic=False)


class Spelled:
    """A NumPy-like module under PyTorch's names: `dim` is `axis`, and so on."""

    NAMES = MappingProxyType({"div": "divide", "mul": "multiply", "pow": "power", "amax": "max"})

    def __init__(self, numpy: Any, **special: Callable[..., Any]) -> None:
        self._numpy = numpy
        self.nn = SimpleNamespace(functional=self)
        for name, function in special.items():
            setattr(self, name, self._renamed(function))

    @staticmethod
    def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *xs, **options: function(
            *xs, **{"axis" if key == "dim" else key: value for key, value in options.items()})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._renamed(getattr(self._numpy, self.NAMES.get(name, name)))


class NumpyLike:
    """What JAX and autograd share: no tensors with a graph, only functions of arrays."""

    GROUPS = ("elementwise", "matmul", "reductions", "dispatch")
    torch: Spelled

    def takes(self, workload: Workload) -> bool:
        return workload.group.name.split("-")[0] in self.GROUPS and workload.mode != "program"

    def tensor(self, array: np.ndarray) -> Any:
        return array

    def wait(self, result: Any) -> None:
        pass

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in leaves(result)]

    def compiled(self, function: Callable[..., Any], workload: Workload) -> Callable[..., Any]:
        return function

    def vjp(self, function: Callable[..., Any], *xs: Any) -> tuple[Any, Callable[[Any], Any]]:
        """The function's value, and what takes its gradient to those of the arguments."""
        raise NotImplementedError

    def job(self, w: Workload) -> Job:
        xs = [self.tensor(array) for array in w.arrays()]

        def f(*given):
            return w.function(self.torch, *given)

        def recorded(*given):
            def of_wanted(*wanted):
                all_xs = list(given)
                for k, x in zip(w.gradients, wanted):
                    all_xs[k] = x
                return f(*all_xs)

            return self.vjp(of_wanted, *(given[k] for k in w.gradients))

        if w.mode == "forward":
            run = self.compiled(f, w)
            return Job(lambda: run(*xs))
        record = self.compiled(recorded, w)
        if w.mode == "record":
            return Job(lambda _: record(*xs)[0], before=lambda: None)
        gy = self.tensor(w.seed(np.shape(f(*xs))))
        if w.mode == "backward":
            pull = self.compiled(lambda back: back(gy), w)
            return Job(pull, before=lambda: self.settled(record(*xs)[1]))

        def both(*given):
            y, back = recorded(*given)
            return y, back(gy)

        run = self.compiled(both, w)
        return Job(lambda: run(*xs))

    def settled(self, back: Any) -> Any:
        """`back` when what it needs has been computed."""
        self.wait(back)
        return back


class Jax(NumpyLike):
    """JAX, each workload compiled whole by jit."""

    def __init__(self, module: str, threads: int, device: str) -> None:
        if hasattr(os, "sched_setaffinity"):  # XLA takes its threads from the CPUs it may use
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        import jax
        import jax.scipy.special as special

        self.jax, self.version = jax, jax.__version__
        self.tensor, self.wait = jax.numpy.asarray, jax.block_until_ready
        self.torch = Spelled(
            jax.numpy, erf=special.erf, sigmoid=special.expit, logsumexp=special.logsumexp,
            gelu=lambda x: jax.nn.gelu(x, approximate=False),
            var=lambda x, axis: jax.numpy.var(x, axis, ddof=1))

    def compiled(self, function: Callable[..., Any], workload: Workload) -> Callable[..., Any]:
        return function if workload.eager else self.jax.jit(function)

    def vjp(self, function, *xs):
        return self.jax.vjp(function, *xs)


class Autograd(NumpyLike):
    """HIPS autograd, the NumPy tape."""

    def __init__(self, module: str, threads: int, device: str) -> None:
        import autograd
        import autograd.numpy as numpy
        import autograd.scipy.special as special

        self.autograd, self.version = autograd, importlib.metadata.version("autograd")
        self.torch = Spelled(
            numpy, erf=special.erf, sigmoid=special.expit, logsumexp=special.logsumexp,
            gelu=lambda x: x * np.float32(0.5) * (1 + special.erf(x * np.float32(0.5 ** 0.5))),
            var=lambda x, axis: numpy.var(x, axis, ddof=1))

    def vjp(self, function, *xs):
        back, y = self.autograd.make_vjp(function, tuple(range(len(xs))))(*xs)
        return y, back


#: name: the module that must be installed, and who speaks to it; nbgrad is compared with the rest.
LIBRARIES: dict[str, tuple[str, Callable[..., Any]]] = {
    "nbgrad": ("nbgrad", Torch),
    "torch": ("torch", Torch),
    "torch.compile": ("torch", Compiled),
    "jax": ("jax", Jax),
    "autograd": ("autograd", Autograd),
}
