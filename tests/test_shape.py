"""Views and joins against PyTorch: values, strides, gradients, errors, and rebased history."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbgrad

torch = pytest.importorskip("torch")


def draw(*shape):
    return np.asarray(np.random.default_rng([3, *shape]).standard_normal(shape))


#: shape of the input, and what is done to it; `n` is the library
VIEWS = {
    "view": ((2, 3, 4), lambda n, t: t.view(6, 4)),
    "view infer": ((2, 3, 4), lambda n, t: t.view(-1, 2)),
    "view ones": ((2, 3, 4), lambda n, t: t.view(2, 1, 3, 4, 1)),
    "view list": ((6,), lambda n, t: t.view([2, 3])),
    "view cut of a transpose": ((4, 6), lambda n, t: t.t().view(2, 3, 4)),
    "view of a slice": ((4, 6), lambda n, t: t[:, 2:4].view(2, 2, 2)),
    "view scalar": ((1,), lambda n, t: t.view(())),
    "view empty": ((0, 3), lambda n, t: t.view(3, 0)),
    "view of expanded": ((2, 1), lambda n, t: t.expand(2, 6).view(2, 3, 2)),
    "reshape": ((2, 3, 4), lambda n, t: t.reshape(4, 6)),
    "reshape copies": ((4, 6), lambda n, t: t.t().reshape(24)),
    "reshape one": ((3,), lambda n, t: n.reshape(t, (3, 1))),
    "permute": ((2, 3, 4), lambda n, t: t.permute(2, 0, 1)),
    "permute negative": ((2, 3, 4), lambda n, t: t.permute((-1, 0, -2))),
    "transpose": ((2, 3, 4), lambda n, t: t.transpose(0, -1)),
    "transpose 0-d": ((), lambda n, t: t.transpose(0, -1)),
    "t": ((3, 4), lambda n, t: t.t()),
    "t vector": ((3,), lambda n, t: t.t()),
    "T": ((2, 3), lambda n, t: t.T),
    "mT": ((2, 3, 4), lambda n, t: t.mT),
    "movedim": ((2, 3, 4), lambda n, t: t.movedim((0, 1), (-1, 0))),
    "expand": ((3, 1), lambda n, t: t.expand(2, 3, 4)),
    "expand keep": ((3, 1), lambda n, t: t.expand(-1, 4)),
    "expand 0-d": ((), lambda n, t: t.expand(2, 3)),
    "expand same": ((2, 3), lambda n, t: t.expand(2, 3)),
    "expand to nothing": ((1, 3), lambda n, t: t.expand(0, 3)),
    "broadcast_to": ((3, 1), lambda n, t: n.broadcast_to(t, (2, 3, 4))),
    "expand_as": ((3, 1), lambda n, t: t.expand_as(n.zeros(3, 5))),
    "squeeze": ((1, 3, 1, 2), lambda n, t: t.squeeze()),
    "squeeze dim": ((1, 3, 1, 2), lambda n, t: t.squeeze(2)),
    "squeeze kept": ((1, 3, 1, 2), lambda n, t: t.squeeze(1)),
    "squeeze dims": ((1, 3, 1, 2), lambda n, t: t.squeeze((0, -2))),
    "squeeze 0-d": ((), lambda n, t: t.squeeze(0)),
    "unsqueeze": ((3, 2), lambda n, t: t.unsqueeze(1)),
    "unsqueeze end": ((3, 2), lambda n, t: t.t().unsqueeze(-1)),
    "flatten": ((2, 3, 4), lambda n, t: t.flatten()),
    "flatten part": ((2, 3, 4), lambda n, t: t.flatten(1)),
    "flatten copies": ((2, 3, 4), lambda n, t: t.permute(2, 0, 1).flatten(0, 1)),
    "flatten 0-d": ((), lambda n, t: t.flatten()),
    "unflatten": ((2, 12), lambda n, t: t.unflatten(1, (3, -1))),
    "narrow": ((5, 4), lambda n, t: t.narrow(0, 1, 3)),
    "narrow negative": ((5, 4), lambda n, t: t.narrow(-1, -2, 2)),
    "narrow to nothing": ((5, 4), lambda n, t: t.narrow(0, 5, 0)),
    "select": ((5, 4), lambda n, t: t.select(1, -1)),
    "diagonal": ((4, 4), lambda n, t: t.diagonal()),
    "diagonal above": ((3, 5), lambda n, t: t.diagonal(2)),
    "diagonal below": ((3, 5), lambda n, t: t.diagonal(-1)),
    "diagonal outside": ((3, 5), lambda n, t: t.diagonal(9)),
    "diagonal of axes": ((2, 3, 4), lambda n, t: t.diagonal(1, -1, 0)),
    "unfold": ((7,), lambda n, t: t.unfold(0, 3, 2)),
    "unfold overlaps": ((3, 7), lambda n, t: t.unfold(1, 3, 1)),
    "as_strided": ((12,), lambda n, t: t.as_strided((3, 2), (4, 1), 1)),
    "as_strided overlaps": ((12,), lambda n, t: t.as_strided((4, 3), (2, 1))),
    "as_strided of a slice": ((12,), lambda n, t: t[2:].as_strided((2, 2), (3, 1))),
    "contiguous": ((3, 4), lambda n, t: t.t().contiguous()),
    "ravel": ((3, 4), lambda n, t: t.t().ravel()),
    "repeat": ((2, 3), lambda n, t: t.repeat(2, 1, 3)),
    "chain": ((2, 3, 4), lambda n, t: t.transpose(0, 2)[1:, ::2].unsqueeze(0).expand(2, 3, 2, 2)),
    "cat": ((2, 3), lambda n, t: n.cat([t, t * 2, t[:1]])),
    "cat last": ((2, 3), lambda n, t: n.cat((t, t[:, 1:]), -1)),
    "cat empty": ((2, 3), lambda n, t: n.cat([n.empty(0).to(t.dtype), t])),
    "cat mixed": ((2, 3), lambda n, t: n.cat([t, n.ones(1, 3, dtype=n.int32)])),
    "stack": ((2, 3), lambda n, t: n.stack([t, t + 1], 1)),
    "stack last": ((2, 3), lambda n, t: n.stack([t, t, t], -1)),
    "stack 0-d": ((), lambda n, t: n.stack([t, t])),
}
SEVERAL = {
    "unbind": ((3, 2), lambda n, t: t.unbind()),
    "unbind last": ((3, 2), lambda n, t: n.unbind(t, -1)),
    "split": ((5, 2), lambda n, t: t.split(2)),
    "split sizes": ((5, 2), lambda n, t: n.split(t, [1, 4])),
    "split last": ((2, 6), lambda n, t: t.split(4, -1)),
    "chunk": ((7, 2), lambda n, t: t.chunk(3)),
    "chunk fewer": ((2, 5), lambda n, t: t.chunk(4, 1)),
    "split_with_sizes": ((4,), lambda n, t: t.split_with_sizes([1, 0, 3])),
}


def story(n, call, shape):
    """What a call returns, its strides and offsets, and its gradients of two orders."""
    x = n.from_numpy(draw(*shape)).requires_grad_(True)
    found = call(n, x)
    outs = found if isinstance(found, tuple | list) else (found,)
    shown = [(tuple(o.shape), o.numel() and o.storage_offset(), o._is_view(),
              o.detach().numpy().tolist(), o.stride() if o.numel() else None) for o in outs]
    total = sum((o * o * n.from_numpy(np.cos(np.arange(o.numel()))).reshape(o.shape)).sum()
                for k, o in enumerate(outs) if k != 1)
    (g,) = n.autograd.grad(total, x, create_graph=True)
    (gg,) = n.autograd.grad((g * g * g).sum(), x)
    return shown, [g.detach().numpy(), gg.numpy()]


def loose(strides, shape):
    """Strides of axes that are walked."""
    return strides and [s for s, n in zip(strides, shape) if n != 1]


@pytest.mark.parametrize("name", [*VIEWS, *SEVERAL])
def test_values_strides_and_gradients(name):
    shape, call = (VIEWS | SEVERAL)[name]
    (mine, own_grads), (other, grads) = story(nbgrad, call, shape), story(torch, call, shape)
    assert len(mine) == len(other)
    for a, b in zip(mine, other):
        assert a[0] == b[0] and a[1] == b[1] and a[3] == b[3], name
        assert loose(a[4], a[0]) == loose(b[4], b[0]), name
        assert a[2] == b[2] or name == "ravel", name
    for a, b in zip(own_grads, grads):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("name", list(VIEWS))
def test_memory_is_shared_as_in_pytorch(name):
    shape, call = VIEWS[name]
    shared = []
    for n in (nbgrad, torch):
        x = n.from_numpy(draw(*shape))
        y = call(n, x)
        shared.append(np.shares_memory(x.numpy(), y.numpy()) if y.numel() else None)
    assert shared[0] == shared[1]


def test_integers_and_bools_are_joined_as_in_pytorch():
    for kinds in (("int32", "int64"), ("bool", "uint8"), ("float32", "float64"), ("int64", "float32")):
        for join in ("cat", "stack"):
            found = [str(getattr(n, join)([n.ones(2, dtype=getattr(n, k)) for k in kinds]).dtype)
                     for n in (nbgrad, torch)]
            assert found[0] == found[1].replace("torch", "nbgrad")


@pytest.mark.parametrize("call", [
    lambda n, t: t.view(5), lambda n, t: t.view(-1, -1), lambda n, t: t.view(-1, 7),
    lambda n, t: t.t().view(-1), lambda n, t: t.view(-2, 3), lambda n, t: t.reshape(7),
    lambda n, t: t.permute(0), lambda n, t: t.permute(0, 0), lambda n, t: t.permute(0, 2),
    lambda n, t: t.transpose(0, 2), lambda n, t: t.expand(3), lambda n, t: t.expand(4, 3),
    lambda n, t: t.expand(-1, 2, 3), lambda n, t: t.squeeze(2), lambda n, t: t.unsqueeze(3),
    lambda n, t: t.flatten(1, 0), lambda n, t: t.narrow(0, 1, 2), lambda n, t: t.narrow(0, 3, 0),
    lambda n, t: t.select(0, 2), lambda n, t: t.select(2, 0), lambda n, t: t.diagonal(0, 1, 1),
    lambda n, t: t.unfold(0, 3, 1), lambda n, t: t.unfold(0, 1, 0), lambda n, t: t.unfold(5, 1, 1),
    lambda n, t: t.as_strided((3, 3), (3, 1)), lambda n, t: t.as_strided((2,), (-1,)),
    lambda n, t: t.as_strided((2,), (1, 1)), lambda n, t: t.as_strided((2,), (1,), -1),
    lambda n, t: n.cat([]), lambda n, t: n.cat([t, t[0]]), lambda n, t: n.cat([t, t[:, :1]]),
    lambda n, t: n.cat([t.sum()]), lambda n, t: n.cat([t], 2), lambda n, t: n.stack([t, t[:1]]),
    lambda n, t: n.stack([]), lambda n, t: n.cat([t, 1]), lambda n, t: t.split(-1),
    lambda n, t: t.split([1, 2]), lambda n, t: t.chunk(0), lambda n, t: t.sum().unbind(),
    lambda n, t: t.unbind(2), lambda n, t: t.repeat(2), lambda n, t: t.movedim((0, 0), (1, 0)),
    lambda n, t: t.unflatten(1, (2, 2)), lambda n, t: n.zeros(2, 3, 4).t(),
    lambda n, t: t.sum().narrow(0, 0, 0), lambda n, t: t.sum().select(0, 0)])
def test_errors(call):
    kinds = []
    for n in (nbgrad, torch):
        with pytest.raises(Exception) as caught:
            call(n, n.ones(2, 3))
        kinds.append(caught.type)
    assert kinds[0] is kinds[1], kinds


OVERLAPS = {
    "row": lambda t: t.add_(t[0]), "shifted": lambda t: t[1:].add_(t[:-1]),
    "transposed": lambda t: t.mul_(t.t()), "itself": lambda t: t.mul_(t),
    "columns": lambda t: t[:, 0].add_(t[:, 1]), "same column": lambda t: t[:, 0].mul_(t[:, 0]),
    "halves": lambda t: t[:2].add_(t[2:]), "steps": lambda t: t[::2].sub_(t[1::2]),
    "copy": lambda t: t[:, 1].copy_(t[:, 0]), "set columns": lambda t: t.__setitem__(
        (slice(None), [0, 1]), t[:, 1:3]), "diagonal": lambda t: t.diagonal().add_(t[1, 2]),
}


@pytest.mark.parametrize("name", list(OVERLAPS))
def test_writes_beside_what_is_read(name):
    """Twice, and after the same op on separate memory: what is refused does not hang on the past."""
    found = []
    for n in (nbgrad, torch):
        t = n.from_numpy(draw(4, 4))
        n.ones(4, 4, dtype=n.float64).add_(n.ones(4, dtype=n.float64))
        n.ones(4, 4, dtype=n.float64).mul_(n.ones(4, 4, dtype=n.float64).t())
        for _ in range(2):
            try:
                OVERLAPS[name](t)
            except RuntimeError as error:
                found.append(str(error)[:80])
        found.append(t.tolist())
    half = len(found) // 2
    assert found[:half] == found[half:]


def test_a_write_reads_before_it_overwrites():
    """Where PyTorch's order is open, ours is: all is read first."""
    a = draw(4, 4)
    t = nbgrad.from_numpy(a.copy())
    t[..., 1:].add_(t[..., :-1])
    np.testing.assert_array_equal(t.numpy()[:, 1:], a[:, 1:] + a[:, :-1])
    t = nbgrad.from_numpy(a.copy())
    t[[0, 1, 2]] = t[1:]
    np.testing.assert_array_equal(t.numpy(), a[[1, 2, 3, 3]])


