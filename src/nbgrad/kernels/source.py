"""From expressions to kernels: emits readable Python, keeps it as a file, and compiles that.

A file holds one kernel and is named by a hash of its text, so the same formula on the same
dtypes is one file, one compilation and one disk-cache entry, in this process and the next.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import linecache
import math
import re
import sys
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nbgrad import config
from nbgrad.formulas.expr import SELECT, Expr, expand, topological
from nbgrad.kernels.cache import write


@dataclass(frozen=True)
class Body:
    """What a kernel does for one element.

    `loads` are Python templates that turn `x[i]` into a value of the compute dtype, one an
    input; `stores` turn a value into an element of the output, one an output. `into` names the
    outputs: one with the name of an input is that array, read and then written. Two names for
    one array would look like an overlap to the compiler and cost the vector loop.
    """

    name: str
    outputs: tuple[Expr, ...]
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    loads: tuple[str, ...]
    stores: tuple[str, ...]
    compute: str
    origin: str
    into: tuple[str, ...] = ()

    @property
    def out_names(self) -> tuple[str, ...]:
        if self.into:
            return self.into
        if len(self.outputs) == 1:
            return ("out",)
        return tuple(f"out{k}" for k in range(len(self.outputs)))

    @property
    def operands(self) -> tuple[str, ...]:
        """The arrays a kernel takes: outputs, then the inputs that are not among them."""
        return (*self.out_names, *(n for n in self.inputs if n not in self.into))


#: Names that the emitted loops use.
RESERVED = frozenset({"i", "out", "rank", "length", "base", "row", "rest", "axis", "extent", "step",
                      "geometry", "block", "start", "stop", "far", "math", "j", "top", "left", "depth",
                      "strips", "height", "width", "first", "line", "group", "groups", "count",
                      "places"})
#: Elements that share the choice between the near and the whole form of a function.
BLOCK = 1024
#: Rows and columns of a tile.
TILE = 64


def constant_name(value: float) -> str:
    if math.isnan(value):
        return "nan_"
    text = repr(value).replace("-", "m").replace(".", "_").replace("+", "")
    return f"c{text}"


def statements(body: Body) -> tuple[list[str], list[str], list[str]]:
    """Typed constants, assignments of shared terms, and the outputs' expressions.

    A term used twice, and every branch of a select that computes something, becomes a variable:
    both branches are evaluated and the select stays free of jumps, so the loop can vectorise.
    """
    constants, shared, text = _written(body)
    return constants, shared, [_bare(text[_named(e)]) for e in body.outputs]


def near_tests(body: Body) -> list[str]:
    """What is true of an element outside the near form of a function of the body."""
    text = _written(body)[2]
    return [f"(abs({text[node.args[0]]}) > np.{body.compute}({node.op.near}))"
            for node in text if node.op is not None and node.op.near is not None]


def _written(body: Body) -> tuple[list[str], list[str], dict[Expr, str]]:
    """Typed constants, assignments of shared terms, and the text of every term."""
    clash = RESERVED.intersection(body.inputs + body.params)
    if clash:
        raise ValueError(f"{body.name}: the names {sorted(clash)} are the kernels' own")
    roots = [_named(e) for e in body.outputs]
    order = topological(roots)
    uses = Counter(arg for node in order for arg in node.args)
    uses.update(roots)
    branches = {arg for node in order if node.op is SELECT for arg in node.args[1:] if arg.args}
    text: dict[Expr, str] = {}
    constants: list[str] = []
    shared: list[str] = []
    for node in order:
        if node.is_var:
            text[node] = f"{node.value}_" if node.value in body.inputs else node.value
        elif node.op is None:
            text[node] = constant_name(node.value)
            constants.append(f"{text[node]} = np.{body.compute}({_literal(node.value)})")
        else:
            source = node.op.integer if body.compute.startswith("int") else node.op.source
            assert source is not None  # operators given by a formula were expanded
            value = source.format(*(text[arg] for arg in node.args))
            if uses[node] > 1 or node in branches:
                text[node] = f"t{len(shared)}"
                shared.append(f"{text[node]} = {_bare(value)}")
            else:
                text[node] = value
    return constants, shared, text


def _named(root: Expr) -> Expr:
    """Formulas in the place of operators given by them, but for those that kernels have by name."""
    return expand(root, named=True)


def _literal(value: float) -> str:
    if math.isnan(value):
        return "math.nan"
    return repr(value) if math.isfinite(value) else "math.inf" if value > 0 else "-math.inf"


def _bare(text: str) -> str:
    """Without the outermost parentheses, where they embrace everything."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for k, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if depth == 0 and k < len(text) - 1:
            return text
    return text[1:-1]


