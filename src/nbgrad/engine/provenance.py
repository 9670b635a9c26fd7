"""Which line of the user's code is running."""

from __future__ import annotations

import sys
import traceback
from types import CodeType, FrameType
from typing import NamedTuple


class Trace(NamedTuple):
    """A place, and how it came to it, where somebody asked for that."""

    code: CodeType
    instruction: int
    callers: tuple[tuple[CodeType, int], ...]  # the places of the calls, the innermost first
    during: tuple[str, Place | None] | None  # the node whose backward recorded it, and its place
    module: str = ""  # the path of the module in which it is


#: code and instruction
Place = tuple[CodeType, int] | Trace
#: what cut a tensor off its history, where, and weak references to the nodes that were cut off, if
#: somebody looked
Cut = tuple[str, Place | None, tuple]
#: the mark on a tensor without history: the cuts it comes after; an Off has them as `cuts`
Cuts = tuple[Cut, ...]


def here(depth: int = 1) -> Place | None:
    """The innermost running frame outside the library: its code and instruction.

    Holding these two keeps no frame, and so no variable, alive; the line is worked out
    only if someone asks.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not (module == "nbgrad" or module.startswith("nbgrad.")):
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None


def trace(depth: int, during: tuple[str, Place | None] | None) -> Trace | None:
    """`here` with all the frames outside the library that led there."""
    frame: FrameType | None = sys._getframe(depth)
    places = []
    while frame is not None:
        if frame.f_globals.get("__name__", "").split(".")[0] != "nbgrad":
            places.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return Trace(*places[0], tuple(places[1:]), during) if places else None


def line_of(code: CodeType, instruction: int) -> int:
    for k, position in enumerate(code.co_positions()):
        if k == instruction // 2:
            return position[0] or code.co_firstlineno
    return code.co_firstlineno


def describe(place: Place | None) -> str:
    """`file:line` of a place, and its module if that is known."""
    if place is None:
        return "an unknown line"
    module = place.module if isinstance(place, Trace) else ""
    return f"{place[0].co_filename}:{line_of(place[0], place[1])}" + f", in {module}" * bool(module)


def told(place: Place) -> str:
    """The lines that led to a place, as Python's tracebacks have them."""
    callers = reversed(place.callers) if isinstance(place, Trace) else ()
    return "".join(traceback.format_list([
        traceback.FrameSummary(code.co_filename, line_of(code, instruction), code.co_name)
        for code, instruction in (*callers, place[:2])]))


class Off(tuple):
    """What `state.grad` holds while nothing is recorded: an empty tuple, and so false.

    It marks all that is made meanwhile with the block that turned recording off.
    """

    cuts: Cuts = (("backward", None, ()),)


OFF = Off()  # by the library itself


def off(kind: str, depth: int) -> Off:
    made = Off()
    made.cuts = ((kind, here(depth + 1), ()),)
    return made


def cuts_of(slot: object) -> Cuts:
    """The cuts that a mark tells of; none if it is something else."""
    if isinstance(slot, Off):
        return slot.cuts
    return slot if isinstance(slot, tuple) else ()
