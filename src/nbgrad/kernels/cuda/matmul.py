"""Products (being written)."""
from nbgrad.kernels.cuda.array import OnHost


def launch(p):
    raise OnHost("a product")
