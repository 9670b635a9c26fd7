"""Settings, read once from the environment."""

import os
import tempfile
from pathlib import Path


def _cache_candidates() -> list[Path]:
    named = os.environ.get("NBGRAD_CACHE_DIR")
    if named:
        return [Path(named)]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    user = f"nbgrad-{os.getuid()}" if hasattr(os, "getuid") else "nbgrad"
    return [Path(home) / "nbgrad", Path(tempfile.gettempdir()) / user]


def _first_writable(candidates: list[Path]) -> Path | None:
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


#: Folder of compiled kernels and generated sources; None where no folder can be written.
CACHE_DIR: Path | None = _first_writable(_cache_candidates())

#: Elements below which a kernel runs on one thread.
PARALLEL_THRESHOLD: int = int(os.environ.get("NBGRAD_PARALLEL_THRESHOLD", 65536))
