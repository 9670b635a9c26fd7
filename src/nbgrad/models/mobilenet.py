"""MobileNetV2 (Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks", table 2).

Parameters bear torchvision's names.
"""

from __future__ import annotations

from nbgrad.models.weights import Weights, load_into
from nbgrad.nn import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Linear,
    Module,
    ReLU6,
    Sequential,
    init,
)
from nbgrad.nn import functional as F
from nbgrad.tensor import Tensor

#: Of each stage: expansion, output channels, blocks, stride of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))


class ConvBNReLU(Sequential):
    """A convolution without bias, batch norm, ReLU6."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__(
            Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
            BatchNorm2d(outputs), ReLU6(inplace=True))


class InvertedResidual(Module):
    """Widens by a 1x1 convolution, filters each channel, narrows; added to the input if alike."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        widen = [ConvBNReLU(inputs, width, 1)] if expansion != 1 else []
        self.conv = Sequential(
            *widen, ConvBNReLU(width, width, 3, stride, groups=width),
            Conv2d(width, outputs, 1, bias=False), BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def _channels(wanted: float) -> int:
    """A multiple of 8 near `wanted`, not more than a tenth below."""
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class MobileNetV2(Module):
    """A convolution, 17 inverted residual blocks, a 1x1 convolution, a mean, a linear layer.

    Args:
        num_classes: outputs.
        width_mult: factor of all channel counts.
        dropout: before the linear layer.

    Shape: (N, 3, H, W) -> (N, num_classes); made for 224 x 224.
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0,
                 dropout: float = 0.2) -> None:
        super().__init__()
        channels = _channels(32 * width_mult)
        self.last_channel = _channels(1280 * max(1.0, width_mult))
        blocks: list[Module] = [ConvBNReLU(3, channels, stride=2)]
        for expansion, width, count, stride in STAGES:
            outputs = _channels(width * width_mult)
            for k in range(count):
                step = stride if k == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, step, expansion))
                channels = outputs
        self.features = Sequential(*blocks, ConvBNReLU(channels, self.last_channel, 1))
        self.classifier = Sequential(Dropout(dropout), Linear(self.last_channel, num_classes))
        for module in self.modules():
            if isinstance(module, Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, Linear):
                init.normal_(module.weight, 0, 0.01)
                init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(x.flatten(1))


def mobilenet_v2(weights: Weights = None, *, num_classes: int = 1000, width_mult: float = 1.0,
                 pretrained: bool = False) -> MobileNetV2:
    """MobileNetV2, 3.5 million parameters.

    Args:
        weights: the path of a checkpoint with torchvision's names, "auto" to look for one (see
            `models.weights.find`), None for random weights.
        num_classes: outputs; a checkpoint must have as many.
        width_mult: factor of all channel counts.
        pretrained: the old way to say weights="auto".
    """
    made = MobileNetV2(num_classes, width_mult)
    return load_into(made, "mobilenet_v2", weights or pretrained)
