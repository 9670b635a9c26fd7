"""What a fresh process waits for: the import, and the first call of kernels compiled before."""

_CALL = """
x = nbgrad.ones(4, requires_grad=True)
(x * x).sum().backward()
"""


class Startup:
    """Each sample is a process of its own."""

    repeat = (3, 10, 5.0)

    def timeraw_import(self):
        """`import nbgrad`, NumPy and Numba included."""
        return "import nbgrad"

    def timeraw_first_call(self):
        """A product, a sum and their gradients, whose kernels are read from disk."""
        return _CALL, "import nbgrad"
