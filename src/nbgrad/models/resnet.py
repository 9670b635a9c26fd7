"""ResNet (He et al. 2016, "Deep Residual Learning for Image Recognition", table 1).

Parameters bear torchvision's names. As there, a bottleneck halves the image in its 3x3
convolution.
"""

from __future__ import annotations

from nbgrad.models.weights import Weights, load_into
from nbgrad.nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from nbgrad.tensor import Tensor


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> Conv2d:
    """A convolution that keeps the image's size but for its stride, without a bias."""
    return Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class BasicBlock(Module):
    """Two 3x3 convolutions, added to the input."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1,
                 downsample: Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, width, 3, stride), BatchNorm2d(width)
        self.relu = ReLU(inplace=True)
        self.conv2, self.bn2 = conv(width, width, 3), BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(Module):
    """Convolutions 1x1, 3x3 and 1x1 to four times the width, added to the input."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1,
                 downsample: Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, width, 1), BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), BatchNorm2d(4 * width)
        self.relu = ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(Module):
    """A 7x7 convolution, four stages of blocks, a mean over the image and a linear layer.

    Shape: (N, 3, H, W) -> (N, num_classes); made for 224 x 224.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck],
                 layers: tuple[int, int, int, int], num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1, self.bn1 = Conv2d(3, 64, 7, 2, padding=3, bias=False), BatchNorm2d(64)
        self.relu = ReLU(inplace=True)
        self.maxpool = MaxPool2d(3, 2, padding=1)
        channels = 64
        for k, blocks in enumerate(layers):
            width = 64 * 2 ** k
            setattr(self, f"layer{k + 1}",
                    _stage(block, channels, width, blocks, stride=1 if k == 0 else 2))
            channels = width * block.expansion
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.fc = Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees: (N, 512) or, for bottlenecks, (N, 2048)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)


def _stage(block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, blocks: int,
           stride: int) -> Sequential:
    outputs = width * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = Sequential(conv(inputs, outputs, 1, stride), BatchNorm2d(outputs))
    first = block(inputs, width, stride, downsample)
    return Sequential(first, *(block(outputs, width) for _ in range(blocks - 1)))


def resnet18(weights: Weights = None, *, num_classes: int = 1000,
             pretrained: bool = False) -> ResNet:
    """ResNet-18, 11.7 million parameters.

    Args:
        weights: the path of a checkpoint with torchvision's names (resnet18-f37072fd.pth, say),
            "auto" to look for one (see `models.weights.find`), None for random weights.
        num_classes: outputs; a checkpoint must have as many.
        pretrained: the old way to say weights="auto".
    """
    made = ResNet(BasicBlock, (2, 2, 2, 2), num_classes)
    return load_into(made, "resnet18", weights or pretrained)


def resnet34(weights: Weights = None, *, num_classes: int = 1000,
             pretrained: bool = False) -> ResNet:
    """ResNet-34, 21.8 million parameters; arguments as of resnet18."""
    made = ResNet(BasicBlock, (3, 4, 6, 3), num_classes)
    return load_into(made, "resnet34", weights or pretrained)


def resnet50(weights: Weights = None, *, num_classes: int = 1000,
             pretrained: bool = False) -> ResNet:
    """ResNet-50, 25.6 million parameters; arguments as of resnet18."""
    made = ResNet(Bottleneck, (3, 4, 6, 3), num_classes)
    return load_into(made, "resnet50", weights or pretrained)
