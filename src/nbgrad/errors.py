"""Exceptions of nbgrad."""


class CheckpointError(RuntimeError):
    """A file is not a checkpoint that nbgrad can read; the message says what it is."""


class DataError(RuntimeError):
    """A data set is missing, incomplete or damaged; the message names the path."""


class LinAlgError(RuntimeError):
    """A matrix has no inverse, factorization or solution; the message says which."""


class OutOfMemoryError(RuntimeError):
    """A CUDA device has no memory left for a tensor; the message says how much was asked for."""
