"""Switches of cuDNN that programs set; nbgrad does not use it, and they change nothing."""

enabled = benchmark = deterministic = allow_tf32 = False


def is_available() -> bool:
    """Whether cuDNN is used: no."""
    return False


def version() -> None:
    """The version of cuDNN: none."""
