"""Convolutional networks with the names, and so the checkpoints, of torchvision."""

from nbgrad.models.mobilenet import MobileNetV2, mobilenet_v2
from nbgrad.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50
from nbgrad.models.small import SmallCNN, small_cnn

__all__ = ["BasicBlock", "Bottleneck", "MobileNetV2", "ResNet", "SmallCNN", "mobilenet_v2",
           "resnet18", "resnet34", "resnet50", "small_cnn"]
