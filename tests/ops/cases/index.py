"""Reading and writing at indices: along an axis, in the flat tensor, at masks and in windows."""

from nbgrad.testing.cases import bools, case, distinct, ints, uniform


def permuted(*shape, axis=-1):
    """Index that meets each place along an axis at most once, so that the order does not matter."""
    return lambda random: random.random(shape).argsort(axis)


def some_zeros(*shape):
    """Floats of which some are 0."""
    return lambda random: random.standard_normal(shape) * (random.random(shape) < 0.6)


def tied(*shape):
    """Floats with many equal ones."""
    return lambda random: random.integers(-1, 2, shape) + 0.5


CASES = [
    # gather and its kin
    case("torch.gather(a, 0, b)", (3, 4), ints(5, 4, high=3)),
    case("torch.gather(a, dim=-1, index=b)", (3, 4), ints(2, 6, high=4)),
    case("torch.gather(a, 1, b)", (2, 63, 3), ints(2, 70, 2, high=63)),
    case("torch.gather(a, 0, b)", (5,), ints(3)),
    case("torch.gather(a, 0, b)", (), ints(high=1)),
    case("torch.gather(a, 0, b.int())", (3, 4), ints(1, 4, high=3)),
    case("torch.gather(a, 1, b)", (0, 3), ints(0, 2, high=3)),
    case("torch.gather(a, 1, b, sparse_grad=False)", (2, 3), ints(2, 0, high=3)),
    case("torch.take_along_dim(a, b, 1)", (3, 4), ints(3, 2, high=4)),
    case("torch.take_along_dim(a, b, dim=-1)", (1, 4), ints(3, 1, high=4)),
    case("torch.take_along_dim(a, b, 0)", (3, 4, 2), ints(5, 1, 2, high=3)),
    case("torch.take_along_dim(a, b)", (3, 4), ints(7, high=12), strided=False),
    case("torch.take_along_dim(a, a.argsort(0), 0)", distinct(4, 3)),
    # scatter
    case("torch.scatter(a, 0, b, c)", (5, 4), permuted(5, 4, axis=0), (5, 4)),
    case("torch.scatter(a, 1, b, c)", (3, 6), permuted(2, 4), (3, 5), differentiable=False),
    case("torch.scatter(a, -1, b, src=c)", (63,), permuted(20), (20,)),
    case("torch.scatter(a, dim=1, index=b, value=2.5)", (3, 4), permuted(3, 2)),
    case("torch.scatter(a, 1, b, 3)", (3, 4), ints(3, 2, high=4)),
    case("torch.scatter(a, 0, b, c)", (), ints(high=1), ()),
    case("torch.scatter(a, 0, b, c)", (0, 3), ints(0, 3), (0, 3)),
    case("torch.scatter(a, 0, b, c)", (4,), ints(0), (2,), differentiable=False),
    case("torch.scatter(a, 0, b.int(), c)", (3, 2), permuted(3, 2, axis=0), (3, 2)),
    case("torch.scatter(a, 0, b, c, reduce='add')", (3, 4), ints(5, 4, high=3), (5, 4),
         differentiable=False, dtypes=False),
    case("torch.scatter(a, 0, b, c, reduce='multiply')", (3, 4), ints(5, 4, high=3), (5, 4),
         differentiable=False, dtypes=False),
    case("torch.scatter(a, 0, b, 2, reduce='multiply')", (3, 4), ints(2, 4, high=3),
         differentiable=False, dtypes=False),
    case("torch.scatter_add(a, 0, b, c)", (3, 4), ints(7, 4, high=3), (7, 4)),
    case("torch.scatter_add(a, 1, b, c)", (3, 4), ints(2, 7, high=4), (3, 8), differentiable=False),
    case("torch.scatter_add(a, 0, b, c)", (63,), ints(100, high=63), (100,)),
    case("torch.scatter_add(a, 0, b, c)", (), ints(high=1), ()),
    case("torch.scatter_add(a, dim=0, index=b, src=c)", (4,), ints(0), (2,), differentiable=False),
    # joined by sum, prod, mean, amax, amin; with ties and zeros
    *[case(f"torch.scatter_reduce(a, {dim}, b, c, '{how}'{more})", draw(4, 5), ints(*idx), draw(*idx),
           dtypes=how != "mean")  # PyTorch: means of bools
      for how, draw in (("sum", distinct), ("prod", distinct), ("mean", distinct), ("amax", tied),
                        ("amin", tied))
      for dim, idx in ((0, (6, 5)), (-1, (4, 7)))
      for more in ("", ", include_self=False")
      for ints in [lambda *s, high=4: (lambda random: random.integers(0, high, s))]],
    case("torch.scatter_reduce(a, 0, b, c, reduce='prod')", some_zeros(4), ints(4, high=4),
         some_zeros(4), twice=False),
    case("torch.scatter_reduce(a, 0, b, c, reduce='prod')", (4,), permuted(4), some_zeros(4)),
    case("torch.scatter_reduce(a, 0, b, c, reduce='amax')", (), ints(high=1), ()),
    case("torch.scatter_reduce(a, 0, b, c, reduce='amin')", (0, 3), ints(0, 3), (0, 3)),
    case("torch.scatter_reduce(a, 0, b, c / 0, 'amax')", (3,), ints(6, high=3), some_zeros(6),
         differentiable=False, dtypes=False),
    case("torch.scatter_reduce(a, 0, b, c.long(), 'mean')", ints(4, low=-9, high=9), ints(9, high=4),
         ints(9, low=-9, high=9)),
    # whole entries along an axis
    case("torch.index_select(a, 0, b)", (3, 4), ints(5, high=3)),
    case("torch.index_select(a, -1, b)", (3, 4), ints(7, high=4)),
    case("torch.index_select(a, 1, b.int())", (2, 63, 3), ints(9, high=63)),
    case("torch.index_select(a, dim=0, index=b)", (5,), ints()),
    case("torch.index_select(a, 0, b)", (), ints(1, high=1)),
    case("torch.index_select(a, 1, b)", (0, 3), ints(4, high=3)),
    case("torch.index_select(a, 0, b)", (3, 4), ints(0)),
    case("torch.index_add(a, 0, b, c)", (3, 4), ints(5, high=3), (5, 4)),
    case("torch.index_add(a, -1, b, c, alpha=2)", (3, 4), ints(5, high=4), (3, 5)),
    case("torch.index_add(a, 1, b.int(), c)", (2, 4, 3), ints(6, high=4), (2, 6, 3)),
    case("torch.index_add(a, 0, b, c)", (63,), ints(100, high=63), (100,)),
    case("torch.index_add(a, 0, b, c)", (), ints(1, high=1), ()),
    case("torch.index_add(a, 0, b, c)", (4, 2), ints(0), (0, 2)),
    case("torch.index_copy(a, 0, b, c)", (5, 4), permuted(3), (3, 4)),
    case("torch.index_copy(a, dim=-1, index=b, source=c)", (3, 6), permuted(4), (3, 4)),
    case("torch.index_copy(a, 0, b, c)", (), ints(1, high=1), ()),
    case("torch.index_copy(a, 0, b, c)", (4, 2), ints(0), (0, 2)),
    case("torch.index_fill(a, 0, b, 2.5)", (3, 4), ints(2, low=-3, high=3)),
    case("torch.index_fill(a, -1, b, c)", (3, 4), ints(2, high=4), ()),
    case("torch.index_fill(a, 1, b, value=-1)", (2, 4, 3), ints(3, high=4)),
    case("torch.index_fill(a, 0, b, 1)", (), ints(1, high=1)),
    *[case(f"torch.index_reduce(a, {dim}, b, c, '{how}'{more})", draw(4, 5), ints(6, high=4),
           draw(*src), dtypes=how != "mean" and not more)
      for how, draw in (("prod", distinct), ("mean", distinct), ("amax", tied), ("amin", tied))
      for dim, src in ((0, (6, 5)), (1, (4, 6)))
      for more in ("", ", include_self=False")],
    case("torch.index_reduce(a, 0, b, c, 'prod')", some_zeros(4, 2), ints(4, high=4),
         some_zeros(4, 2), twice=False),
    case("torch.index_reduce(a, 0, b, c, reduce='amax')", (3,), ints(5, high=3), (5,), dtypes=False),
    # in the flat tensor
    case("torch.take(a, b)", (3, 4), ints(2, 5, low=-12, high=12)),
    case("torch.take(a, b)", (63,), ints(high=63)),
    case("torch.take(a, index=b)", (), ints(3, low=-1, high=1)),
    case("torch.put(a, b, c)", (3, 4), permuted(5), (5,)),
    case("torch.put(a, b - 12, c)", (3, 4), permuted(2, 3, axis=1), (6,), strided=False,
         differentiable=False),
    case("torch.put(a, b, c, accumulate=True)", (3, 4), ints(9, low=-12, high=12), (9,)),
    case("torch.put(a, b, c)", (), ints(high=1), ()),
    # several indices
    case("torch.index_put(a, (b,), c)", (5, 4), permuted(3), (3, 4)),
    case("torch.index_put(a, (b, b + 1), c)", (5, 4), permuted(3), ()),
    case("torch.index_put(a, [b - 5], c)", (5, 4), permuted(3), (4,)),
    case("torch.index_put(a, (b, c), d, accumulate=True)", (3, 4), ints(5, high=3), ints(2, 1, high=4),
         (2, 5)),
    case("torch.index_put(a, (b,), c)", (3, 4), bools(3, 4), ()),
    case("torch.index_put(a, (b, c), d)", (3, 4), ints(high=3), ints(high=4), ()),
    # masks
    case("torch.masked_fill(a, b, 2)", (3, 4), bools(3, 4)),
    case("torch.masked_fill(a, b, c)", (3, 4), bools(4), ()),
    case("torch.masked_select(a, b)", (3, 4), bools(3, 4)),
    case("torch.masked_select(a, b)", (3, 1), bools(4)),
    case("torch.masked_select(a, mask=b)", (), bools()),
    case("torch.masked_select(a, b)", (0, 3), bools(3)),
    case("torch.masked_scatter(a, b, c)", (3, 4), bools(3, 4), (12,)),
    case("torch.masked_scatter(a, b, c)", (3, 4), bools(4), (4, 4)),
    case("torch.masked_scatter(a, mask=b, source=c)", (), bools(), (1,)),
    case("torch.masked_scatter(a, b, c)", (0, 3), bools(0, 3), (0,)),
    case("torch.where(a > 0, b, c)", (3, 4), (4,), (3, 1)),
    case("torch.argwhere(a)", some_zeros(3, 4), differentiable=False),
    case("torch.argwhere(a)", (), differentiable=False),
    case("torch.nonzero(a)", some_zeros(3, 4), differentiable=False),
    case("torch.nonzero(a, as_tuple=True)", some_zeros(63), differentiable=False),
    case("torch.nonzero_static(a, size=3)", some_zeros(3, 4), differentiable=False),
    case("torch.nonzero_static(a, size=14, fill_value=7)", (3, 4), differentiable=False),
    case("torch.nonzero_static(a, size=2)", (), differentiable=False),
    # windows
    case("torch.select_scatter(a, b, 0, 1)", (3, 4), (4,)),
    case("torch.select_scatter(a, src=b, dim=-1, index=-2)", (3, 4), (3,)),
    case("torch.slice_scatter(a, b)", (3, 4), (3, 4)),
    case("torch.slice_scatter(a, b, 1, 1, None, 2)", (3, 6), (3, 3)),
    case("torch.slice_scatter(a, b, dim=-1, start=-3, end=99)", (3, 4), (3, 3)),
    case("torch.slice_scatter(a, b, start=2, end=1)", (3, 4), (0, 4)),
    case("torch.diagonal_scatter(a, b)", (3, 4), (3,)),
    case("torch.diagonal_scatter(a, b, -1, dim1=2, dim2=0)", (3, 2, 4), (2, 3)),
    case("torch.diagonal_scatter(a, b, offset=9)", (3, 4), (0,)),
    # PyTorch's gradient to the input is that of what was overwritten
    case("torch.as_strided_scatter(a, b, (2, 2), (1, 4))", (3, 4), (2, 2), differentiable=False),
    case("torch.as_strided_scatter(a, b, (3,), (2,), storage_offset=1)", (3, 4), (3,),
         differentiable=False, strided=False),
    # counts
    case("torch.bincount(a)", ints(20)),
    case("torch.bincount(a, b)", ints(20), ints(20)),
    case("torch.bincount(a, weights=b, minlength=9)", ints(20), uniform(20), differentiable=False),
    case("torch.bincount(a, minlength=3)", ints(0)),
    case("torch.histc(a)", (63,), differentiable=False),
    case("torch.histc(a, 7, -1, 1)", (3, 4), differentiable=False, dtypes=False),
    case("torch.histc(a, bins=5, min=0, max=0)", (9,), differentiable=False),
    case("torch.histc(a, 3)", (0,), differentiable=False, dtypes=False),
    case("torch.isin(a, b)", ints(3, 4), ints(3), differentiable=False),
    case("torch.isin(a, b, invert=True)", tied(3, 4), tied(2), differentiable=False),
    case("torch.isin(a, 2)", ints(3, 4)),
    case("torch.isin(2.5, a)", tied(3, 4), differentiable=False),
    case("torch.isin(elements=a, test_elements=b, assume_unique=True)", permuted(9), permuted(4)),
    case("torch.unravel_index(a, (3, 4))", ints(5, low=-3, high=15)),
    case("torch.unravel_index(a, 12)", ints(high=12)),
    case("torch.unravel_index(a, (2, 3, 2))", ints(2, 2, high=12)),
    case("F.one_hot(a)", ints(3, 2)),
    case("F.one_hot(a, 7)", ints()),
    case("F.one_hot(a, num_classes=5)", ints(0)),
]