# Random programs of views and in-place writes: both libraries agree on every value and gradient,
# or both refuse.

STEPS = {
    "row": lambda n, t: t[0], "tail": lambda n, t: t[1:], "step": lambda n, t: t[..., ::2],
    "transpose": lambda n, t: t.transpose(0, -1), "flat": lambda n, t: t.view(-1),
    "unsqueeze": lambda n, t: t.unsqueeze(0), "expand": lambda n, t: t.unsqueeze(0).expand(2, *t.shape),
    "narrow": lambda n, t: t.narrow(0, 0, 1), "diagonal": lambda n, t: t.diagonal(),
    "squeeze": lambda n, t: t.squeeze(), "unbind": lambda n, t: t.unbind(0)[0],
    "detach": lambda n, t: t.detach(),
    "mul": lambda n, t: t * 2, "sin": lambda n, t: t.sin(), "square": lambda n, t: t * t,
    "mul_": lambda n, t: t.mul_(1.5), "sin_": lambda n, t: t.sin_(), "exp_": lambda n, t: t.exp_(),
    "zero_": lambda n, t: t.zero_(), "fill_": lambda n, t: t.fill_(0.5),
    "sigmoid_": lambda n, t: t.sigmoid_(), "self_": lambda n, t: t.mul_(t),
    "set": lambda n, t: t.__setitem__(0, 0.25), "set part": lambda n, t: t.__setitem__(
        (..., slice(0, 1)), t[..., :1] * 3),
    "set index": lambda n, t: t.__setitem__(n.tensor([0, 0]), 0.75),
    "relu_": lambda n, t: t.relu_(), "clamp_": lambda n, t: t.clamp_(-0.5, 0.5),
}
#: what takes a second tensor made earlier
PAIRS = {
    "add": lambda n, t, u: t + u, "times": lambda n, t, u: t * u, "add_": lambda n, t, u: t.add_(u),
    "times_": lambda n, t, u: t.mul_(u), "copy_": lambda n, t, u: t.copy_(u),
    "mask_": lambda n, t, u: t.masked_fill_(u.detach() > 0, 0.1),
}


