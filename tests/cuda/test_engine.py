"""The engine's tests once more where new tensors lie on the device: all is as on the CPU."""

import importlib.util
import re
from pathlib import Path

import pytest

import nbgrad

TESTS = Path(__file__).parents[1]
FILES = ["engine/test_checkpoint", "engine/test_explain", "engine/test_functional",
         "engine/test_functional_call", "engine/test_gradcheck", "engine/test_lines",
         "engine/test_looking", "engine/test_scripts", "engine/test_third_order",
         "golden/test_engine", "golden/test_inplace", "test_graph"]
#: for the simulator too large, or made of arrays of the host
LEFT_OUT = re.compile(
    r"graph_is_d|diamond|million|long_chain|large|sizes[1-3]|[-[]200\]|1000|operand\[6")


def loaded(name):
    spec = importlib.util.spec_from_file_location(name.replace("/", "."), TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def suite(name):
    """A class of the tests of a file, named after it."""
    tests = {key: staticmethod(f) for key, f in vars(loaded(name)).items() if key.startswith("test_")}
    return type(Path(name).name.title().replace("_", ""), (), tests)


globals().update({s.__name__: s for s in map(suite, FILES)})
golden = loaded("golden/conftest")
raises, same, words = golden.raises, golden.same, golden.words


@pytest.fixture
def torch():
    return nbgrad


@pytest.fixture(autouse=True)
def on_the_device(request, monkeypatch):
    if LEFT_OUT.search(request.node.name):
        pytest.skip("too large, or about arrays of the host")
    if request.cls.__name__ == "TestGraph":  # looks at numbers, wherever they are
        numpy = nbgrad.Tensor.numpy
        monkeypatch.setattr(nbgrad.Tensor, "numpy", lambda t: numpy(t.cpu()))
    with nbgrad.device("cuda"):
        yield
