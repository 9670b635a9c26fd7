"""Derivatives of functions: products with Jacobians and Hessians, and these themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbgrad.autograd.api import grad
from nbgrad.engine.mode import enable_grad
from nbgrad.ops.create import zeros_like
from nbgrad.ops.shape import stack
from nbgrad.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = tuple[Tensor, ...]


def vjp(func: Callable, inputs: Tensor | Tensors, v: Tensor | Tensors | None = None,
        create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The outputs of `func` and vᵀJ, the product of a vector and its Jacobian.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple of tensors.
        v: as the outputs; may be left out for a single element, and is then 1.
        create_graph: record the computation, so that both results can be differentiated.
        strict: refuse an input that does not matter, instead of giving zeros for it.

    Returns:
        The outputs, and for each input a tensor of its shape.

    Raises:
        TypeError: something else than tensors was given or returned.
        RuntimeError: `v` does not fit the outputs, or `strict` finds a fault.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([1., 2.])
        >>> vjp(lambda x: x ** 2, x, nbgrad.tensor([1., 10.]))
        (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    with enable_grad():
        many, xs = _fresh_inputs(inputs, "vjp", create_graph)
        many_outputs, outputs = _outputs(func, xs, "vjp", strict)
        weights = _vector(v, outputs, many_outputs, "vjp", create_graph,
                          "the user-provided function returns")
        gx = _filled(_grad(outputs, xs, weights, create_graph), xs, strict, create_graph,
                     "jacobian", _UNUSED)
    return _handed(outputs, many_outputs, create_graph), _handed(gx, many, create_graph)


def jvp(func: Callable, inputs: Tensor | Tensors, v: Tensor | Tensors | None = None,
        create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The outputs of `func` and Jv, the product of its Jacobian and a vector.

    The backward u ↦ uᵀJ is linear in u, so its own backward gives Jv.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple of tensors.
        v: as the inputs; may be left out for a single element, and is then 1.
        create_graph: record the computation, so that both results can be differentiated.
        strict: refuse an input that does not matter, instead of giving zeros for it.

    Returns:
        The outputs, and for each output a tensor of its shape.

    Raises:
        TypeError: something else than tensors was given or returned.
        RuntimeError: `v` does not fit the inputs, or `strict` finds a fault.

    Example:
        >>> import nbgrad
        >>> jvp(lambda x, y: x * y, (nbgrad.tensor(3.), nbgrad.tensor(2.)),
        ...     (nbgrad.tensor(1.), nbgrad.tensor(10.)))
        (tensor(6.), tensor(32.))
    """
    with enable_grad():
        many, xs = _fresh_inputs(inputs, "jvp", create_graph)
        weights = _vector(v, xs, many, "jvp", create_graph, _ONE_INPUT)
        many_outputs, outputs = _outputs(func, xs, "jvp", strict)
        gx, u = _backward(outputs, xs)
        _require_grad(gx, strict, "The gradient with respect to input {} is independent of the "
                                  "inputs of the user-provided function.")
        found = _filled(
            _grad(gx, u, weights, create_graph), outputs, strict, create_graph, "jacobian",
            "The gradient with respect to the input is independent of entry {} in the grad_outputs "
            "when using the double backward trick to compute forward mode gradients.")
    return _handed(outputs, many_outputs, create_graph), _handed(found, many_outputs, create_graph)


