"""What the first call of a kernel on a new machine waits for: its compilation."""

_EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NBGRAD_CACHE_DIR"] = folder.name
import nbgrad
from nbgrad.nn import functional as F
"""

# name: what is made before, and the first call
CALLS = {
    "elementwise": ("x = nbgrad.ones(64)", "nbgrad.gelu(x)"),
    "elementwise_backward": (
        "x = nbgrad.ones(64, requires_grad=True); y = nbgrad.gelu(x); g = nbgrad.ones(64)",
        "y.backward(g)"),
    "elementwise_threads": ("x = nbgrad.ones(1_000_000)", "nbgrad.gelu(x)"),
    "reduction": ("x = nbgrad.ones(64, 64)", "x.sum(1)"),
    "matmul": ("x = nbgrad.ones(64, 64)", "x @ x"),
    "conv": ("x, w = nbgrad.ones(1, 3, 8, 8), nbgrad.ones(4, 3, 3, 3)", "F.conv2d(x, w)"),
    "softmax": ("x = nbgrad.ones(64, 64)", "F.softmax(x, 1)"),
}


class Compile:
    """Each sample is a process with an empty cache of kernels; the import is left out."""

    rounds = 1
    repeat = (2, 3, 5.0)
    params = ["elementwise", "elementwise_backward", "elementwise_threads", "reduction", "matmul",
              "conv", "softmax"]
    param_names = ["kernel"]

    def timeraw_first_call(self, kernel):
        """The first call of a kernel that is compiled for it."""
        before, call = CALLS[kernel]
        return call, _EMPTY_CACHE + before
