"""Tests of modules run against nbgrad, and against PyTorch, which proves the test itself."""

import pytest


@pytest.fixture(params=["nbgrad", "torch"])
def library(request):
    return pytest.importorskip(request.param)


@pytest.fixture
def nn(library):
    return pytest.importorskip(f"{library.__name__}.nn")
