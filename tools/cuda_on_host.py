"""CUDA kernels on the host as a GPU would compute them.

Numba's own code for the device is linked with NVIDIA's libdevice, and with instructions of the host in
the place of the hardware's.

Beside the simulator, which runs a kernel's Python on NumPy's numbers, this runs what is launched: the
types that Numba found, NVIDIA's functions, products folded into sums. Which products are folded, LLVM
chooses here and NVVM for a GPU; elementary functions are within two units with folding and without.
`install()` makes it the machine of this process, before a tensor is on a device.

Approximate instructions (`ex2.approx`, ...) give the nearest float, and with `skew(...)` that float
moved by as much as NVIDIA's manual of PTX allows. Threads that meet at barriers are fibers, switched by
glibc's swapcontext, so that this runs on Linux alone.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import llvmlite.binding as llvm
from cuda_instructions import BLOCK, ENDED, MOST, SHARE, WARP, instruction

from nbgrad.kernels.cuda.simulator import Simulator

CAPABILITY = (9, 0)


class Host(Simulator):
    """A machine whose kernels are compiled for the host; its threads run one after the other."""

    def name(self) -> str:
        return "CUDA's code on the host"

    def launcher(self, kernel, signature: tuple):
        run = _compiled(kernel, signature)
        kinds = [type(s) is tuple for s in signature]

        def bind(blocks, threads):
            grid = [*_three(blocks), *_three(threads)]

            def launch(*args) -> None:
                flat: list = []
                for array, a in zip(kinds, args, strict=True):
                    flat += a.fields if array else [a]
                run(*grid, *flat)

            return launch

        return bind


def _three(size) -> tuple[int, ...]:
    return (*(size if type(size) is tuple else (size,)), 1, 1, 1)[:3]


def install() -> Host:
    """Make the host the device of this process."""
    import numba.cuda.dispatcher

    from nbgrad.kernels.cuda import provider
    # A call of a function on the device asks the current device for its architecture.
    numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    host = Host()
    provider.machine = host  # type: ignore[assignment]
    return host


def pytest_configure(config) -> None:
    """As a plugin: PYTHONPATH=tools python -m pytest -p cuda_on_host tests/cuda."""
    install()


#: Of the kernels compiled since this was last cleared: "approximate" where there are such instructions,
#: "double" where a float32 becomes a float64.
traits: set[str] = set()


def skew(amount: float) -> None:
    """Move what approximate instructions give by `amount` (-1 to 1) of their largest error.

    With 2 the amount is drawn from -1 to 1 by the bits of the argument.
    """
    SHARE.value = amount


# the kernel in LLVM's language


def code_of(kernel, signature: tuple) -> str:
    """What Numba writes of a kernel for NVVM."""
    from numba.cuda.compiler import _compile_pyfunc_with_fixup
    from numba.cuda.cudadrv.nvvm import llvm_replace

    from nbgrad.kernels.cuda.driver import types_of
    library, _ = _compile_pyfunc_with_fixup(
        kernel.function, types_of(signature), debug=None, lineinfo=False, device=False, fastmath=False,
        cc=CAPABILITY, opt=None, abi="numba", abi_info=None, forceinline=False, lto=True,
        **{"launch_bounds": None} | kernel.options)
    return "\n".join(map(llvm_replace, dict.fromkeys(library.llvm_strs)))


_kept: list = []  # engines that hold machine code


@cache
def _compiled(kernel, signature: tuple):
    """A function of the grid's and the blocks' sizes and the kernel's arguments."""
    own = code_of(kernel, signature)
    text = linked(own)
    traits.update(name for name, found in (("approximate", "@skewed" in text),
                                           ("double", "fpext float" in own)) if found)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True)
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _kept.append((engine, module))
    if "@wait" in text:
        return Fibers(engine, signature)
    made = ctypes.CFUNCTYPE(None, *[ctypes.c_int32] * 6, *_numbers(signature))
    return made(engine.get_function_address("launch"))


def _numbers(signature: tuple) -> list:
    return [ctypes.c_double if s == "float64" else ctypes.c_int64
            for s in signature for _ in range(7 if type(s) is tuple else 1)]


