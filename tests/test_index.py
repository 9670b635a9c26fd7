"""Indexing against PyTorch: reading, writing, masks, gather and scatter, two orders, errors."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbgrad
from nbgrad.autograd import gradcheck, gradgradcheck

torch = pytest.importorskip("torch")
SHAPE = (4, 5, 3)


def draw(*shape):
    return np.asarray(np.random.default_rng([5, *shape]).standard_normal(shape))


class Plain:
    """A NumPy array that stays one in a key."""

    def __init__(self, array):
        self.array = array

    def __repr__(self):
        return f"Plain({self.array!r})"


def translated(key, n):
    """A key with its NumPy arrays as tensors of library `n`, unless they are plain."""
    if isinstance(key, tuple):
        return tuple(translated(k, n) for k in key)
    if isinstance(key, Plain):
        return key.array
    return n.from_numpy(key) if isinstance(key, np.ndarray) else key


def attempt(work):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except Exception as error:
        return error


def read(n, key, shape=SHAPE):
    """The part, whether it is a view, its strides, and gradients of two orders."""
    x = n.from_numpy(draw(*shape)).requires_grad_(True)
    y = x[translated(key, n)]
    shown = tuple(y.shape), y._is_view(), y.stride() if y._is_view() and y.numel() > 1 else None
    weights = n.from_numpy(np.cos(np.arange(y.numel()))).reshape(y.shape)
    (g,) = n.autograd.grad((y * y * weights).sum(), x, create_graph=True)
    (gg,) = n.autograd.grad((g * g).sum(), x)
    return shown, [t.detach().numpy() for t in (y, g, gg)]


def write(n, key, value, shape=SHAPE, transposed=False, add=False):
    """The tensor after a write or `+=`, and the gradients to it and to what was written."""
    x = n.from_numpy(draw(*shape)).requires_grad_(True)
    y = x * 2
    v = n.from_numpy(value.copy()).requires_grad_(True) if isinstance(value, np.ndarray) else value
    target = y.transpose(0, -1) if transposed and shape else y
    if add:
        target[translated(key, n)] += v
    else:
        target[translated(key, n)] = v
    (y * n.from_numpy(np.sin(np.arange(y.numel()))).reshape(y.shape)).sum().backward()
    grads = [x.grad, v.grad if isinstance(value, np.ndarray) else None]
    return (y._version,), [t.detach().numpy() for t in (y, *grads) if t is not None]


def touches_nothing(note):
    """Whether a (key, shape) selects no element: PyTorch does not check its indices then."""
    key, shape, *_ = note
    return torch.zeros(shape)[translated(key, torch)].numel() == 0


def agree(work, note):
    mine, other = (attempt(lambda: work(n)) for n in (nbgrad, torch))  # noqa: B023
    if isinstance(other, Exception) or isinstance(mine, Exception):
        checks_more = isinstance(other, tuple) and isinstance(mine, IndexError)
        assert type(mine) is type(other) or (checks_more and touches_nothing(note)), (mine, other)
        return
    assert mine[0] == other[0], (note, mine[0], other[0])
    for a, b in zip(mine[1], other[1]):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=str(note))


def mask(*shape):
    return draw(*shape) > 0


KEYS = {
    "int": 1, "negative": -1, "slice": slice(1, 3), "step": slice(None, None, 2), "none": None,
    "ellipsis": ..., "empty tuple": (), "mixed": (0, slice(1, None), -1),
    "new axis": (None, 2, ..., None),
    "beyond": slice(2, 99), "backwards": slice(3, 1), "negative slice": slice(-3, -1),
    "array": np.array([0, 2, 2, -1]), "matrix": np.array([[0, 1], [3, 3]]), "list": [1, 0],
    "0-d array": np.array(2), "empty array": np.zeros(0, np.int64),
    "two": (np.array([0, 1]), np.array([2, 2])),
    "apart": (np.array([0, 1]), slice(None), np.array([2, 0])),
    "broadcast": (np.array([[0], [1]]), np.array([2, 3, 4])),
    "array and int": (np.array([0, 1]), 2), "int and array": (2, np.array([0, 1])),
    "int apart": (2, slice(None), np.array([0, 1])),
    "array in the middle": (slice(1, 3), np.array([4, 0])), "array last": (..., np.array([2, 0, 0])),
    "with new axis": (np.array([0, 1]), None, np.array([2, 2])), "mask": mask(4),
    "mask 2": mask(4, 5), "mask all": mask(4, 5, 3), "mask inside": (slice(None), mask(5)),
    "mask and array": (np.array([True, False, True, False]), np.array([1, 2])),
    "mask last": (..., mask(3)), "true": True, "false": False, "int32": np.array([1, 0], np.int32),
    "no mask": np.zeros((4, 5), bool),
    "range": range(2), "bool in tuple": (True, 1),
}


@pytest.mark.parametrize("name", list(KEYS))
def test_reading(name):
    agree(lambda n: read(n, KEYS[name]), name)


@pytest.mark.parametrize("name", list(KEYS))
def test_writing(name):
    part = attempt(lambda: torch.zeros(SHAPE)[translated(KEYS[name], torch)])
    agree(lambda n: write(n, KEYS[name], 0.5), name)
    agree(lambda n: write(n, KEYS[name], np.array(1.5)), name)
    if part.numel() and not isinstance(KEYS[name], list | range):
        where = torch.arange(60).reshape(SHAPE)[translated(KEYS[name], torch)].reshape(-1)
        if len(where) == len(set(where.tolist())):  # of equal places the last wins, in no order
            agree(lambda n: write(n, KEYS[name], draw(*part.shape)), name)
            agree(lambda n: write(n, KEYS[name], draw(*part.shape[-1:])), name)


numbers = st.integers(-4, 3)
vectors = st.lists(numbers, min_size=0, max_size=3)
matrices = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=2)
masks = st.lists(st.booleans(), min_size=4, max_size=4)
entry = st.one_of(
    numbers, st.just(None), st.builds(slice, st.none() | numbers, st.none() | numbers,
                                      st.none() | st.integers(1, 3)),
    vectors.map(lambda v: np.array(v, np.int64)), vectors.map(lambda v: np.array(v, np.int32)),
    matrices.map(np.array), masks.map(np.array), st.just(...), st.just(...),
    vectors, masks, matrices, st.integers(0, 3).map(range), st.booleans(), st.booleans().map(np.array),
    numbers.map(np.array), numbers.map(np.int64),
    vectors.map(lambda v: Plain(np.array(v, np.int64))), masks.map(lambda v: Plain(np.array(v))),
    st.lists(masks, min_size=4, max_size=4).map(np.array))
keys = st.lists(entry, min_size=1, max_size=4).map(tuple) | entry
SHAPES = st.sampled_from([(4, 4, 4), (4, 4), (4,), (4, 1, 4), ()])


@settings(derandomize=True, max_examples=300, deadline=None)
@given(keys, SHAPES)
def test_any_key_reads(key, shape):
    agree(lambda n: read(n, key, shape), (key, shape))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(keys, SHAPES, st.booleans())
def test_any_key_writes(key, shape, transposed):
    agree(lambda n: write(n, key, 0.25, shape, transposed), (key, shape, transposed))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(keys, SHAPES, st.booleans(), st.lists(st.sampled_from("1n-"), max_size=5), st.booleans())
def test_any_key_writes_what_is_broadcast(key, shape, transposed, cuts, add):
    """A value with axes left out or of size 1, written or added; each place is met once."""
    places = torch.arange(int(np.prod(shape))).reshape(shape)
    places = places.transpose(0, -1) if transposed and shape else places
    part = attempt(lambda: places[translated(key, torch)])
    if isinstance(part, Exception) or len(set(part.reshape(-1).tolist())) < part.numel():
        return
    value = [1 if cut == "1" else size for cut, size in zip(cuts, part.shape[::-1])]
    agree(lambda n: write(n, key, draw(*value[::-1]), shape, transposed, add), (key, shape, value))


@pytest.mark.parametrize("key", [
    4, -5, (0, 0, 0, 0), (0, 5), slice(None, None, -1), slice(0, 2, 0), 1.5,
    np.array([4]), np.array([-5]), np.array([0.5]), (np.array([0, 1]), np.array([0, 1, 2])),
    mask(3), mask(5, 4), (slice(None), mask(4)), [0, 9], (0, 0, 0, None, 0), {}])
def test_errors(key):
    for work in (lambda n: n.ones(SHAPE)[translated(key, n)],
                 lambda n: n.ones(SHAPE).__setitem__(translated(key, n), 1.0)):
        mine, other = (attempt(lambda: work(n)) for n in (nbgrad, torch))  # noqa: B023
        assert isinstance(other, Exception) and type(mine) is type(other), (key, mine, other)


def test_values_that_do_not_fit():
    for key, value in ((0, np.ones(4)), (slice(0, 2), np.ones((3, 5, 3))),
                       (mask(4, 5), np.ones((2, 2))), (np.array([0, 1]), np.ones((3, 5, 3)))):
        agree(lambda n: write(n, key, value), key)  # noqa: B023


def test_dtypes_of_written_values():
    for kind in ("int64", "uint8", "bool", "float32"):
        for value in (1, 2.7, True, np.array([3.9]), np.array([-1])):
            for key in (0, np.array([0, 1]), np.array([True, False, True])):
                def work(n):
                    t = n.zeros(3, dtype=getattr(n, kind))  # noqa: B023
                    t[translated(key, n)] = translated(value, n)  # noqa: B023
                    return (), [t.numpy()]
                converts = isinstance(value, np.ndarray) and isinstance(key, np.ndarray)
                if not converts and (kind != "uint8" or np.all(value > 0)):
                    agree(work, (kind, value, key))


INDEX = np.array([[0, 2, 1], [2, 2, 0]])
CALLS = {
    "gather": lambda n, t, i: t.gather(0, i),
    "gather last": lambda n, t, i: t.gather(-1, i[:, :2]),
    "scatter": lambda n, t, i: t.scatter(0, i[:1], t[:1] * 2),
    "scatter number": lambda n, t, i: t.scatter(1, i[:, :1], 7.0),
    "scatter_add": lambda n, t, i: t.scatter_add(0, i, t[:2] * 3),
    "index_select": lambda n, t, i: t.index_select(1, i[0]),
    "index_add": lambda n, t, i: t.index_add(0, i[1], t * 2),
    "index_add alpha": lambda n, t, i: t.index_add(1, i[1], t * 2, alpha=3),
    "take": lambda n, t, i: t.take(i * 2),
    "masked_fill": lambda n, t, i: t.masked_fill(t > 0, 2.0),
    "masked_fill broadcast": lambda n, t, i: t.masked_fill(t[0] > 0, n.tensor(3.0, dtype=t.dtype)),
    "masked_select": lambda n, t, i: t.masked_select(t > 0),
    "masked_select broadcast": lambda n, t, i: t.masked_select(t[:, :1] > 0),
    "where": lambda n, t, i: n.where(t > 0, t * 2, t * t),
    "where broadcast": lambda n, t, i: n.where(t[:, :1] > 0, t, t[0]),
    "where numbers": lambda n, t, i: n.where(t > 0, t, 0.5),
    "where number first": lambda n, t, i: n.where(t > 0, 2, t),
    "index_put_": lambda n, t, i: (t * 1).index_put_((i[0],), t[0] * 2),
    "index_put_ add": lambda n, t, i: (t * 1).index_put_((i[1], i[0]), t[0] * 2, accumulate=True),
    "masked_fill_": lambda n, t, i: (t * 1).masked_fill_(t > 0, 4.0),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_along_an_axis(name):
    """gather, scatter, masks and their kin, on contiguous and transposed inputs."""
    for order in (slice(None), None):
        def work(n):
            x = n.from_numpy(draw(3, 3)).requires_grad_(True)
            t = x if order else x.t()  # noqa: B023
            y = CALLS[name](n, t, n.from_numpy(INDEX))
            (g,) = n.autograd.grad((y * y * y).sum(), x, create_graph=True)
            (gg,) = n.autograd.grad((g * g).sum(), x)
            return tuple(y.shape), [v.detach().numpy() for v in (y, g, gg)]
        agree(work, name)


@pytest.mark.parametrize("name", ["gather", "scatter", "scatter_add", "index_add", "masked_fill",
                                  "where", "take", "index_put_ add"])
def test_gradcheck(name):
    i = nbgrad.from_numpy(INDEX)
    x = nbgrad.tensor(draw(3, 3), requires_grad=True)
    assert gradcheck(lambda t: CALLS[name](nbgrad, t, i), x)
    assert gradgradcheck(lambda t: CALLS[name](nbgrad, t, i) ** 2, x)


@pytest.mark.parametrize("call", [
    lambda n, t: t.gather(0, n.tensor([[3, 0, 0]])), lambda n, t: t.gather(0, n.tensor([[-1, 0, 0]])),
    lambda n, t: t.gather(2, n.tensor([[0]])), lambda n, t: t.gather(0, n.tensor([0])),
    lambda n, t: t.gather(0, n.tensor([[0.0]])), lambda n, t: t.gather(1, n.zeros(4, 1).long()),
    lambda n, t: t.scatter(0, n.tensor([[0, 0, 9]]), t), lambda n, t: t.scatter(
        0, n.tensor([[0, 0, 0]]), t.long()), lambda n, t: t.scatter_add(0, n.zeros(4, 3).long(), t),
    lambda n, t: t.scatter(0, n.zeros(2, 4).long(), n.ones(4, 4)),
    lambda n, t: t.scatter(0, n.zeros(2, 4).long(), 1.0), lambda n, t: t.scatter(0, n.tensor([0]), t),
    lambda n, t: t.scatter_add(0, n.tensor([[0]]), n.ones(3, 1, 3)),
    lambda n, t: t.scatter_add(0, n.tensor([[5]]), t),
    lambda n, t: n.ones(0, 3).gather(0, n.zeros(1, 3).long()),
    lambda n, t: t.index_select(0, n.tensor([[0]])), lambda n, t: t.index_select(0, n.tensor([5])),
    lambda n, t: t.index_select(0, n.tensor([0.5])), lambda n, t: t.index_add(0, n.tensor([0]), t),
    lambda n, t: t.take(n.tensor([9])), lambda n, t: t.masked_fill(t, 1.0),
    lambda n, t: t.masked_fill(t > 0, t), lambda n, t: t.byte().masked_fill(t > 0, 300),
    lambda n, t: t.masked_select(t), lambda n, t: t.masked_fill(n.ones(2, 2).bool(), 1.0)])
def test_errors_along_an_axis(call):
    mine, other = (attempt(lambda: call(n, n.ones(3, 3))) for n in (nbgrad, torch))  # noqa: B023
    assert isinstance(other, Exception) and type(mine) is type(other), (mine, other)


@pytest.mark.parametrize("call", [
    lambda n, t, i: t.gather(0, i), lambda n, t, i: t.scatter(0, i, t * 2),
    lambda n, t, i: t.scatter_add(0, i, t * 2)])
def test_a_write_to_the_index_is_noticed(call):
    for n in (nbgrad, torch):
        x, i = n.ones(3, 3).requires_grad_(True), n.zeros(3, 3).long()
        y = call(n, x, i)
        i += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_a_source_larger_than_its_index_gets_zeros():
    """PyTorch refuses to go back through these."""
    for name in ("scatter", "scatter_add", "scatter_reduce"):
        x, index = draw(3, 4), np.array([[0, 2, 1], [3, 0, 2]])
        source, more = draw(5, 6), ("amax",) if name == "scatter_reduce" else ()
        grads = []
        for n, cut in ((nbgrad, source), (torch, source[:2, :3])):
            s = n.from_numpy(cut.copy()).requires_grad_(True)
            y = getattr(n.from_numpy(x), name)(1, n.from_numpy(index), s, *more)
            (y * y).sum().backward()
            grads.append(s.grad.numpy())
        np.testing.assert_allclose(grads[0][:2, :3], grads[1])
        assert np.count_nonzero(grads[0]) == np.count_nonzero(grads[1])


def test_as_strided_scatter_keeps_no_gradient_where_it_wrote():
    x, src = (nbgrad.tensor(draw(*s), requires_grad=True) for s in ((3, 4), (2, 2)))

    def call(x, src):
        return nbgrad.as_strided_scatter(x * 1, src, (2, 2), (1, 4), 1) ** 2

    assert gradcheck(call, (x, src)) and gradgradcheck(call, (x, src))
    with pytest.raises(RuntimeError, match="contiguous"):
        nbgrad.as_strided_scatter(x.t(), src, (2, 2), (1, 4))


def test_what_cannot_be_differentiated_says_so():
    x = nbgrad.tensor(draw(3), requires_grad=True)
    i = nbgrad.tensor([0, 0, 1])
    with pytest.raises(RuntimeError, match="derivative for aten::scatter"):
        x.scatter(0, i, x, reduce="add").sum().backward()
    y = x.scatter_reduce(0, i, x * nbgrad.tensor([0.0, 0.0, 1.0]), "prod")
    (g,) = nbgrad.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="Double backward is unsupported"):
        g.sum().backward()


@pytest.mark.parametrize("name", ["scatter_", "scatter_add_", "index_fill_", "index_copy_", "put_"])
def test_an_index_outside_leaves_the_tensor_as_it_was(name):
    x, i = nbgrad.ones(3), nbgrad.tensor([0, 9])
    arguments = (i, nbgrad.zeros(2)) if name == "put_" else (0, i, nbgrad.zeros(2))
    if name == "index_fill_":
        arguments = 0, i, 0.0
    with pytest.raises((IndexError, RuntimeError), match="9"):
        getattr(x, name)(*arguments)
    assert x.tolist() == [1, 1, 1] and x._version == 0


def test_nonzero():
    for array in (draw(3, 4) > 0, np.array([0, 3, 0, -1]), np.zeros((2, 0)), np.array(1.0),
                  np.array(0)):
        for as_tuple in (False, True):
            def work(n):
                found = n.from_numpy(np.asarray(array)).nonzero(as_tuple=as_tuple)  # noqa: B023
                return (), [t.numpy() for t in (found if as_tuple else (found,))]  # noqa: B023
            agree(work, array)


def test_a_write_is_seen_through_every_name():
    x = nbgrad.zeros(2, 3)
    v, w = x[0], x.t()
    x[0, 1] = 5
    assert v.tolist() == [0, 5, 0] and w[1, 0].item() == 5 and x._version == v._version == 1


def test_iteration_and_membership():
    x = nbgrad.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert [r.tolist() for r in x] == x.tolist() and 3 in x and 7 not in x and len(x) == 2
