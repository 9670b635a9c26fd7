"""Check gradients against finite differences, first and second order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbgrad import dtypes
from nbgrad.autograd.api import grad
from nbgrad.ops.create import from_numpy, zeros_like
from nbgrad.tensor import Tensor


class GradcheckError(RuntimeError):
    """A gradient disagrees with finite differences, or with itself."""


def gradcheck(func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
              rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
              check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
              check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True,
              fast_mode: bool = False, masked: bool | None = None) -> bool:
    """Compare the gradients of `func` with central differences, (f(x + eps) - f(x - eps)) / 2 eps.

    Each element of the inputs that require grad is moved in place; they should be float64.

    Args:
        func: takes `inputs`, returns a tensor or several.
        inputs: a tensor or several; those that require grad are checked.
        eps: the step of the differences.
        atol, rtol: |analytical - numerical| <= atol + rtol * |numerical|.
        raise_exception: raise GradcheckError rather than return False.
        nondet_tol: how far two runs of the same backward may differ.
        check_undefined_grad: try backward without a gradient for one of several outputs.
        check_grad_dtypes: gradients have the dtypes of their inputs.
        check_batched_grad, check_batched_forward_grad, check_forward_ad: only False.
        check_backward_ad: only True.
        fast_mode: compare vᵀJu for one random u and v an input and output, not all of J.
        masked: for sparse tensors, of which there are none.

    Raises:
        GradcheckError: says which output, input and Jacobians.
        ValueError: no input requires grad.
        RuntimeError: elements of an input share memory.
        NotImplementedError: a check that there is not.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([0.3, 0.7], dtype=nbgrad.float64, requires_grad=True)
        >>> gradcheck(lambda x: x.sin(), x)
        True
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be "
                             "True")
    _refuse("gradcheck", check_batched_grad=check_batched_grad, check_forward_ad=check_forward_ad,
            check_batched_forward_grad=check_batched_forward_grad)
    check = _Check(func, _several(inputs), eps, atol, rtol, nondet_tol, check_grad_dtypes, fast_mode)
    try:
        check.run(check_undefined_grad)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6,
                  atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
                  raise_exception: bool = True, nondet_tol: float = 0.0,
                  check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
                  check_batched_grad: bool = False, check_fwd_over_rev: bool = False,
                  check_rev_over_rev: bool = True, fast_mode: bool = False,
                  masked: bool = False) -> bool:
    """Compare the gradients of the gradients of `func` with central differences.

    It is `gradcheck` of (inputs, grad_outputs) ↦ gradients; arguments not named here are as there.

    Args:
        grad_outputs: the gradients of the outputs; random by default, and checked too.
        gen_non_contig_grad_outputs: whether those drawn have gaps in memory.
        check_fwd_over_rev: only False.
        check_rev_over_rev: only True.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([0.3, 0.7], dtype=nbgrad.float64, requires_grad=True)
        >>> gradgradcheck(lambda x: x.sin(), x)
        True
    """
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be "
                             "True")
    _refuse("gradgradcheck", check_batched_grad=check_batched_grad,
            check_fwd_over_rev=check_fwd_over_rev)
    inputs = _several(inputs)
    count = len(inputs)
    if grad_outputs is None:
        random = np.random.default_rng(0)
        grad_outputs = tuple(_draw(o, random, gen_non_contig_grad_outputs)
                             for _, o in _recorded(func(*inputs)))

    def gradients(*args: Any) -> tuple[Tensor, ...]:
        outputs = [o for _, o in _recorded(func(*args[:count]))]
        wanted = [t for _, t in _recorded(args[:count])]
        if not outputs:
            return ()
        found = grad(outputs, wanted, args[count:], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradients, inputs + _several(grad_outputs), eps=eps, atol=atol, rtol=rtol,
                     raise_exception=raise_exception, nondet_tol=nondet_tol,
                     check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
                     fast_mode=fast_mode, masked=masked)


