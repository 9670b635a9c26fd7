"""Compile every CUDA kernel for real GPUs, without one: what `make cuda-compile` runs.

The calls of the op tables, some large ones, a LeNet, a small ResNet and the optimizers run on a machine
that does nothing but note which kernels were to be launched, and with which arguments. Each of these is
compiled and assembled for every architecture; the assembler says how many registers, how much shared
memory and how many spilled bytes a thread or block needs. It is an error if a kernel does not
compile, or if one of the hot ones spills.

Python is turned into LLVM's language once, which takes the most time. Some kernels are then linked at a
time, since a linker takes a while to start.

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
from math import prod
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from machine_code import nvdisasm, summaries

ROOT = Path(__file__).parents[1]
ARCHITECTURES = {"sm_75": (7, 5), "sm_80": (8, 0), "sm_90": (9, 0), "sm_120": (12, 0)}
#: Modules whose kernels may not spill.
HOT = ("emitted", "tiles", "matmul", "conv", "softmax", "moments", "norm", "group_norm", "recurrent")
#: Bytes that a hot kernel may spill for an architecture. The largest tile of a product has 128
#: registers a thread, with which two blocks run side by side; for sm_120 it wants a few more.
MAY_SPILL = {("emitted.matmul", "sm_120"): 48}
#: Kernels linked at a time.
BATCH = 8

_SQUARE, _IMAGES = (8192, 8192), (64, 64, 56, 56)
#: Calls of a, b, c of such shapes: large ones take other kernels. cuda_roofline.py knows their names.
LARGE = {
    "add": ("a + b", _SQUARE, _SQUARE),
    "add transposed": ("a + b.t()", _SQUARE, _SQUARE),
    "gelu": ("F.gelu(a)", _SQUARE),
    "sum": ("a.sum()", _SQUARE),
    "sum rows": ("a.sum(1)", _SQUARE),
    "sum columns": ("a.sum(0)", _SQUARE),
    "amax rows": ("a.amax(1)", _SQUARE),
    "var rows": ("a.var(1)", _SQUARE),
    "softmax rows": ("a.softmax(1)", _SQUARE),
    "log_softmax": ("a.log_softmax(1)", (65536, 1000)),
    "layer_norm": ("F.layer_norm(a, (1024,), b, c)", (65536, 1024), (1024,), (1024,)),
    "batch_norm": ("F.batch_norm(a, None, None, b, c, training=True)",
                   (64, 256, 56, 56), (256,), (256,)),
    "max_pool": ("F.max_pool2d(a, 3, 2, 1)", (64, 64, 112, 112)),
    "matvec": ("a @ b", _SQUARE, (8192,)),
    "cumsum rows": ("a.cumsum(1)", _SQUARE),
    "rand": ("torch.rand(1 << 26, device='cuda')",),
    "randn": ("torch.randn(1 << 26, device='cuda')",),
    "dropout": ("F.dropout(a, 0.5)", (1 << 26,)),
    "matmul 4096": ("a @ b", (4096, 4096), (4096, 4096)),
    "matmul 4096 A B^T": ("a @ b.t()", (4096, 4096), (4096, 4096)),
    "matmul 64 of 256": ("a @ b", (64, 256, 256), (64, 256, 256)),
    "attention": ("F.scaled_dot_product_attention(a, b, c)", *[(4, 16, 2048, 64)] * 3),
    "causal attention": ("F.scaled_dot_product_attention(a, b, c, is_causal=True)",
                         *[(4, 16, 2048, 64)] * 3),
    "topk": ("a.topk(5)[0]", (1000, 1000)),
    "topk of long rows": ("a.topk(50)[0]", (64, 50000)),
    "conv 64x56, 3x3": ("F.conv2d(a, b, None, 1, 1)", _IMAGES, (64, 64, 3, 3)),
    "conv 256x14, 3x3": ("F.conv2d(a, b, None, 1, 1)", (64, 256, 14, 14), (256, 256, 3, 3)),
    "conv 256x56, 1x1": ("F.conv2d(a, b)", (64, 256, 56, 56), (64, 256, 1, 1)),
    "conv 3x224, 7x7/2": ("F.conv2d(a, b, None, 2, 3)", (64, 3, 224, 224), (64, 3, 7, 7)),
    "conv3d": ("F.conv3d(a, b, None, 1, 1)", (16, 64, 16, 28, 28), (64, 64, 3, 3, 3)),
}


class Recorder:
    """A machine that keeps the launches asked for, and computes nothing."""

    count, stream = 1, 0

    def __init__(self) -> None:
        self.kernels: dict[tuple, tuple] = {}  # (kernel, signature) -> (blocks, threads) of a launch
        self.launched: set[tuple] = set()
        self._next = 1 << 40

    def allocate(self, nbytes: int) -> int:
        self._next += nbytes + 512
        return self._next

    def launcher(self, kernel, signature: tuple):
        def bind(blocks, threads):
            self.kernels.setdefault((kernel, signature), (blocks, threads))
            return lambda *args: self.launched.add((kernel, signature))

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


def recorded(quick: bool) -> tuple[dict[tuple, tuple], dict[tuple, list[str]]]:
    """Every kernel that the tables, models and optimizers launch; in float32 alone if `quick`.

    Of those that large calls launch, also the names of these.
    """
    from nbgrad.kernels.cuda import provider
    machine = provider.machine = Recorder()  # type: ignore[assignment]
    import nbgrad
    from nbgrad.testing.cases import tables

    warnings.simplefilter("ignore")
    calls: dict[tuple, list[str]] = {}
    for name, (text, *shapes) in LARGE.items():
        machine.launched.clear()
        y = large(text, shapes)
        for launch in machine.launched:
            calls.setdefault(launch, []).append(name)
        if y.requires_grad:
            y.backward(nbgrad.empty_like(y))
    cases = [c for table in tables(ROOT / "tests" / "ops" / "cases") for c in table.CASES]
    others = () if quick else (nbgrad.float64, nbgrad.bfloat16, nbgrad.float16)
    for dtype in (nbgrad.float32, *others):
        for case in cases:
            with contextlib.suppress(Exception):  # numbers that are none may be refused
                run(case, dtype)
    for model, shape in models():
        train(model, shape)
    recur()
    return machine.kernels, calls


def large(text: str, shapes: list[tuple[int, ...]]):
    import nbgrad
    leaves = {name: nbgrad.empty(*shape, device="cuda", requires_grad=True)
              for name, shape in zip("abc", shapes)}
    return eval(text, {"torch": nbgrad, "F": nbgrad.nn.functional, **leaves})


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


def recur() -> None:
    """Recurrent layers of few rows and units and of many, which the tables have in float64."""
    from nbgrad import empty, empty_like, nn
    for rows, units in ((4, 8), (4, 512), (64, 512)):
        for model in (nn.RNN(units, units), nn.RNN(units, units, nonlinearity="relu"),
                      nn.GRU(units, units), nn.LSTM(units, units)):
            y, _ = model.to("cuda")(empty(2, rows, units, device="cuda"))
            y.backward(empty_like(y))


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


def translated(kernel, signature: tuple) -> tuple[str, bytes]:
    """A kernel's name and its code for the linker: the oldest architecture's, which all take."""
    import numba.cuda.dispatcher
    from numba.cuda.compiler import _compile_pyfunc_with_fixup

    from nbgrad.kernels.cuda.driver import types_of
    oldest = ARCHITECTURES["sm_75"]
    # A call of a function on the device asks the current device for its architecture.
    numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=oldest)
    library, _ = _compile_pyfunc_with_fixup(
        kernel.function, types_of(signature), debug=None, lineinfo=False, device=False, fastmath=False,
        cc=oldest, opt=None, abi="numba", abi_info=None, forceinline=False, lto=True,
        **{"launch_bounds": None} | kernel.options)
    code = library.get_ltoir(cc=oldest)
    return library._entry_name, bytes(getattr(code, "code", code))


def linked(codes: list[bytes], architecture: str) -> tuple[str, bytes]:
    """What the assembler says of kernels, and their machine code."""
    from cuda.bindings import nvjitlink
    options = ["-lto", f"-arch={architecture}", "-verbose"]
    linker = nvjitlink.create(len(options), options)
    try:
        for code in codes:
            nvjitlink.add_data(linker, nvjitlink.InputType.LTOIR, code, len(code), "kernel")
        nvjitlink.complete(linker)
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, cubin)
    finally:
        nvjitlink.destroy(linker)
    return log.decode(errors="replace"), bytes(cubin)


def figures(log: str) -> dict[str, dict[str, int]]:
    """The numbers in an assembler's report by kernel, with those of what it calls the largest."""
    patterns = {"registers": r"Used (\d+) registers", "shared": r"(\d+) bytes smem",
                "stack": r"(\d+) bytes stack frame", "spilled": r"(\d+) bytes spill stores"}
    _, *parts = re.split(r"Compiling entry function '(\S+)'", log)
    return {kernel: {name: max(map(int, re.findall(pattern, part)), default=0)
                     for name, pattern in patterns.items()}
            for kernel, part in zip(parts[::2], parts[1::2])}


