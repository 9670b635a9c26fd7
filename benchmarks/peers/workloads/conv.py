"""Convolutions: the layers of ResNet-18, ResNet-50 and MobileNetV2 on images of 224 pixels."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from benchmarks.peers.workload import Group, Input, Mode, Workload

CONV = Group("conv", "convolution layers of ResNet and MobileNetV2", 1.0, 0.8)
DEPTHWISE = Group("depthwise", "depthwise and first layers, forward and backward", 2.0, 1.3)


class Layer(NamedTuple):
    """A convolution that pads by half its size."""

    channels: int
    outputs: int
    size: int
    stride: int
    side: int
    groups: int = 1

    @property
    def name(self) -> str:
        kind = " depthwise" if self.groups > 1 else ""
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return (f"{self.channels}-{self.outputs} {self.size}x{self.size}{stride}{kind} "
                f"on {self.side}")

    def cut(self) -> Layer:
        """A small layer of its kind."""
        channels, outputs = min(self.channels, 16), min(self.outputs, 16)
        return self._replace(channels=channels, outputs=outputs, side=min(self.side, 8),
                             groups=channels if self.groups > 1 else 1)

    @property
    def result_side(self) -> int:
        return (self.side - 1) // self.stride + 1


#: Every distinct layer of the three nets, each stored once, in the order they are met.
RESNET18 = (
    Layer(3, 64, 7, 2, 224),
    Layer(64, 64, 3, 1, 56),
    Layer(64, 128, 3, 2, 56),
    Layer(128, 128, 3, 1, 28),
    Layer(64, 128, 1, 2, 56),
    Layer(128, 256, 3, 2, 28),
    Layer(256, 256, 3, 1, 14),
    Layer(128, 256, 1, 2, 28),
    Layer(256, 512, 3, 2, 14),
    Layer(512, 512, 3, 1, 7),
    Layer(256, 512, 1, 2, 14),
)
RESNET50 = (
    Layer(64, 64, 1, 1, 56),
    Layer(64, 256, 1, 1, 56),
    Layer(256, 64, 1, 1, 56),
    Layer(256, 128, 1, 1, 56),
    Layer(128, 128, 3, 2, 56),
    Layer(128, 512, 1, 1, 28),
    Layer(256, 512, 1, 2, 56),
    Layer(512, 128, 1, 1, 28),
    Layer(512, 256, 1, 1, 28),
    Layer(256, 256, 3, 2, 28),
    Layer(256, 1024, 1, 1, 14),
    Layer(512, 1024, 1, 2, 28),
    Layer(1024, 256, 1, 1, 14),
    Layer(1024, 512, 1, 1, 14),
    Layer(512, 512, 3, 2, 14),
    Layer(512, 2048, 1, 1, 7),
    Layer(1024, 2048, 1, 2, 14),
    Layer(2048, 512, 1, 1, 7),
)
MOBILENET_V2 = (
    Layer(3, 32, 3, 2, 224),
    Layer(32, 32, 3, 1, 112, 32),
    Layer(32, 16, 1, 1, 112),
    Layer(16, 96, 1, 1, 112),
    Layer(96, 96, 3, 2, 112, 96),
    Layer(96, 24, 1, 1, 56),
    Layer(24, 144, 1, 1, 56),
    Layer(144, 144, 3, 1, 56, 144),
    Layer(144, 24, 1, 1, 56),
    Layer(144, 144, 3, 2, 56, 144),
    Layer(144, 32, 1, 1, 28),
    Layer(32, 192, 1, 1, 28),
    Layer(192, 192, 3, 1, 28, 192),
    Layer(192, 32, 1, 1, 28),
    Layer(192, 192, 3, 2, 28, 192),
    Layer(192, 64, 1, 1, 14),
    Layer(64, 384, 1, 1, 14),
    Layer(384, 384, 3, 1, 14, 384),
    Layer(384, 64, 1, 1, 14),
    Layer(384, 96, 1, 1, 14),
    Layer(96, 576, 1, 1, 14),
    Layer(576, 576, 3, 1, 14, 576),
    Layer(576, 96, 1, 1, 14),
    Layer(576, 576, 3, 2, 14, 576),
    Layer(576, 160, 1, 1, 7),
    Layer(160, 960, 1, 1, 7),
    Layer(960, 960, 3, 1, 7, 960),
    Layer(960, 160, 1, 1, 7),
    Layer(960, 320, 1, 1, 7),
    Layer(320, 1280, 1, 1, 7),
)
LAYERS = RESNET18 + RESNET50 + MOBILENET_V2

#: Grey images: no net above has them, digits and spectrograms do.
GREY = (Layer(1, 32, 3, 1, 28), Layer(1, 32, 3, 2, 28), Layer(1, 6, 5, 1, 28),
        Layer(1, 64, 7, 2, 224))


def convolution(group: Group, layer: Layer, batch: int, mode: Mode, image: bool = True) -> Workload:
    """One layer; with `image`, its backward pass also goes to the image."""
    def function(torch, x, w):
        return torch.nn.functional.conv2d(
            x, w, stride=layer.stride, padding=layer.size // 2, groups=layer.groups)

    depth, after = layer.channels // layer.groups, layer.result_side
    shape = (batch, layer.channels, layer.side, layer.side)
    weight = (layer.outputs, depth, layer.size, layer.size)
    flops = 2 * batch * after ** 2 * prod(weight)
    x, w, y = prod(shape), prod(weight), batch * layer.outputs * after ** 2
    products, floats = 1, x + w + y
    if mode == "both":
        products, floats = 2 + image, 2 * floats + image * (x + w)
    backward = "" if mode == "forward" else " +backward" if image else " +backward to the weight"
    return Workload(
        group, f"{layer.name}, batch {batch}{backward}", function, (Input(shape), Input(weight)),
        mode, wrt=(0, 1) if image else (1,), flops=products * flops, bytes=4 * floats,
        tolerance=5e-4)


def workloads(small: bool) -> Iterator[Workload]:
    def sized(layers):
        return dict.fromkeys(map(Layer.cut, layers)) if small else layers

    batches = (1,) if small else (8, 1)
    for layer in (*sized(LAYERS), *sized(GREY[:1])):
        for batch in batches:
            yield convolution(CONV, layer, batch, "forward")
            if layer.groups == 1 and layer.channels > 3:
                yield convolution(CONV, layer, batch, "both")
    for layer in sized(layer for layer in LAYERS if layer.groups > 1):
        for batch in batches:
            yield convolution(DEPTHWISE, layer, batch, "both")
    for layer in sized(layer for layer in LAYERS if layer.channels == 3):
        for batch in batches:
            yield convolution(DEPTHWISE, layer, batch, "both", image=False)
            yield convolution(DEPTHWISE, layer, batch, "both")
    for layer in sized(GREY):
        batch = 2 if small else 8 if layer.side > 28 else 64
        yield convolution(DEPTHWISE, layer, batch, "both", image=False)
        yield convolution(DEPTHWISE, layer, batch, "both")
