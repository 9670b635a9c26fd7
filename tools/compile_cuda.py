"""Compile every CUDA kernel for real GPUs, without one: what `make cuda-compile` runs.

The calls of the op tables, a LeNet, a small ResNet and the optimizers run on a machine that does
nothing but note which kernels were to be launched, and with which arguments. Each of these is
compiled and assembled for every architecture; the assembler says how many registers, how much shared
memory and how many spilled bytes a thread or block needs. It is an error if a kernel does not
compile, or if one of the hot ones spills.

    python tools/compile_cuda.py --out benchmarks/results/cuda-kernels.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).parents[1]
ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (12, 0))
#: Modules whose kernels may not spill.
HOT = ("emitted", "tiles", "matmul", "conv", "softmax", "moments", "norm", "group_norm")
#: Bytes that a hot kernel may spill for an architecture. The largest tile of a convolution has 128
#: registers a thread, with which two blocks run side by side; for sm_120 it wants a few more.
MAY_SPILL = {("emitted.convolution", "sm_120"): 32}


class Recorder:
    """A machine that keeps the launches asked for, and computes nothing."""

    count, stream = 1, 0

    def __init__(self) -> None:
        self.kernels: dict[tuple, tuple] = {}  # (kernel, signature) -> (blocks, threads) of a launch
        self._next = 1 << 40

    def allocate(self, nbytes: int) -> int:
        self._next += nbytes + 512
        return self._next

    def launcher(self, kernel, signature: tuple):
        def bind(blocks, threads):
            self.kernels.setdefault((kernel, signature), (blocks, threads))
            return lambda *args: None

        return bind

    def download(self, array: np.ndarray, *rest) -> None:
        array.fill(0)

    def capability(self, index: int) -> tuple[int, int]:
        return (9, 0)

    def memory(self) -> tuple[int, int]:
        return 1 << 36, 1 << 36

    def make_stream(self, priority: int = 0) -> int:
        return 1

    make_event = make_stream

    def reached(self, event: int) -> bool:
        return True

    def __getattr__(self, name: str):
        return lambda *args, **options: None


def recorded(quick: bool) -> dict[tuple, tuple]:
    """Every kernel that the tables, models and optimizers launch; in float32 alone if `quick`."""
    from nbgrad.kernels.cuda import provider
    machine = provider.machine = Recorder()  # type: ignore[assignment]
    import nbgrad
    from nbgrad.testing.cases import tables

    warnings.simplefilter("ignore")
    cases = [c for table in tables(ROOT / "tests" / "ops" / "cases") for c in table.CASES]
    others = () if quick else (nbgrad.float64, nbgrad.bfloat16, nbgrad.float16)
    for dtype in (nbgrad.float32, *others):
        for case in cases:
            with contextlib.suppress(Exception):  # numbers that are none may be refused
                run(case, dtype)
    for model, shape in models():
        train(model, shape)
    return machine.kernels


def run(case, dtype) -> None:
    import nbgrad
    from nbgrad.testing.cases import arrays, evaluate
    with nbgrad.device("cuda"):
        leaves = [nbgrad.tensor(a) for a in arrays(case)]
        leaves = [t.to(dtype).requires_grad_(case.differentiable) if t.is_floating_point() else t
                  for t in leaves]
        made = evaluate(nbgrad, case.call, leaves)
        outputs = [t for t in made if isinstance(t, nbgrad.Tensor) and t.requires_grad]
        wanted = [t for t in leaves if t.requires_grad]
        if outputs and wanted:
            nbgrad.autograd.grad(outputs, wanted, [nbgrad.ones_like(t) for t in outputs],
                                 allow_unused=True)


def models():
    from nbgrad import models, nn
    net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(),
                        nn.Linear(120, 10))
    yield net, (64, 1, 32, 32)
    yield models.resnet18(num_classes=10), (16, 3, 64, 64)
    yield models.mobilenet_v2(num_classes=10), (16, 3, 64, 64)


def train(model, shape) -> None:
    """A step of each optimizer on large inputs, which take other kernels than small ones."""
    import nbgrad
    from nbgrad import optim
    model = model.to("cuda")
    for make in (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
                 lambda p: optim.SGD(p, lr=0.1), lambda p: optim.Adam(p), lambda p: optim.AdamW(p)):
        x = nbgrad.zeros(*shape, device="cuda")
        y = nbgrad.zeros(shape[0], dtype=nbgrad.int64, device="cuda")
        optimizer = make(model.parameters())
        nbgrad.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


def assemble(kernel, signature: tuple) -> dict[str, dict[str, int]]:
    """What the assembler says of a kernel for each architecture.

    Python is turned into LLVM's language once, and that into machine code for each architecture.
    """
    import numba.cuda.dispatcher
    from numba.cuda.compiler import _compile_pyfunc_with_fixup

    from nbgrad.kernels.cuda.driver import types_of
    oldest = ARCHITECTURES[0]
    # A call of a function on the device asks the current device for its architecture.
    numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=oldest)
    library, _ = _compile_pyfunc_with_fixup(
        kernel.function, types_of(signature), debug=None, lineinfo=False, device=False, fastmath=False,
        cc=oldest, opt=None, abi="numba", abi_info=None, forceinline=False, lto=True,
        **{"launch_bounds": None} | kernel.options)
    return {f"sm_{a}{b}": link(library.get_ltoir(cc=(a, b)), f"sm_{a}{b}") for a, b in ARCHITECTURES}


def link(code, architecture: str) -> dict[str, int]:
    """Registers, shared memory, stack and spilled bytes of a kernel in NVVM's language."""
    from cuda.bindings import nvjitlink
    options = ["-lto", f"-arch={architecture}", "-verbose"]
    linker = nvjitlink.create(len(options), options)
    content = bytes(getattr(code, "code", code))
    nvjitlink.add_data(linker, nvjitlink.InputType.LTOIR, content, len(content), "kernel")
    nvjitlink.complete(linker)
    log = bytearray(nvjitlink.get_info_log_size(linker))
    nvjitlink.get_info_log(linker, log)
    nvjitlink.destroy(linker)
    return figures(log.decode(errors="replace"))


