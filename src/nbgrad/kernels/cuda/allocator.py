"""Memory of a CUDA device: pieces of segments, kept when a tensor ends and lent again.

Work on a stream happens in order, so a piece that was used on one stream may be lent on it again while
that work still runs. A piece that other streams used (`record`) waits until they are past the point
where it ended.

A block may end at any moment, in any thread, in the middle of these functions: it then only joins a
queue, which the next loan or question empties.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nbgrad.errors import OutOfMemoryError

#: Up to the first size, requests share segments of the second; below the third, of the fourth.
SMALL, SMALL_SEGMENT, LARGE, LARGE_SEGMENT = 1 << 20, 2 << 20, 10 << 20, 20 << 20


class Piece:
    """A part of a segment, between its neighbours there."""

    __slots__ = ("after", "before", "ended", "free", "home", "ptr", "size", "stream")

    def __init__(self, ptr: int, size: int, stream: int, home: dict, ended) -> None:
        self.ptr, self.size, self.stream = ptr, size, stream
        self.home, self.ended = home, ended  # free pieces of its kind, and what its end is told to
        self.before: Piece | None = None
        self.after: Piece | None = None
        self.free = False


class Block:
    """A piece lent to the arrays that lie in it."""

    __slots__ = ("bounds", "piece", "ptr", "used_by")

    def __init__(self, piece: Piece) -> None:
        self.piece, self.ptr = piece, piece.ptr
        self.bounds: dict | None = None  # of the integers that lie there: see bounds.py
        self.used_by: frozenset[int] = frozenset()  # streams other than its own

    def __del__(self) -> None:
        self.piece.ended((self.piece, self.used_by))


class Gauge:
    """A quantity now, at most, and in all."""

    __slots__ = ("now", "peak", "total")

    def __init__(self) -> None:
        self.now = self.peak = self.total = 0

    def add(self, n: int) -> None:
        self.total += n
        self.now += n
        if self.now > self.peak:
            self.peak = self.now


class Allocator:
    """Lends the memory of a machine.

    A piece that ends goes to a list of its stream and size. Only when a list is empty are free
    neighbours joined, and the smallest free piece that is large enough is split; then a segment comes
    from the machine; where it has none, all free segments go back to it first.
    """

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.limit: int | None = None  # bytes of segments, at most
        self.bytes, self.blocks = Gauge(), Gauge()
        self.reserved, self.segments = Gauge(), Gauge()
        self.retries = self.failures = 0
        self._lock = threading.RLock()
        self._busy = False
        self._ended: deque[tuple[Piece, frozenset[int]]] = deque()
        self._waiting: list[tuple[Piece, list[int]]] = []
        # (stream, whether small) -> size -> free pieces, the last one that ended first
        self._free: dict[tuple[int, bool], dict[int, dict[Piece, None]]] = {}
        self._loose: dict[Piece, None] = {}  # pieces that ended since neighbours were last joined
        self._starts: dict[int, Piece] = {}  # the first piece of every segment

    def lend(self, nbytes: int) -> Block:
        """A block of at least this many bytes, for work on the current stream.

        Raises:
            OutOfMemoryError: the device has too little, also after all that is free was given back.
        """
        size, stream = rounded(nbytes), self.machine.stream
        with self._lock:
            if self._busy:  # a finalizer or a signal's handler, amid other work on the lists
                whole = _whole(size)
                return self._lent(self._start(self._allocate(whole), whole, stream))
            self._busy = True
            try:
                if self._ended or self._waiting:
                    self._settle()
                home = self._free.get((stream, size <= SMALL))
                pieces = home.get(size) if home else None
                piece = pieces.popitem()[0] if pieces else self._find(size, stream)
                return self._lent(piece)
            finally:
                self._busy = False

    def _lent(self, piece: Piece) -> Block:
        piece.free = False
        self.bytes.add(piece.size)
        self.blocks.add(1)
        return Block(piece)

    def settle(self) -> None:
        """Take back the blocks that have ended; to be called before the current stream changes."""
        if self._ended:
            with self._alone() as alone:
                if alone:
                    self._settle()

    def record(self, block: Block, stream: int) -> None:
        """Say that a stream other than the block's own uses it."""
        if stream != block.piece.stream:
            with self._lock:
                block.used_by |= {stream}

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """The lists for oneself; False where this thread is at work on them already."""
        with self._lock:
            free, self._busy = not self._busy, True
            try:
                yield free
            finally:
                self._busy = not free

    def _settle(self) -> None:
        ended, here = self._ended, self.machine.stream
        while ended:
            piece, streams = ended.popleft()
            if here != piece.stream:  # whose work probably was the last to use it
                streams |= {here}
            self.bytes.now -= piece.size
            self.blocks.now -= 1
            if streams:
                self._waiting.append((piece, [self._mark(stream) for stream in streams]))
            else:
                self._release(piece)
        if self._waiting:
            still = []
            for piece, events in self._waiting:
                if all(map(self.machine.reached, events)):
                    for event in events:
                        self.machine.drop_event(event)
                    self._release(piece)
                else:
                    still.append((piece, events))
            self._waiting = still

    def _mark(self, stream: int) -> int:
        event = self.machine.make_event()
        self.machine.record(event, stream)
        return event

    def _release(self, piece: Piece) -> None:
        piece.free = True
        piece.home.setdefault(piece.size, {})[piece] = None
        self._loose[piece] = None

    # where no free piece has the size

    def _find(self, size: int, stream: int) -> Piece:
        small = size <= SMALL
        self._join()
        home = self._free.setdefault((stream, small), {})
        best = min((n for n, pieces in home.items() if n >= size and pieces), default=None)
        if best is None:
            piece = self._segment(size, stream)
        else:
            piece = home[best].popitem()[0]
        rest = piece.size - size
        if rest >= 512 if small else rest > SMALL:
            self._split(piece, size)
        return piece

    def _split(self, piece: Piece, size: int) -> None:
        """Cut what is behind the first `size` bytes off, and keep it."""
        rest = Piece(piece.ptr + size, piece.size - size, piece.stream, piece.home, piece.ended)
        rest.before, rest.after = piece, piece.after
        if piece.after is not None:
            piece.after.before = rest
        piece.after, piece.size = rest, size
        self._release(rest)

    def _join(self) -> None:
        """Make one piece of free neighbours."""
        loose, self._loose = self._loose, {}
        for piece in loose:
            if not piece.free:  # lent again, or joined with another
                continue
            first = last = piece
            while first.before is not None and first.before.free:
                first = first.before
            while last.after is not None and last.after.free:
                last = last.after
            if first is last:
                continue
            end, stop = last.ptr + last.size, last.after
            walk: Piece | None = first
            while walk is not stop and walk is not None:
                del walk.home[walk.size][walk]
                walk.free, walk = False, walk.after
            first.size, first.after, first.free = end - first.ptr, stop, True
            if stop is not None:
                stop.before = first
            first.home.setdefault(first.size, {})[first] = None

    # segments

    def _segment(self, size: int, stream: int) -> Piece:
        """A whole segment from the machine."""
        whole = _whole(size)
        try:
            ptr = self._allocate(whole)
        except OutOfMemoryError:
            self.retries += 1
            self._empty()
            try:
                ptr = self._allocate(whole)
            except OutOfMemoryError:
                self.failures += 1
                raise OutOfMemoryError(self._complaint(size)) from None
        return self._start(ptr, whole, stream)

    def _start(self, ptr: int, size: int, stream: int) -> Piece:
        self.reserved.add(size)
        self.segments.add(1)
        home = self._free.setdefault((stream, size == SMALL_SEGMENT), {})
        piece = self._starts[ptr] = Piece(ptr, size, stream, home, self._ended.append)
        return piece

    def _allocate(self, size: int) -> int:
        if self.limit is not None and self.reserved.now + size > self.limit:
            raise OutOfMemoryError("more than the fraction of memory that this process may use")
        return self.machine.allocate(size)

    def _complaint(self, size: int) -> str:
        free, whole = self.machine.memory()
        allowed = "" if self.limit is None else f"; {_text(self.limit)} are allowed"
        kept = self.reserved.now - self.bytes.now
        return (f"CUDA out of memory. Tried to allocate {_text(size)}. GPU 0 has a total capacity of "
                f"{_text(whole)} of which {_text(free)} is free{allowed}. Tensors hold "
                f"{_text(self.bytes.now)}, and {_text(kept)} more is kept in parts too small for this. "
                "Free tensors, or use smaller batches.")

    def empty_cache(self) -> None:
        """Give the segments that no tensor uses back to the machine."""
        with self._alone() as alone:
            if alone:
                self._empty()

    def _empty(self) -> None:
        self._settle()  # marks what other streams use, before they are waited for
        self.machine.synchronize()
        self._settle()
        self._join()
        for ptr, piece in list(self._starts.items()):
            if piece.free and piece.after is None:
                del self._starts[ptr], piece.home[piece.size][piece]
                piece.free = False
                self.machine.free(ptr)
                self.reserved.now -= piece.size
                self.segments.now -= 1

    def stats(self) -> dict[str, int]:
        """Bytes and counts under PyTorch's names."""
        with self._alone() as alone:
            if alone:
                self._settle()
            found: dict[str, int] = {}
            for name, gauge in {"allocation": self.blocks, "allocated_bytes": self.bytes,
                                "segment": self.segments, "reserved_bytes": self.reserved}.items():
                found |= {f"{name}.all.current": gauge.now, f"{name}.all.peak": gauge.peak,
                          f"{name}.all.allocated": gauge.total,
                          f"{name}.all.freed": gauge.total - gauge.now}
            found["active_bytes.all.current"] = self.bytes.now + sum(
                [piece.size for piece, _ in self._waiting])
            return found | {"num_alloc_retries": self.retries, "num_ooms": self.failures}

    def reset_peaks(self) -> None:
        """Count the most that is in use anew, from what is in use now."""
        with self._alone() as alone:
            if alone:
                self._settle()
            for gauge in (self.bytes, self.blocks, self.reserved, self.segments):
                gauge.peak = gauge.now


def rounded(nbytes: int) -> int:
    """Eight sizes between two powers of two, multiples of 512 bytes up to multiples of 2 MiB."""
    step = min(max(nbytes.bit_length() - 4, 9), 21)
    return max(-(-nbytes >> step) << step, 512)


def _whole(size: int) -> int:
    """The size of a segment that a piece of this size is cut from."""
    return SMALL_SEGMENT if size <= SMALL else LARGE_SEGMENT if size < LARGE else -(-size >> 21) << 21


def _text(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB" if nbytes >= 1 << 30 else f"{nbytes / 2**20:.2f} MiB"
