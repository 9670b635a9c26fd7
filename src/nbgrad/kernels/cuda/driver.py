"""A CUDA device through NVIDIA's driver: memory, copies, streams, and launches packed once.

numba-cuda compiles; the machine code is kept on disk and launched by the driver itself, since
numba-cuda takes 30 us to look at a launch's arguments, and the driver 4 us to start it.
"""

import ctypes
import hashlib
import os
import pickle
import struct
import threading
from functools import cache

import numpy as np

from nbgrad import config
from nbgrad.errors import OutOfMemoryError
from nbgrad.kernels import cache as disk


class Driver:
    """The first CUDA device, its memory and its streams; calls are the driver's, checked."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._ready = False

    # the device

    def check(self) -> None:
        """Make the device ready; RuntimeError says what is missing."""
        if not self._ready:
            self._open()
            self._ready = True
        if not hasattr(self._mine, "context"):  # a thread that has not used the device yet
            self._do("CtxSetCurrent", self._context)
            self._mine.context = True

    def _open(self) -> None:
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise RuntimeError(f"CUDA needs cuda-bindings: pip install 'nbgrad[cuda]' ({error})") \
                from None
        self._api = driver
        try:
            (found,) = driver.cuInit(0)
        except Exception as error:
            raise RuntimeError("no CUDA driver: libcuda.so.1 cannot be loaded. Install NVIDIA's "
                               f"driver, or use device='cpu' ({error})") from None
        if int(found) != 0:
            raise RuntimeError(f"Found no NVIDIA driver on your system that works: cuInit says "
                               f"{found.name}. Use device='cpu'.")
        self.count = self._do("DeviceGetCount")
        if not self.count:
            raise RuntimeError("No CUDA GPUs are available")
        self._device = self._do("DeviceGet", 0)
        self._context = self._do("DevicePrimaryCtxRetain", self._device)

    def _do(self, name: str, *args):
        """Call the driver; its result, if it has one, or an exception."""
        found, *results = getattr(self._api, f"cu{name}")(*args)
        if int(found) != 0:
            _fail(name, found)
        return results[0] if len(results) == 1 else tuple(results) or None

    def name(self, index: int) -> str:
        return self._do("DeviceGetName", 128, self._device).split(b"\0")[0].decode()

    def attribute(self, which: str) -> int:
        return self._do("DeviceGetAttribute",
                        getattr(self._api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{which}"),
                        self._device)

    def capability(self, index: int) -> tuple[int, int]:
        return (self.attribute("COMPUTE_CAPABILITY_MAJOR"), self.attribute("COMPUTE_CAPABILITY_MINOR"))

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""
        return self._do("MemGetInfo")

    # memory

    def allocate(self, nbytes: int) -> int:
        self.check()
        return int(self._do("MemAlloc", nbytes))

    def free(self, ptr: int) -> None:
        self.check()
        self._do("MemFree", ptr)

    def upload(self, ptr: int, array: np.ndarray, stream: int = 0, wait: bool = True) -> None:
        self._do("MemcpyHtoDAsync", ptr, array.ctypes.data, array.nbytes, stream)
        if wait:
            self._do("StreamSynchronize", stream)

    def download(self, array: np.ndarray, ptr: int, stream: int = 0, wait: bool = True) -> None:
        self._do("MemcpyDtoHAsync", array.ctypes.data, ptr, array.nbytes, stream)
        if wait:
            self._do("StreamSynchronize", stream)

    def copy(self, to: int, source: int, nbytes: int, stream: int = 0) -> None:
        self._do("MemcpyDtoDAsync", to, source, nbytes, stream)

    def clear(self, ptr: int, nbytes: int, stream: int = 0) -> None:
        self._do("MemsetD8Async", ptr, 0, nbytes, stream)

    def pinned(self, nbytes: int) -> np.ndarray:
        """Host memory that the device copies from and to while the host goes on."""
        self.check()
        ptr = int(self._do("MemAllocHost", max(nbytes, 1)))
        raw = (ctypes.c_uint8 * nbytes).from_address(ptr)
        made = np.frombuffer(raw, np.uint8)
        _release(raw, self, ptr)
        return made

    # streams and events

    @property
    def stream(self) -> int:
        return getattr(self._mine, "stream", 0)

    @stream.setter
    def stream(self, stream: int) -> None:
        self._mine.stream = stream

    def synchronize(self, stream: int | None = None) -> None:
        self.check()
        if stream is None:
            self._do("CtxSynchronize")
        else:
            self._do("StreamSynchronize", stream)

    def make_stream(self, priority: int = 0) -> int:
        self.check()
        return int(self._do("StreamCreateWithPriority", 0, priority))

    def drop_stream(self, stream: int) -> None:
        self._do("StreamDestroy", stream)

    def make_event(self, timing: bool = False) -> int:
        self.check()
        return int(self._do("EventCreate", 0 if timing else 2))  # 2: CU_EVENT_DISABLE_TIMING

    def drop_event(self, event: int) -> None:
        self._do("EventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        self._do("EventRecord", event, stream)

    def wait(self, stream: int, event: int) -> None:
        self._do("StreamWaitEvent", stream, event, 0)

    def reached(self, event: int) -> bool:
        return int(self._api.cuEventQuery(event)[0]) == 0

    def wait_for(self, event: int) -> None:
        self._do("EventSynchronize", event)

    def elapsed(self, start: int, end: int) -> float:
        return self._do("EventElapsedTime", start, end)

    # kernels

    def launcher(self, kernel, signature: tuple):
        """A function of (blocks, threads) that gives the launch, a function of the arguments."""
        self.check()
        handle = self._handle(kernel, signature)
        return lambda blocks, threads: self._bind(handle, signature, _three(blocks), _three(threads))

    def _bind(self, handle: int, signature: tuple, blocks: tuple, threads: tuple):
        kinds = tuple(["q" if "int" in str(s) else "d" if type(s) is not tuple else "7q"
                       for s in signature])
        packer = struct.Struct("".join(kinds))
        count = packer.size // 8
        memory = ctypes.create_string_buffer(max(packer.size, 8))
        first = ctypes.addressof(memory)
        pointers = (ctypes.c_void_p * count)(*[first + 8 * k for k in range(count)])
        where = ctypes.addressof(pointers)
        launch, mine, turn = self._api.cuLaunchKernel, self._mine, threading.Lock()
        pack = _packer(kinds)(packer.pack_into, memory)

        def run(*args, keep=pointers) -> None:
            with turn:
                pack(*args)
                (found,) = launch(handle, *blocks, *threads, 0, getattr(mine, "stream", 0), where, 0)
            if found:
                _fail("LaunchKernel", found)

        return run

    def _handle(self, kernel, signature: tuple) -> int:
        """The kernel's machine code, from disk or compiled, on the device."""
        key = _key(kernel, signature, self.capability(0))
        found = _load(key)
        if found is None:
            found = _compile(kernel, signature)
            _save(key, found)
        name, cubin = found
        library = self._do("LibraryLoadData", cubin, None, None, 0, None, None, 0)
        _libraries.append((library, cubin))
        return int(self._do("LibraryGetKernel", library, name.encode()))


