"""autograd.functional: values, structure, requires_grad and errors are PyTorch's."""

import numpy as np
import pytest

import nbgrad

torch = pytest.importorskip("torch")

#: name -> the function, given the library, and the shapes of its inputs; a list is one tensor
FUNCTIONS = {
    "elementwise": (lambda T: lambda x: x.exp() * x, [3]),
    "of a scalar": (lambda T: lambda x: x.sin(), []),
    "of one element": (lambda T: lambda x: x.sin() * x, [1, 1]),
    "matrix": (lambda T: lambda x: (x @ x).tanh(), [2, 2]),
    "to a scalar": (lambda T: lambda x: (x ** 3).sum() * x.mean(), [2, 2]),
    "two outputs": (lambda T: lambda x: (x * x, x.sum()), [2, 3]),
    "a tuple of one": (lambda T: lambda x: (x.cumsum(0) ** 2,), ([3],)),
    "two inputs": (lambda T: lambda x, y: x * y.sin() + y.sum(), ([3], [1])),
    "two of each": (lambda T: lambda x, y: (x * y, (x + y).exp().sum()), ([2], [2])),
    "two to a scalar": (lambda T: lambda x, y: (x.sin() * y ** 2).sum(), ([2, 1], [3])),
    "an input that does not matter": (lambda T: lambda x, y: (x ** 3).sum(), ([2], [3])),
    "an output that does not depend": (lambda T: lambda x: (x.exp().sum(), T.ones(2)), [3]),
    "nothing depends": (lambda T: lambda x: x.detach().sum(), [3]),
    "linear": (lambda T: lambda x: (2 * x).sum(), [3]),
    "quadratic": (lambda T: lambda x: (x * x).sum(), [3]),
    "identity": (lambda T: lambda x: x, [3]),
    "a sum of two": (lambda T: lambda x, y: (x ** 3).sum() + (y * y).sum(), ([2], [2])),
    "to float32": (lambda T: lambda x: x.to(T.float32).exp(), [2]),
    "to integers": (lambda T: lambda x: (x.sum(), x.to(T.int64)), [2]),
    "a list": (lambda T: lambda x: [x], [2]),
    "a number": (lambda T: lambda x: 3.0, [2]),
    "a write to its input": (lambda T: lambda x: x.mul_(2).sum(), [2]),
    "a tuple with a number": (lambda T: lambda x: (x, 3.0), [2]),
}
PRODUCTS = ("vjp", "jvp", "vhp", "hvp")
OPTIONS = [{}, {"create_graph": True}, {"strict": True}, {"strict": True, "create_graph": True}]


def draw(library, shape, k, requires_grad=False):
    values = np.random.default_rng([k, *shape]).uniform(0.3, 1.5, shape)
    return library.tensor(np.asarray(values), requires_grad=requires_grad)


def inputs_of(library, shapes, requires_grad):
    several = isinstance(shapes, tuple)
    made = tuple(draw(library, shape, k, requires_grad)
                 for k, shape in enumerate(shapes if several else (shapes,)))
    return made if several else made[0]


def like(library, outcome, k=7):
    """A vector for outputs or inputs, drawn."""
    if isinstance(outcome, tuple):
        return tuple(like(library, t, k + j) for j, t in enumerate(outcome))
    return draw(library, tuple(outcome.shape), k).to(outcome.dtype)


def leaves(found):
    if isinstance(found, tuple):
        return [t for part in found for t in leaves(part)]
    return [found]


def described(library, found, inputs):
    """The structure, with values, dtype, requires_grad and the gradients of the sum."""
    if isinstance(found, tuple):
        return tuple(described(library, part, inputs) for part in found)
    gradients = None
    if found.requires_grad and any(t.requires_grad for t in leaves(inputs)):
        gradients = [None if g is None else g.tolist() for g in library.autograd.grad(
            found.sum(), leaves(inputs), retain_graph=True, allow_unused=True)]
    return {"shape": tuple(found.shape), "dtype": str(found.dtype).split(".")[1],
            "requires_grad": found.requires_grad, "values": found.detach().tolist(),
            "gradients": gradients}


