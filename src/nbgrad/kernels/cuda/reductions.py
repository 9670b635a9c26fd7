"""Reductions (being written)."""
from nbgrad.kernels.cuda.array import OnHost


def plan(name, own, reduced, compute, result, params=()):
    raise OnHost(name)
