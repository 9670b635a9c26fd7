"""`nbgrad.utils`, where PyTorch has data loading and DLPack."""

import sys

from nbgrad import data
from nbgrad.utils import dlpack

sys.modules[f"{__name__}.data"] = data  # for `from nbgrad.utils.data import DataLoader`

__all__ = ["data", "dlpack"]
