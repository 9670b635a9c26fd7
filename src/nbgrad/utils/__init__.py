"""`nbgrad.utils`, where PyTorch has data loading, checkpoints, DLPack and handles of hooks."""

import sys

from nbgrad import data
from nbgrad.utils import checkpoint, dlpack, hooks

sys.modules[f"{__name__}.data"] = data  # for `from nbgrad.utils.data import DataLoader`

__all__ = ["checkpoint", "data", "dlpack", "hooks"]
