"""PyTorch's paths to the files of layers: `nn.modules.conv`, `nn.modules.batchnorm` and so on."""

import sys
from typing import Any

from nbgrad import nn
from nbgrad.nn import (
    activation,
    conv,
    distance,
    dropout,
    linear,
    loss,
    module,
    pooling,
    rnn,
    sparse,
    transformer,
)
from nbgrad.nn import containers as container
from nbgrad.nn import norm as batchnorm
from nbgrad.nn import norm as normalization
from nbgrad.nn import pad as padding

__all__ = ["activation", "batchnorm", "container", "conv", "distance", "dropout", "linear",
           "loss", "module", "normalization", "padding", "pooling", "rnn", "sparse", "transformer"]

for _name in __all__:  # for `from nbgrad.nn.modules.module import register_module_forward_hook`
    sys.modules[f"{__name__}.{_name}"] = globals()[_name]


def __getattr__(name: str) -> Any:
    return getattr(nn, name)