HEADER = '''"""{title}

    {equation}

Written by nbgrad from {origin}; edit the formula there, not here.
"""

import numpy as np
{imports}


'''


def header(body: Body, title: str, imports: str) -> str:
    equation = "\n    ".join(f"{o} = {_bare(repr(e))}" for o, e in zip(body.out_names, body.outputs))
    return HEADER.format(title=title, equation=equation, origin=body.origin, imports=imports)


def prelude(body: Body, constants: list[str]) -> list[str]:
    return [f"{p} = np.{body.compute}({p})" for p in body.params] + constants


def block(lines: list[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


def accesses(body: Body, values: list[str], element: dict[str, str]) -> tuple[list[str], list[str]]:
    """Lines that load the inputs and store the outputs which have an element in the loop."""
    each = [f"{n}_ = {t.format(element[n])}" for n, t in zip(body.inputs, body.loads) if n in element]
    write = [f"{element[o]} = {t.format(v)}"
             for o, t, v in zip(body.out_names, body.stores, values)]
    return each, write


def flat(body: Body, scalars: frozenset[str] = frozenset(), parallel: bool = False) -> str:
    """Source of a kernel over contiguous arrays; inputs in `scalars` have one element."""
    constants, shared, values = statements(body)
    load = dict(zip(body.inputs, body.loads))
    once = [f"{n}_ = {load[n].format(f'{n}[0]')}" for n in body.inputs if n in scalars]
    each, write = accesses(body, values, {n: f"{n}[i]" for n in body.operands if n not in scalars})
    args = ", ".join((*body.operands, *body.params))
    decorator, over, imports = loop(f"{body.out_names[0]}.size", parallel)
    return (
        header(body, f"{body.name} on {body.compute}, contiguous.", imports)
        + f"@{decorator}\ndef {body.name}_flat({args}):\n"
        + block(prelude(body, constants) + once, 1)
        + elements(over, each, shared, write, near_tests(body), 1)
    )


def elements(over: str, each: list[str], shared: list[str], write: list[str], tests: list[str],
             depth: int) -> str:
    """The loop over elements: load, compute, store.

    With `tests`, a loop over blocks, each by the near form of its functions unless one of its
    elements fails a test. A block is cut out of the arrays, since an index from `start` on might
    count from the end for all that the compiler knows, and would not vectorise.
    """
    lines = each + shared + write
    if not tests:
        return block([f"for i in {over}:"], depth) + block(lines, depth + 1)
    near = near_form(lines)
    count = over[over.index("(") + 1:-1]
    names = sorted({name for line in lines for name in re.findall(r"(\w+)\[i\]", line)})

    def within(code: list[str]) -> list[str]:
        code = [re.sub(r"\b(?<!\[)i\b", "(start + i)", line) for line in code]
        return [re.sub(r"(\w+)\[i\]", r"part_\1[i]", line) for line in code]

    return (
        block([f"for block in {over.replace(count, f'({count} + {BLOCK - 1}) // {BLOCK}')}:"], depth)
        + block([f"start = block * {BLOCK}", f"stop = min({BLOCK}, {count} - start)",
                 *(f"part_{n} = {n}[start:start + stop]" for n in names),
                 "far = False", "for i in range(stop):"], depth + 1)
        + block(within(each + shared) + [f"far |= {test}" for test in tests], depth + 2)
        + block(["if far:", "    for i in range(stop):"], depth + 1) + block(within(lines), depth + 3)
        + block(["else:", "    for i in range(stop):"], depth + 1) + block(within(near), depth + 3)
    )


def near_form(lines: list[str]) -> list[str]:
    """The same by the near form of its functions."""
    return [re.sub(r"math\.(sin|cos)\(", r"math.near_\1(", line) for line in lines]


def loop(count: str, parallel: bool) -> tuple[str, str, str]:
    """The decorator of a kernel, the range of its loop, and its imports."""
    vectorised = "\nfrom nbgrad.kernels.cpu import maths as math\n"
    if parallel:
        return ("parallel_kernel", f"prange({count})",
                f"{vectorised}from nbgrad.kernels.options import parallel_kernel, prange")
    return "kernel", f"range({count})", f"{vectorised}from nbgrad.kernels.options import kernel"


def unravel(row: str, sizes: int, moves: list[str]) -> list[str]:
    """Lines that take `row` apart into indices of the outer axes and move the operands there."""
    return [f"rest = {row}", "for axis in range(rank - 1, -1, -1):",
            f"    extent = geometry[{sizes} + axis]", "    step = rest % extent",
            "    rest = rest // extent", *(f"    {m}" for m in moves)]


def along(name: str, letter: str, start: str, length: str) -> tuple[list[str], str | None]:
    """A line that opens a view, if any, and the element of an operand; None where it stays."""
    if letter == "f":
        return [f"row_{name} = {name}[{start}:{start} + {length}]"], f"row_{name}[i]"
    return [], f"{name}[{start} + i * by_{name}]" if letter == "x" else None


def strided(body: Body, steps: str, parallel: bool = False) -> str:
    """Source of a kernel over strided or broadcast arrays.

    `steps` has a letter an operand, outputs first, for its stride along the innermost axis:
    `f` for 1, `s` for 0, `x` for any. `geometry` (see layout.geometry) holds
    [rank, rows, n, sizes[rank], then for each operand: offset, inner stride, strides[rank]].
    """
    constants, shared, values = statements(body)
    load = dict(zip(body.inputs, body.loads))
    operands = body.operands
    start, moves = [], []
    for k, name in enumerate(operands):
        start.append(f"at_{name} = geometry[base + {k} * (rank + 2)]")
        moves.append(f"at_{name} += step * geometry[base + {k} * (rank + 2) + 2 + axis]")
    step = [f"by_{name} = geometry[base + {k} * (rank + 2) + 1]"
            for k, name in enumerate(operands) if steps[k] == "x"]
    views, once, element = [], [], {}
    for k, name in enumerate(operands):
        view, found = along(name, steps[k], f"at_{name}", "length")
        views += view
        if found is None:
            once.append(f"{name}_ = {load[name].format(f'{name}[at_{name}]')}")
        else:
            element[name] = found
    each, write = accesses(body, values, element)
    args = ", ".join((*operands, *body.params, "geometry"))
    decorator, rows, imports = loop("geometry[1]", parallel)
    tests = near_tests(body)
    return (
        header(body, f"{body.name} on {body.compute}, strided ({steps}).", imports)
        + f"@{decorator}\ndef {body.name}_strided({args}):\n"
        + block(prelude(body, constants), 1)
        + block(["rank = geometry[0]", "length = geometry[2]", "base = 3 + rank", *step], 1)
        + f"    for row in {rows}:\n"
        # a copy of the row: Numba refuses writes to the loop's own index
        + block(start + unravel("np.int64(row)", 3, moves) + views + once, 2)
        + elements("range(length)", each, shared, write, tests, 2)
    )


def listed(body: Body) -> str:
    """Source of a kernel over a few elements, wherever they lie.

    `places` (see layout.places) has the place of every element, of one operand after another,
    outputs first. No walk by strides is written out, so that this takes a third of the time to
    compile.
    """
    constants, shared, values = statements(body)
    at = {name: f"{name}[places[i + {k} * count]]" for k, name in enumerate(body.operands)}
    each, write = accesses(body, values, at)
    tests = near_tests(body)
    if tests:
        near = near_form(shared + write)
        write = [f"if {' or '.join(tests)}:", *("    " + line for line in write),
                 "else:", *("    " + line for line in near)]
    args = ", ".join((*body.operands, *body.params, "places"))
    decorator, over, imports = loop("count", False)
    return (
        header(body, f"{body.name} on {body.compute}, from place to place.", imports)
        + f"@{decorator}\ndef {body.name}_listed({args}):\n"
        + block(prelude(body, constants), 1)
        + block([f"count = places.size // {len(at)}", f"for i in {over}:"], 1)
        + block(each + shared + write, 2)
    )


def tiled(body: Body, steps: str, parallel: bool = False) -> str:
    """Source of a kernel where operands with letter `t` lie across the output.

    Their neighbours are read together and turned in a tile that stays in the cache. `geometry`
    (see layout.tiles) holds [rank, rows, depth, length, sizes[rank], then for each operand:
    offset, stride along length, stride along depth, strides[rank]].
    """
    constants, shared, values = statements(body)
    load = dict(zip(body.inputs, body.loads))
    operands = body.operands
    start, moves, turned, fill, views, once, element, step = [], [], [], [], [], [], {}, []
    for k, name in enumerate(operands):
        place = f"geometry[base + {k} * (rank + 3)"
        start.append(f"at_{name} = {place}] + top * {place} + 2]")
        step += [f"by_{name} = {place} + 1]", f"down_{name} = {place} + 2]"]
        moves.append(f"at_{name} += step * {place} + 3 + axis]")
        if steps[k] == "t":
            turned.append(f"tile_{name} = np.empty({TILE * TILE}, {name}.dtype)")
            fill += [f"first = at_{name} + (left + i) * by_{name}",
                     f"line = {name}[first:first + height]", "for j in range(height):",
                     f"    tile_{name}[j * {TILE} + i] = line[j]"]
            views.append(f"row_{name} = tile_{name}[j * {TILE}:j * {TILE} + width]")
            element[name] = f"row_{name}[i]"
            continue
        views.append(f"first_{name} = at_{name} + j * down_{name} + left * by_{name}")
        view, found = along(name, steps[k], f"first_{name}", "width")
        views += view
        if found is None:
            once.append(f"{name}_ = {load[name].format(f'{name}[first_{name}]')}")
        else:
            element[name] = found
    each, write = accesses(body, values, element)
    args = ", ".join((*operands, *body.params, "geometry"))
    decorator, rows, imports = loop("geometry[1] * strips", parallel)
    return (
        header(body, f"{body.name} on {body.compute}, in tiles ({steps}).", imports)
        + f"@{decorator}\ndef {body.name}_tiled({args}):\n"
        + block(prelude(body, constants), 1)
        + block(["rank = geometry[0]", "depth = geometry[2]", "length = geometry[3]",
                 "base = 4 + rank", f"strips = (depth + {TILE - 1}) // {TILE}", *step], 1)
        + f"    for row in {rows}:\n"
        + block([f"top = row % strips * {TILE}", f"height = min({TILE}, depth - top)",
                 *start, *unravel("row // strips", 4, moves), *turned,
                 f"for left in range(0, length, {TILE}):",
                 f"    width = min({TILE}, length - left)", "    for i in range(width):"], 2)
        + block(fill, 4)
        + block(["for j in range(height):"], 3)
        + block(views + once, 4)
        + elements("range(width)", each, shared, write, near_tests(body), 4)
    )


def compile_source(text: str):
    """The kernel of an emitted file, its first function: written once, compiled when called."""
    name = re.findall(r"^def (\w+)", text, re.M)[0]
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = _stored(f"{name}-{digest}.py", text)
    if path is None:
        module = types.ModuleType(f"nbgrad_generated_{name}")
        file = f"<nbgrad {name} {digest}>"
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        exec(compile(text, file, "exec"), module.__dict__)
        return getattr(module, name)
    known_as = f"nbgrad_generated_{name}_{digest}"
    loader = importlib.machinery.SourceFileLoader(known_as, str(path))
    module = types.ModuleType(known_as)
    module.__file__ = str(path)
    sys.modules[known_as] = module  # the disk cache names the module when it loads machine code
    loader.exec_module(module)
    return getattr(module, name)


def _stored(file: str, text: str) -> Path | None:
    """The file in the cache that holds `text`, written if need be; None if it cannot be."""
    if config.CACHE_DIR is None:
        return None
    path = config.CACHE_DIR / "generated" / file
    try:
        if not path.exists() or path.read_text() != text:
            write(path, text.encode())
    except OSError:
        return None
    return path
