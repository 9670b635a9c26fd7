"""Streams, whose work is done in order, and events, which mark points in it."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from contextlib import suppress

from nbgrad import devices
from nbgrad.cuda.device import index_of, machine
from nbgrad.engine import streams as engine
from nbgrad.engine.mode import state, watch

#: Streams of a priority; further ones are these again, as in PyTorch. They are never destroyed,
#: since memory that was used on them waits for them.
_MOST = 32
_made: dict[int, list[int]] = {}
_turn = itertools.count()
_dropped: deque[int] = deque()


class Stream:
    """Work for the device that is done in order, beside that of other streams.

    Tensors made under one stream and used under another need `wait_stream` before that, and
    `record_stream` if they may end first.

    Args:
        device: the device, "cuda".
        priority: a lower number goes first; 0 is the least.

    Example:
        >>> side = nbgrad.cuda.Stream()
        >>> side.wait_stream(nbgrad.cuda.current_stream())
        >>> with nbgrad.cuda.stream(side):
        ...     y = x @ w
        >>> nbgrad.cuda.current_stream().wait_stream(side)
    """

    def __init__(self, device=None, priority: int = 0, *, _handle: int | None = None) -> None:
        index_of(device)
        here = machine()
        if _handle is None:
            least, greatest = here.priorities()
            priority = min(max(priority, greatest), least)
            made = _made.setdefault(priority, [])
            if len(made) < _MOST:
                made.append(here.make_stream(priority))
                _handle = made[-1]
            else:
                _handle = made[next(_turn) % _MOST]
        self.cuda_stream: int = _handle
        self.priority = priority

    @property
    def device(self) -> devices.device:
        return devices.gpu(0)

    @property
    def stream_id(self) -> int:
        return self.cuda_stream

    @staticmethod
    def priority_range() -> tuple[int, int]:
        """The least and the greatest priority; the greatest is the smaller number."""
        return machine().priorities()

    def wait_event(self, event: Event) -> None:
        """Let what is given to the stream from now on wait for an event."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Let what is given to the stream from now on wait for what another one was given so far."""
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """Let an event, a new one if none is given, mark what the stream was given so far."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def query(self) -> bool:
        """Whether the stream has done all that it was given."""
        return machine().finished(self.cuda_stream)

    def synchronize(self) -> None:
        """Wait until the stream has done all that it was given."""
        machine().synchronize(self.cuda_stream)

    def make_current(self) -> None:
        """Give this thread's work to the stream from now on, and note it in what is recorded."""
        from nbgrad.kernels.cuda.memory import allocator
        here = machine()
        allocator.settle()
        here.stream = self.cuda_stream
        state.stream = self if self.cuda_stream else None
        engine.default = engine.default or default_stream()
        watch()

    def __enter__(self) -> Stream:
        _entered.contexts.append(stream(self))
        _entered.contexts[-1].__enter__()
        return self

    def __exit__(self, *error) -> None:
        _entered.contexts.pop().__exit__(*error)

    def __eq__(self, other) -> bool:
        return isinstance(other, Stream) and self.cuda_stream == other.cuda_stream

    def __hash__(self) -> int:
        return hash(self.cuda_stream)

    def __repr__(self) -> str:
        return f"<nbgrad.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class _Entered(threading.local):
    def __init__(self) -> None:
        self.contexts: list[StreamContext] = []


_entered = _Entered()


class ExternalStream(Stream):
    """A stream that another library made, by its address; who made it keeps it alive."""

    def __init__(self, stream_ptr: int, device=None) -> None:
        super().__init__(device, _handle=int(stream_ptr))


def get_stream_from_external(data_ptr: int, device=None) -> Stream:
    """As `ExternalStream`."""
    return ExternalStream(data_ptr, device)


def is_current_stream_capturing() -> bool:
    """Whether the current stream's work is recorded in a CUDA graph, which nbgrad does not make."""
    return False


def default_stream(device=None) -> Stream:
    """The stream that is current where none was chosen."""
    return Stream(device, _handle=0)


def current_stream(device=None) -> Stream:
    """The stream that this thread gives its work to."""
    return state.stream or default_stream(device)


def set_stream(stream: Stream | None) -> None:
    """Give this thread's work to a stream from now on; nothing changes for None."""
    if stream is not None:
        stream.make_current()


class StreamContext:
    """A block whose work is given to a stream; `stream(s)` makes one."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self._before = current_stream()
            set_stream(self.stream)

    def __exit__(self, *error) -> None:
        if self.stream is not None:
            set_stream(self._before)


def stream(stream: Stream | None) -> StreamContext:
    """A block whose work is given to a stream; to the current one for None."""
    return StreamContext(stream)


class Event:
    """A point in the work of a stream, to wait for or to measure time with.

    Args:
        enable_timing: whether `elapsed_time` is wanted.
        blocking: accepted as in PyTorch.
        interprocess, external: not among processes, and not in CUDA graphs.

    Example:
        >>> start, end = (nbgrad.cuda.Event(enable_timing=True) for _ in range(2))
        >>> start.record(); y = x @ w; end.record(); end.synchronize()
        >>> start.elapsed_time(end)  # milliseconds
        0.1
    """

    cuda_event = 0  # made when it is first recorded

    def __init__(self, enable_timing: bool = False, blocking: bool = False,
                 interprocess: bool = False, external: bool = False) -> None:
        if interprocess or external:
            raise NotImplementedError("Event: events are not shared between processes, and not part of "
                                      "CUDA graphs")
        self.enable_timing = enable_timing

    @property
    def device(self) -> devices.device:
        return devices.gpu(0)

    def record(self, stream: Stream | None = None) -> None:
        """Mark what a stream, the current one if none is given, was given so far."""
        here = machine()
        while _dropped:
            with suppress(IndexError):
                here.drop_event(_dropped.popleft())
        if not self.cuda_event:
            self.cuda_event = here.make_event(self.enable_timing)
        here.record(self.cuda_event, here.stream if stream is None else stream.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Let what a stream, the current one if none is given, is given from now on wait for it."""
        if self.cuda_event:
            here = machine()
            here.wait(here.stream if stream is None else stream.cuda_stream, self.cuda_event)

    def query(self) -> bool:
        """Whether the work that it marks is done; true of one that was not recorded."""
        return not self.cuda_event or machine().reached(self.cuda_event)

    def synchronize(self) -> None:
        """Wait until the work that it marks is done."""
        if self.cuda_event:
            machine().wait_for(self.cuda_event)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another one.

        Raises:
            ValueError: they do not measure time, or one was not recorded.
            RuntimeError: one is not done.
        """
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if not (self.cuda_event and end_event.cuda_event):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end_event.query()):
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return machine().elapsed(self.cuda_event, end_event.cuda_event)

    def __del__(self, dropped=_dropped.append) -> None:
        if self.cuda_event:
            dropped(self.cuda_event)

    def __repr__(self) -> str:
        return f"<nbgrad.cuda.Event {self.cuda_event:#x}>"
