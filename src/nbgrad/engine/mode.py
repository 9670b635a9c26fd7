"""What one thread is doing: whether operations are recorded, whether anomalies are sought."""

from __future__ import annotations

import functools
import inspect
import threading
import types
from typing import Any

from nbgrad.engine.provenance import Off, off


class _State(threading.local):
    grad: Any = True  # whether operations are recorded; an Off while they are not
    inference = False  # whether tensors are made that can never take part in autograd
    anomaly = False
    check_nan = True
    running: Any = None  # name and place of the node whose backward runs, in anomaly mode
    hooks_disabled: str | None = None  # why saved_tensors_hooks may not be used
    task: Any = None  # the backward under way
    packer: Any = None  # (node, saved value) -> what is saved instead, by saved_tensors_hooks
    checker: Any = None  # looks at the results of every op and node: detect_nonfinite
    places = False  # whether nodes remember the line they were recorded at
    stream: Any = None  # of a CUDA device, where it isn't the default one
    watched = False  # whether any of these asks for more than the shortest way to record
    nan_safe = False  # whether a zero gradient stays zero where a partial is infinite or NaN
    into_leaves = False  # whether that backward may add to the gradients leaves hold
    waiting: dict = {}  # noqa: RUF012  # node number: what waits for it in the backward under way


state = _State()


#: threads in inference mode, for a check that costs next to nothing while there are none
inferring: set[int] = set()


def is_inference_mode_enabled() -> bool:
    """True when the tensors this thread makes can never take part in autograd."""
    return state.inference


def watch() -> None:
    """Say whether operations must be recorded the long way; after a change of what asks for it."""
    state.places = state.anomaly or state.checker is not None
    state.watched = state.places or state.packer is not None or state.stream is not None


def is_grad_enabled() -> bool:
    """True when operations of this thread are recorded for backward."""
    return bool(state.grad)


class _GradMode:
    """A block or decorator during which recording is on or off, in this thread."""

    _enabled: bool

    def __enter__(self):
        self._before = state.grad
        state.grad = self._mode()

    def _mode(self) -> bool | Off:
        """What `state.grad` is meanwhile."""
        if self._enabled:
            return not state.inference or state.grad
        return off(type(self).__name__, 3)

    def __exit__(self, *exc):
        state.grad = self._before

    def _again(self) -> _GradMode:
        return type(self)()

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):
            return self._generator(function)
        if inspect.iscoroutinefunction(function):
            run = types.coroutine(self._generator(function))

            @functools.wraps(function)
            async def awaited(*args, **kwargs):
                return await run(*args, **kwargs)

            return awaited

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with self._again():
                return function(*args, **kwargs)

        return wrapped

    def _generator(self, function):
        """The mode holds while the generator or coroutine runs, not while it is suspended."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            generator = function(*args, **kwargs)
            advance, value = generator.send, None
            try:
                while True:
                    try:
                        with self._again():
                            item = advance(value)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        value = yield item
                        advance = generator.send
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        advance, value = generator.throw, error
            finally:
                generator.close()

        return wrapped


class no_grad(_GradMode):
    """Do not record operations, as a block or a decorator.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.ones(2, requires_grad=True)
        >>> with nbgrad.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    _enabled = False

    def __new__(cls, function=None):
        made = super().__new__(cls)
        return made if function is None else made(function)


class enable_grad(_GradMode):
    """Record operations, as a block or a decorator, also inside `no_grad`."""

    _enabled = True

    def __new__(cls, function=None):
        made = super().__new__(cls)
        return made if function is None else made(function)


class inference_mode(_GradMode):
    """Make tensors that can never take part in autograd, as a block or a decorator.

    As `no_grad`, and more: the tensors made count no versions, and backward refuses to have them
    saved; a `clone()` made outside is an ordinary tensor. `inference_mode(False)` turns it off.

    Example:
        >>> import nbgrad
        >>> with nbgrad.inference_mode():
        ...     y = nbgrad.ones(2) * 2
        >>> y.is_inference(), y.clone().is_inference()
        (True, False)
    """

    def __new__(cls, mode=True):
        made = super().__new__(cls)
        if isinstance(mode, bool):
            return made
        made._inference = True
        return made(mode)

    def __init__(self, mode: bool = True) -> None:
        self._inference = mode

    def _again(self) -> inference_mode:
        return inference_mode(self._inference)

    def __enter__(self):
        self._before = state.grad, state.inference
        self._set(off("inference_mode", 2) if self._inference else True, self._inference)

    def __exit__(self, *exc):
        self._set(*self._before)

    def _set(self, grad: bool | Off, inference: bool) -> None:
        state.grad, state.inference = grad, inference
        (inferring.add if inference else inferring.discard)(threading.get_ident())


class set_grad_enabled(_GradMode):
    """Turn recording on or off: at once when called, until the end of the block in `with`."""

    def __init__(self, mode: bool) -> None:
        self._enabled = bool(mode)
        self._outer = state.grad
        state.grad = self._mode()

    def __enter__(self):
        self._before = self._outer
        state.grad = self._mode()

    def _again(self) -> set_grad_enabled:
        return set_grad_enabled(self._enabled)

    def __call__(self, function):
        state.grad = self._outer
        return super().__call__(function)


def _set_anomaly(mode: bool, check_nan: bool) -> None:
    state.anomaly, state.check_nan = mode, check_nan
    watch()


class set_detect_anomaly:
    """Remember where each operation was recorded, and name that line when its backward fails."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._outer = state.anomaly, state.check_nan
        _set_anomaly(bool(mode), check_nan)

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        _set_anomaly(*self._outer)


class detect_anomaly(set_detect_anomaly):
    """The block form of `set_detect_anomaly`."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check = check_nan
        self._outer = state.anomaly, state.check_nan

    def __enter__(self):
        self._outer = state.anomaly, state.check_nan
        _set_anomaly(True, self._check)


class set_nan_safe:
    """Whether a gradient of zero stays zero through a partial that is infinite or NaN.

    At once when called, until the end of the block in `with`. Off, as in PyTorch, 0 * inf is NaN:
    in `where(x > 0, sqrt(x), 0)` the branch that is not taken then spoils the gradient at zero.
    Holds for elementwise operations, in backwards that this thread runs.

    Example:
        >>> import nbgrad
        >>> x = nbgrad.tensor([0., 4.], requires_grad=True)
        >>> y = nbgrad.where(x > 0, x.sqrt(), x)
        >>> with nbgrad.autograd.set_nan_safe(True):
        ...     nbgrad.autograd.grad(y.sum(), x)
        (tensor([1.0000, 0.2500]),)
    """

    def __init__(self, mode: bool) -> None:
        self._outer = state.nan_safe
        state.nan_safe = bool(mode)

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        state.nan_safe = self._outer


def is_nan_safe() -> bool:
    """True while `set_nan_safe(True)` holds in this thread."""
    return state.nan_safe
