"""Where kernels run: the device that is asked for, and the twin of a CPU kernel on a CUDA device."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nbgrad import devices
from nbgrad.devices import CPU, device
from nbgrad.kernels.cuda.array import DeviceArray, OnHost, refuse_host


def resolve(value) -> device:
    """The device asked for, made ready, or an error that says why it cannot be had."""
    if value is None or value is CPU:
        return CPU
    if isinstance(value, int) and not isinstance(value, bool):
        value = device("cuda", value)
    if not isinstance(value, (str, device)):
        raise TypeError(f"device must be a nbgrad.device or a string, got {value!r}")
    found = device(value)
    if found.type == "cpu":
        return CPU
    try:
        machine().check()
    except RuntimeError as error:
        raise RuntimeError(f"device='{value}' cannot be used: {error}. "
                           "`python -m nbgrad doctor` says more.") from None
    index = found.index or 0
    if index:
        raise RuntimeError(f"CUDA error: invalid device ordinal: nbgrad uses the first CUDA device, "
                           f"cuda:0; '{value}' was asked for. CUDA_VISIBLE_DEVICES chooses which one "
                           "is the first.")
    return devices.gpu(0)


def machine() -> Any:
    """The CUDA device, or what stands in for it."""
    from nbgrad.kernels.cuda.provider import machine
    return machine


class Twins:
    """The kernels of a family, each for the device of its first argument.

    Arrays of the host go to kernels/cpu, arrays of a CUDA device to the function of that name in
    kernels/cuda; OnHost where there is none, Mixed where other arguments are arrays of the host.
    Arguments are given by position.
    """

    def __init__(self, family: str) -> None:
        self._family, self._cpu = family, import_module(f"nbgrad.kernels.cpu.{family}")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cpu, name)
        if callable(found) and not isinstance(found, type):
            found = self._either(found, name)
        setattr(self, name, found)
        return found

    def _either(self, cpu, name: str):
        twins: list = []

        def call(*args):
            if type(args[0]) is not DeviceArray:
                return cpu(*args)
            if not twins:
                twins.append(_twin(self._family, name))
            refuse_host(args)
            return twins[0](*args)

        call.__name__, call.__doc__ = name, cpu.__doc__
        return call


def _twin(family: str, name: str):
    try:
        return getattr(import_module(f"nbgrad.kernels.cuda.{family}"), name)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != f"nbgrad.kernels.cuda.{family}":
            raise
        what = f"{family}.{name}"

        def missing(*args):
            raise OnHost(what)

        return missing
