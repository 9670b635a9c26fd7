"""Linear algebra: `nbgrad.linalg`."""

from nbgrad.errors import LinAlgError
from nbgrad.ops.decompose import (
    cholesky,
    cholesky_ex,
    eigh,
    eigvalsh,
    lstsq,
    matrix_rank,
    pinv,
    qr,
    svd,
    svdvals,
)
from nbgrad.ops.keywords import flexible
from nbgrad.ops.linalg import (
    cond,
    diagonal,
    matrix_norm,
    multi_dot,
    norm,
    vander,
    vecdot,
    vector_norm,
)
from nbgrad.ops.linalg import linalg_cross as cross
from nbgrad.ops.matmul import matmul
from nbgrad.ops.solve import (
    det,
    inv,
    inv_ex,
    matrix_exp,
    matrix_power,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
)

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh",
    "eigvalsh", "inv", "inv_ex", "lstsq", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "vander", "vecdot", "vector_norm",
]

for _name in __all__[1:]:
    globals()[_name] = flexible(f"linalg_{_name}", globals()[_name], first=True,
                                into=_name not in ("diagonal", "matrix_exp", "vander"))