def run(n, start, program):
    """The values and the leaf's gradient, or at which step (or in backward) it was refused."""
    x = n.from_numpy(start.copy()).requires_grad_(True)
    made = [x * 1.0]
    for at, (name, k, j) in enumerate(program):
        t, u = made[k % len(made)], made[j % len(made)]
        if name in PAIRS and name.endswith("_") and np.shares_memory(*(
                v.detach().numpy() for v in (t, u))):
            continue
        try:
            found = STEPS[name](n, t) if name in STEPS else PAIRS[name](n, t, u)
        except (RuntimeError, IndexError) as error:
            strict = "multiple views" in str(error) or (name == "copy_" and "memory" in str(error))
            return "strict" if strict else type(error), at
        if found is not None and not any(found is m for m in made):
            made.append(found)
    try:
        values = [m.detach().numpy().copy() for m in made]
        flags = [(m.requires_grad, m._version) for m in made]
        total = sum((m * (1 + k)).sum() for k, m in enumerate(made) if m.requires_grad)
    except RuntimeError:
        return "strict", len(program)
    try:
        if isinstance(total, int):
            return values, flags, None
        total.backward()
    except RuntimeError as error:
        known = [k for k in ("modified by an inplace", "single memory location") if k in str(error)]
        assert known, error
        return values, flags, known[0]
    return values, flags, np.zeros(start.shape) if x.grad is None else x.grad.numpy()


