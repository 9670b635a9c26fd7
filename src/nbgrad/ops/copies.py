"""The views again as copies: `expand_copy`, `permute_copy` and their kin."""

from __future__ import annotations

import functools

from nbgrad.ops import join, shape
from nbgrad.ops.out import with_keywords
from nbgrad.tensor import Tensor


def _copy_of(name: str, view):
    @functools.wraps(view)
    def function(*args, **options):
        made = view(*args, **options)
        if isinstance(made, Tensor):
            return made.clone().contiguous()
        return tuple([t.clone().contiguous() for t in made])

    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"What `{name}` shows, as a copy."
    return with_keywords(function, view)


_VIEWS = {"as_strided": shape.as_strided, "detach": Tensor.detach, "diagonal": shape.diagonal,
          "expand": shape.expand, "narrow": shape.narrow, "permute": shape.permute,
          "select": shape.select, "split": shape.split, "split_with_sizes": join.split_with_sizes,
          "squeeze": shape.squeeze, "t": shape.t_, "transpose": shape.transpose,
          "unbind": shape.unbind, "unsqueeze": shape.unsqueeze, "view": shape.view_}
PACKAGE_ONLY = {f"{name}_copy": _copy_of(name, view) for name, view in _VIEWS.items()}
METHODS = {"narrow_copy": PACKAGE_ONLY["narrow_copy"]}
