"""Convolution in three dimensions on a CUDA device: that of conv.py, which takes any number of axes."""

from nbgrad.kernels.cuda.conv import conv2d as conv3d
from nbgrad.kernels.cuda.conv import conv2d_input as conv3d_input
from nbgrad.kernels.cuda.conv import conv2d_weight as conv3d_weight

__all__ = ["conv3d", "conv3d_input", "conv3d_weight"]
