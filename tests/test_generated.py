"""What tools write from the tables is what is checked in."""

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.mark.parametrize("name", ["write_stubs", "write_ops_table"])
def test_fresh(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.TARGET.read_text() == tool.text(), f"python tools/{name}.py writes it anew"
