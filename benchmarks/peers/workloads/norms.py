"""Softmax, cross entropy and normalisation, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.peers.workload import Group, Input, Workload

NORMS = Group("norms", "softmax, cross entropy, layer norm, batch norm, with backward", 1.2, 0.9)

#: Rows and columns: classes or words, hidden units.
ROWS = ((128, 10_000), (4096, 512))

#: N, C, H, W after some convolutions of ResNet.
IMAGES = ((8, 64, 112, 112), (8, 64, 56, 56), (8, 256, 56, 56), (8, 128, 28, 28), (8, 512, 7, 7),
          (64, 64, 8, 8))

ON_ROWS: dict[str, Callable] = {
    "softmax": lambda torch, x: torch.softmax(x, dim=1),
    "log_softmax": lambda torch, x: torch.log_softmax(x, dim=1),
}


def cross_entropy(torch, x, labels):
    return torch.nn.functional.cross_entropy(x, labels)


def layer_norm(torch, x, w, b):
    return torch.nn.functional.layer_norm(x, (x.shape[1],), w, b)


def batch_norm(torch, x, w, b):
    return torch.nn.functional.batch_norm(x, None, None, w, b, training=True)


def workloads(small: bool) -> Iterator[Workload]:
    for m, n in ((6, 40),) if small else ROWS:
        x = Input((m, n))
        passes = 20 * m * n  # x, y; y or x, gy, gx
        for name, function in ON_ROWS.items():
            yield Workload(NORMS, f"{name} {m}x{n}", function, (x,), "both", bytes=passes)
        yield Workload(NORMS, f"cross_entropy {m}x{n}", cross_entropy,
                       (x, Input((m,), "index", n)), "both", bytes=12 * m * n)
        yield Workload(NORMS, f"layer_norm {m}x{n}", layer_norm,
                       (x, Input((n,), "positive"), Input((n,))), "both", bytes=passes)
    for n, c, h, w in ((2, 3, 8, 8),) if small else IMAGES:
        yield Workload(NORMS, f"batch_norm {n}x{c}x{h}x{w}", batch_norm,
                       (Input((n, c, h, w)), Input((c,), "positive"), Input((c,))), "both",
                       bytes=20 * n * c * h * w)
