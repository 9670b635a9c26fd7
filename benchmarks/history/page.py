"""The page: for each machine a table of the latest values, the worst first, and all plots."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from itertools import groupby

from benchmarks.history.measurements import Benchmark, Line, Machine, Verdict
from benchmarks.history.plot import amount, draw, styles

_ORDER: tuple[Verdict, ...] = ("failed", "worse", "better", "same", "first")

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2024; --faint: #667; --grid: #e3e5e8;
  --bad: #c62828; --bad-back: #fdecea; --good: #1b7a3d; --good-back: #e8f5ec;
  --c0: #0b6bb5; --c1: #c4520a; --c2: #16834f; --c3: #9c3fa0; --c4: #8a6a00; --c5: #007f8c;
  --c6: #b8265c; --c7: #5a5f66; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --text: #e4e7ea; --faint: #99a1ab;
  --grid: #2c3238; --bad: #ff8a80; --bad-back: #3b1d1d; --good: #7fd49b; --good-back: #17301f;
  --c0: #62b0f2; --c1: #f2994f; --c2: #55c98d; --c3: #d48be0; --c4: #d9b53c; --c5: #4fc7d4;
  --c6: #f27ba4; --c7: #aab2bb; } }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif;
  max-width: 1280px; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 3rem; } h3 { margin-top: 2.5rem; }
p, figcaption { max-width: 75ch; } a { color: inherit; } .faint { color: var(--faint); }
code, td, svg text { font-variant-numeric: tabular-nums; }
.scroll { overflow: auto; max-height: 32rem; border: 1px solid var(--grid); }
table { border-collapse: collapse; width: 100%; } th { position: sticky; top: 0;
  background: var(--back); text-align: left; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid var(--grid); }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.worse, tr.failed { background: var(--bad-back); } tr.better { background: var(--good-back); }
.worse .change, .failed .change, b.worse, b.failed { color: var(--bad); font-weight: 600; }
.better .change, b.better { color: var(--good); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr));
  gap: 1.5rem; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: var(--faint); } .grid { stroke: var(--grid); }
.line { fill: none; stroke: currentColor; stroke-width: 1.6; } circle { fill: currentColor; }
g:hover .line { stroke-width: 3.5; } .whisker { stroke: currentColor; opacity: .4; }
circle.ring { fill: none; stroke: var(--bad); stroke-width: 2; }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 1rem; padding: 0; margin: 0;
  font-size: 13px; } .legend svg { width: 26px; height: 10px; display: inline; }
""" + " ".join(f".c{k} {{ color: var(--c{k}); }}" for k in range(8))

_READ = """Lower is better. A dot is the median of a benchmark at a commit, its whisker where the
median is with 99&nbsp;% confidence (of few samples, their middle half); point at a dot to see the
commit. Scales are logarithmic: equal heights are equal factors. A change is against the last commit
measured before, and is coloured where it is beyond 10&nbsp;% and the whiskers do not meet; red
rings mark changes for the worse. Measurements of a busy machine change by themselves: repeat them
before believing them."""


def render(machines: list[Machine]) -> str:
    """A whole HTML document: no script, and nothing that it would have to load."""
    body = "\n".join(_machine(k, machine) for k, machine in enumerate(machines))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>nbgrad benchmarks</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>nbgrad benchmarks</h1>
<p class="faint">{_READ}</p>
{body or "<p>Nothing was measured yet.</p>"}
</body>
</html>
"""


def _anchor(k: int, benchmark: Benchmark) -> str:
    return escape(f"m{k}-{benchmark.name}")


def _machine(k: int, machine: Machine) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.facts.items() if name != "machine")
    suites = [(suite, list(group)) for suite, group in
              groupby(machine.benchmarks, key=lambda benchmark: benchmark.suite)]
    plots = "\n".join(
        f'<h3>{escape(suite)}</h3>\n<div class="plots">\n'
        + "\n".join(_figure(k, benchmark, machine) for benchmark in group) + "\n</div>"
        for suite, group in suites)
    return f"""<h2>{escape(machine.name)}</h2>
<p class="faint">{escape(facts)}<br>{len(machine.commits)} commits, the last
{escape(str(machine.commits[-1]))}</p>
{_table(k, machine)}
{plots}"""


def _table(k: int, machine: Machine) -> str:
    rows = [(benchmark, line) for benchmark in machine.benchmarks for line in benchmark.lines]
    rows.sort(key=lambda row: _ORDER.index(row[1].points[-1].verdict))
    counts = Counter(line.points[-1].verdict for _, line in rows)
    told = ", ".join(f'<b class="{verdict}">{counts[verdict]} {verdict}</b>'
                     for verdict in _ORDER[:3] if counts[verdict])
    return f"""<p>{len(rows)} measurements: {told or "none changed"}.</p>
<div class="scroll"><table>
<thead><tr><th>benchmark</th><th>parameters</th><th class="number">latest</th>
<th class="number">change</th><th>at</th></tr></thead>
<tbody>
{"".join(_row(k, machine, *row) for row in rows)}</tbody>
</table></div>"""


def _row(k: int, machine: Machine, benchmark: Benchmark, line: Line) -> str:
    last = line.points[-1]
    commit, value = machine.commits[last.at], last.value
    change = "" if math.isnan(last.change) else f"{last.change - 1:+.1%}"
    name = escape(f"{benchmark.suite} {benchmark.title}")
    return (f'<tr class="{last.verdict}"><td><a href="#{_anchor(k, benchmark)}">{name}</a></td>'
            f"<td>{escape(', '.join(line.params))}</td>"
            f'<td class="number">{escape(amount(value.median, benchmark.unit))}</td>'
            f'<td class="number change">{change}</td>'
            f'<td title="{escape(str(commit))}"><code>{escape(commit.hash[:8])}</code></td></tr>\n')


def _figure(k: int, benchmark: Benchmark, machine: Machine) -> str:
    names = ", ".join(benchmark.param_names)
    legend = "".join(
        f'<li><svg viewBox="0 0 26 10" class="c{colour}"><path class="line" d="M0 5H26" '
        f'stroke-dasharray="{dashes}"/></svg> {escape(", ".join(line.params))}</li>'
        for line, (colour, dashes) in zip(benchmark.lines, styles(benchmark.lines)) if line.params)
    return f"""<figure id="{_anchor(k, benchmark)}">
<figcaption><b>{escape(benchmark.title)}</b> {escape(benchmark.says)}
<span class="faint">{escape(names)}</span></figcaption>
{draw(benchmark, machine.commits)}
<ul class="legend">{legend}</ul>
</figure>"""
