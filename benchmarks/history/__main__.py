"""The command line: python -m benchmarks.history [--results FOLDER] [--out FILE.html]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.history.page import render
from benchmarks.history.results import read

ASV = Path(__file__).parents[1] / ".asv"


def main(arguments: list[str] | None = None) -> int:
    """Write the page and say where it is; 1 if nothing was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.history", description="Draw what asv measured on one HTML page.")
    parser.add_argument("--results", type=Path, default=ASV / "results", metavar="FOLDER",
                        help="where asv keeps its results (benchmarks/.asv/results)")
    parser.add_argument("--out", type=Path, default=ASV / "history.html", metavar="FILE.html",
                        help="the page (benchmarks/.asv/history.html)")
    given = parser.parse_args(arguments)
    machines = read(given.results)
    if not machines:
        print(f"{given.results} holds no results: run make bench first", file=sys.stderr)
        return 1
    given.out.write_text(render(machines), encoding="utf-8")
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
