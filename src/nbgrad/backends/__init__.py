"""Which library does the work where there is a choice: `nbgrad.backends`, under PyTorch's names."""

from nbgrad.backends import cuda, cudnn

__all__ = ["cuda", "cudnn"]
