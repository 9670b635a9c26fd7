"""What a benchmark's measurements are, and when two of them differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Verdict = Literal["failed", "worse", "better", "same", "first"]

#: A change counts beyond this factor, as in `asv compare`.
FACTOR = 1.1


@dataclass(frozen=True)
class Commit:
    hash: str
    date: datetime
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.hash[:8]} {self.date:%Y-%m-%d} {self.subject}".rstrip()


@dataclass(frozen=True)
class Value:
    """A median and the interval that holds it with 99 % confidence; a failed benchmark is NaN.

    Few samples have no such interval: theirs is the middle half of them.
    """

    median: float
    low: float
    high: float

    @property
    def failed(self) -> bool:
        return math.isnan(self.median)

    def against(self, before: Value | None) -> Verdict:
        """How this value compares with an earlier one: noise is what the intervals share."""
        if self.failed:
            return "failed"
        if before is None:
            return "first"
        if self.median > before.median * FACTOR and self.low > before.high:
            return "worse"
        if self.median * FACTOR < before.median and self.high < before.low:
            return "better"
        return "same"


@dataclass(frozen=True)
class Point:
    """A measurement at the commit of that position, and the last one before it that succeeded."""

    at: int
    value: Value
    before: Value | None

    @property
    def verdict(self) -> Verdict:
        return self.value.against(self.before)

    @property
    def change(self) -> float:
        """The value by the one before it; NaN where there is none."""
        before = self.before.median if self.before else 0
        return self.value.median / before if before else math.nan


@dataclass(frozen=True)
class Line:
    """One choice of parameters and its measurements; commits that were not measured are missing."""

    params: tuple[str, ...]
    points: list[Point]


@dataclass(frozen=True)
class Benchmark:
    name: str
    unit: str
    param_names: list[str]
    says: str
    lines: list[Line]

    @property
    def suite(self) -> str:
        return self.name.split(".")[0].removeprefix("bench_")

    @property
    def title(self) -> str:
        return self.name.partition(".")[2]


@dataclass(frozen=True)
class Machine:
    """What one machine measured in one environment: values of two machines do not compare."""

    name: str
    facts: dict[str, str]
    commits: list[Commit]
    benchmarks: list[Benchmark]
