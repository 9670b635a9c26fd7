"""Images resampled, cut into windows and put in another order; lines, volumes and distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt

from benchmarks.peers.workload import Group, Input, Workload

SPATIAL = Group("spatial", "resampling, windows, other orders, lines, volumes, distances", 1.0, 0.8)

#: The usual and the small shape of an input.
Sizes = tuple[tuple[int, ...], tuple[int, ...]]

IMAGE, GRID = ((8, 32, 64, 64), (2, 3, 8, 8)), ((8, 64, 64, 2), (2, 5, 5, 2))
LARGE, FEATURES = ((8, 3, 224, 224), (2, 3, 8, 8)), ((8, 64, 28, 28), (2, 3, 5, 5))
LINE, VOLUME = ((16, 64, 1000), (2, 3, 120)), ((4, 16, 16, 32, 32), (1, 2, 4, 6, 6))
MATRIX, CUBE = ((1000, 1000), (9, 7)), ((32, 64, 128), (3, 4, 5))
CODE, KERNEL3D = ((2, 32, 8, 16, 16), (1, 2, 2, 3, 3)), ((32, 16, 3, 3, 3), (3, 2, 3, 3, 3))

#: By name: call(torch, torch.nn.functional, *inputs), and the inputs' sizes.
ROWS: dict[str, tuple[Callable, *tuple[Sizes, ...]]] = {
    "grid_sample bilinear": (lambda t, F, x, at: F.grid_sample(x, at, align_corners=False),
                             IMAGE, GRID),
    "grid_sample nearest": (lambda t, F, x, at: F.grid_sample(x, at, "nearest", align_corners=False),
                            IMAGE, GRID),
    "grid_sample bicubic": (lambda t, F, x, at: F.grid_sample(x, at, "bicubic", align_corners=False),
                            IMAGE, GRID),
    "grid_sample border": (lambda t, F, x, at: F.grid_sample(x, at, padding_mode="border",
                                                             align_corners=True), IMAGE, GRID),
    "grid_sample volume": (lambda t, F, x, at: F.grid_sample(x, at, align_corners=False),
                           VOLUME, ((4, 16, 32, 32, 3), (1, 3, 4, 4, 3))),
    "affine_grid": (lambda t, F, theta: F.affine_grid(theta, (8, 3, 64, 64), align_corners=False),
                    ((8, 2, 3), (8, 2, 3))),
    "interpolate nearest": (lambda t, F, x: F.interpolate(x, scale_factor=2), FEATURES),
    "interpolate bilinear": (lambda t, F, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
                             FEATURES),
    "interpolate bilinear smaller": (lambda t, F, x: F.interpolate(x, scale_factor=0.5,
                                                                   mode="bilinear"), LARGE),
    "interpolate antialias": (lambda t, F, x: F.interpolate(x, scale_factor=0.5, mode="bilinear",
                                                            antialias=True), LARGE),
    "interpolate bicubic": (lambda t, F, x: F.interpolate(x, scale_factor=2, mode="bicubic"),
                            FEATURES),
    "interpolate area": (lambda t, F, x: F.interpolate(x, scale_factor=0.5, mode="area"), IMAGE),
    "interpolate linear": (lambda t, F, x: F.interpolate(x, scale_factor=2, mode="linear"), LINE),
    "interpolate trilinear": (lambda t, F, x: F.interpolate(x, scale_factor=2, mode="trilinear"),
                              CODE),
    "unfold 3": (lambda t, F, x: F.unfold(x, 3, padding=1), ((4, 64, 56, 56), (2, 3, 8, 8))),
    "fold 3": (lambda t, F, x: F.fold(x, isqrt(x.shape[2]), 3, padding=1),
               ((4, 576, 3136), (2, 18, 9))),
    "fold 4/4": (lambda t, F, x: F.fold(x, 4 * isqrt(x.shape[2]), 4, stride=4),
                 ((8, 384, 256), (2, 32, 4))),
    "max_pool1d 2": (lambda t, F, x: F.max_pool1d(x, 2), LINE),
    "max_pool1d 3/2": (lambda t, F, x: F.max_pool1d(x, 3, 2, 1), LINE),
    "avg_pool1d 2": (lambda t, F, x: F.avg_pool1d(x, 2), LINE),
    "adaptive_avg_pool1d 50": (lambda t, F, x: F.adaptive_avg_pool1d(x, 50), LINE),
    "adaptive_max_pool1d 50": (lambda t, F, x: F.adaptive_max_pool1d(x, 50), LINE),
    "adaptive_avg_pool2d 7": (lambda t, F, x: F.adaptive_avg_pool2d(x, 7),
                              ((8, 256, 14, 14), (2, 3, 9, 9))),
    "max_pool3d 2": (lambda t, F, x: F.max_pool3d(x, 2), VOLUME),
    "avg_pool3d 2": (lambda t, F, x: F.avg_pool3d(x, 2), VOLUME),
    "flip dim 0": (lambda t, F, x: t.flip(x, (0,)), MATRIX),
    "flip dim 1": (lambda t, F, x: t.flip(x, (1,)), MATRIX),
    "flip both dims": (lambda t, F, x: t.flip(x, (0, 1)), MATRIX),
    "flip of images": (lambda t, F, x: t.flip(x, (3,)), LARGE),
    "flip of images, both dims": (lambda t, F, x: t.flip(x, (2, 3)), LARGE),
    "roll": (lambda t, F, x: t.roll(x, (3, 5), (1, 2)), ((8, 56, 56, 96), (2, 7, 7, 3))),
    "repeat_interleave dim 0": (lambda t, F, x: t.repeat_interleave(x, 3, 0), CUBE),
    "repeat_interleave dim 1": (lambda t, F, x: t.repeat_interleave(x, 3, 1), CUBE),
    "repeat_interleave dim 2": (lambda t, F, x: t.repeat_interleave(x, 3, 2), CUBE),
    "tile": (lambda t, F, x: t.tile(x, (2, 3)), ((500, 500), (5, 4))),
    "cdist 512x64": (lambda t, F, x, y: t.cdist(x, y), ((512, 64), (9, 4)), ((512, 64), (7, 4))),
    "cdist 2000x128": (lambda t, F, x, y: t.cdist(x, y),
                       ((2000, 128), (9, 4)), ((2000, 128), (7, 4))),
    "cdist 1-norm 256x64": (lambda t, F, x, y: t.cdist(x, y, 1.0),
                            ((256, 64), (9, 4)), ((256, 64), (7, 4))),
    "pdist 512x64": (lambda t, F, x: F.pdist(x), ((512, 64), (9, 4))),
    "cosine_similarity 4096x256": (lambda t, F, x, y: F.cosine_similarity(x, y),
                                   ((4096, 256), (5, 4)), ((4096, 256), (5, 4))),
    "conv1d 5": (lambda t, F, x, w: F.conv1d(x, w, padding=2), LINE, ((128, 64, 5), (4, 3, 5))),
    "conv1d 3/2": (lambda t, F, x, w: F.conv1d(x, w, stride=2, padding=1),
                   LINE, ((64, 64, 3), (4, 3, 3))),
    "conv_transpose1d 4/2": (lambda t, F, x, w: F.conv_transpose1d(x, w, stride=2, padding=1),
                             LINE, ((64, 64, 4), (3, 4, 4))),
    "conv3d 3": (lambda t, F, x, w: F.conv3d(x, w, padding=1), VOLUME, KERNEL3D),
    "conv3d 3/2": (lambda t, F, x, w: F.conv3d(x, w, stride=2, padding=1), VOLUME, KERNEL3D),
    "conv_transpose3d 2/2": (lambda t, F, x, w: F.conv_transpose3d(x, w, stride=2),
                             CODE, ((32, 16, 2, 2, 2), (2, 3, 2, 2, 2))),
    "conv_transpose3d 4/2": (lambda t, F, x, w: F.conv_transpose3d(x, w, stride=2, padding=1),
                             CODE, ((32, 16, 4, 4, 4), (2, 3, 4, 4, 4))),
}


def with_functional(call: Callable) -> Callable:
    return lambda torch, *inputs: call(torch, torch.nn.functional, *inputs)


def workloads(small: bool) -> Iterator[Workload]:
    for name, (call, *sizes) in ROWS.items():
        inputs = tuple([Input(pair[small]) for pair in sizes])
        for mode in ("forward", "both"):
            yield Workload(SPATIAL, f"{name}, {mode}", with_functional(call), inputs, mode,
                           tolerance=3e-4)
