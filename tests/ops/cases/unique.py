"""Distinct entries and parts."""

import numpy as np

from nbgrad.testing.cases import case

DRAW = np.random.default_rng(8).integers
ALL = "return_inverse=True, return_counts=True"
CASES = [case(f"torch.{name}(a, {options})", x, differentiable=False, dtypes=x.shape == (4, 3),
              strided=x.ndim > 1)
         for name in ("unique", "unique_consecutive")
         for x in (DRAW(0, 4, 9) / 2, DRAW(0, 2, (4, 3)) / 2, DRAW(0, 2, (3, 4, 2)), np.zeros((0, 3)))
         for options in (ALL, f"dim=0, {ALL}", *(["dim=-1"] if x.ndim > 1 and x.size else []))]

ERRORS = [case(f"torch.{name}(a, dim={d})", shape, differentiable=False)
          for name in ("unique", "unique_consecutive")
          for shape, d in (((3,), 1), ((), 0), ((3, 0), 0), ((0, 3), 1))]
