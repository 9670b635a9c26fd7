"""Backward and grad: from tensors to the engine and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from nbgrad.autograd.explain import explain
from nbgrad.engine import backward as engine
from nbgrad.engine.node import GradientEdge
from nbgrad.engine.slot import GradSlot
from nbgrad.ops.create import ones_like, zeros_like
from nbgrad.ops.shape import stack
from nbgrad.tensor import Tensor


def _tuple(value) -> tuple:
    single = isinstance(value, (Tensor, GradientEdge)) or value is None
    return (value,) if single else tuple(value)


def _end(t: Tensor | GradientEdge) -> tuple:
    """(node, port) of the place in the graph where a gradient arrives; None for no node."""
    if isinstance(t, GradientEdge):
        return t.node, t.output_nr if t.node.outputs > 1 else -1
    return t._node if t.requires_grad else None, t._port


def _gradients(value, count: int) -> tuple:
    """The gradients given for `count` tensors; a list given for one tensor is a mistake."""
    if value is None:
        return (None,) * count
    found = _tuple(value)
    for g in found:
        if g is not None and not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if len(found) != count:
        raise RuntimeError(f"got {count} tensors and {len(found)} gradients")
    return found


def _roots(tensors: tuple, grads, create_graph: bool) -> list:
    """(node, port, gradient) of each output, with the implicit 1 of a single element."""
    roots = []
    for k, (t, g) in enumerate(zip(tensors, _gradients(grads, len(tensors)))):
        node, port = _end(t)
        if node is None:
            raise RuntimeError(f"element {k} of tensors does not require grad and does not have a "
                               "grad_fn")
        if isinstance(t, GradientEdge):
            if g is None:
                raise RuntimeError("grad can be implicitly created only for scalar outputs: give the "
                                   "gradient of a GradientEdge")
        elif g is None:
            if t.numel() != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            g = ones_like(t)
        elif g._layout.shape != t._layout.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{k}] has a shape of torch.{str(g.shape)[7:]} and "
                f"output[{k}] has a shape of torch.{str(t.shape)[7:]}.")
        elif g._layout.dtype is not t._layout.dtype:
            g = g.to(t._layout.dtype)
        roots.append((node, port, g))
    return roots


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph: bool = False,
             grad_variables=None, inputs=None) -> None:
    """Add the gradients of `tensors`, weighted by `grad_tensors`, to the `.grad` of the leaves.

    Args:
        tensors: a tensor or several.
        grad_tensors: for each the gradient of the outcome to it (a tensor of its shape), or None
            for one of a single element, which stands for 1.
        retain_graph: keep the saved values for another backward; as `create_graph` by default.
        create_graph: record the backward, for higher derivatives.
        inputs: add only to the `.grad` of these leaves.

    Raises:
        RuntimeError: a tensor does not require grad, is not of one element and has no gradient
            given, or the graph was freed.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([1., 2.], requires_grad=True)
        >>> backward((x * x).sum())
        >>> x.grad
        tensor([2., 4.])
    """
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.",
                      FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError("`grad_tensors` and `grad_variables` (deprecated) arguments both "
                               "passed to `backward()`. Please only use `grad_tensors`.")
        grad_tensors = grad_variables
    wanted = None
    if inputs is not None:
        chosen = _tuple(inputs)
        if not chosen:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        wanted = _wanted(chosen, "inputs")
    roots = _roots(_tuple(tensors), grad_tensors, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    if create_graph:
        warnings.warn(_CYCLE, UserWarning, stacklevel=2)
    found = engine.run(roots, keep_graph=keep, create_graph=create_graph, wanted=wanted)
    if wanted is not None:
        for t in chosen:
            grad = found.get(_end(t))
            if isinstance(t, Tensor) and not t.is_leaf and not t.retains_grad and grad is not None:
                old = t.grad if isinstance(t._slot, GradSlot) else None
                t.grad = grad if old is None else old + grad


_CYCLE = (
    "Using backward() with create_graph=True will create a reference cycle between the parameter "
    "and its gradient which can cause a memory leak. We recommend using autograd.grad when creating "
    "the graph to avoid this. If you have to use this function, make sure to reset the .grad fields "
    "of your parameters to None after use to break the cycle and avoid the leak.")


def _wanted(inputs: tuple, name: str) -> dict:
    wanted: dict = {}
    for k, t in enumerate(inputs):
        if not isinstance(t, (Tensor, GradientEdge)):
            raise TypeError(f"{name}[{k}] must be a Tensor, not {type(t).__name__}")
        end = _end(t)
        if end[0] is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        wanted.setdefault(end, []).append(k)
    return wanted


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph: bool = False,
         only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
         materialize_grads: bool = False) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs` to `inputs`, leaving every `.grad` alone.

    Args:
        outputs: a tensor or several.
        inputs: a tensor or several, leaves or not.
        grad_outputs: for each output the gradient of the outcome to it, or None for 1.
        retain_graph: keep the saved values; as `create_graph` by default.
        create_graph: record the backward, so that the result can be differentiated.
        allow_unused: None for an input that does not matter, instead of an error.
        is_grads_batched: `grad_outputs` have a further first dimension, and so have the results;
            one backward is run for each of its rows.
        materialize_grads: zeros for such an input.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor(3., requires_grad=True)
        >>> (g,) = grad(x ** 3, x, create_graph=True)
        >>> grad(g, x)
        (tensor(18.),)
    """
    if not only_inputs:
        warnings.warn("only_inputs argument is deprecated and is ignored now (defaults to True). To "
                      "accumulate gradient for other parts of the graph, please use "
                      "torch.autograd.backward.", FutureWarning, stacklevel=2)
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True,"
                         " but got: allow_unused=False.")
    ins = _tuple(inputs)
    wanted = _wanted(ins, "inputs")
    keep = create_graph if retain_graph is None else retain_graph
    outs = _tuple(outputs)

    def once(grads, keep: bool) -> dict:
        return engine.run(_roots(outs, grads, create_graph), keep_graph=keep,
                          create_graph=create_graph, wanted=wanted, accumulate=False)

    found = _for_each_row(once, outs, grad_outputs, keep) if is_grads_batched else once(
        grad_outputs, keep)
    result: list[Tensor | None] = []
    for k, t in enumerate(ins):
        g = found.get(_end(t))
        if g is None and materialize_grads and isinstance(t, Tensor):
            g = t.detach().new_zeros(t.shape)
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {k} appears to not have been used in the graph. "
                f"Set allow_unused=True if this is the desired behavior.{_cut_off(t, outs)}")
        result.append(g)
    return tuple(result)


