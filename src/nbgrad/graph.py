"""The graph of a result to look at: as text, in Graphviz's language, and drawn."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field

from nbgrad.autograd.names import Names
from nbgrad.engine.backward import above
from nbgrad.engine.node import Node
from nbgrad.engine.saved import Kept
from nbgrad.nn.module import Module
from nbgrad.tensor import AccumulateGrad, Tensor

__all__ = ["dot", "svg", "text"]


@dataclass
class _Entry:
    """A node, or an input that wants no gradient."""

    label: str
    kind: str  # "op", "leaf" or "frozen"
    module: str = ""  # the path of the module that recorded it, if that is known
    shape: tuple[int, ...] | None = None
    sources: list[int] = field(default_factory=list)  # entries that it was computed from
    saved: list[tuple[int, ...]] = field(default_factory=list)  # shapes of what backward will read
    bytes: int = 0


def text(output: Tensor, model: Module | None = None) -> str:
    """The operations that made `output`, the oldest first: shapes, inputs, and what each saved.

    Inputs that want no gradient are in brackets.

    Args:
        output: a tensor that requires grad.
        model: whose parameters and buffers are called by their names; what uses them has the path
            of their module, as has all that was recorded while `detect_nonfinite` was on.

    Raises:
        RuntimeError: `output` does not require grad.

    Example:
        >>> import nbgrad
        >>> layer = nbgrad.nn.Linear(3, 2)
        >>> print(nbgrad.graph.text(layer(nbgrad.ones(4, 3)).tanh().sum(), layer))
             operation       module  shape   from     saved  bytes
          0  weight                  2 x 3
          1  bias                    2
          2  (constant)              4 x 3
          3  AddmmBackward0  Linear  4 x 2   1, 2, 0  4 x 3     48
          4  TanhBackward0           4 x 2   3        4 x 2     32
          5  SumBackward0            scalar  4
        80 bytes are kept for backward
    """
    entries = _entries(output, model)
    rows = [["", "operation", "module", "shape", "from", "saved", "bytes"]]
    for k, e in enumerate(entries):
        rows.append([str(k), f"({e.label})" if e.kind == "frozen" else e.label, e.module,
                     _size(e.shape), ", ".join(map(str, e.sources)), ", ".join(map(_size, e.saved)),
                     f"{e.bytes:,}" if e.saved else ""])
    if not any(e.module for e in entries):
        for row in rows:
            del row[2]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join([row[0].rjust(max(widths[0], 3)), *map(str.ljust, row[1:-1], widths[1:-1]),
                        row[-1].rjust(widths[-1])]).rstrip() for row in rows]
    return "\n".join([*lines, f"{sum(e.bytes for e in entries):,} bytes are kept for backward"])


def dot(output: Tensor, model: Module | None = None) -> str:
    """`text` in Graphviz's language: leaves are boxes, what wants no gradient is grey."""
    style = {"op": "shape=ellipse", "leaf": "shape=box, style=filled, fillcolor=lightblue",
             "frozen": "shape=box, color=grey, fontcolor=grey"}
    lines = ["digraph {", '  node [fontname="sans-serif", fontsize=10];']
    entries = _entries(output, model)
    for k, e in enumerate(entries):
        words = [e.label, f"in {e.module}" * bool(e.module), _size(e.shape),
                 f"saves {e.bytes:,} bytes" if e.saved else ""]
        label = "\\n".join(w for w in words if w).replace('"', "'")
        lines.append(f'  n{k} [label="{label}", {style[e.kind]}];')
        lines += [f"  n{source} -> n{k}{' [color=grey]' * (entries[source].kind == 'frozen')};"
                  for source in e.sources]
    return "\n".join([*lines, "}"])


def svg(output: Tensor, model: Module | None = None) -> str:
    """`dot` drawn, as the text of an SVG file.

    Raises:
        RuntimeError: Graphviz's program `dot` is not installed.
    """
    source, program = dot(output, model), shutil.which("dot")
    if program is None:
        raise RuntimeError("graph.svg(): Graphviz's program `dot` is not installed; graph.dot() gives "
                           "the text that it draws, graph.text() a table")
    return subprocess.run([program, "-Tsvg"], input=source, text=True, check=True,
                          stdout=subprocess.PIPE).stdout


def _size(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return ""
    return " x ".join(map(str, shape)) or "scalar"


def _entries(output: Tensor, model: Module | None) -> list[_Entry]:
    """Every node that `output` passes gradients to, and their other inputs, in the order of time."""
    if not output.requires_grad:
        raise RuntimeError("graph: the tensor does not require grad, so nothing was recorded")
    names = Names([] if model is None else [*model.named_parameters(), *model.named_buffers()], model)
    entries: list[_Entry] = []
    places: dict[Node | int, int] = {}  # of nodes, and of named tensors by the id of their memory

    def add(key: Node | int | None, entry: _Entry) -> int:
        if key is None or key not in places:
            entries.append(entry)
            if key is None:
                return len(entries) - 1
            places[key] = len(entries) - 1
        return places[key]

    for node in sorted(above([output._node]), key=lambda n: n.number):
        if isinstance(node, AccumulateGrad):
            add(node, _Entry(names.tensor(node.variable) or "leaf", "leaf", shape=node.layout.shape))
            continue
        made = _Entry(node.name(), "op", names.node(node))
        kept = [v for v in node.saved if not isinstance(v, Kept)]
        for v in kept:
            made.saved.append(v._layout.shape)
            made.bytes += v._layout.numel * v._layout.dtype.itemsize
        for nxt, own in zip(node.next, node.layouts):
            if nxt is not None:
                made.sources.append(places[nxt])
                entries[places[nxt]].shape = own.shape
                continue
            known = next((v for v in kept if v._layout is own and names.tensor(v)), None)
            made.sources.append(add(None if known is None else id(known._data), _Entry(
                names.tensor(known) or "constant", "frozen", shape=own.shape)))
        add(node, made)
    entries[places[output._node]].shape = output._layout.shape
    return entries