step = st.tuples(st.sampled_from([*STEPS, *PAIRS]), st.integers(0, 5), st.integers(0, 5))


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.lists(step, min_size=2, max_size=8), st.sampled_from([(2, 3), (3, 3), (4,), (2, 1, 2)]))
def test_programs_of_views_and_writes(program, shape):
    start = draw(*shape) * 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, other = run(nbgrad, start, program), run(torch, start, program)
    if other[0] == "strict":  # there, copy_ refuses what overlaps, and a view of many may be read no
        return                # more once its base was written
    assert len(mine) == len(other), (program, mine, other)
    if len(mine) == 2:
        assert mine == other, program
        return
    assert mine[1] == other[1], (program, mine[1], other[1])
    for a, b in zip(mine[0], other[0]):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    if isinstance(other[2], str) and other[2] == "single memory location":
        return  # its backward writes through an expanded view, ours need not
    if isinstance(mine[2], np.ndarray) and isinstance(other[2], np.ndarray):
        np.testing.assert_allclose(mine[2], other[2], rtol=1e-9, atol=1e-10, err_msg=str(program))
    else:
        assert mine[2] is other[2] or mine[2] == other[2], (program, mine[2], other[2])


# A tensor that becomes a view of itself: its layout and history change, the tensor stays.

BECOME = {
    "t_": ((2, 3), lambda t: t.t_()), "transpose_": ((2, 3, 4), lambda t: t.transpose_(0, -1)),
    "swapaxes_": ((2, 3), lambda t: t.swapaxes_(0, 1)), "squeeze_": ((1, 3, 1), lambda t: t.squeeze_()),
    "squeeze_ dim": ((1, 3, 1), lambda t: t.squeeze_(-1)),
    "unsqueeze_": ((3,), lambda t: t.unsqueeze_(0)),
    "as_strided_": ((6,), lambda t: t.as_strided_((2, 2), (3, 1), 1)),
    "twice": ((2, 3), lambda t: t.t_().t_()),
    "then write": ((2, 3), lambda t: t.t_().mul_(3)),
}


