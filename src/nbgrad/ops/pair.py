"""Both gradients of a binary op in one kernel, for operands of one layout."""

from __future__ import annotations

from typing import Literal

from nbgrad.formulas.expr import Expr, add, var
from nbgrad.formulas.row import Row
from nbgrad.kernels.elementwise import Plan, Spec, plan
from nbgrad.kernels.launch import remember
from nbgrad.kernels.layout import Layout
from nbgrad.kernels.memory import maker
from nbgrad.tensor import Tensor


class Pair:
    """The kernels of a row's two pullbacks, by layout.

    Launches are exact tuples, which Python takes apart quickly: the kernel, how to make a result,
    its size, dtype and layout.
    """

    def __init__(self, row: Row) -> None:
        names = (*row.inputs, "y")
        codes = row.saves((True, True))
        self.inputs = (row.seed, *(names[k] if k >= 0 else "y" for k in codes))
        self.row = row
        self.launches: dict[Layout, tuple] = {}
        self.sums: dict[Layout, tuple] = {}

    def both(self, grad: Tensor, values: tuple, attrs: tuple) -> tuple[Tensor, Tensor]:
        like = grad._layout
        run, make, size, np_dtype, own = self.launches.get(like) or self._launch(like)
        ga, gb = make(size, np_dtype), make(size, np_dtype)
        if len(values) == 2 and not attrs:
            run(ga, gb, grad._data, values[0]._data, values[1]._data)
        else:
            run(ga, gb, grad._data, *[v._data for v in values], *attrs)
        return Tensor(ga, own), Tensor(gb, own)

    def add(self, grad: Tensor, values: tuple, attrs: tuple, total: Tensor) -> Tensor:
        """The first gradient; the second is added to `total`."""
        like = grad._layout
        run, make, size, np_dtype, own = self.sums.get(like) or self._launch_sum(like)
        ga = make(size, np_dtype)
        if len(values) == 2 and not attrs:
            run(ga, total._data, grad._data, values[0]._data, values[1]._data)
        else:
            run(ga, total._data, grad._data, *[v._data for v in values], *attrs)
        return Tensor(ga, own)

    def _launch(self, own: Layout) -> tuple:
        made = plan(self._spec(own, self.row.pullbacks, self.inputs), own.shape,
                    (own,) * len(self.inputs))
        return remember(self.launches, own, _launch(made))

    def _launch_sum(self, own: Layout) -> tuple:
        first, second = self.row.pullbacks
        spec = self._spec(own, (first, add(var("total"), second)), (*self.inputs, "total"))
        made = plan(spec._replace(into=("out", "total")), own.shape, (own,) * len(spec.inputs),
                    (own, own), whole=True)
        return remember(self.sums, own, _launch(made))

    def _spec(self, own: Layout, outputs: tuple[Expr, ...], inputs: tuple[str, ...]) -> Spec:
        return Spec(f"{self.row.name}_vjp", outputs, inputs, self.row.params, "arith", own.dtype,
                    (own.dtype, own.dtype))


def _launch(made: Plan) -> tuple:
    own = made.layouts[0]
    return made.run, maker(made.size, own.device), made.size, made.np_dtypes[0], own


def pair_of(row: Row, numbers: int) -> Pair | Literal[False]:
    """The fused backward of a binary op that computes something for both inputs."""
    simple = all(e.is_var for e in row.pullbacks)
    constant = any(e.is_const for e in row.pullbacks)
    return False if simple or constant or numbers else Pair(row)
