"""What asv measured, read from its JSON files, in the order of the commits."""

from __future__ import annotations

import ast
import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.history.measurements import Benchmark, Commit, Line, Machine, Point, Value

_COLUMNS = ("result", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25", "stats_q_75")


@dataclass
class _Runs:
    """The result files of one machine and environment, by commit."""

    facts: dict[str, str]
    files: dict[Commit, dict[str, dict[str, Any]]] = field(default_factory=dict)


def read(folder: Path) -> list[Machine]:
    """Everything in a results folder of asv; subjects of commits come from git, where it has them."""
    known = _read_json(folder / "benchmarks.json") or {}
    subjects = _subjects(folder)
    runs: dict[str, _Runs] = {}
    for path in sorted(folder.glob("*/*.json")):
        found = _read_json(path)
        if path.name == "machine.json" or not found or "commit_hash" not in found:
            continue
        name = f"{found['params'].get('machine', path.parent.name)}, {found['env_name']}"
        of = runs.setdefault(name, _Runs(found["params"]))
        of.files[_commit(found, subjects)] = {
            benchmark: dict(zip(found["result_columns"], row))
            for benchmark, row in found["results"].items()}
    order = list(subjects)
    return [_machine(name, of, known, order) for name, of in sorted(runs.items())]


def _read_json(path: Path) -> dict[str, Any] | None:
    """The content of a file; None if it is missing or cut off."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def _subjects(folder: Path) -> dict[str, str]:
    """Hash and subject of all commits, parents first; empty outside a repository."""
    command = ["git", "log", "--all", "HEAD", "--topo-order", "--reverse", "--format=%H%x00%s"]
    try:
        printed = subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    lines = printed.decode(errors="replace").removesuffix("\n").split("\n")
    return dict(line.split("\0", 1) for line in lines)


def _commit(found: dict[str, Any], subjects: dict[str, str]) -> Commit:
    date = datetime.fromtimestamp(found["date"] / 1000, UTC)
    return Commit(found["commit_hash"], date, subjects.get(found["commit_hash"], ""))


def _machine(name: str, runs: _Runs, known: dict[str, Any], order: list[str]) -> Machine:
    place = {commit: k for k, commit in enumerate(order)}
    commits = sorted(runs.files, key=lambda c: (c.date, place.get(c.hash, -1)))
    names = sorted({benchmark for rows in runs.files.values() for benchmark in rows})
    return Machine(name, runs.facts, commits, [
        _benchmark(benchmark, [runs.files[c].get(benchmark) for c in commits], known.get(benchmark, {}))
        for benchmark in names])


def _benchmark(name: str, rows: list[dict[str, Any] | None], known: dict[str, Any]) -> Benchmark:
    """One benchmark from its row of every commit. A version other than the last starts anew."""
    version = next((row.get("version") for row in reversed(rows) if row), None)
    values = [dict(_values(row)) if row and row.get("version") == version else {} for row in rows]
    every = dict.fromkeys(params for at_commit in reversed(values) for params in at_commit)
    return Benchmark(
        name, known.get("unit", ""), known.get("param_names", []), _docstring(known.get("code", "")),
        [_line(params, [at_commit.get(params) for at_commit in values]) for params in every])


def _line(params: tuple[str, ...], values: list[Value | None]) -> Line:
    points, before = [], None
    for at, value in enumerate(values):
        if value is not None:
            points.append(Point(at, value, before))
            before = before if value.failed else value
    return Line(params, points)


def _values(row: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Value]]:
    """The parameters, as they were written, and the value of each measurement of a row."""
    choices = list(product(*row.get("params") or []))
    nothing = [None] * len(choices)
    columns = [row.get(name) or nothing for name in _COLUMNS]
    for params, median, *ends in zip(choices, *columns):
        if median is not None and math.isnan(median):  # skipped
            continue
        pairs = [(low, high) for low, high in (ends[:2], ends[2:]) if _finite(low) and _finite(high)]
        low, high = next(iter(pairs), (median, median))
        yield (tuple(param.strip("'") for param in params),
               Value(math.nan, math.nan, math.nan) if median is None else Value(median, low, high))


def _finite(end: float | None) -> bool:
    return end is not None and math.isfinite(end)


def _docstring(code: str) -> str:
    """The first sentence of the function that a benchmark times."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    function = next((node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)), None)
    text = function and ast.get_docstring(function)
    return (text or "").split("\n\n")[0].replace("\n", " ")