def _cut_off(t: Tensor | GradientEdge, outs: tuple) -> str:
    """Where the way from the outputs to a tensor was cut, if it was."""
    tensors = [out for out in outs if isinstance(out, Tensor) and isinstance(t, Tensor)]
    found = dict.fromkeys(explain(out, [t])[0].why for out in tensors)
    return "".join(f"\nThe way to it was {why.removeprefix('no way back to it; ')}"
                   for why in found if "cut by" in why)


def _for_each_row(once: Callable, outs: tuple, grad_outputs, keep: bool) -> dict:
    """What `once(gradients, keep)` finds for each row of batched gradients, stacked."""
    batches = _gradients(grad_outputs, len(outs))
    for k, (t, g) in enumerate(zip(outs, batches)):
        if g is None and t.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        if g is None or not g.ndim:
            raise ValueError("grad(): with is_grads_batched every output needs a gradient with a first "
                             f"dimension for the batch, but that of output {k} has none")
        if isinstance(t, Tensor) and g.shape[1:] != t.shape:
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as "
                "the batch dimension. The sizes of the remaining dimensions are expected to match the "
                f"shape of corresponding output, but a mismatch was detected: grad_output[{k}] has a "
                f"shape of torch.{str(g.shape)[7:]} and output[{k}] has a shape of "
                f"torch.{str(t.shape)[7:]}.")
    sizes = {len(g) for g in batches}
    if len(sizes) > 1:
        raise ValueError("grad(): expected all grad_outputs to have the same size in the batch "
                         f"dimension, got {sorted(sizes)}")
    last = max(sizes) - 1
    if last < 0:
        raise IndexError("index 0 is out of bounds: is_grads_batched needs a row of grad_outputs")
    rows = [once([g[k] for g in batches], keep or k < last) for k in range(last + 1)]
    some = {end: g for row in rows for end, g in row.items()}
    return {end: stack([row.get(end, zeros_like(g)) for row in rows]) for end, g in some.items()}


def _method(self: Tensor, gradient=None, retain_graph=None, create_graph=False,
            inputs=None) -> None:
    """Add the gradient of this tensor to the `.grad` of the leaves it was computed from.

    Args:
        gradient: the gradient of the outcome to this tensor, of its shape; may be left out
            for a tensor of one element, and is then 1.
        retain_graph: keep saved values for another backward; as `create_graph` by default.
        create_graph: record the backward, for higher derivatives.
        inputs: add only to the `.grad` of these.
    """
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


setattr(Tensor, "backward", _method)  # noqa: B010
