"""A fresh process: import a library, do something with it, print what that took."""

import sys
import time
from importlib import import_module


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(library: str, task: str, started: float) -> float:
    """Seconds of the import, seconds from the start to a first gradient, or bytes of memory."""
    before = time.perf_counter()
    torch = import_module(library)
    if task == "import":
        return time.perf_counter() - before
    imported = peak_memory()

    import numpy as np
    from benchmarks.peers.workloads import training

    make, shape = {"gradient": (training.lenet, (64, 1, 28, 28))}.get(
        task, (training.resnet18, (2, 3, 224, 224)))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))
    labels = torch.from_numpy(np.arange(shape[0]) % 10)
    step = training.step(torch, training.initialise(torch, make(torch)), x, labels)
    for _ in range(1 if task == "gradient" else 3):
        step()
    if task == "gradient":
        return time.time() - started
    return peak_memory() - (imported if task == "beyond" else 0)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
