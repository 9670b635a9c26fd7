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
from contextlib import suppress
from functools import cache

import numpy as np

from nbgrad import config
from nbgrad.errors import OutOfMemoryError
from nbgrad.kernels import cache as disk
from nbgrad.kernels.cuda.array import refuse_host


class _Thread(threading.local):
    """What each thread has of its own: its current stream, and, once it is looked at, the device."""

    def __init__(self, enter) -> None:
        enter()
        self.stream = 0


class _Forked:
    """The same in a forked process, which may not use what its parent has opened."""

    def _refuse(self, *value):
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with "
                           "multiprocessing, you must use the 'spawn' start method")

    stream = property(_refuse, _refuse)


class Driver:
    """The first CUDA device, its memory and its streams; calls are the driver's, checked."""

    def __init__(self) -> None:
        self._mine: _Thread | _Forked = _Thread(lambda: None)
        self._ready = False
        self._lock = threading.Lock()

    # the device

    def check(self) -> None:
        """Make the device ready for this thread; RuntimeError says what is missing."""
        if not self._ready:
            with self._lock:
                if not self._ready:
                    self._open()
                    self._mine = _Thread(lambda: self._do("CtxSetCurrent", self._context))
                    os.register_at_fork(after_in_child=self._forked)
                    self._ready = True
        self._mine.stream  # noqa: B018  a thread that has not used the device yet enters it

    def _forked(self) -> None:
        self._mine = _Forked()

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

    def name(self) -> str:
        return self._do("DeviceGetName", 128, self._device).split(b"\0")[0].decode()

    def attribute(self, which: str) -> int:
        return self._do("DeviceGetAttribute",
                        getattr(self._api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{which}"),
                        self._device)

    def capability(self) -> tuple[int, int]:
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

    def allocate_host(self, nbytes: int) -> int:
        """Host memory that the device copies from and to while the host goes on."""
        self.check()
        return int(self._do("MemAllocHost", nbytes))

    def free_host(self, ptr: int) -> None:
        self.check()
        self._do("MemFreeHost", ptr)

    def is_pinned(self, ptr: int) -> bool:
        """Whether an address is one of such memory, whoever made it."""
        kind = self._api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
        found, where = self._api.cuPointerGetAttribute(kind, ptr)
        return int(found) == 0 and int(where) == 1  # CU_MEMORYTYPE_HOST

    # streams and events

    @property
    def stream(self) -> int:
        """This thread's current stream."""
        return self._mine.stream

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
        """A stream that does not wait for stream 0, nor that for it; kept for ever."""
        self.check()
        return int(self._do("StreamCreateWithPriority", 1, priority))  # 1: CU_STREAM_NON_BLOCKING

    def priorities(self) -> tuple[int, int]:
        """The least and the greatest priority of a stream; the greatest is the smaller number."""
        self.check()
        return self._do("CtxGetStreamPriorityRange")

    def finished(self, stream: int) -> bool:
        """Whether a stream has done all that it was given."""
        self.check()
        (found,) = self._api.cuStreamQuery(stream)
        return self._reached("StreamQuery", found)

    def _reached(self, name: str, found) -> bool:
        if int(found) not in (0, 600):  # 600: CUDA_ERROR_NOT_READY
            _fail(name, found)
        return int(found) == 0

    def make_event(self, timing: bool = False) -> int:
        self.check()
        return int(self._do("EventCreate", 0 if timing else 2))  # 2: CU_EVENT_DISABLE_TIMING

    def drop_event(self, event: int) -> None:
        self._do("EventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """Let an event happen once a stream is past what it was given so far."""
        self._do("EventRecord", event, stream)

    def wait(self, stream: int, event: int) -> None:
        self._do("StreamWaitEvent", stream, event, 0)

    def reached(self, event: int) -> bool:
        self.check()
        (found,) = self._api.cuEventQuery(event)
        return self._reached("EventQuery", found)

    def wait_for(self, event: int) -> None:
        self._do("EventSynchronize", event)

    def elapsed(self, start: int, end: int) -> float:
        """Milliseconds between two events."""
        return self._do("EventElapsedTime", start, end)

    # kernels

    def launcher(self, kernel, signature: tuple):
        """A function of (blocks, threads) that gives the launch, a function of the arguments."""
        self.check()
        handle = self._handle(kernel, signature)
        return lambda blocks, threads: self._bind(handle, signature, _three(blocks), _three(threads))

    def _bind(self, handle: int, signature: tuple, blocks: tuple, threads: tuple):
        kinds = tuple(["7q" if type(s) is tuple else "q" if s == "int64" else "d"
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
                (found,) = launch(handle, *blocks, *threads, 0, mine.stream, where, 0)
            if found:
                _fail("LaunchKernel", found)

        def blocking(*args) -> None:
            run(*args)
            self._do("StreamSynchronize", mine.stream)

        return blocking if _BLOCKING else run

    def _handle(self, kernel, signature: tuple) -> int:
        """The kernel's machine code, from disk or compiled, on the device."""
        key = _key(kernel, signature, self.capability())
        found = _load(key)
        if found is None:
            found = _compile(kernel, signature)
            _save(key, found)
        name, cubin = found
        library = self._do("LibraryLoadData", cubin, None, None, 0, None, None, 0)
        _libraries.append((library, cubin))
        return int(self._do("LibraryGetKernel", library, name.encode()))


_libraries: list = []
#: Wait for every kernel, so that its error is raised where it was launched.
_BLOCKING = os.environ.get("CUDA_LAUNCH_BLOCKING", "0") not in ("", "0")


def _three(size) -> tuple[int, int, int]:
    given = size if type(size) is tuple else (size,)
    return (*given, 1, 1, 1)[:3]


@cache
def _packer(kinds: tuple[str, ...]):
    """A function that makes `pack(*args)`, written out for so many arrays and numbers."""
    names = [f"a{k}" for k in range(len(kinds))]
    fields = ", ".join(f"*{n}.fields" if k == "7q" else n for n, k in zip(names, kinds))
    scope: dict = {"refuse_host": refuse_host}
    exec(f"def make(pack, memory):\n    def run({', '.join(names)}):\n"
         f"        try:\n            pack(memory, 0, {fields})\n"
         f"        except AttributeError:\n            refuse_host(({', '.join(names)},))\n"
         "            raise\n    return run\n", scope)
    return scope["make"]


def _fail(name: str, found) -> None:
    if found.name == "CUDA_ERROR_OUT_OF_MEMORY":
        raise OutOfMemoryError("CUDA out of memory")
    raise RuntimeError(f"CUDA error: {found.name} in cu{name}. Work that was started earlier may be "
                       "the cause: set CUDA_LAUNCH_BLOCKING=1 to see which.")


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
    # what a kernel made in a factory was made with; functions there follow from the numbers
    made_with = [(n, repr(c.cell_contents)) for n, c in zip(code.co_freevars,
                 kernel.function.__closure__ or ()) if isinstance(c.cell_contents, (int, float, str))]
    text = repr((source, code.co_name, code.co_firstlineno, made_with, sorted(kernel.options.items()),
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
    with suppress(OSError):
        disk.write(config.CACHE_DIR / "compiled" / key, hashlib.sha256(data).digest() + data)
