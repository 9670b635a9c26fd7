"""Backward where operations were recorded on several streams of a device.

A node runs on the stream that it was recorded on, a leaf on the one where its gradient first arrives;
sums are made on the stream of the node that they are for. A gradient that was made on another stream
is waited for there before it is used, and no sooner. In the end the caller's stream waits for all.

A stream is anything with `make_current`, `record_event` and `wait_event`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop
from typing import Any

from nbgrad.engine.mode import state
from nbgrad.engine.node import Node

#: the stream of threads that chose none, from when any thread first chose another
default: Any = None


class Lanes:
    """The streams of one backward, whose gradients in waiting it adds up by `send`."""

    def __init__(self, send: Callable, waiting: dict, heap: list, create_graph: bool) -> None:
        self.add, self.waiting, self.heap, self.create_graph = send, waiting, heap, create_graph
        self.caller = here()
        self.used = {self.caller}
        self.leaves: dict[int, Any] = {}
        self.pending: dict[int, list[tuple[Any, Any]]] = {}  # node: events, and the gradients after

    def pop(self, heap: list) -> int:
        """The number of the node that is to run, when its stream is the current one."""
        number = heappop(heap)
        node = self.waiting[-number][0]
        self.enter(node, self.of(node))
        return number

    def passed_on(self, node: Node, inputs, needed) -> tuple:
        """Send a node's results on; what is left to send, nothing."""
        inputs = inputs if type(inputs) is tuple else (inputs,)
        for nxt, port, grad in zip(node.next, node.ports, inputs):
            if nxt is not None and grad is not None and (needed is None or nxt in needed):
                self.send(nxt, port, grad)
        return ()

    def send(self, node: Node, port: int, grad) -> None:
        """Add a gradient, made on the current stream, to what waits for a node."""
        made_on, there = here(), self.of(node)
        if there != made_on:
            self.pending.setdefault(node.number, []).append((made_on.record_event(), grad))
        entry = self.waiting.get(node.number)
        if entry is not None and (port < 0 or entry[1][port] is not None):
            self.enter(node, there)
        self.add(self.waiting, self.heap, node, port, grad, self.create_graph)
        self.go(made_on)

    def of(self, node: Node) -> Any:
        """The stream of a node."""
        if not node.next:
            return self.leaves.setdefault(node.number, here())
        return getattr(node, "stream", default)

    def enter(self, node: Node, stream: Any) -> None:
        """Go to a node's stream, which then waits for the node's gradients."""
        self.go(stream)
        for event, grad in self.pending.pop(node.number, ()):
            stream.wait_event(event)
            if grad.is_cuda:
                grad.record_stream(stream)

    def go(self, stream: Any) -> None:
        """Make a stream the current one."""
        if here() != stream:
            stream.make_current()
            self.used.add(stream)

    def end(self) -> None:
        """Go back to the caller's stream, which then waits for the others."""
        self.go(self.caller)
        for stream in self.used - {self.caller}:
            self.caller.wait_event(stream.record_event())


def here() -> Any:
    """This thread's current stream."""
    return state.stream or default


@contextmanager
def on(stream: Any) -> Iterator[None]:
    """A block on the stream that `state.stream` told of at another time."""
    before = state.stream
    try:
        if before is not stream:
            (stream or default).make_current()
        yield
    finally:
        if state.stream is not before:
            (before or default).make_current()
