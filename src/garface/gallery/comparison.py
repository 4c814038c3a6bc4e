"""The classic renderer beside the generative one, over the same normals (paper, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.datasets.training_set import TrainingSet, choose_rows
from garface.errors import SettingError
from garface.gallery.heads import random_heads
from garface.gallery.renders import Pixels
from garface.gallery.sheets import image_table
from garface.geometry import Camera, Topology
from garface.heads import HeadModel, any_region, landmark_points
from garface.heads.tables import LEFT_IRIS, RIGHT_IRIS
from garface.io import to_uint8
from garface.reconstruction import Renderer
from garface.rendering import antialias, barycentrics, fit_light, interpolate, rasterise, sample_light, shade
from garface.synthetic.heads import SyntheticHeads
from garface.synthetic.photo_skins import MEAN_SKIN, MOUTH

MEAN_BACKGROUND = 0.85
"""Brightness behind a head rendered by the classic renderer, in [-1, 1]."""
_RIDGE = 0.03
"""Damping of the light: what no visible normal tells must not be invented."""
_SPACE = 16
"""Pixels between heads in a row."""

_PAINT = {
    "lips": (0.40, 0.16, 0.13),
    "eyes": (0.60, 0.58, 0.56),
    **MOUTH,
}
"""Linear albedo of what is not skin."""
_IRIS = {"left_eye": LEFT_IRIS, "right_eye": RIGHT_IRIS}
"""Landmark in the middle of the iris of each eye."""
_IRIS_RADIUS, _IRIS_COLOUR = 6.0, (0.07, 0.04, 0.025)
"""Millimetres; linear albedo."""


def shade_classic(normals: Tensor, albedo: Tensor, light: Tensor) -> Tensor:
    """Heads (B, 3, R, R) in [-1, 1] shaded by the classic renderer, on a light ground.

    Args:
        normals: (B, 4, R, R) maps.
        albedo: (B, 3, R, R) linear.
        light: (B, 9, 3) radiance.
    """
    mask = normals[:, 3:]
    rendered = shade(normalize(normals[:, :3], dim=1), albedo.clamp(0, 1), light)
    return rendered * mask + MEAN_BACKGROUND * (1 - mask)


def painted_albedo(model: HeadModel) -> Tensor:
    """Linear albedo (V, 3) of one skin colour, with lips, eyes and teeth in theirs where the model has such regions."""
    albedo = model.mean.new_tensor(MEAN_SKIN).repeat(len(model.mean), 1)
    for region, colour in _PAINT.items():
        albedo[any_region(model, region)] = albedo.new_tensor(colour)
    marks = landmark_points(model, model.mean[None])[0]
    for region, index in _IRIS.items():
        near = (model.mean - marks[index]).norm(dim=1) < _IRIS_RADIUS
        albedo[near & any_region(model, region)] = albedo.new_tensor(_IRIS_COLOUR)
    return albedo


def mean_albedo(faces: TrainingSet, rows: Sequence[int]) -> Tensor:
    """Mean linear albedo (V, 3) of the faces of a training set, their light divided out, the same on both sides."""
    renders = SyntheticHeads(faces, resolution=faces.size)
    mean = torch.stack([renders.skin_of(row) for row in rows]).mean(0)
    return (mean + mean[faces.model.mirror]) / 2


@torch.no_grad()
def compare_random(
    renderer: Renderer, count: int, *, seed: int = 0, truncation: float = 0.7
) -> list[tuple[Pixels, Pixels, Pixels]]:
    """Normals, classic and generative render, (R, R, 3) each, of random heads under random white lights and latents.

    Row i depends on (seed, i) alone; its normals and render are those of `random_faces`.
    """
    heads = random_heads(renderer, count, seed=seed)
    normals = renderer.normals(heads.identity, heads.expression, heads.pose, heads.camera)
    vertices = renderer.vertices(heads.identity, heads.expression, heads.pose)
    albedo = _albedo_maps(painted_albedo(renderer.head_model), vertices, renderer.head_model, heads.camera)
    lights = [sample_light(torch.Generator().manual_seed(seed * 1_000_003 + row)) for row in range(count)]
    white = torch.cat(lights).mean(2, keepdim=True).expand(-1, -1, 3)
    classic = shade_classic(normals, albedo, white.to(renderer.device))
    w = renderer.sample_latents(count, seed=seed, truncation=truncation)
    rendered = renderer.render(w, normals, renderer.sample_noise(count, seed=seed))
    return [(to_uint8(n[:3]), to_uint8(g), to_uint8(d)) for n, g, d in zip(normals, classic, rendered)]


@torch.no_grad()
def compare_faces(
    renderer: Renderer, faces: TrainingSet, count: int, *, skins: int = 24, seed: int = 0
) -> list[tuple[Pixels, Pixels, Pixels, Pixels]]:
    """Photo, normals of its fit, classic and generative render, (R, R, 3) each, of faces of a training set.

    The classic renderer gets the light that explains the photo best and the mean albedo of other faces, the generative
    one the latent that the inverter finds in the photo: neither is told anything else of the photo.

    Args:
        renderer: the renderer.
        faces: of a training set; held-out ones show most.
        count: how many are compared, chosen by `seed`.
        skins: faces whose albedo is averaged; they are others as long as there are any.
        seed: fixes the choice and the noise.

    Raises:
        SettingError: fewer faces than `count`.
    """
    if count > len(faces):
        raise SettingError(
            f"{count} faces cannot be compared, because the training set has only {len(faces)}; ask for fewer."
        )
    order = choose_rows(len(faces), len(faces), seed=seed)
    rows, others = torch.tensor(order[:count]), order[count : count + skins] or order
    size = renderer.resolution
    photos, vertices = faces.images(rows, resolution=size), faces.vertices_camera(rows)
    camera = faces.cameras(rows).resized(size, size)
    normals = faces.conditions(rows, resolution=size)
    albedo = _albedo_maps(mean_albedo(faces, others), vertices, faces.model, camera)
    skin = _attribute_maps(faces.model.region("face").float()[:, None], vertices, faces.model, camera)
    light = fit_light(
        photos, normalize(normals[:, :3], dim=1), skin[:, :1] * normals[:, 3:], albedo=albedo, ridge=_RIDGE
    )
    classic = shade_classic(normals, albedo, light)
    place = renderer.device
    w = renderer.style(renderer.inverter(photos.to(place)).mean)
    rendered = renderer.render(w, normals.to(place), renderer.sample_noise(count, seed=seed))
    columns = zip(photos, normals[:, :3], classic, rendered)
    return [(to_uint8(p), to_uint8(n), to_uint8(g), to_uint8(d)) for p, n, g, d in columns]


def comparison_sheet(rows: Sequence[Sequence[Pixels]], *, abreast: int = 2) -> Pixels:
    """Compared heads under captions of what is what, several of them in a row with a gap in between.

    Args:
        rows: of `compare_random` (three images each) or `compare_faces` (four).
        abreast: heads in a row; must divide the number of heads.

    Raises:
        SettingError: it does not.
    """
    if len(rows) % abreast:
        raise SettingError(f"{len(rows)} heads cannot be laid out {abreast} in a row.")
    captions = ["photo", "normals", "graphics", "GAR"][-len(rows[0]) :]
    tables = [image_table(rows[start::abreast], columns=captions) for start in range(abreast)]
    space = np.full((len(tables[0]), _SPACE, 3), 255, np.uint8)
    parts = [part for table in tables for part in (space, table)][1:]
    return np.concatenate(parts, axis=1)


def _albedo_maps(albedo: Tensor, vertices: Tensor, model: HeadModel, camera: Camera) -> Tensor:
    """Albedo (V, 3) over rendered heads (B, V, 3), (B, 3, R, R); beyond the outline it goes on as it is there."""
    maps = _attribute_maps(torch.cat([albedo, torch.ones_like(albedo[:, :1])], 1), vertices, model, camera)
    return maps[:, :3] / maps[:, 3:].clamp(min=1e-3)


def _attribute_maps(attributes: Tensor, vertices: Tensor, model: HeadModel, camera: Camera) -> Tensor:
    """Attributes (V, C) over rendered heads (B, V, 3), antialiased, (B, C, R, R)."""
    triangle = rasterise(vertices, model.triangles, camera)
    weights = barycentrics(vertices, model.triangles, triangle, camera)
    maps = interpolate(attributes.expand(len(vertices), -1, -1), model.triangles, triangle, weights)
    topology = Topology.build(model.triangles, len(model.mean))
    return antialias(maps, triangle, vertices, topology, camera)