def jacobian(func: Callable, inputs: Tensor | Tensors, create_graph: bool = False,
             strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:
    """The Jacobian of `func`: J[i, j] = ∂ output[i] / ∂ input[j].

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple of tensors.
        create_graph: record the computation, so that the result can be differentiated.
        strict: refuse an input that does not matter, instead of giving zeros for it.
        vectorize: changes nothing, rows are computed one after another.
        strategy: "reverse-mode" runs backward once an element of the outputs; "forward-mode", for
            few inputs and many outputs, the backward of the backward once an element of the inputs.

    Returns:
        A tensor of shape (*output.shape, *input.shape); a tuple of them, one an output or one an
        input, where one of the two is a tuple; where both are, a tuple an output of such tuples.

    Raises:
        TypeError: something else than tensors was given or returned.
        RuntimeError: `strict` finds a fault, or comes with `vectorize` or "forward-mode".
        AssertionError: another strategy.

    Example:
        >>> import nbgrad
        >>> jacobian(lambda x: x.cumsum(0) ** 2, nbgrad.tensor([1., 2.]))
        tensor([[2., 0.],
                [6., 6.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    forward = strategy == "forward-mode"
    if strict and (forward or vectorize):
        other = 'strategy="forward-mode"' if forward else "vectorize=True"
        raise RuntimeError(f"torch.autograd.functional.jacobian: `strict=True` and `{other}` are not "
                           "supported together.")
    with enable_grad():
        many, xs = _fresh_inputs(inputs, "jacobian", create_graph)
        many_outputs, outputs = _outputs(func, xs, "jacobian", strict)
        found = (_columns(outputs, xs, create_graph) if forward else
                 _rows(outputs, xs, create_graph, strict))
    return _handed(tuple(_handed(row, many, create_graph) for row in found), many_outputs, True)


def hessian(func: Callable, inputs: Tensor | Tensors, create_graph: bool = False,
            strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """The Hessian of `func`: H[i, j] = ∂² output / ∂ input[i] ∂ input[j].

    Args:
        func: takes the inputs, returns a tensor of one element.
        inputs: a tensor or a tuple of tensors.
        create_graph: record the computation, so that the result can be differentiated.
        strict: refuse an input that does not matter, instead of giving zeros for it.
        vectorize: changes nothing, rows are computed one after another.
        outer_jacobian_strategy: the `strategy` of the Jacobian of the gradient.

    Returns:
        A tensor of shape (*input.shape, *input.shape), or for a tuple of inputs a tuple of tuples.

    Raises:
        TypeError: something else than tensors was given or returned.
        RuntimeError: `func` does not return one tensor of one element; or as `jacobian` raises.

    Example:
        >>> import nbgrad
        >>> hessian(lambda x: x.prod(), nbgrad.tensor([2., 3., 5.]))
        tensor([[0., 5., 3.],
                [5., 0., 2.],
                [3., 2., 0.]])
    """
    many, given = _several(inputs, "inputs", "hessian")

    def gradient(*xs: Tensor) -> Tensors:
        gx = _zeros_for_none(_gradient(func, xs, "hessian", strict)[1], xs)
        _require_grad(gx, strict, _LINEAR)
        return gx

    found = jacobian(gradient, given, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if many else found[0][0]


def vhp(func: Callable, inputs: Tensor | Tensors, v: Tensor | Tensors | None = None,
        create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The output of `func` and vᵀH, the product of a vector and its Hessian.

    Args:
        func: takes the inputs, returns a tensor of one element.
        inputs: a tensor or a tuple of tensors.
        v: as the inputs; may be left out for a single element, and is then 1.
        create_graph: record the computation, so that both results can be differentiated.
        strict: refuse an input that does not matter, instead of giving zeros for it.

    Returns:
        The output, and for each input a tensor of its shape.

    Raises:
        TypeError: something else than tensors was given or returned.
        RuntimeError: `func` does not return one tensor of one element, `v` does not fit the
            inputs, or `strict` finds a fault.

    Example:
        >>> import nbgrad
        >>> vhp(lambda x: (x ** 3).sum(), nbgrad.tensor([1., 2.]), nbgrad.tensor([1., 10.]))
        (tensor(9.), tensor([  6., 120.]))
    """
    with enable_grad():
        many, xs = _fresh_inputs(inputs, "vhp", create_graph)
        weights = _vector(v, xs, many, "vhp", create_graph, _ONE_INPUT)
        output, gx = _gradient(func, xs, "vhp", strict)
        _require_grad(gx, strict, _LINEAR)
        found = _filled(_grad(gx, xs, weights, create_graph), xs, strict, create_graph, "hessian",
                        "The jacobian of the user-provided function is independent of input {}.")
    return _handed((output,), False, create_graph), _handed(found, many, create_graph)


def hvp(func: Callable, inputs: Tensor | Tensors, v: Tensor | Tensors | None = None,
        create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The output of `func` and Hv, the product of its Hessian and a vector.

    A Hessian of continuous second derivatives is symmetric, and `vhp` then gives the same sooner.

    Args:
        func: takes the inputs, returns a tensor of one element.
        inputs: a tensor or a tuple of tensors.
        v: as the inputs; may be left out for a single element, and is then 1.
        create_graph: record the computation, so that both results can be differentiated.
        strict: refuse an input that does not matter, instead of giving zeros for it.

    Returns:
        The output, and for each input a tensor of its shape.

    Raises:
        TypeError: something else than tensors was given or returned.
        RuntimeError: `func` does not return one tensor of one element, `v` does not fit the
            inputs, or `strict` finds a fault.

    Example:
        >>> import nbgrad
        >>> hvp(lambda x: (x ** 3).sum(), nbgrad.tensor([1., 2.]), nbgrad.tensor([1., 10.]))
        (tensor(9.), tensor([  6., 120.]))
    """
    with enable_grad():
        many, xs = _fresh_inputs(inputs, "hvp", create_graph)
        weights = _vector(v, xs, many, "hvp", create_graph, _ONE_INPUT)
        output, gx = _gradient(func, xs, "hvp", strict)
        _require_grad(gx, strict, _LINEAR)
        ggx, u = _backward(_zeros_for_none(gx, xs), xs)
        found = _filled(
            _grad(ggx, u, weights, create_graph), xs, strict, create_graph, "hessian",
            "The hessian of the user-provided function is independent of entry {} in the "
            "grad_jacobian.")
    return _handed((output,), False, create_graph), _handed(found, many, create_graph)


# what is given and returned

_ONE_INPUT = "the input to the user-provided function is"


def _several(value: Any, what: str, name: str) -> tuple[bool, Tensors]:
    """Whether a tuple was given, and the tensors in a tuple."""
    many = isinstance(value, tuple)
    tensors = value if many else (value,)
    for k, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            place = f"value at index {k}" if many else f"given {what}"
            raise TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of "
                            f"Tensors but the {place} has type {type(t)}.")
    return many, tensors


def _fresh_inputs(inputs: Any, name: str, create_graph: bool) -> tuple[bool, Tensors]:
    many, given = _several(inputs, "inputs", name)
    return many, _fresh(given, create_graph, True)


def _fresh(tensors: Tensors, create_graph: bool, requires_grad: bool) -> Tensors:
    """New tensors, so that those which `func` knows otherwise are not taken for its inputs."""
    return tuple(t.view_as(t) if create_graph and t.requires_grad else
                 t.detach().requires_grad_(requires_grad) for t in tensors)


def _outputs(func: Callable, xs: Tensors, name: str, strict: bool) -> tuple[bool, Tensors]:
    many, outputs = _several(func(*xs), "outputs of the user-provided function", name)
    _require_grad(outputs, strict, "Output {} of the user-provided function does not require "
                                   "gradients.")
    return many, outputs


def _gradient(func: Callable, xs: Tensors, name: str, strict: bool) -> tuple[Tensor, tuple]:
    """The output of a function of one element, and its gradients, recorded."""
    many, outputs = _outputs(func, xs, name, strict)
    if many:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a "
                           "single element")
    return outputs[0], _grad(outputs, xs, None, True)


def _vector(v: Any, like: Tensors, many: bool, name: str, create_graph: bool,
            single: str) -> Tensors | None:
    """The tensors of a vector that fits `like`; None, for 1, where that is a single element."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {single} a single Tensor with a "
                               "single element.")
        return None
    found = _fresh(_several(v, "v", name)[1], create_graph, False)
    if len(found) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got "
                           f"{len(found)}." if many else "The given v should contain a single Tensor.")
    for k, (t, own) in enumerate(zip(found, like)):
        if t.shape != own.shape:
            entry = f"Entry {k} in " if many else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {own.shape} but got {t.shape}.")
    return found


