"""Write docs/ops.md: every operation, its formula, derivative, what it saves, and its kernels.

python tools/write_ops_table.py
"""

from __future__ import annotations

import importlib
import inspect
import types
from itertools import accumulate, groupby
from pathlib import Path

from nbgrad.formulas.row import TABLE, Row
from nbgrad.ops import methods

TARGET = Path(__file__).parent.parent / "docs" / "ops.md"
HEAD = """\
# Operations

Written by `tools/write_ops_table.py` from the tables the kernels are made of.

## Elementwise

Each row is one formula: `nbgrad.show(name)` prints the kernel made of it. g is the incoming gradient,
y the result. What is saved is what an in-place write must not change before backward.

| name | formula | gradients | saved |
| --- | --- | --- | --- |
"""


def cell(formula: object) -> str:
    """A formula for a cell of a table, without brackets around the whole."""
    text = repr(formula)
    depths = list(accumulate((c == "(") - (c == ")") for c in text))
    if text.startswith("(") and 0 not in depths[:-1]:
        text = text[1:-1]
    return "`" + text.replace("|", "\\|") + "`"


def row_line(name: str, row: Row) -> str:
    """The line of an elementwise op."""
    if row.differentiable:
        gradients = "<br>".join(f"{n}: {cell(e)}" for n, e in zip(row.inputs, row.pullbacks))
        names = (*row.inputs, "y")
        saved = ", ".join(names[k] for k in row.saves((True,) * len(row.inputs))) or "nothing"
    else:
        gradients, saved = "none", "nothing"
    return f"| {name} | {cell(row.formula)} | {gradients} | {saved} |"


def kernels_of(module: str) -> str:
    """The kernel modules that an ops module uses."""
    found = vars(importlib.import_module(module)).values()
    names = {v.__name__ for v in found if isinstance(v, types.ModuleType)}
    names |= {getattr(v, "__module__", None) or "" for v in found if callable(v)}
    own = sorted(n.removeprefix("nbgrad.kernels.") for n in names
                 if n.startswith("nbgrad.kernels.") and n.split(".")[-1] not in PLUMBING)
    return ", ".join(own) or "those of the operations it is made of"


PLUMBING = {"layout", "memory", "launch", "options", "kernels"}


def sentence(function) -> str:
    """The first sentence of a docstring."""
    text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


def text() -> str:
    """The whole file."""
    lines = [row_line(name, row) for name, row in sorted(TABLE.items())
             if name in methods.FUNCTIONS]
    rest = {name: f for name, f in (methods.PACKAGE_ONLY | methods.FUNCTIONS).items()
            if inspect.isfunction(f) and name not in TABLE and f.__module__.startswith("nbgrad.ops")
            and not (name.endswith("_") and name[:-1] in methods.FUNCTIONS)}
    parts = [HEAD + "\n".join(lines)]
    by_module = sorted(rest.items(), key=lambda item: (item[1].__module__, item[0]))
    for module, group in groupby(by_module, key=lambda item: item[1].__module__):
        table = "\n".join(f"| {name} | {sentence(f)} |" for name, f in group)
        parts.append(f"## {module.removeprefix('nbgrad.ops.')}\n\nKernels: {kernels_of(module)}.\n\n"
                     f"| name | |\n| --- | --- |\n{table}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