@dataclass
class _Check:
    """A function at one point, and how closely its gradients are looked at."""

    func: Callable
    inputs: tuple
    eps: float
    atol: float
    rtol: float
    nondet_tol: float
    check_grad_dtypes: bool
    fast: bool

    def run(self, undefined: bool) -> None:
        self.targets = _recorded(self.inputs)
        self.check_inputs()
        outputs = _recorded(self.func(*self.inputs))
        self.compare(outputs)
        if outputs:
            self.check_zeros([o for _, o in outputs])
        if undefined and len(outputs) > 1:
            self.check_undefined(len(outputs))

    def check_inputs(self) -> None:
        if not self.targets:
            raise ValueError("gradcheck expects at least one input tensor to require gradient, but "
                             "none of them have requires_grad=True.")
        for k, t in self.targets:
            if t.dtype is not dtypes.float64:
                warnings.warn(f"Input #{k} requires gradient and is not a double precision floating "
                              "point or complex. This check will likely fail if all the inputs are "
                              "not of double precision floating point or complex. ", UserWarning,
                              stacklevel=4)
            if any(step == 0 and size > 1 for step, size in zip(t.stride(), t.shape)):
                raise RuntimeError(
                    f"The {k}th input has a dimension with stride 0. gradcheck only supports inputs "
                    "that are non-overlapping to be able to compute the numerical gradients "
                    "correctly. You should call .contiguous on the input before passing it to "
                    "gradcheck.")

    def compare(self, outputs: list) -> None:
        """Hold all Jacobians, or in fast mode their products with vectors, against each other."""
        random = np.random.default_rng(0)
        us = {k: _directions(t, self.fast, random) for k, t in self.targets}
        numerical = {k: self.numerical(k, u) for k, u in us.items()}
        if not outputs and any(n.any() for found in numerical.values() for n in found.values()):
            raise GradcheckError("Numerical gradient for function expected to be zero")
        for j, output in outputs:
            v = _directions(output, self.fast, random)
            for k, a in self.analytical(output, v).items():
                n, atol, u = numerical[k][j], self.atol, us[k]
                if self.fast:  # atol everywhere in J makes this much in vᵀJu
                    n, a, atol = n @ v.T, u @ a, atol * u.sum() * v.sum()
                if not np.allclose(a, n, self.rtol, atol):
                    raise GradcheckError(
                        f"Jacobian mismatch for output {j} with respect to input {k},\n"
                        + _both(n, a) + (self.in_full(j, output, k) if self.fast else ""))

    def in_full(self, j: int, output: Tensor, k: int) -> str:
        """Both Jacobians, when their products differ."""
        n = self.numerical(k, np.eye(self.inputs[k].numel()))[j]
        a = self.analytical(output, np.eye(output.numel()))[k]
        passes = np.allclose(a, n, self.rtol, self.atol)
        return ("These are products with random vectors (fast mode). The Jacobians themselves:\n"
                + _both(n, a) + f"Their greatest difference is {np.max(abs(a - n))}"
                + (", within the tolerances: try fast_mode=False.\n" if passes else ".\n"))

    # Jacobians: a row for each direction in an input, a column for each in an output

    def numerical(self, k: int, directions: np.ndarray) -> dict[int, np.ndarray]:
        """Of each output, by its place, the slopes along directions in input `k`."""
        start = _array(self.inputs[k])
        memory = self.inputs[k].data  # writes to it go past the version counter
        rows = []
        try:
            for u in directions:
                ends = []
                for step in (-self.eps, self.eps):
                    memory.copy_(from_numpy(np.asarray(start + (step * u).reshape(start.shape))))
                    ends.append(dict(_float_arrays(self.func(*self.inputs))))
                rows.append({j: self.slope(low, ends[1][j]) for j, low in ends[0].items()})
        finally:
            memory.copy_(from_numpy(start))
        if not rows:
            return {j: np.zeros((0, o.size)) for j, o in _float_arrays(self.func(*self.inputs))}
        return {j: np.stack([row[j] for row in rows]) for j in rows[0]}

    def slope(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        if low.shape != high.shape:
            raise AssertionError(
                "Expected `func` to return outputs with the same shape when inputs are perturbed by "
                f"{self.eps}, but got: shapes {low.shape} and {high.shape}.")
        with np.errstate(invalid="ignore"):
            return (high - low).reshape(-1) / (2 * self.eps)

    def analytical(self, output: Tensor, directions: np.ndarray) -> dict[int, np.ndarray]:
        """Of each input, by its place, the gradients of an output in some directions, made twice."""
        first, again = (self.gradients(output, directions) for _ in range(2))
        for k in first:
            with np.errstate(invalid="ignore"):
                apart = abs(first[k] - again[k]) > self.nondet_tol
            if apart.any():
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values, although analytical gradient "
                    "matches numerical gradient. The tolerance for nondeterminism was "
                    f"{self.nondet_tol}.")
        return first

    def gradients(self, output: Tensor, directions: np.ndarray) -> dict[int, np.ndarray]:
        targets = [t for _, t in self.targets]
        found = {k: np.zeros((t.numel(), len(directions))) for k, t in self.targets}
        for column, v in enumerate(directions):
            seed = from_numpy(np.array(v)).to(output.device, output.dtype).reshape(output.shape)
            gs = grad(output, targets, seed, retain_graph=True, allow_unused=True)
            for matrix, t, g in zip(found.values(), targets, gs):
                if g is None:
                    continue
                if g.shape != t.shape:
                    raise GradcheckError("Analytical gradient has incorrect size")
                if self.check_grad_dtypes and g.dtype is not t.dtype:
                    raise GradcheckError("Gradient has dtype mismatch")
                matrix[:, column] = _array(g).reshape(-1)
        return found

    # backward of nothing

    def check_zeros(self, outputs: list[Tensor]) -> None:
        """Backward is linear: gradients of zero give zero."""
        if any(_array(g).any() for g in self.of_zeros(outputs)):
            raise GradcheckError("backward not multiplied by grad_output")

    def check_undefined(self, count: int) -> None:
        """Without a gradient for one of the outputs, as with one of zeros."""
        for missing in range(count):
            outputs = [o for _, o in _recorded(self.func(*self.inputs))]
            del outputs[missing]
            try:
                found = self.of_zeros(outputs)
            except Exception as error:
                raise GradcheckError("Expected backward function to handle undefined output grads. "
                                     "It gets None for outputs that do not matter.") from error
            if any(_array(g).any() for g in found):
                raise GradcheckError("Expected all input grads to be undefined or zero when all "
                                     "output grads are undefined or zero.")

    def of_zeros(self, outputs: list[Tensor]) -> list[Tensor]:
        found = grad(outputs, [t for _, t in self.targets], [zeros_like(o) for o in outputs],
                     allow_unused=True)
        return [g for g in found if g is not None]


