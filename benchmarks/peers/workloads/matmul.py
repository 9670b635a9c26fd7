"""Matrix products: square, skinny, batched, transposed, and with vectors."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from benchmarks.peers.workload import Group, Input, Workload

MATMUL = Group("matmul", "matrix products", 0.95, 0.8)

SQUARE = (16, 32, 64, 128, 256, 512, 1024, 2048)

#: Rows, inner length, columns.
SKINNY = ((64, 784, 256), (64, 256, 128), (64, 128, 10), (32, 1280, 1000), (8192, 64, 64),
          (64, 8192, 64), (16, 2048, 2048), (2048, 2048, 16))

#: Batch, rows, inner length, columns.
BATCHED = ((1000, 8, 8, 8), (64, 32, 32, 32), (96, 128, 64, 128), (96, 128, 128, 64),
           (16, 256, 256, 256))
TRANSPOSED = (64, 512)

#: Shapes of the operands.
VECTORS = {"matrix @ vector 256": ((256, 256), (256,)), "matrix @ vector 2048": ((2048, 2048), (2048,)),
           "vector @ matrix 256": ((256,), (256, 256)), "vector @ matrix 2048": ((2048,), (2048, 2048)),
           "vector @ vector 1e6": ((1_000_000,), (1_000_000,))}


def pair(name: str, a: Input, b: Input) -> Iterator[Workload]:
    """The product, and both its gradients."""
    flops = 2 * prod(a.shape) * (b.shape[-1] if len(b.shape) > 1 else 1)
    traffic = 4 * (prod(a.shape) + prod(b.shape))
    for mode, products in (("forward", 1), ("backward", 2)):
        yield Workload(MATMUL, f"{name} {mode}", lambda torch, a, b: a @ b, (a, b), mode,
                       flops=products * flops, bytes=products * traffic, tolerance=5e-4)


def workloads(small: bool) -> Iterator[Workload]:
    def cut(*lengths):
        return tuple(min(n, 24) for n in lengths) if small else lengths

    for n in SQUARE[:1] if small else SQUARE:
        yield from pair(f"{n}", Input((n, n)), Input((n, n)))
    for n in (24,) if small else TRANSPOSED:
        for name, first, second in (("nt", False, True), ("tn", True, False), ("tt", True, True)):
            yield from pair(f"{n} {name}", Input((n, n), transposed=first),
                            Input((n, n), transposed=second))
    for m, k, n in SKINNY:
        yield from pair(f"{m}x{k}x{n}", Input(cut(m, k)), Input(cut(k, n)))
    for batch, m, k, n in BATCHED:
        yield from pair(f"batch {batch} of {m}x{k}x{n}", Input(cut(batch, m, k)),
                        Input(cut(batch, k, n)))
    for name, (a, b) in VECTORS.items():
        yield from pair(name, Input(cut(*a)), Input(cut(*b)))