@pytest.mark.parametrize("name", BECOME)
@pytest.mark.parametrize("where", ["own", "view", "with a view", "saved before", "no_grad"])
def test_in_place_views(name, where):
    """Shape, strides, version, history and gradients of what becomes a view, and of its views."""
    shape, call = BECOME[name]
    found = []
    for n in (nbgrad, torch):
        x = n.from_numpy(draw(2, *shape)).requires_grad_(True)
        whole = x * 2
        t = whole[1] if where == "view" else x[1] * 2
        other = t.view(-1) if where == "with a view" else None
        kept = t.exp() if where == "saved before" else None
        if where == "no_grad":
            t = t.detach()
            with n.no_grad():
                same = call(t)
        else:
            same = call(t)
        assert same is t
        story = [tuple(t.shape), t.stride(), t.storage_offset(), t._version, t.requires_grad,
                 t._is_view(), t.detach().numpy().tolist(), t.is_leaf]
        if where != "no_grad":
            weights = n.from_numpy(draw(*t.shape))
            total = (t * t * weights).sum()
            if other is not None:
                total = total + (other * other * n.from_numpy(draw(other.numel()))).sum()
            if where == "view":
                total = total + (whole * whole * whole).sum()
            if kept is not None:
                total = total + kept.sum()
            try:
                (g,) = n.autograd.grad(total, x, create_graph=True)
                (gg,) = n.autograd.grad((g * g).sum(), x)
                story += [g.tolist(), gg.tolist()]
            except RuntimeError as error:
                story.append("inplace" if "modified by an inplace" in str(error) else error)
        found.append(story)
    for mine, other in zip(*found):
        if isinstance(mine, list):
            np.testing.assert_allclose(mine, other, rtol=1e-10)
        else:
            assert mine == other


