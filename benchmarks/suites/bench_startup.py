"""What a fresh process waits for: the import, and the first call of a kernel."""

_CALL = """
import nbgrad
x = nbgrad.ones(4, requires_grad=True)
(x * x).sum().backward()
"""
_EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NBGRAD_CACHE_DIR"] = folder.name
"""


class Startup:
    number = 1

    def timeraw_import(self):
        return "import nbgrad"

    def timeraw_first_call(self):
        """Kernels are in the disk cache."""
        return _CALL

    def timeraw_first_call_cold(self):
        """Every kernel is compiled."""
        return _EMPTY_CACHE + _CALL
