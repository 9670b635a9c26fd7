"""Every Python block of the README and of docs/debugging.md prints just the result below it."""

import contextlib
import io
import re
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [block for name in ("README.md", "docs/debugging.md") for block in re.findall(
    r"```python\n(.*?)```\n\n```text\n(.*?)```", (ROOT / name).read_text(), re.S)]


def run(source: str) -> str:
    """What a program prints, the message of its last error included."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(source, "/home/you/example.py", "exec"), {"__name__": "__main__"})
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    return printed.getvalue()


@pytest.mark.parametrize(("source", "expected"), BLOCKS)
def test_readme_is_true(source, expected):
    printed = run(source)
    assert OutputChecker().check_output(expected, printed, ELLIPSIS), printed