def test_a_retained_gradient_has_the_new_shape():
    x = nbgrad.from_numpy(draw(2, 3)).requires_grad_(True)
    t = x * 2
    t.retain_grad()
    t.t_().mul_(3)
    (t * t).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), 12 * draw(2, 3).T)
    np.testing.assert_allclose(x.grad.numpy(), 72 * draw(2, 3))
    t = x * 2
    with nbgrad.no_grad():  # PyTorch leaves the history of the old shape here
        t.t_()
    (g,) = nbgrad.autograd.grad((t * t).sum(), x)
    np.testing.assert_allclose(g.numpy(), 8 * draw(2, 3))


def test_in_place_views_of_leaves_and_of_many():
    for n in (nbgrad, torch):
        leaf = n.ones(2, 3, requires_grad=True)
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            leaf.t_()
        with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
            leaf[0].unsqueeze_(0)
        with pytest.raises(RuntimeError, match="returns multiple views"):
            (leaf * 2).unbind(0)[0].unsqueeze_(0)
        with n.no_grad():
            assert leaf.t_() is leaf
        assert leaf.is_leaf and leaf.shape == (3, 2)
        leaf.sum().backward()
        assert leaf.grad.shape == (3, 2)
        with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
            leaf.resize_(2, 2)
        with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
            (leaf * 2).resize_(2)


def test_windows_beside_their_base():
    """as_strided of a slice may show what lies outside it, which has no gradient; twice too."""
    found = []
    for n in (nbgrad, torch):
        x = n.from_numpy(draw(12)).requires_grad_(True)
        y = (x * 1)[4:7].as_strided((2, 3), (4, 2), 2)
        (g,) = n.autograd.grad((y**3).sum(), x, create_graph=True)
        (gg,) = n.autograd.grad((g**2).sum(), x)
        found.append([y.tolist(), g.tolist(), gg.tolist()])
    for mine, other in zip(*found):
        np.testing.assert_allclose(mine, other)


@pytest.mark.parametrize("call", [
    lambda n: n.zeros(2, out=n.ones(3)), lambda n: n.cat([n.ones(2), n.ones(1)], out=n.empty(2)),
    lambda n: n.stack([n.ones(2)], out=n.empty(0)), lambda n: n.hstack((n.ones(2),), out=n.empty(2)),
    lambda n: n.vstack((n.ones(2),), out=n.empty(0)), lambda n: n.eye(2, out=n.ones(1)),
    lambda n: n.cat([n.ones(2)], out=n.empty(4)[::2])])
def test_out_is_made_to_fit(call):
    found = []
    for n in (nbgrad, torch):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            t = call(n)
        found.append((t.tolist(), t.stride(), [str(w.message)[:30] for w in caught]))
    assert found[0] == found[1]
