"""Other conditions than normal maps, for comparison: the depth, or the coefficients of the model.

Whatever the kind, the first four channels are the normal map, which discriminator and losses go on looking at; what
only the generator sees comes after them. So nothing but the generator's view of the geometry differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from garface.datasets.conditions import FittedConditions, Heads, fitted_heads
from garface.datasets.training_set import TrainingSet, mirror_where
from garface.evaluation.ablation.generators import ComparedConfig, coefficient_planes
from garface.geometry import Topology, matrix_to_sixd
from garface.heads import HeadModel, identity_offsets
from garface.rendering import depth_map

CAMERA_NUMBERS = 12
"""Of pose and camera: rotation (6), translation (3), focal length and principal point (3)."""


def coefficient_count(model: HeadModel) -> int:
    """How many numbers `coefficients` gives."""
    return model.identities + model.expressions + CAMERA_NUMBERS


def coefficients(heads: Heads) -> Tensor:
    """Identity, expression, pose and camera of heads in one row each, (B, K + E + 12).

    The rotation is in its 6D form, the translation in units of 100 mm, focal length and principal point in widths of
    the crop.
    """
    camera = heads.camera
    return torch.cat(
        [
            heads.identity,
            heads.expression,
            matrix_to_sixd(heads.pose.rotation),
            heads.pose.translation / 100,
            camera.focal[:, None] / camera.width,
            camera.principal / camera.width,
        ],
        dim=1,
    )


def mirrored_heads(heads: Heads, mirror: Mirror) -> Heads:
    """The heads that mirror images of the crops show."""
    pose, camera, flip = heads.pose, heads.camera, heads.identity.new_tensor([-1.0, 1.0, 1.0])
    principal = torch.stack([camera.width - camera.principal[:, 0], camera.principal[:, 1]], dim=1)
    return Heads(
        heads.identity @ mirror.identity + mirror.shift,
        heads.expression[:, mirror.expression],
        type(pose)(flip[:, None] * pose.rotation * flip, pose.translation * flip),
        type(camera)(camera.focal, principal, camera.height, camera.width),
    )


@dataclass(frozen=True, eq=False)
class Mirror:
    """What mirroring a head does to its coefficients."""

    identity: Tensor
    """(K, K): the coefficients of the mirrored head are c @ this + `shift`, the nearest in the model's span."""
    shift: Tensor
    """(K,): those of the mirrored mean head, which need not be symmetric."""
    expression: Tensor
    """(E,) int64, expressions with left and right exchanged."""

    @classmethod
    def of(cls, model: HeadModel) -> Mirror:
        """Of a head model."""
        flip = model.mean.new_tensor([-1.0, 1.0, 1.0])
        offsets = identity_offsets(model)
        basis = offsets.flatten(1).double()
        mirrored = (offsets[:, model.mirror] * flip).flatten(1).double()
        uneven = (model.mean[model.mirror] * flip - model.mean).flatten().double()
        gram = basis @ basis.mT
        ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        names = list(model.expression_names)
        partners = [names.index(_other_side(name)) for name in names]
        solved = torch.linalg.solve(gram + ridge, basis @ torch.cat([mirrored, uneven[None]]).mT).mT.float()
        return cls(solved[:-1], solved[-1], torch.tensor(partners))


@dataclass(frozen=True, eq=False)
class Widening:
    """Appends to normal maps what another kind of condition needs."""

    config: ComparedConfig
    """Of the generator; its `condition` is the kind."""
    model: HeadModel
    """The head."""
    topology: Topology
    """Of its mesh."""
    mirror: Mirror
    """What mirroring does."""
    centre: Tensor
    """(C,) mean of the coefficients over the training photos, mirrored ones included."""
    deviation: Tensor
    """(C,) their standard deviation."""

    @classmethod
    def of(cls, config: ComparedConfig, faces: TrainingSet) -> Widening:
        """For a training set; its coefficients become standard."""
        mirror, heads = Mirror.of(faces.model), fitted_heads(faces, torch.arange(len(faces)))
        rows = torch.cat([coefficients(heads), coefficients(mirrored_heads(heads, mirror))])
        return cls(config, faces.model, faces.topology, mirror, rows.mean(0), rows.std(0).clamp_min(1e-3))

    def __call__(self, normals: Tensor, heads: Heads, mirrored: Tensor) -> Tensor:
        """Conditions (B, 4 + C, R, R).

        Args:
            normals: (B, 4, R, R), those of mirror images mirrored.
            heads: (B,) before any mirroring.
            mirrored: (B,) bool, which are mirror images.
        """
        if self.config.condition == "depth":
            return torch.cat([normals, self.depth(heads, mirrored, normals.shape[-1])], dim=1)
        if self.config.condition == "coefficients":
            planes = coefficient_planes(self.standard(heads, mirrored), normals.shape[-1])
            return torch.cat([normals, planes], dim=1)
        return normals

    def depth(self, heads: Heads, mirrored: Tensor, resolution: int) -> Tensor:
        """(B, 1, R, R): depth over the head frame's origin, units of 100 mm, times the mask."""
        vertices = heads.vertices(self.model)
        camera = heads.camera.resized(resolution, resolution)
        depth = depth_map(vertices, self.topology, camera, origin=heads.pose.translation[:, 2])[:, :1]
        return torch.where(mirrored.view(-1, 1, 1, 1), depth.flip(3), depth)

    def standard(self, heads: Heads, mirrored: Tensor) -> Tensor:
        """(B, C): coefficients with mean 0 and deviation 1 over the training photos."""
        mirror_images = coefficients(mirrored_heads(heads, self.mirror))
        rows = torch.where(mirrored[:, None], mirror_images, coefficients(heads))
        return (rows - self.centre) / self.deviation


class WideSet(TrainingSet):
    """Fitted faces whose conditions carry more than the normal map.

    Args:
        faces: the same faces without it; the arrays are shared.
        widening: made from the training photos, also for held-out ones.
    """

    def __init__(self, faces: TrainingSet, widening: Widening) -> None:
        self.model, self.arrays, self.names, self.widening = faces.model, faces.arrays, faces.names, widening

    def conditions(self, indices: Tensor, *, resolution: int | None = None) -> Tensor:
        """Normal maps and what follows them, (B, 4 + C, R, R)."""
        normals = super().conditions(indices, resolution=resolution)
        rows, mirrored = self._rows(indices)
        return self.widening(normals, fitted_heads(self, rows), mirrored)


@dataclass(frozen=True, eq=False)
class WideConditions(FittedConditions):
    """Fits of photos combined anew, whose conditions carry more than the normal map; needs `WideSet`."""

    def _views(self, count: int, resolution: int, *, views: int) -> tuple[Tensor, ...]:
        assert isinstance(self.faces, WideSet)
        identity = self.identities(count).repeat(views, 1)
        mirrored = (torch.rand(count, generator=self.source) < 0.5).repeat(views)
        heads = self.heads(identity)
        normals = mirror_where(heads.normals(self.model, self.topology, resolution), mirrored)
        return self.faces.widening(normals, heads, mirrored).chunk(views)


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name