def outcome(library, name, call):
    """What comes of call(library, the function of that name); of an error its class and first words."""
    try:
        return call(library, getattr(library.autograd.functional, name))
    except Exception as error:
        return type(error), str(error).replace("nbgrad.", "torch.")[:30].lower()


def same(mine, other, note):
    assert type(mine) is type(other), (note, mine, other)
    if isinstance(other, tuple):
        assert len(mine) == len(other), note
        for a, b in zip(mine, other):
            same(a, b, note)
    elif isinstance(other, dict):
        for key in ("shape", "dtype"):
            assert mine[key] == other[key], (note, key, mine, other)
        if other["requires_grad"] and not mine["requires_grad"]:  # theirs is constant, too
            assert not any(map(np.any, other["gradients"] or ())), (note, mine, other)
        else:
            assert mine["requires_grad"] == other["requires_grad"], (note, mine, other)
        for key in ("values", "gradients"):
            close(mine[key], other[key], note)
    else:
        assert mine == other, (note, mine, other)


def close(mine, other, note):
    """Numbers in lists; None stands for zeros."""
    if other is None or mine is None:
        assert not np.any(mine or other or 0), (note, mine, other)
    elif isinstance(other, list):
        assert isinstance(mine, list) and len(mine) == len(other), (note, mine, other)
        for a, b in zip(mine, other):
            close(a, b, note)
    else:
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9, err_msg=str(note))


def compare(name, function, options, requires_grad=False, vector=None):
    make, shapes = FUNCTIONS[function]

    def call(library, derive):
        inputs = inputs_of(library, shapes, requires_grad)
        args = () if vector is None else (vector(library, make(library), inputs),)
        return described(library, derive(make(library), inputs, *args, **options), inputs)

    mine, other = (outcome(library, name, call) for library in (nbgrad, torch))
    same(mine, other, (name, function, options))
    return mine


def fitting(name):
    """A vector that fits the outputs, for vjp, or the inputs."""
    def vector(library, function, inputs):
        if name != "vjp":
            return like(library, inputs)
        made = function(*(t.detach() for t in leaves(inputs)))
        return like(library, made) if all(isinstance(t, library.Tensor) for t in leaves(made)) else None

    return vector


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name, function):
    for options in OPTIONS:
        for requires_grad in (False, True):
            compare(name, function, options, requires_grad, fitting(name))
        compare(name, function, options)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["jacobian", "hessian"])
