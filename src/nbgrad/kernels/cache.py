"""Compiled kernels on disk: one file a kernel and signature, named by all it depends on.

The name hashes the kernel's file, the kernel files that file imports (numba#1833: editing a
callee must not return stale code), the compile options (numba#6845), and Numba's own key: its
version, the signature and the CPU's name and features. There is no index, so two processes
that fill the cache together can only write the same bytes to the same name. A file that is
missing, truncated or unreadable is compiled anew; a folder that cannot be written is no error.
"""

import hashlib
import os
import pickle
import re
import tempfile
from functools import cache
from pathlib import Path

import numba
from numba.core import caching

_IMPORT = re.compile(r"^from (nbgrad\.kernels[\w.]*) import (\([^)]*\)|.*)$", re.M)


@cache
def fingerprint(path: Path) -> str:
    """Hash of a kernel file and, transitively, of the kernel files it imports."""
    text = path.read_text()
    digest = hashlib.sha256(text.encode())
    for module, names in _IMPORT.findall(text):
        base = Path(__file__).parent.joinpath(*module.split(".")[2:])
        for file in (base.with_suffix(".py"), *(base / f"{n}.py" for n in re.findall(r"\w+", names))):
            if file.is_file() and file != path:
                digest.update(fingerprint(file).encode())
    return digest.hexdigest()


class _Files:
    """Maps Numba's index key to a checksummed file."""

    def __init__(self, folder: Path, stem: str, salt: str) -> None:
        self._folder, self._stem, self._salt = folder, stem, salt

    def _path(self, key) -> Path:
        name = hashlib.sha256(f"{numba.__version__}{self._salt}{key!r}".encode()).hexdigest()[:24]
        return self._folder / f"{self._stem}-{name}.bin"

    def load(self, key):
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        checksum, data = content[:32], content[32:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == checksum else None

    def save(self, key, data) -> None:
        content = caching.dumps(data)
        path = self._path(key)
        handle, temporary = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


class KernelCache(caching.FunctionCache):
    """The disk cache of one kernel, in the place of Numba's."""

    def __init__(self, function, options: str, root: Path) -> None:
        source = Path(function.__code__.co_filename)
        folder = root / "compiled"
        folder.mkdir(exist_ok=True)
        self._name = function.__qualname__
        self._py_func = function
        self._cache_path = str(folder)
        self._impl = object.__new__(caching.CompileResultCacheImpl)
        line = function.__code__.co_firstlineno
        salt = f"{fingerprint(source)}{function.__qualname__}{line}{options}"
        self._cache_file = _Files(folder, f"{source.stem}.{function.__name__}", salt)
        self.enable()

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig, data) -> None:
        if not self._enabled or not self._impl.check_cachable(data):
            return
        try:
            self._cache_file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))
        except OSError:
            self.disable()