_libraries: list = []


def _three(size) -> tuple[int, int, int]:
    given = size if type(size) is tuple else (size,)
    return (*given, 1, 1, 1)[:3]


@cache
def _packer(kinds: tuple[str, ...]):
    """A function that makes `pack(*args)`, written out for so many arrays and numbers."""
    names = [f"a{k}" for k in range(len(kinds))]
    fields = ", ".join(f"*{n}.fields" if k == "7q" else n for n, k in zip(names, kinds))
    scope: dict = {}
    exec(f"def make(pack, memory):\n    def run({', '.join(names)}):\n"
         f"        pack(memory, 0, {fields})\n    return run\n", scope)
    return scope["make"]


def _release(raw, driver: Driver, ptr: int) -> None:
    import weakref
    weakref.finalize(raw, driver._do, "MemFreeHost", ptr)


def _fail(name: str, found) -> None:
    if found.name == "CUDA_ERROR_OUT_OF_MEMORY":
        raise OutOfMemoryError("CUDA out of memory")
    raise RuntimeError(f"CUDA error: {found.name} in cu{name}. Work that was started earlier may be the "
                       "cause: set CUDA_LAUNCH_BLOCKING=1 to see which.")


def types_of(signature: tuple) -> tuple:
    """Numba's types of a signature."""
    from numba.cuda.np.numpy_support import from_dtype

    from nbgrad.kernels.cuda.provider import cuda
    one = cuda.types if hasattr(cuda, "types") else __import__("numba").types
    return tuple([one.Array(from_dtype(np.dtype(s[0])), 1, "C") if type(s) is tuple
                  else getattr(one, str(s)) for s in signature])


def _compile(kernel, signature: tuple) -> tuple[str, bytes]:
    compiled = kernel.dispatcher().compile(types_of(signature))
    cubin = compiled._codelibrary.get_cubin()
    return compiled.entry_name, bytes(getattr(cubin, "code", cubin))


def _key(kernel, signature: tuple, capability: tuple[int, int]) -> str:
    from importlib.metadata import version
    code = kernel.function.__code__
    file = code.co_filename
    source = disk.fingerprint(file) if os.path.exists(file) else repr(code.co_code)
    text = repr((source, code.co_name, code.co_firstlineno, sorted(kernel.options.items()),
                 [str(s) for s in signature], capability, version("numba-cuda"), disk.compiler()))
    return f"{code.co_name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.cubin"


def _load(key: str):
    if config.CACHE_DIR is None:
        return None
    try:
        content = (config.CACHE_DIR / "compiled" / key).read_bytes()
    except OSError:
        return None
    checksum, data = content[:32], content[32:]
    return pickle.loads(data) if hashlib.sha256(data).digest() == checksum else None


def _save(key: str, found) -> None:
    if config.CACHE_DIR is None:
        return
    data = pickle.dumps(found)
    try:
        disk.write(config.CACHE_DIR / "compiled" / key, hashlib.sha256(data).digest() + data)
    except OSError:
        pass
