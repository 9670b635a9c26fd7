"""The examples in docstrings print what they say."""

import doctest
import importlib
import sys

import pytest


@pytest.mark.parametrize("name", ["nbgrad.autograd.functional", "nbgrad.autograd.gradcheck",
                                  "nbgrad.func"])
def test_examples(name):
    importlib.import_module(name)
    failed, attempted = doctest.testmod(sys.modules[name])
    assert attempted and not failed
