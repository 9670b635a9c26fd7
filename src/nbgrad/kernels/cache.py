"""Compiled kernels on disk: one file a kernel and signature, named by all it depends on.

The name hashes the kernel's file, the kernel files that file imports (numba#1833: editing a
callee must not return stale code), the compile options (numba#6845), the versions and settings of
the compiler, and Numba's own key: the signature and the CPU's name and features. There is no
index, so two processes that fill the cache together can only write the same bytes to the same
name. A file that is missing, truncated or unreadable is compiled anew; a folder that cannot be
written is only read, and that is no error.
"""

import hashlib
import os
import pickle
import re
import sys
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core import caching

_IMPORT = re.compile(r"^from (nbgrad\.kernels[\w.]*) import (\([^)]*\)|.*)$", re.M)


@cache
def fingerprint(path: str | Path) -> str:
    """Hash of a kernel file and, transitively, of the kernel files it imports."""
    text = Path(path).read_text()
    digest = hashlib.sha256(text.encode())
    for module, names in _IMPORT.findall(text):
        base = Path(__file__).parent.joinpath(*module.split(".")[2:])
        for file in (base.with_suffix(".py"), *(base / f"{n}.py" for n in re.findall(r"\w+", names))):
            if file.is_file() and file != path:
                digest.update(fingerprint(file).encode())
    return digest.hexdigest()


@cache
def compiler() -> str:
    """Who compiles, and the settings from the environment that change what it makes."""
    settings = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
    return repr((sys.implementation.cache_tag, numba.__version__, llvmlite.__version__,
                 np.__version__, *(getattr(numba.config, name) for name in settings)))


def write(path: str | Path, content: bytes) -> None:
    """Put a file in its place at once, so that nobody ever reads half of it."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f"{uuid.uuid4().hex}.tmp")
    os.makedirs(folder, exist_ok=True)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


class _Files:
    """Maps Numba's index key to a checksummed file."""

    def __init__(self, folder: str, stem: str, salt: str) -> None:
        self._folder, self._stem, self._salt = folder, stem, salt

    def _path(self, key) -> str:
        name = hashlib.sha256(f"{compiler()}{self._salt}{key!r}".encode()).hexdigest()[:24]
        return os.path.join(self._folder, f"{self._stem}-{name}.bin")

    def load(self, key):
        try:
            with open(self._path(key), "rb") as file:
                content = file.read()
        except OSError:
            return None
        checksum, data = content[:32], content[32:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == checksum else None

    def save(self, key, data) -> None:
        content = caching.dumps(data)
        write(self._path(key), hashlib.sha256(content).digest() + content)


_found = {"hits": 0, "misses": 0}


def stats() -> dict[str, int]:
    """How many kernels this process found in the cache, and how many it did not."""
    return dict(_found)


class KernelCache(caching.FunctionCache):
    """The disk cache of one kernel, in the place of Numba's."""

    def __init__(self, function, options: str, root: Path) -> None:
        code = function.__code__
        self._name = function.__qualname__
        self._py_func = function
        self._cache_path = os.path.join(root, "compiled")
        self._impl = object.__new__(caching.CompileResultCacheImpl)
        stem = os.path.splitext(os.path.basename(code.co_filename))[0]
        salt = f"{fingerprint(code.co_filename)}{self._name}{code.co_firstlineno}{options}"
        self._cache_file = _Files(self._cache_path, f"{stem}.{function.__name__}", salt)
        self.enable()

    def load_overload(self, sig, target_context):
        try:
            found = super().load_overload(sig, target_context)
        except Exception:
            found = None
        _found["misses" if found is None else "hits"] += 1
        return found

    def save_overload(self, sig, data) -> None:
        if self._impl.check_cachable(data):
            with suppress(OSError):
                self._cache_file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))
