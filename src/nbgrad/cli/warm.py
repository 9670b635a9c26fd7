"""Compiling ahead: small training steps whose kernels are those of ordinary training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import nbgrad
from nbgrad import config, models, nn, optim
from nbgrad.kernels import cache, options

torch: Any = nbgrad  # most names are hung on it when it is imported
F: Any = nn.functional


def run(pieces: Sequence[str]) -> int:
    """Compile the kernels of these pieces, for one thread and for several; print how it goes."""
    if config.CACHE_DIR is None:
        print("nothing to do: no folder can be written (NBGRAD_CACHE_DIR names one)", file=sys.stderr)
        return 1
    print(f"compiling into {config.CACHE_DIR}")
    start = time.perf_counter()
    for name in pieces:
        before, began = cache.stats(), time.perf_counter()
        _each_way(PIECES[name])
        compiled, found = (cache.stats()[k] - before[k] for k in ("misses", "hits"))
        print(f"{name:<12}{compiled:4} kernels compiled, {found:3} found "
              f"{time.perf_counter() - began:8.1f} s", flush=True)
    print(f"done in {time.perf_counter() - start:.1f} s")
    return 0


def _each_way(piece: Callable[[int], None]) -> None:
    """Run a piece on one thread, then with all that can run on several doing so.

    What was resolved for one shape stays so: each way has shapes of its own.
    """
    threshold = config.PARALLEL_THRESHOLD
    try:
        config.PARALLEL_THRESHOLD = sys.maxsize
        piece(2)
        if options.get_num_threads() > 1:
            config.PARALLEL_THRESHOLD = 0
            piece(3)
            config.PARALLEL_THRESHOLD = threshold
            piece(64)
    finally:
        config.PARALLEL_THRESHOLD = threshold


def _fit(net: nn.Module, x: nbgrad.Tensor, optimizer: optim.Optimizer | None = None) -> None:
    """Two training steps of a classifier, and a look at what it says."""
    optimizer = optimizer or optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    target = torch.zeros(x.shape[0], dtype=torch.int64)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        loss.item()
    net.eval()
    with torch.no_grad():
        (net(x).argmax(1) == target).float().mean().item()


def _linear(n: int) -> None:
    for make in (lambda p: optim.SGD(p, lr=0.1), lambda p: optim.AdamW(p, lr=0.1)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Dropout(0.1),
                            nn.Linear(128, 10))
        _fit(net, torch.rand(n, 1, 28, 28), make(net.parameters()))


def _lenet(n: int) -> None:
    _fit(nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        torch.randn(n, 1, 28, 28))


def _resnet(n: int) -> None:
    _fit(models.resnet18(num_classes=10), torch.randn(min(n, 8), 3, 64, 64))


def _mobilenet(n: int) -> None:
    _fit(models.mobilenet_v2(num_classes=10), torch.randn(min(n, 4), 3, 64, 64))


def _text(n: int) -> None:
    embed, norm, head = nn.Embedding(50, 32), nn.LayerNorm(32), nn.Linear(32, 50)
    words = torch.randint(0, 50, (n, 16))
    x = norm(embed(words))
    x = F.softmax(x @ x.transpose(1, 2) / 32 ** 0.5, -1) @ x
    F.cross_entropy(head(F.gelu(x)).reshape(-1, 50), words.reshape(-1)).backward()


def _functions(n: int) -> None:
    x = torch.rand(n, 1000, requires_grad=True)
    for f in (F.relu, F.leaky_relu, F.gelu, F.silu, F.elu, F.softplus, F.sigmoid, F.tanh, torch.exp,
              torch.sqrt, torch.square, torch.abs):
        f(x).mean().backward()
    y = torch.rand(n, 1000)
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.binary_cross_entropy_with_logits):
        loss(x, y).backward()
    for z in (x + y, x - y, x * y, x / (y + 1), x + 1, 1 - x, x * 2, x / 2, x ** 2, -x,
              x + y[0], x * y[:, :1], F.log_softmax(x, 1), x.max(1)[0], x.std(1), x.norm()):
        z.sum().backward()


PIECES: dict[str, Callable[[int], None]] = {
    "linear": _linear, "lenet": _lenet, "resnet": _resnet, "mobilenet": _mobilenet, "text": _text,
    "functions": _functions}
