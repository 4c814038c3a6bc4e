"""A dataset of heads whose geometry is known because they were rendered, by the generative or the classic renderer.

For renders of the renderer itself, a refinement through it can reach the photo exactly. What it gains there is
the most that it can gain on photos; what it does not gain, the refinement is to blame for, and not the renderer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate
from tqdm import tqdm

from garface.datasets.conditions import Heads
from garface.errors import SettingError
from garface.evaluation.geometry.readers.listed import FORMAT, LIST
from garface.evaluation.meshes import seven_landmarks
from garface.files import make_folder, whole_folder, write_json
from garface.heads import HeadModel, region_triangles
from garface.io import to_uint8, write_png
from garface.io.meshes import write_ply
from garface.synthetic.heads import RenderedHeads

SIDE = 256
"""Pixels across the photos: smaller ones are enlarged, so that faces are found as they are in photos."""
_TOGETHER = 8


def write_rendered_heads(
    folder: Path,
    render: Callable[[int, torch.Generator], RenderedHeads],
    model: HeadModel,
    *,
    count: int,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Render `count` heads and write them as a dataset in garface's own format, one photo of each.

    Photos are clean renders (PNG), scans the skin of the face that they show, with its expression (PLY, head frame,
    millimetres). The same seed and count give the same heads. The folder appears whole or not at all.

    Args:
        folder: receives `dataset.json`, `photos` and `scans`.
        render: renders heads, none of them mirrored.
        model: whose heads they are.
        count: how many.
        seed: decides everything.
        progress: whether to show a bar.

    Raises:
        SettingError: less than one head.
        OutputError: the folder cannot be written, or holds something else.
    """
    if count < 1:
        raise SettingError(f"At least one head must be rendered, not {count}.")
    source = torch.Generator().manual_seed(seed)
    subjects: list[dict[str, Any]] = []
    with whole_folder(folder) as draft, tqdm(total=count, unit="head", disable=None if progress else True) as bar:
        for part in ("pictures", "scans"):
            make_folder(draft / part)
        while len(subjects) < count:
            rendered = render(min(_TOGETHER, count - len(subjects)), source)
            for photo, vertices, heads in _each(rendered, model):
                name = f"head-{len(subjects):04d}"
                write_png(draft / "pictures" / f"{name}.png", to_uint8(photo))
                _write_skin(draft / "scans" / f"{name}.ply", vertices, model)
                subjects.append(_listed(name, photo.shape[-1], vertices, heads, model))
                bar.update()
        write_json(draft / LIST, {"format": FORMAT, "cropped": True, "subjects": subjects})


def _each(rendered: RenderedHeads, model: HeadModel) -> list[tuple[torch.Tensor, torch.Tensor, Heads]]:
    """Photos (3, S, S) in [-1, 1], vertices (V, 3) in the head frame, and heads of one, of renders of many."""
    photos, heads = rendered.clean.clamp(-1, 1), rendered.heads
    if photos.shape[-1] < SIDE:
        photos = interpolate(photos, size=(SIDE, SIDE), mode="bicubic", align_corners=False).clamp(-1, 1)
    vertices = model.vertices(heads.identity, heads.expression)
    return [(photos[row], vertices[row], heads[row : row + 1]) for row in range(len(photos))]


def _write_skin(path: Path, vertices: torch.Tensor, model: HeadModel) -> None:
    triangles = model.triangles[region_triangles(model, "face")]
    used, numbers = torch.unique(triangles, return_inverse=True)
    write_ply(path, vertices[used].numpy(), numbers.view(triangles.shape).numpy())


def _listed(name: str, side: int, vertices: torch.Tensor, heads: Heads, model: HeadModel) -> dict[str, Any]:
    """The entry of one head, whose photo is `side` pixels across."""
    camera = heads.camera.resized(side, side)
    view = {
        "size_px": [side, side],
        "focal_px": float(camera.focal),
        "principal_px": camera.principal[0].tolist(),
        "rotation_camera_scan": heads.pose.rotation[0].tolist(),
        "translation_camera_scan_mm": heads.pose.translation[0].tolist(),
    }
    return {
        "name": name,
        "scan": f"scans/{name}.ply",
        "landmarks": seven_landmarks(vertices, model).tolist(),
        "pictures": [{"name": name, "file": f"pictures/{name}.png", "camera": view}],
    }


__all__ = ["SIDE", "write_rendered_heads"]
