"""Every Python block of the README with a printed result prints just that."""

import contextlib
import io
import re
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S)


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
