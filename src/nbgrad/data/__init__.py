"""Data sets, transforms of images, and a loader that prefetches with threads."""

from nbgrad.data import transforms
from nbgrad.data.collate import default_collate
from nbgrad.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from nbgrad.data.datasets import Digits, FashionMNIST, ImageFolder
from nbgrad.data.images import read_image
from nbgrad.data.loader import DataLoader
from nbgrad.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "TensorDataset",
    "default_collate",
    "random_split",
    "read_image",
    "transforms",
]
