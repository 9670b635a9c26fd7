"""What a file that is no checkpoint seems to be, in words for an error message."""

from __future__ import annotations

_BEGINNINGS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; run git lfs pull"),
    (b"<", "is an HTML or XML page, so its download probably failed"),
    (b"\x89HDF", "is an HDF5 file (Keras?), which nbgrad does not read"),
    (b"\x93NUMPY", "is a NumPy array; read it with numpy.load"),
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
)
_TAR = (
    "is a tar archive; the tar checkpoints of PyTorch before 0.1.10 are not read, so load it in "
    "PyTorch and save it again"
)


def describe(head: bytes) -> str:
    """The rest of a sentence that begins with the file's name, from its first 512 bytes."""
    if not head:
        return "is empty"
    if head[257:262] == b"ustar":
        return _TAR
    for beginning, description in _BEGINNINGS:
        if head.startswith(beginning):
            return description
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return "is a text file, not a checkpoint"
    return "is neither a PyTorch checkpoint nor a safetensors file"