def remember_types() -> None:
    """Look up once what an operation on numbers of some types gives; Numba does where it occurs."""
    from numba.core import types
    from numba.cuda.typing.context import BaseContext
    resolve, known = BaseContext.resolve_function_type, {}
    numbers = {types.Integer, types.Float, types.Boolean}

    def looked_up(self, func, args, kws):
        if kws or type(func) is not types.Function or not numbers.issuperset(map(type, args)):
            return resolve(self, func, args, kws)
        key = self, func, args
        if key not in known:
            known[key] = resolve(self, func, args, kws)
        return known[key]

    BaseContext.resolve_function_type = looked_up


_found: list = []  # of this process, given to its forks
_with_work: list = []


def compiled(ks: list[int]) -> dict[int, dict | str]:
    """Figures of each kernel by architecture, and its work, or why it has none; linked together."""
    found: dict[int, dict | str] = {}
    codes, number = [], {}
    for k in ks:
        try:
            name, code = translated(*_found[k][0])
        except Exception as error:
            found[k] = f"{type(error).__name__}: {error}"
        else:
            codes.append(code)
            number[name], found[k] = k, {}
    try:
        for architecture in ARCHITECTURES if codes else ():
            log, cubin = linked(codes, architecture)
            for name, numbers in figures(log).items():
                found[number[name]][architecture] = numbers
            if _with_work and architecture == "sm_90":
                for name, work in summaries(cubin).items():
                    found[number[name]]["work"] = work
    except Exception as error:
        if len(codes) > 1:  # which of them is it?
            return {k: what for one in ks for k, what in compiled([one]).items()}
        return found | {k: f"{type(error).__name__}: {error}" for k in number.values()}
    return found


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
    parser.add_argument("--out", type=Path, help="a JSON file for the figures; needs nvdisasm "
                                                 "(pip install nvidia-cuda-nvdisasm)")
    parser.add_argument("--only", default="", help="kernels whose name contains this")
    parser.add_argument("--quick", action="store_true",
                        help="kernels of float32 alone")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.out:
        nvdisasm()  # raises where there is none
        _with_work.append(True)
    sys.setrecursionlimit(10_000)  # one kernel of thousands met the usual limit in Numba
    kernels, calls = recorded(options.quick)
    remember_types()
    _found.extend(item for item in kernels.items() if options.only in name_of(item[0][0]))
    print(f"{len(_found)} kernels, for {', '.join(ARCHITECTURES)}", flush=True)
    count = -(-len(_found) // BATCH)
    batches = [range(len(_found))[k::count] for k in range(count)]
    results: dict[int, dict | str] = {}
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        for made in pool.map(compiled, batches):
            results |= made
    rows, failed = [], []
    for k, ((kernel, signature), (_, threads)) in enumerate(_found):
        name, found = name_of(kernel), results[k]
        if isinstance(found, str):
            failed.append(f"{name} ({written(signature)}): {found[-400:]}")
            continue
        spills = {arch: found[arch]["spilled"] for arch in ARCHITECTURES
                  if found[arch]["spilled"] > MAY_SPILL.get((name, arch), 0)}
        if spills and name.split(".")[0].startswith(HOT):
            failed.append(f"{name} ({written(signature)}) spills bytes: {spills}")
        rows.append({"kernel": name, "arguments": written(signature), "threads": threads,
                     "calls": sorted(calls.get((kernel, signature), ())), **found})
    show(rows)
    if options.out:
        options.out.write_text(table(rows))
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


def table(rows: list[dict]) -> str:
    """JSON of a line for each kernel and what the assembler makes of it, for so many signatures.

    Registers, stack and spilled bytes are those for each architecture, or one number if that is the
    same for all; the work is sm_90's.
    """
    seen: dict[str, list] = {}
    for row in rows:
        threads = prod(row["threads"]) if isinstance(row["threads"], tuple) else row["threads"]
        each = [[row[a][f] for a in ARCHITECTURES] for f in ("registers", "stack", "spilled")]
        line = [row["kernel"], threads, *[e[0] if len(set(e)) == 1 else e for e in each],
                row["sm_90"]["shared"], *row["work"].values(), "; ".join(row["calls"])]
        seen.setdefault(str(line), [*line, row["arguments"], 0])[-1] += 1
    columns = ["kernel", "threads", "registers", "stack", "spilled", "shared", *rows[0]["work"],
               "calls", "arguments", "signatures"]
    lines = ",\n".join(json.dumps(line, separators=(",", ":")) for line in seen.values())
    return (f'{{"architectures": {json.dumps(list(ARCHITECTURES))},\n'
            f'"columns": {json.dumps(columns)},\n"rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    sys.exit(main())