# tests/test_bad_indices.py has a thousand more
ERRORS = [
    case("torch.gather(a, 0, b)", (3, 4), ints(1, 4, low=3, high=4)),
    case("torch.gather(a, 0, b)", (3, 4), ints(2, 5, high=3)),
    case("torch.scatter(a, 1, b, c)", (3, 4), ints(3, 4, low=-4, high=0), (3, 4)),
    case("torch.scatter_add(a, 0, b, c)", (3, 4), ints(3, 4, high=3), (2, 4)),
    case("torch.scatter_reduce(a, 0, b, c, 'median')", (3, 4), ints(3, 4, high=3), (3, 4)),
    case("torch.index_add(a, 0, b, c)", (3, 4), ints(2, high=3), (3, 4)),
    case("torch.index_copy(a, 0, b, c)", (3, 4), ints(2, high=3), (2, 5)),
    case("torch.index_fill(a, 0, b, c)", (3, 4), ints(2, high=3), (1,)),
    case("torch.masked_scatter(a, a > -9, b)", (3, 4), (11,)),
    case("torch.where(a, a, a)", (3, 4)),
    case("a.masked_fill_(a > 0, 1.0)", (3, 4)),
    case("a.index_add_(0, b, c)", (3, 4), ints(3), (3, 4)),
    case("a[b]", (3, 4), ints(2, low=3, high=5)),
    case("a.clone()[:1].expand(3, 4).scatter_(0, b, 1.0)", (3, 4), ints(3, 4, high=3)),
]
