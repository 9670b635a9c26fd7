"""The house: imports point down, kernels are compiled in one place, files stay one idea."""

import ast
import re
import sys
from pathlib import Path

import nbgrad

ROOT = Path(nbgrad.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

#: what each floor may import besides itself; a module is on the floor with its longest name
LEAVES = {"config", "errors", "dtypes", "devices", "printing", "size"}
FLOORS = {
    **{leaf: set() for leaf in LEAVES},
    "formulas": set(),
    "kernels": LEAVES | {"formulas"},
    "engine": LEAVES | {"formulas"},
    "tensor": LEAVES | {"formulas", "kernels", "engine", "stubs"},  # stubs: types, never run
    "ops": LEAVES | {"formulas", "kernels", "engine", "tensor"},
}
LEAF_MAY = {"printing": {"dtypes"}}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports(path):
    """(line, module) of every import of a file, in functions too; relative ones made absolute."""
    package = ("nbgrad", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*package[:len(package) - node.level + 1], *filter(None, [base])))
            for alias in node.names:
                inner = ROOT.joinpath(*base.split(".")[1:], alias.name)
                module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield node.lineno, f"{base}.{alias.name}" if module else base


def floor_of(module):
    return module.split(".")[0]


def violations(path, module):
    floor = floor_of(module)
    if floor not in FLOORS:
        return
    allowed = FLOORS[floor] | LEAF_MAY.get(floor, set()) | {floor}
    for line, target in imports(path):
        if target.split(".")[0] != "nbgrad":
            continue
        inside = target.removeprefix("nbgrad").lstrip(".")
        if floor_of(inside) not in allowed:
            yield f"{path.name}:{line} {floor} may not import {target}"


def test_imports_point_down():
    assert [v for path in FILES for v in violations(path, module_of(path))] == []


def test_an_import_that_points_up_is_found(tmp_path, monkeypatch):
    wrong = tmp_path / "kernels" / "wrong.py"
    wrong.parent.mkdir()
    wrong.write_text("def f():\n    from nbgrad.tensor import Tensor\n    from ..engine import node\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert len(list(violations(wrong, "kernels.wrong"))) == 2


def test_formulas_need_the_standard_library_only():
    known = {*sys.stdlib_module_names, "nbgrad"}
    assert [f"{path.name}:{line} {target}" for path in FILES if "formulas" in path.parts
            for line, target in imports(path) if target.split(".")[0] not in known] == []


def test_options_and_the_provider_alone_compile():
    spelled = re.compile(r"\b(?:n?jit|vectorize|guvectorize)\(|@(?:numba\.)?n?jit\b|cuda\.jit")
    allowed = ("kernels.options", "kernels.cuda.provider")
    assert [path.name for path in FILES if module_of(path) not in allowed
            and spelled.search(path.read_text())] == []


def test_no_flag_drops_nan():
    flags = re.compile(r"""fastmath\s*=|["'](nnan|ninf|reassoc|fast)["']""")
    assert [path.name for path in FILES if "kernels" in path.parts
            and flags.search(path.read_text())] == []


def test_files_stay_short():
    lengths = {module_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 550} == {}