def figures(log: str) -> dict[str, int]:
    """The numbers in an assembler's report, the largest where it names several functions."""
    patterns = {"registers": r"Used (\d+) registers", "shared": r"(\d+) bytes smem",
                "stack": r"(\d+) bytes stack frame", "spilled": r"(\d+) bytes spill stores"}
    return {name: max(map(int, re.findall(pattern, log)), default=0)
            for name, pattern in patterns.items()}


_found: list = []  # of this process, given to its forks


def _one(k: int) -> tuple[int, dict | str]:
    (kernel, signature), _ = _found[k]
    try:
        return k, assemble(kernel, signature)
    except Exception as error:
        return k, f"{type(error).__name__}: {error}"


def is_emitted(kernel) -> bool:
    return Path(kernel.function.__code__.co_filename).parent.name == "generated"


def name_of(kernel) -> str:
    family = "emitted" if is_emitted(kernel) else Path(kernel.function.__code__.co_filename).stem
    return f"{family}.{kernel.function.__name__}"


def written(signature: tuple) -> str:
    return " ".join(f"{np.dtype(s[0]).str[1:]}[]" if type(s) is tuple else s[0] + "8"
                    for s in signature)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    parser.add_argument("--only", default="", help="kernels whose name contains this")
    parser.add_argument("--quick", action="store_true",
                        help="kernels of float32 alone")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    _found.extend(item for item in recorded(options.quick).items()
                  if options.only in name_of(item[0][0]))
    print(f"{len(_found)} kernels, for {', '.join(f'sm_{a}{b}' for a, b in ARCHITECTURES)}", flush=True)
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        results = dict(pool.map(_one, range(len(_found)), chunksize=8))
    rows, failed = [], []
    for k, ((kernel, signature), (blocks, threads)) in enumerate(_found):
        name, found = name_of(kernel), results[k]
        if isinstance(found, str):
            failed.append(f"{name} ({written(signature)}): {found[-400:]}")
            continue
        spills = {arch: f["spilled"] for arch, f in found.items()
                  if f["spilled"] > MAY_SPILL.get((name, arch), 0)}
        if spills and name.split(".")[0].startswith(HOT):
            failed.append(f"{name} ({written(signature)}) spills bytes: {spills}")
        rows.append({"kernel": name, "arguments": written(signature), "blocks": blocks,
                     "threads": threads, **found})
    show(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=0) + "\n")
    print(f"{len(rows)} kernels compiled, {len(failed)} failed")
    for line in failed:
        print(line)
    return 1 if failed else 0


def show(rows: list[dict]) -> None:
    """The figures for sm_90, one line for each kernel and use of registers."""
    seen: dict[tuple, int] = {}
    for row in rows:
        f = row["sm_90"]
        key = (row["kernel"], f["registers"], f["shared"], f["stack"], f["spilled"])
        seen[key] = seen.get(key, 0) + 1
    print(f"{'kernel':44} {'registers':>9} {'shared':>7} {'stack':>6} {'spilled':>7} signatures")
    for (name, *numbers), count in sorted(seen.items()):
        print(f"{name:44} {numbers[0]:9} {numbers[1]:7} {numbers[2]:6} {numbers[3]:7} {count:10}")


if __name__ == "__main__":
    sys.exit(main())
