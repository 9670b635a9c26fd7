"""Every benchmark runs once with its first parameters, says what it measures, and misses no family.

Then the page of their history: drawn from a made-up folder of asv's results.
"""

import ast
import importlib
import inspect
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
SUITES = ROOT / "benchmarks" / "suites"
KERNELS, OPS = ROOT / "src/nbgrad/kernels", ROOT / "src/nbgrad/ops"
TIMED = ("time_", "peakmem_", "timeraw_")

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(SUITES.parent)
    patch.syspath_prepend(ROOT)
    MODULES = [importlib.import_module(f"suites.{path.stem}")
               for path in sorted(SUITES.glob("bench_*.py"))]
    history = importlib.import_module("benchmarks.history.__main__")
    plot = importlib.import_module("benchmarks.history.plot")


def benchmarks(suite) -> list[str]:
    return [name for name in dir(suite) if name.startswith(TIMED)]


CLASSES = [pytest.param(suite, id=f"{module.__name__}.{name}") for module in MODULES
           for name, suite in inspect.getmembers(module, inspect.isclass)
           if benchmarks(suite) and not inspect.isabstract(suite)]


def first(suite) -> tuple:
    """The first value of each parameter; as asv has it, a plain list is that of a single one."""
    params = getattr(suite, "params", ())
    if params and not isinstance(params[0], list | tuple):
        params = (params,)
    return tuple(values[0] for values in params)


@pytest.mark.parametrize("suite", CLASSES)
def test_benchmark_runs(suite):
    made, params = suite(), first(suite)
    if hasattr(made, "setup"):
        made.setup(*params)
    for name in benchmarks(suite):
        result = getattr(made, name)(*params)
        if name.startswith("timeraw_"):
            call, before = result if isinstance(result, tuple) else (result, "")
            subprocess.run([sys.executable, "-W", "error", "-c", f"{before}\n{call}"], check=True)


@pytest.mark.parametrize("suite", CLASSES)
def test_benchmark_says_what_it_measures(suite):
    assert suite.__doc__
    assert all(getattr(suite, name).__doc__ for name in benchmarks(suite))


@pytest.mark.parametrize("suite", CLASSES)
def test_parameters_are_literal(suite):
    (tree,) = ast.parse(inspect.getsource(suite)).body
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("params", "param_names"):
            assert ast.literal_eval(node.value) is not None


def stems(*folders: Path) -> set[str]:
    return {path.stem for folder in folders for path in folder.glob("[a-z]*.py")}


def test_every_family_has_a_suite():
    """A word of both floors is a family: kernels without ops are helpers, and the reverse."""
    families = stems(KERNELS, KERNELS / "cpu") & stems(OPS)
    assert {"elementwise", "reductions", "matmul", "conv", "pool", "norm", "softmax"} <= families
    others = {"dispatch", "optimizers", "models", "compile", "startup", "memory"}
    assert stems(SUITES) >= {f"bench_{family}" for family in families | others}


# The page of the history

COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b"]
DAY = 86_400_000


def row(values, low=0.99, high=1.01, params=(), version="1"):
    """A row of asv's results whose intervals reach from `low` to `high` times the value."""
    ends = [[None if v is None else v * f for v in values] for f in (low, high)]
    return [values, [list(p) for p in params], version, 0, 1, *ends]


def write(folder: Path, commit: str, rows: dict, day=0, machine="box", env="venv") -> None:
    home = folder / machine
    home.mkdir(parents=True, exist_ok=True)
    (home / "machine.json").write_text(json.dumps({"machine": machine, "version": 1}))
    (home / f"{commit[:8]}-{env}.json").write_text(json.dumps({
        "commit_hash": commit, "env_name": env, "date": day * DAY, "python": "3.11",
        "params": {"machine": machine, "cpu": "<fast> & cheap"}, "result_columns": COLUMNS,
        "results": rows, "durations": {}}))