def test_matrices(name, function):
    if (name, function) == ("hessian", "a write to its input"):
        return  # they write to a view of it
    for options in [*OPTIONS, {"vectorize": True}]:
        for requires_grad in (False, True):
            compare(name, function, options, requires_grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", ["jacobian", "hessian"])
@pytest.mark.parametrize("function", ["elementwise", "of a scalar", "matrix", "to a scalar",
                                      "two outputs", "two inputs", "two of each", "two to a scalar",
                                      "an input that does not matter", "linear", "to float32",
                                      "an output that does not depend", "nothing depends"])
def test_forward_mode(name, function):
    """PyTorch records some of these results, whatever `create_graph` says, and gives some in lists."""
    make, shapes = FUNCTIONS[function]
    strategy = "strategy" if name == "jacobian" else "outer_jacobian_strategy"
    found = []
    for library, vectorize in ((nbgrad, False), (torch, True)):
        inputs = inputs_of(library, shapes, False)
        derive = getattr(library.autograd.functional, name)
        try:
            made = derive(make(library), inputs, vectorize=vectorize, **{strategy: "forward-mode"})
        except RuntimeError as error:
            found.append((type(error), str(error)[:50]))
            continue
        found.append(described(library, detached(made) if library is torch else made, inputs))
    same(*found, (name, function))


def detached(found):
    return tuple(map(detached, found)) if isinstance(found, tuple | list) else found.detach()


def test_forward_mode_can_be_differentiated():
    x = nbgrad.tensor([0.5, 0.7], dtype=nbgrad.float64, requires_grad=True)
    results = [nbgrad.autograd.functional.jacobian(lambda x: x.sin() * x.sum(), x, True, strategy=way)
               for way in ("forward-mode", "reverse-mode")]
    grads = [nbgrad.autograd.grad((made ** 2).sum(), x)[0] for made in results]
    np.testing.assert_allclose(*(g.tolist() for g in grads), rtol=1e-12)


WRONG_VECTORS = {
    "a list": lambda T, v: [v],
    "of another shape": lambda T, v: T.ones(2, 5),
    "too many": lambda T, v: (*leaves(v), T.ones(3)),
    "a number": lambda T, v: 1.0,
    "a tuple with a number": lambda T, v: (1.0,),
    "a second of another shape": lambda T, v: (leaves(v)[0], T.ones(2, 5)),
}


@pytest.mark.parametrize("function", ["elementwise", "to a scalar", "two of each", "two to a scalar"])
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("wrong", WRONG_VECTORS)
def test_wrong_vectors(wrong, name, function):
    fits = fitting(name)
    found = compare(name, function, {},
                    vector=lambda T, f, inputs: WRONG_VECTORS[wrong](T, fits(T, f, inputs)))
    assert isinstance(found[0], type)


WRONG_INPUTS = {
    "a list": lambda T: [T.ones(2)],
    "a number": lambda T: 2.0,
    "a tuple with a number": lambda T: (T.ones(2), 1),
    "integers": lambda T: T.ones(2).to(T.int64),
}


@pytest.mark.parametrize("name", (*PRODUCTS, "jacobian", "hessian"))
@pytest.mark.parametrize("wrong", WRONG_INPUTS)
def test_wrong_inputs(wrong, name):
    def call(T, derive):
        return derive(lambda *xs: xs[0].sum(), WRONG_INPUTS[wrong](T))

    mine, other = (outcome(T, name, call) for T in (nbgrad, torch))
    assert mine == other and isinstance(mine[0], type)


@pytest.mark.parametrize(("name", "options"), [
    ("jacobian", {"strategy": "sideways"}), ("hessian", {"outer_jacobian_strategy": "sideways"}),
    ("jacobian", {"strategy": "forward-mode", "strict": True}),
    ("hessian", {"outer_jacobian_strategy": "forward-mode", "strict": True}),
    ("jacobian", {"vectorize": True, "strict": True}),
    ("hessian", {"vectorize": True, "strict": True})])
def test_wrong_options(name, options):
    def call(T, derive):
        return derive(lambda x: x.prod(), T.ones(2), **options)

    mine, other = (outcome(T, name, call) for T in (nbgrad, torch))
    assert mine == other and isinstance(mine[0], type)


@pytest.mark.parametrize("library", [nbgrad, torch], ids=["nbgrad", "torch"])
def test_an_input_that_the_function_knows_otherwise(library):
    """The captured tensor is a constant, also where it is the input."""
    x = library.tensor([2.0, 3.0], requires_grad=True)
    for create_graph in (False, True):
        found = library.autograd.functional.jacobian(lambda y: x * y, x, create_graph)
        assert found.tolist() == [[2, 0], [0, 3]]
    assert x.grad is None


@pytest.mark.parametrize("library", [nbgrad, torch], ids=["nbgrad", "torch"])
def test_under_no_grad(library):
    x = library.tensor([2.0, 3.0], requires_grad=True)
    with library.no_grad():
        plain = library.autograd.functional.jacobian(lambda x: x * x, x)
        recorded = library.autograd.functional.hvp(lambda x: (x ** 3).sum(), x, library.ones(2), True)
        assert not library.is_grad_enabled()
    assert plain.tolist() == [[4, 0], [0, 6]] and not plain.requires_grad
    assert recorded[0].requires_grad and recorded[1].requires_grad


@pytest.mark.parametrize("library", [nbgrad, torch], ids=["nbgrad", "torch"])
def test_a_third_derivative(library):
    x = library.tensor([0.5, 0.25], requires_grad=True)
    hessian = library.autograd.functional.hessian(lambda x: x.prod() * x.sum(), x, create_graph=True)
    (third,) = library.autograd.grad(hessian.sum(), x)
    assert third.tolist() == [6.0, 6.0]
