"""One benchmark as an inline SVG: commits to the right, values upward on a logarithmic scale."""

from __future__ import annotations

import math
from html import escape

from benchmarks.history.measurements import Benchmark, Commit, Line, Value

WIDTH, HEIGHT = 600, 250
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 26

COLOURS = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3")

_FIFTHS = tuple(k / 5 for k in range(5, 50))

_SCALES = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}


def amount(value: float, unit: str) -> str:
    """A value in three digits, with the unit that suits its size."""
    if math.isnan(value):
        return "failed"
    scales = _SCALES.get(unit, ((1, unit),))
    factor, name = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    scaled = value / factor
    digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    return f"{scaled:,.{digits}f} {name}".rstrip()


def styles(lines: list[Line]) -> list[tuple[int, str]]:
    """Colour and dashes of each line: colours follow the first parameter, dashes the others."""
    first = list(dict.fromkeys(line.params[:1] for line in lines))
    other = list(dict.fromkeys(line.params[1:] for line in lines))
    places = ((first.index(line.params[:1]), other.index(line.params[1:])) for line in lines)
    return [(a % COLOURS, DASHES[(b + a // COLOURS) % len(DASHES)]) for a, b in places]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two, three or more where there are as many."""
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), _FIFTHS):
        powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        found = [t for p in powers for t in (s * 10.0**p for s in steps) if low <= t <= high]
        if len(found) >= 3:
            break
    return found[::math.ceil(len(found) / 7)] if found else [low, high]


class Axes:
    """Where commits and values are on the drawing."""

    def __init__(self, benchmark: Benchmark, commits: list[Commit]) -> None:
        medians = [p.value.median for line in benchmark.lines for p in line.points]
        self.low = min((m for m in medians if m > 0), default=1.0)
        self.high = max((m for m in medians if m > 0), default=1.0)
        room = max(1.1, math.sqrt(2 * self.low / self.high))  # noise fills no plot
        self.low, self.high = self.low / room, self.high * room
        self.count = len(commits)

    def x(self, at: int) -> float:
        if self.count == 1:
            return (LEFT + WIDTH - RIGHT) / 2
        return round(LEFT + 8 + (WIDTH - LEFT - RIGHT - 16) * at / (self.count - 1), 1)

    def y(self, value: float) -> float:
        clipped = min(max(value, self.low), self.high)
        part = math.log(clipped / self.low) / math.log(self.high / self.low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part, 1)


def draw(benchmark: Benchmark, commits: list[Commit]) -> str:
    """The plot of a benchmark; a dot is a measurement, a ring a change for the worse."""
    axes = Axes(benchmark, commits)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'aria-label="{escape(benchmark.name)} over commits">', *_grid(axes, benchmark, commits)]
    for line, (colour, dashes) in zip(benchmark.lines, styles(benchmark.lines)):
        parts += _line(axes, benchmark, commits, line, colour, dashes)
    return "\n".join([*parts, "</svg>"])


def _grid(axes: Axes, benchmark: Benchmark, commits: list[Commit]) -> list[str]:
    parts = []
    for tick in _ticks(axes.low, axes.high):
        y = axes.y(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">'
                     f"{escape(amount(tick, benchmark.unit))}</text>")
    step = math.ceil(len(commits) / 6)
    for at in range(len(commits) - 1, -1, -step):
        place = "middle" if 0 < at < len(commits) - 1 or len(commits) == 1 else "end" if at else "start"
        parts.append(f'<text x="{axes.x(at)}" y="{HEIGHT - 6}" text-anchor="{place}">'
                     f"{escape(commits[at].hash[:8])}<title>{escape(str(commits[at]))}</title></text>")
    return parts


def _line(axes: Axes, benchmark: Benchmark, commits: list[Commit], line: Line, colour: int,
          dashes: str) -> list[str]:
    """One line: joined over commits that were not measured, whiskers where the median may be."""
    shown = [point for point in line.points if point.value.median > 0]  # a logarithm, and no NaN
    path = "L".join(f"{axes.x(point.at)} {axes.y(point.value.median)}" for point in shown)
    parts = [f'<g class="c{colour}">']
    if shown:
        parts.append(f'<path class="line" stroke-dasharray="{dashes}" d="M{path}"/>')
    for point in shown:
        value, told = point.value, _tooltip(benchmark, line, point.value, commits[point.at])
        x, y = axes.x(point.at), axes.y(value.median)
        if value.low < value.high:
            parts.append(f'<path class="whisker" d="M{x} {axes.y(value.low)}V{axes.y(value.high)}"/>')
        if point.verdict == "worse":
            parts.append(f'<circle class="ring" cx="{x}" cy="{y}" r="7"/>')
        parts.append(f'<circle cx="{x}" cy="{y}" r="3"><title>{escape(told)}</title></circle>')
    return [*parts, "</g>"]


def _tooltip(benchmark: Benchmark, line: Line, value: Value, commit: Commit) -> str:
    unit = benchmark.unit
    told = amount(value.median, unit)
    if value.low < value.high:
        told += f" ({amount(value.low, unit)} to {amount(value.high, unit)})"
    return "\n".join(filter(None, [", ".join(line.params), told, str(commit)]))