class Fibers:
    """A kernel whose threads wait for one another: each has a stack, and runs until it must wait."""

    STACK, CONTEXT = 1 << 16, 1 << 13  # bytes
    libc = ctypes.PyDLL(None)
    memory = mmap.mmap(-1, (MOST + 1) * (CONTEXT + STACK))  # of all kernels: one runs at a time

    def __init__(self, engine, signature: tuple) -> None:
        def named(kind, name):
            return kind.from_address(engine.get_global_value_address(name))

        def registers(name):
            return [named(ctypes.c_int32, f"{name}.{axis}") for axis in "xyz"]

        self.give = ctypes.CFUNCTYPE(None, *_numbers(signature))(engine.get_function_address("give"))
        self.start = ctypes.c_void_p(engine.get_function_address("fiber"))
        self.ids, self.block = registers("tid"), registers("ctaid")
        self.sizes = [*registers("nctaid"), *registers("ntid")]
        self.own, self.why = named(ctypes.c_void_p, "own"), named(ctypes.c_int32, "why")
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.contexts = [ctypes.c_void_p(first + k * self.CONTEXT) for k in range(MOST + 1)]
        self.main = self.contexts.pop()
        named(ctypes.c_void_p, "main").value = self.main.value
        self.stacks = first + (MOST + 1) * self.CONTEXT

    def __call__(self, *args) -> None:
        for size, value in zip(self.sizes, args[:6]):
            size.value = value
        self.give(*args[6:])
        bx, by, bz, tx, ty, tz = args[:6]
        threads = [(k % tx, k // tx % ty, k // tx // ty) for k in range(tx * ty * tz)]
        for k in range(bx * by * bz):
            for register, value in zip(self.block, (k % bx, k // bx % by, k // bx // by)):
                register.value = value
            self.run(threads)

    def run(self, threads: list[tuple[int, int, int]]) -> None:
        """A block: its threads run in turns until they wait, and warps or the block go on together."""
        for k in range(len(threads)):
            self.prepare(k)
        state, ready = [BLOCK] * len(threads), list(range(len(threads)))
        while ready:
            for k in ready:
                state[k] = self.resume(k, threads[k])
            warps = [range(w, min(w + 32, len(threads))) for w in range(0, len(threads), 32)]
            ready = [k for warp in warps if {state[k] for k in warp} <= {WARP, ENDED}
                     for k in warp if state[k] == WARP]
            if not ready:
                ready = [k for k, s in enumerate(state) if s == BLOCK]
                if WARP in state:
                    raise RuntimeError("threads of a warp wait for others that do not come")

    def prepare(self, k: int) -> None:
        context = self.contexts[k]
        self.libc.getcontext(context)
        # ucontext_t begins with flags, the next context, and the stack's address, flags and size
        parts = (ctypes.c_size_t * 5).from_address(context.value)
        parts[1], parts[2], parts[4] = 0, self.stacks + k * self.STACK, self.STACK
        self.libc.makecontext(context, self.start, 0)

    def resume(self, k: int, thread: tuple[int, int, int]) -> int:
        for register, value in zip(self.ids, thread):
            register.value = value
        self.own.value = self.contexts[k].value
        self.libc.swapcontext(self.main, self.contexts[k])
        return self.why.value


def linked(text: str) -> str:
    """A module for the host: a kernel with what it calls, and `launch` around it."""
    (kernel,) = re.findall(r'^@"?llvm\.used"?.*@"([^"]+)"', text, re.M)
    text = re.sub(r'^(target|@"?llvm\.used|!|declare).*$|, ![\w.]+ !\d+', "", text, flags=re.M)
    text = _for_host(text)
    waits = any("@wait(" in part for part in _needed(text))
    text += _fiber(text, kernel) if waits else _launch(text, kernel)
    return "\n".join([_libdevice().types, *_needed(text), text])


def _for_host(text: str) -> str:
    """One space of addresses, products that may be folded into sums, intrinsics by our names."""
    text = re.sub(r" ?addrspace\(\d\)", "", text)
    text = re.sub(r"\baddrspacecast\b", "bitcast", text)
    text = re.sub(r"= (fmul|fadd|fsub) (float|double)", r"= \1 contract \2", text)
    text = re.sub(r'@"?llvm\.nvvm\.([\w.]+)"?', r"@nvvm.\1", text)
    return re.sub(r'asm (?:\w+ )?"([^"]*)", "[^"]*"', lambda m: "@" + _written(m[1]), text)


def _written(asm: str) -> str:
    """The name of a piece of PTX: its only instruction, or what its instructions make together."""
    for part, name in (("mul.lo.u32", "wide.mul"), ("madc.lo.cc", "wide.fma"), ("mad.lo.cc", "mad.cc"),
                       ("subc.cc", "wide.sub"), ("addc.cc", "wide.add"), ("setp.equ", "equ.select")):
        if part in asm:
            return f"nvvm.{name}"
    op, *rest = asm.split(" ")[0].split(".")
    kind = rest[-1]
    return ".".join(["nvvm", op, *rest[:-1], {"f32": "f", "f64": "d"}.get(kind, kind)])


class _Libdevice:
    """NVIDIA's functions by name, as text."""

    def __init__(self) -> None:
        text = str(llvm.parse_bitcode(_path().read_bytes()))
        text = re.sub(r" #\d+|, ![\w.]+ !\d+", "", text)
        names = {"__CUDA_FTZ": 0, "__CUDA_PREC_SQRT": 1, "__CUDA_ARCH": 100 * CAPABILITY[0]}
        for name, spelled in re.findall(r'^(@[\w.]+) = .* c"(\w+)\\00"', text, re.M):
            text = text.replace(f"call i32 @__nvvm_reflect(ptr {name})", f"add i32 0, {names[spelled]}")
        text = _for_host(text)
        self.types = "\n".join(re.findall(r"^%.* = type .*$", text, re.M))
        self.parts = {name: f"@{name} = {rest}"
                      for name, rest in re.findall(r"^@([\w.]+) = (.*)$", text, re.M)}
        for whole, name in re.findall(r"(^define [^\n]*?@([\w.]+)\(.*?^}$)", text, re.M | re.S):
            self.parts[name] = re.sub(r"^define (internal )?(.*?\)) .*?{",
                                      r"define internal \2 alwaysinline {", whole, count=1)


def _path() -> Path:
    from numba.cuda.cudadrv.libs import get_libdevice
    return Path(get_libdevice())


_libdevice = cache(_Libdevice)


def _needed(text: str) -> list[str]:
    """Everything that a text calls or reads and does not define."""
    found: dict[str, str] = {}
    own = set(re.findall(r'^(?:define[^\n]*?)?@"?([\w.]+)"?(?= =|\()', text, re.M))
    todo = [text]
    while todo:
        for name in re.findall(r'@"?([\w.]+)"?', todo.pop()):
            if name in found or name in own:
                continue
            part = _libdevice().parts.get(name) or instruction(name)
            if part is not None:
                found[name] = part
                todo.append(part)
    return list(found.values())


def _types(text: str, kernel: str) -> list[str]:
    """The types of a kernel's arguments."""
    given = re.search(rf'^define void @"?{re.escape(kernel)}"?\((.*)\)', text, re.M)
    assert given
    return [re.sub(r".*\*", "ptr", a.split(" %")[0]) for a in given[1].split(", ")]


def _fiber(text: str, kernel: str) -> str:
    """`give` keeps the arguments, and `fiber` is a thread that takes them; it never returns."""
    types = _types(text, kernel)
    args = ", ".join(f"{t} %a{k}" for k, t in enumerate(types))
    zero = {"double": "0.0", "ptr": "null"}
    kept = [f"@given.{k} = internal global {t} {zero.get(t, '0')}" for k, t in enumerate(types)]
    return "\n".join([
        *kept, f"define void @give({args}) {{",
        *(f"  store {t} %a{k}, ptr @given.{k}" for k, t in enumerate(types)), "  ret void", "}",
        *(f"@{r}.{axis} = global i32 0" for r in ("nctaid", "ntid", "ctaid", "tid") for axis in "xyz"),
        "define void @fiber() {", *(f"  %a{k} = load {t}, ptr @given.{k}" for k, t in enumerate(types)),
        f'  call void @"{kernel}"({args})', "  call void @wait(i32 0)", "  unreachable", "}"])


def _launch(text: str, kernel: str) -> str:
    """A function that runs the threads of a grid, one after the other."""
    types = _types(text, kernel)
    names = [f"%a{k}" for k in range(len(types))]
    args = ", ".join(f"{t} {n}" for t, n in zip(types, names))
    sizes = [f"%n{k}" for k in range(6)]
    lines = [f"define void @launch({', '.join(f'i32 {n}' for n in sizes)}, {args}) {{", "start:"]
    registers = [f"@{r}" for r in ("nctaid.x", "nctaid.y", "nctaid.z", "ntid.x", "ntid.y", "ntid.z")]
    lines += [f"  store i32 {n}, ptr {r}" for n, r in zip(sizes, registers)]
    total = "1"
    for k in range(6):
        lines.append(f"  %t{k} = mul i32 {total}, %n{k}")
        total = f"%t{k}"
    lines += ["  br label %thread", "thread:",
              "  %k = phi i32 [ 0, %start ], [ %next, %thread ]"]
    rest = "%k"
    for k, r in zip((3, 4, 5, 0, 1, 2), ("tid.x", "tid.y", "tid.z", "ctaid.x", "ctaid.y", "ctaid.z")):
        lines += [f"  %i{k} = urem i32 {rest}, %n{k}", f"  %r{k} = udiv i32 {rest}, %n{k}",
                  f"  store i32 %i{k}, ptr @{r}"]
        rest = f"%r{k}"
    lines += [f'  call void @"{kernel}"({args})', "  %next = add i32 %k, 1",
              f"  %more = icmp ult i32 %next, {total}", "  br i1 %more, label %thread, label %end",
              "end:", "  ret void", "}"]
    return "\n".join(lines)
