"""What one thread is doing: whether operations are recorded, whether anomalies are sought."""

from __future__ import annotations

import functools
import inspect
import threading


class _State(threading.local):
    grad = True
    anomaly = False
    check_nan = True
    nan_safe = False  # whether a zero gradient stays zero where a partial is infinite or NaN
    into_leaves = False  # whether that backward may add to the gradients leaves hold
    waiting: dict = {}  # noqa: RUF012  # node number: what waits for it in the backward under way


state = _State()


def is_grad_enabled() -> bool:
    """True when operations of this thread are recorded for backward."""
    return state.grad


class _GradMode:
    """A block or decorator during which recording is on or off, in this thread."""

    _enabled: bool

    def __enter__(self):
        self._before = state.grad
        state.grad = self._enabled

    def __exit__(self, *exc):
        state.grad = self._before

    def _again(self) -> _GradMode:
        return type(self)()

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with self._again():
                return function(*args, **kwargs)

        return wrapped

    def _generator(self, function):
        """The mode holds while the generator runs, not while it is suspended."""

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


class set_grad_enabled(_GradMode):
    """Turn recording on or off: at once when called, until the end of the block in `with`."""

    def __init__(self, mode: bool) -> None:
        self._enabled = bool(mode)
        self._outer = state.grad
        state.grad = self._enabled

    def __enter__(self):
        self._before = self._outer
        state.grad = self._enabled

    def _again(self) -> set_grad_enabled:
        return set_grad_enabled(self._enabled)

    def __call__(self, function):
        state.grad = self._outer
        return super().__call__(function)


class set_detect_anomaly:
    """Remember where each operation was recorded, and name that line when its backward fails."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._outer = state.anomaly, state.check_nan
        state.anomaly, state.check_nan = bool(mode), check_nan

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        state.anomaly, state.check_nan = self._outer


class detect_anomaly(set_detect_anomaly):
    """The block form of `set_detect_anomaly`."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check = check_nan
        self._outer = state.anomaly, state.check_nan

    def __enter__(self):
        self._outer = state.anomaly, state.check_nan
        state.anomaly, state.check_nan = True, self._check


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
