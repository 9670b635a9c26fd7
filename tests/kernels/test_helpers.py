"""Functions that only kernels call: no machine code of their own, and yet Python may call them."""

import numpy as np
import pytest
from numba.core import serialize

from nbgrad.kernels.options import folded, inline, kernel


@pytest.fixture(params=[inline, folded], ids=["inline", "folded"])
def pair(request):
    """A helper, and a kernel that calls it."""
    @request.param
    def third(x):
        return x / 3

    @kernel
    def thirds(x):
        for i in range(x.size):
            x[i] = third(x[i])

    return third, thirds


def code_of(function, argument):
    """The pointer to a compiled function's machine code; None if there is none."""
    function.compile((argument,))
    (found,) = function.overloads.values()
    engine = found.library._codegen._engine
    name = found.fndesc.llvm_func_name
    return engine.get_function_address(name) if engine.is_symbol_defined(name) else None


def test_machine_code_is_made_of_kernels_alone(pair):
    third, thirds = pair
    x = np.arange(5.0)
    thirds(x)
    np.testing.assert_array_equal(x, np.arange(5.0) / 3)
    (signature,) = third.overloads
    assert code_of(third, *signature) is None
    (signature,) = thirds.overloads
    assert code_of(thirds, *signature)


def test_python_may_call_a_helper(pair):
    third, _ = pair
    assert third(7.0) == 7 / 3
    assert third(np.float32(1)) == np.float32(1) / 3


def test_numbers_are_numpys():
    """0 / 0 is NaN: the flags of kernels hold for a call from Python, too."""
    @inline
    def quotient(a, b):
        return a / b

    assert np.isnan(quotient(0.0, 0.0))


def test_a_helper_travels(pair):
    third, _ = pair
    assert serialize.loads(serialize.dumps(third)) is third