def table(page: str) -> list[tuple[str, ...]]:
    """Verdict, benchmark, parameters, latest value and change of the rows of the tables."""
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', page, re.S)
    cells = [(verdict, re.findall("<td.*?>(.*?)</td>", cells)[:4]) for verdict, cells in rows]
    return [(verdict, *(re.sub("<.*?>", "", cell) for cell in row)) for verdict, row in cells]


def drawings(page: str) -> list[ElementTree.Element]:
    """The plots, each well-formed; those of the legends left out."""
    found = [ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", page, re.S)]
    return [svg for svg in found if svg.get("role") == "img"]


def tooltips(svg: ElementTree.Element) -> list[str]:
    return [title.text for circle in svg.iter("circle") for title in circle.iter("title")]


@pytest.fixture
def render(tmp_path, capsys):
    """Draw the results that lie in tmp_path; the page must need nothing beside itself."""
    def run() -> str:
        out = tmp_path / "history.html"
        assert history.main(["--results", str(tmp_path), "--out", str(out)]) == 0
        assert capsys.readouterr().out.strip() == str(out)
        page = out.read_text()
        assert not re.search(r'<script|<link|@import|url\(|https?:|src=|href="(?!#)', page)
        return page
    return run


def describe(folder: Path, name: str, **known) -> None:
    (folder / "benchmarks.json").write_text(json.dumps({"version": 2, name: known}))


NAME = "bench_a.A.time_b"
PAIRS = [["'x'", "'y'"], ["1", "2"]]


def test_one_commit(tmp_path, render):
    code = 'class A:\n    def time_b(self):\n        """Says what."""\n\n    def setup(self): pass'
    describe(tmp_path, NAME, unit="seconds", param_names=["letter", "digit"], code=code)
    write(tmp_path, "a" * 40, {NAME: row([1e-3, 2.346e-5, 3e-9, 40.0], params=PAIRS)})
    page = render()
    assert table(page) == [("first", "a A.time_b", "x, 1", "1.00 ms", ""),
                           ("first", "a A.time_b", "x, 2", "23.5 µs", ""),
                           ("first", "a A.time_b", "y, 1", "3.00 ns", ""),
                           ("first", "a A.time_b", "y, 2", "40.0 s", "")]
    (svg,) = drawings(page)
    assert tooltips(svg)[0] == "x, 1\n1.00 ms (990 µs to 1.01 ms)\naaaaaaaa 1970-01-01"
    assert len(tooltips(svg)) == 4
    assert "Says what." in page
    assert "letter, digit" in page


def test_missing_values(tmp_path, render):
    """A null failed, a NaN was skipped, an absent row or commit was not run."""
    params = [["'x'", "'y'"]]
    write(tmp_path, "a" * 40, {NAME: row([1.0, 5.0], params=params), "bench_a.old": row([1.0])})
    write(tmp_path, "b" * 40, {NAME: [None, params, "1"], "bench_a.skipped": row([math.nan])}, day=1)
    write(tmp_path, "c" * 40, {NAME: row([2.0, None], params=params)}, day=2)
    page = render()
    assert table(page) == [("failed", "a A.time_b", "y", "failed", ""),
                           ("worse", "a A.time_b", "x", "2.00", "+100.0%"),
                           ("first", "a old", "", "1.00", "")]
    assert [len(tooltips(svg)) for svg in drawings(page)] == [3, 1, 0]


@pytest.mark.parametrize(("before", "after", "verdict", "change"), [
    (row([1.0]), row([1.5]), "worse", "+50.0%"),
    (row([1.0]), row([0.5]), "better", "-50.0%"),
    (row([1.0]), row([1.05]), "same", "+5.0%"),
    (row([1.0], 0.5, 1.6), row([1.5]), "same", "+50.0%"),
    (row([1.0], -math.inf, math.inf), row([1.5]), "worse", "+50.0%"),
    (row([1.0])[:5], row([1.5])[:5], "worse", "+50.0%"),
    (row([1.0]), row([1.5], version="2"), "first", ""),
    (row([1.0]), row([None]), "failed", ""),
])
def test_change(tmp_path, render, before, after, verdict, change):
    write(tmp_path, "a" * 40, {NAME: before}, day=2)
    write(tmp_path, "b" * 40, {NAME: after}, day=10)
    page = render()
    ((found, _, _, _, shown),) = table(page)
    assert (found, shown) == (verdict, change)
    rings = [circle for svg in drawings(page) for circle in svg.iter("circle") if circle.get("class")]
    assert len(rings) == (verdict == "worse")


def test_a_failure_is_passed_over(tmp_path, render):
    """After a commit that failed the comparison is with the one before."""
    for day, value in enumerate([1.0, None, 3.0]):
        write(tmp_path, f"{day}" * 40, {NAME: row([value])}, day)
    assert table(render()) == [("worse", "a A.time_b", "", "3.00", "+200.0%")]


def test_machines_apart(tmp_path, render):
    write(tmp_path, "a" * 40, {NAME: row([1.0])}, machine="one")
    write(tmp_path, "b" * 40, {NAME: row([9.0])}, day=1, machine="two")
    write(tmp_path, "b" * 40, {NAME: row([4.0])}, day=1, machine="two", env="other")
    page = render()
    assert re.findall("<h2>(.*?)</h2>", page) == ["one, venv", "two, other", "two, venv"]
    assert [shown[0] for shown in table(page)] == ["first"] * 3
    anchors = re.findall('id="(.*?)"', page)
    assert len(set(anchors)) == 3
    assert anchors == re.findall('href="#(.*?)"', page)


def test_names_are_escaped(tmp_path, render):
    name, x = 'bench_<x>.<x>"A"&</x>.time_b', "<x>"
    describe(tmp_path, name, unit=x, param_names=[x], code=f'def f():\n    """{x}"""')
    write(tmp_path, "a" * 40, {name: row([1.0], params=[[repr(x)]])}, machine=x, env=x)
    page = render()
    assert x not in page and "</x>" not in page
    (svg,) = drawings(page)
    assert tooltips(svg) == [f"{x}\n1.00 {x} (0.99 {x} to 1.01 {x})\naaaaaaaa 1970-01-01"]
    assert svg.get("aria-label").startswith(name)


def test_cut_off_file_is_left_out(tmp_path, render):
    write(tmp_path, "a" * 40, {NAME: row([1.0])})
    (tmp_path / "box" / "bbbbbbbb-venv.json").write_text('{"commit_ha')
    assert len(table(render())) == 1


def test_subjects_and_order_come_from_git(tmp_path, render):
    """Commits of one second are told apart by their parents."""
    def git(*words: str) -> str:
        fixed = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *fixed, *words], cwd=tmp_path, check=True, text=True,
                              capture_output=True).stdout.strip()

    git("init", "-q")
    hashes, subjects = [], ("First <one>", "Second", "Third")
    for subject in subjects:
        git("commit", "-q", "--allow-empty", "-m", subject)
        hashes.append(git("rev-parse", "HEAD"))
    for k in (2, 0, 1):
        write(tmp_path, hashes[k], {NAME: row([k + 1.0])})
    (svg,) = drawings(render())
    assert [told.split("\n")[1] for told in tooltips(svg)] == [
        f"{commit[:8]} 1970-01-01 {subject}" for commit, subject in zip(hashes, subjects)]


@pytest.mark.parametrize(("value", "unit", "shown"), [
    (1.2345, "seconds", "1.23 s"), (0.999999, "seconds", "1,000 ms"), (3e-10, "seconds", "0.30 ns"),
    (0.0, "seconds", "0.00 ns"), (12_345_678, "bytes", "12.3 MB"), (7.0, "", "7.00"),
    (math.nan, "seconds", "failed"),
])
def test_amount(value, unit, shown):
    assert plot.amount(value, unit) == shown


def test_nothing_measured(tmp_path, capsys):
    assert history.main(["--results", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 1
    assert "make bench" in capsys.readouterr().err