def _handed(found: tuple, many: bool, create_graph: bool) -> Any:
    """As the caller gets it: without history unless asked for, a tuple where it has several."""
    found = found if create_graph else tuple(t.detach() for t in found)
    return found if many else found[0]


# derivatives

def _grad(outputs: tuple, inputs: Tensors, weights: tuple | None, create_graph: bool,
          retain_graph: bool | None = None) -> tuple:
    """As `grad`, with None for inputs that do not matter, and past outputs that depend on none."""
    pairs = [(o, w) for o, w in zip(outputs, weights or (None,) * len(outputs))
             if o is not None and o.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    outputs, weights = zip(*pairs)
    return grad(outputs, inputs, weights, retain_graph, create_graph, allow_unused=True)


def _backward(outputs: Tensors, inputs: Tensors) -> tuple[tuple, Tensors]:
    """The gradients of the outputs weighted by u, recorded, and u: zeros, as it is no matter."""
    u = tuple(zeros_like(o, requires_grad=True) for o in outputs)
    return _grad(outputs, inputs, u, True), u


def _rows(outputs: Tensors, inputs: Tensors, create_graph: bool,
          strict: bool = False) -> tuple[Tensors, ...]:
    """Of each output and input the Jacobian, one backward a row."""
    found = []
    for i, out in enumerate(outputs):
        unused = f"Output {i} of the user-provided function is independent of input {{}}."
        rows = [_filled(_grad((out,), inputs, (_unit(out, k),), create_graph, True), inputs, strict,
                        create_graph, "jacobian", unused) for k in range(out.numel())]
        found.append(tuple(stack([row[j] for row in rows]).view(out.shape + x.shape)
                           for j, x in enumerate(inputs)))
    return tuple(found)


def _columns(outputs: Tensors, inputs: Tensors, create_graph: bool) -> tuple[Tensors, ...]:
    """As `_rows`, column by column: these are the rows of u ↦ uᵀJ."""
    gx, u = _backward(outputs, inputs)
    turned = _rows(_zeros_for_none(gx, inputs), u, create_graph)
    return tuple(tuple(turned[j][i].permute([*range(x.dim(), x.dim() + out.dim()), *range(x.dim())])
                       for j, x in enumerate(inputs)) for i, out in enumerate(outputs))


def _unit(like: Tensor, k: int) -> Tensor:
    """Zeros but for a 1 at element k."""
    flat = like.new_zeros(like.numel())
    flat[k] = 1
    return flat.view(like.shape)


def _zeros_for_none(found: tuple, like: Tensors) -> Tensors:
    return tuple(zeros_like(x) if g is None else g for g, x in zip(found, like))


# strict mode

_UNUSED = "The output of the user-provided function is independent of input {}."
_LINEAR = ("While computing the hessian, found that the jacobian of the user-provided function with "
           "respect to input {} is independent of the input.")


def _require_grad(tensors: tuple, strict: bool, message: str) -> None:
    for k, t in enumerate(tensors if strict else ()):
        if t is None or not t.requires_grad:
            message = _UNUSED if t is None else message
            raise RuntimeError(f"{message.format(k)} This is not allowed in strict mode.")


def _filled(found: tuple, like: Tensors, strict: bool, create_graph: bool, what: str,
            unused: str) -> Tensors:
    """Zeros for None, unless in strict mode, which also wants what can be differentiated."""
    for k, g in enumerate(found if strict else ()):
        if g is None:
            raise RuntimeError(f"{unused.format(k)} This is not allowed in strict mode.")
        if create_graph and not g.requires_grad:
            raise RuntimeError(f"The {what} of the user-provided function is independent of input "
                               f"{k}. This is not allowed in strict mode when create_graph=True.")
    return _zeros_for_none(found, like)
