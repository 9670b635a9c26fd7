"""The examples in docstrings print what they say."""

import doctest
import importlib
import sys

import pytest


@pytest.mark.parametrize("name", [
    "nbgrad.autograd.explain", "nbgrad.autograd.functional", "nbgrad.autograd.gradcheck",
    "nbgrad.autograd.graph", "nbgrad.autograd.nonfinite", "nbgrad.engine.mode", "nbgrad.func",
    "nbgrad.graph", "nbgrad.nn.hooks", "nbgrad.utils.checkpoint"])
def test_examples(name):
    importlib.import_module(name)
    failed, attempted = doctest.testmod(sys.modules[name])
    assert attempted and not failed
