"""Which line of the user's code is running."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

#: code and instruction, and the path of the module if that was looked for
Place = tuple[CodeType, int] | tuple[CodeType, int, str]
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


def describe(place: Place | None) -> str:
    """`file:line` of a place, and its module if that is known."""
    if place is None:
        return "an unknown line"
    code, instruction, *module = place
    line = code.co_firstlineno
    for k, position in enumerate(code.co_positions()):
        if k == instruction // 2:
            line = position[0] or line
            break
    return f"{code.co_filename}:{line}" + "".join(f", in {name}" for name in module)


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
