"""Settings, read once from the environment."""

import gc
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def _cache_dir() -> Path | None:
    """The folder named by the user, which may be read-only, or one of our own."""
    named = os.environ.get("NBGRAD_CACHE_DIR")
    if named:
        filled = os.path.isdir(os.path.join(named, "compiled"))
        return Path(named) if _writable(Path(named), 0o777) or filled else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    user = Path(tempfile.gettempdir(), f"nbgrad-{os.getuid()}" if hasattr(os, "getuid") else "nbgrad")
    if _writable(Path(home, "nbgrad")):
        return Path(home, "nbgrad")
    return user if _writable(user) and _private(user) else None


def _writable(folder: Path, mode: int = 0o700) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private(folder: Path) -> bool:
    """False where another user may have left a file: loading a kernel runs what is in it."""
    found = os.lstat(folder)
    ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return ours and stat.S_ISDIR(found.st_mode) and (os.name == "nt" or not found.st_mode & 0o022)


#: Folder of compiled kernels and generated sources; None where no folder can be used.
CACHE_DIR: Path | None = _cache_dir()

#: Elements below which a kernel runs on one thread.
PARALLEL_THRESHOLD: int = int(os.environ.get("NBGRAD_PARALLEL_THRESHOLD", 65536))


def _memory() -> int:
    """Bytes of memory that this process may use."""
    found = [1 << 34]
    with suppress(ValueError, OSError, AttributeError):
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(ValueError, OSError):
            found.append(int(Path("/sys/fs/cgroup", limit).read_text()))
    return min(found)


#: Bytes of large blocks that may be kept for later use; 0 leaves all memory to NumPy.
POOL_BYTES: int = (int(os.environ["NBGRAD_POOL_MB"]) << 20 if "NBGRAD_POOL_MB" in os.environ
                   else _memory() // 8)


def quiet_collector() -> None:
    """Keep Python's garbage collector from slowing down every recorded operation.

    A graph is many small objects, which make the collector run often, and each full pass walks the
    60,000 objects of the compiler: about 1.5 us an operation. So what exists after the import is
    frozen, and if the thresholds are Python's own, young objects are looked at every 10,000
    allocations. NBGRAD_KEEP_GC=1 leaves the collector alone.
    """
    if os.environ.get("NBGRAD_KEEP_GC"):
        return
    gc.freeze()
    if gc.get_threshold()[0] in (700, 2000):
        gc.set_threshold(10_000, *gc.get_threshold()[1:])

#: Who multiplies matrices on a CUDA device, of those there are; `preferred_blas_library` sets it.
MATMUL_LIBRARIES = ("default", "cublas")
CUDA_MATMUL: str = os.environ.get("NBGRAD_CUDA_MATMUL", "default")
if CUDA_MATMUL not in MATMUL_LIBRARIES:
    raise ValueError(f"NBGRAD_CUDA_MATMUL is {', '.join(MATMUL_LIBRARIES)}, not {CUDA_MATMUL!r}")

#: Whether sums are made in the same order each time, also where any order would be faster;
#: `use_deterministic_algorithms` sets it.
DETERMINISTIC = True
