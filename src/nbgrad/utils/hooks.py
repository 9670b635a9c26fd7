"""What removes a hook, under PyTorch's name."""

from nbgrad.engine.node import Handle as RemovableHandle

__all__ = ["RemovableHandle"]
