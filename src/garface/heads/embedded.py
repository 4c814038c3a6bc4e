"""The head model that comes with garface."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from garface.heads.embedding import Embedding
from garface.heads.linear import LinearHead

NAME = "embedded"


@lru_cache(maxsize=1)
def embedded_head() -> LinearHead:
    """The built-in head, computed by `tools/build_head.py` from MakeHuman data and public measurements of people."""
    with (files("garface.heads") / "data" / "head.npz").open("rb") as stream:
        table = np.load(stream, allow_pickle=False)
        arrays = {name: table[name] for name in table.files}
    return _from_arrays(arrays)


def _from_arrays(arrays: dict[str, np.ndarray]) -> LinearHead:
    def real(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].astype(np.float32))

    def whole(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].astype(np.int64))

    regions = {k.removeprefix("mask_"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("mask_")}
    sets = [k.removesuffix("_triangle") for k in arrays if k.endswith("_triangle")]
    names = tuple(str(name) for name in arrays["expression_names"])
    return LinearHead(
        name=NAME,
        licence="CC0 1.0, computed from MakeHuman data and public measurements of people",
        mean=real("mean"),
        identity_basis=real("identity_basis"),
        expression_basis=real("expression_basis"),
        expression_names=names,
        expression_bounds=torch.tensor([[0.0], [1.0]]).repeat(1, len(names)),
        triangles=whole("triangles"),
        uv=real("uv"),
        uv_triangles=whole("uv_triangles"),
        mirror=whole("mirror"),
        regions=regions,
        embeddings={name: Embedding(whole(f"{name}_triangle"), real(f"{name}_barycentric")) for name in sets},
    )
