"""What is compared, a file a family. `small` asks for the same work on little data, once around."""

from __future__ import annotations

from benchmarks.peers.workload import Workload
from benchmarks.peers.workloads import (
    conv,
    dispatch,
    drawing,
    elementwise,
    indexing,
    matmul,
    norms,
    optimizers,
    recurrent,
    reductions,
    spatial,
    training,
)

FAMILIES = (dispatch, elementwise, reductions, norms, indexing, matmul, conv, spatial, drawing,
            recurrent, optimizers, training)


def workloads(small: bool = False) -> list[Workload]:
    """Every workload, in the order of the table."""
    return [workload for family in FAMILIES for workload in family.workloads(small)]