def _refuse(name: str, **checks: bool) -> None:
    for check, asked in checks.items():
        if asked:
            raise NotImplementedError(f"{name}: {check}=True is not available: there is neither "
                                      "forward-mode differentiation nor vmap")


def _several(values: Any) -> tuple:
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def _recorded(values: Any) -> list[tuple[int, Tensor]]:
    """The tensors that require grad, with their places."""
    return [(k, t) for k, t in enumerate(_several(values)) if isinstance(t, Tensor) and t.requires_grad]


def _float_arrays(outputs: Any) -> Iterator[tuple[int, np.ndarray]]:
    for j, o in enumerate(_several(outputs)):
        if isinstance(o, Tensor) and o.is_floating_point():
            yield j, _array(o)


def _array(t: Tensor) -> np.ndarray:
    """A copy of the values in float64."""
    return np.array(t.detach().double()._values())


def _both(numerical: np.ndarray, analytical: np.ndarray) -> str:
    return f"numerical:{from_numpy(numerical)}\nanalytical:{from_numpy(analytical)}\n"


def _directions(t: Tensor, fast: bool, random: np.random.Generator) -> np.ndarray:
    """One row a direction: the axes, or one drawn at random, of positive numbers and length 1."""
    if not fast:
        return np.eye(t.numel())
    drawn = random.uniform(size=(1, t.numel()))
    return drawn / np.linalg.norm(drawn) if t.numel() else drawn


def _draw(like: Tensor, random: np.random.Generator, gaps: bool) -> Tensor:
    """A random gradient; with gaps, every second element of its memory."""
    shape = tuple(like.shape)
    gaps = gaps and like.numel() > 1
    drawn = random.uniform(-1, 1, (*shape[:-1], 2 * shape[-1]) if gaps else shape)
    made = from_numpy(np.asarray(drawn)).to(like.device, like.dtype)
    return (made[..., ::2] if gaps else made).requires_grad_()
