"""Check gradients against finite differences, first and second order."""

from __future__ import annotations

import warnings

import numpy as np

from nbgrad.autograd.api import grad
from nbgrad.ops.create import from_numpy
from nbgrad.tensor import Tensor


class GradcheckError(RuntimeError):
    """A gradient disagrees with finite differences."""


def _tensors(values) -> tuple:
    return (values,) if isinstance(values, Tensor) else tuple(values)


def _outputs(function, inputs) -> tuple[Tensor, ...]:
    return tuple(o for o in _tensors(function(*inputs)) if isinstance(o, Tensor)
                 and o.is_floating_point())


def _numerical(function, inputs, which: int, eps: float) -> list[np.ndarray]:
    """Central differences: one (input elements, output elements) matrix an output."""
    target = inputs[which]
    array = target.detach().numpy()
    columns: list[list[np.ndarray]] = []
    for position in np.ndindex(*array.shape):
        kept = array[position].copy()
        ends = []
        for value in (kept + eps, kept - eps):
            array[position] = value
            ends.append([np.array(o.detach().numpy(), np.float64).reshape(-1)
                         for o in _outputs(function, inputs)])
        array[position] = kept
        columns.append([(up - down) / (2 * eps) for up, down in zip(*ends)])
    return [np.array([c[k] for c in columns]) for k in range(len(columns[0]))] if columns else []


def _analytical(output: Tensor, target: Tensor) -> np.ndarray:
    """The same matrix by backward, one row of the identity at a time."""
    rows = []
    for k in range(output.numel()):
        seed = np.zeros(output.numel(), output.dtype.np)
        seed[k] = 1
        (g,) = grad(output, target, from_numpy(seed).reshape(output.shape), retain_graph=True,
                    allow_unused=True)
        rows.append(np.zeros(target.numel()) if g is None else g.detach().numpy().reshape(-1).copy())
    return np.array(rows).reshape(output.numel(), target.numel()).T


def gradcheck(func, inputs, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
              raise_exception: bool = True, nondet_tol: float = 0.0, **_) -> bool:
    """Compare the gradients of `func` with central differences; float64 inputs, please.

    Args:
        func: takes `inputs`, returns a tensor or several.
        inputs: a tensor or several; those that require grad are checked.
        eps: the step of the differences.
        atol, rtol: |analytical - numerical| <= atol + rtol * |numerical|.
        raise_exception: raise GradcheckError rather than return False.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([0.3, 0.7], dtype=nbgrad.float64, requires_grad=True)
        >>> gradcheck(lambda x: x.sin(), x)
        True
    """
    try:
        _check(func, _tensors(inputs), eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(func, inputs, eps, atol, rtol) -> None:
    checked = [k for k, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not checked:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none "
                         "of the them have requires_grad=True.")
    for k in checked:
        if inputs[k].dtype.itemsize < 8:
            warnings.warn(f"Input #{k} requires gradient and is not a double precision floating "
                          "point. This check will likely fail if all the inputs are not of double "
                          "precision floating point.", UserWarning, stacklevel=4)
    outputs = _outputs(func, inputs)
    for k in checked:
        numerical = _numerical(func, inputs, k, eps)
        for j, output in enumerate(outputs):
            if not numerical:
                continue
            analytical = _analytical(output, inputs[k]) if output.requires_grad \
                else np.zeros_like(numerical[j])
            if not np.allclose(analytical, numerical[j], rtol, atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {j} with respect to input {k},\n"
                    f"numerical:{numerical[j]}\nanalytical:{analytical}")


def gradgradcheck(func, inputs, grad_outputs=None, *, eps: float = 1e-6, atol: float = 1e-5,
                  rtol: float = 1e-3, raise_exception: bool = True, seed: int = 0, **_) -> bool:
    """Compare the gradients of the gradients of `func` with central differences."""
    inputs = _tensors(inputs)
    outputs = _outputs(func, inputs)
    rng = np.random.default_rng(seed)
    if grad_outputs is None:
        seeds = tuple(from_numpy(np.asarray(rng.standard_normal(tuple(o.shape)), o.dtype.np))
                      .requires_grad_() for o in outputs)
    else:
        seeds = _tensors(grad_outputs)
    count = len(inputs)

    def first(*args):
        ins, gs = args[:count], args[count:]
        outs = _outputs(func, ins)
        wants = [t for t in ins if isinstance(t, Tensor) and t.requires_grad]
        pairs = [(o, g) for o, g in zip(outs, gs) if o.requires_grad]
        if not pairs:
            return tuple(t * 0 for t in wants)
        outs, gs = zip(*pairs)
        found = grad(outs, wants, gs, create_graph=True, allow_unused=True, materialize_grads=False)
        return tuple(t * 0 if g is None else g for t, g in zip(wants, found))

    return gradcheck(first, (*inputs, *seeds), eps=eps, atol=atol, rtol=rtol,
                     raise_exception=raise_exception)
