"""The skeleton of a head: where its joints are, and which bones a vertex follows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from garface.geometry import Topology
from garface.heads import HeadModel, any_region
from garface.io import GltfBone
from garface.reconstruction.smoothing import Smoother

EYE_BONES = {"LeftEye": "left_eye", "RightEye": "right_eye"}
"""Regions of a head model that follow the bones of the eyes as a whole."""
_JAW = "jawOpen"
"""The expression that the bone Jaw is made from."""
_JAW_SHARE = 0.6
"""Vertices that an opening jaw moves by at least this share of the largest displacement are taken for bone."""


@dataclass(frozen=True)
class Hinge:
    """A rotation about an axis parallel to x: how a jaw opens."""

    y: float
    """mm, head frame."""
    z: float
    """mm, head frame."""
    angle: float
    """Radians about +x; positive turns the chin down."""

    def displacements(self, vertices: Tensor) -> Tensor:
        """(V, 3) by which vertices (V, 3) move."""
        y, z = vertices[:, 1] - self.y, vertices[:, 2] - self.z
        cos, sin = torch.tensor(self.angle).cos(), torch.tensor(self.angle).sin()
        return torch.stack([torch.zeros_like(y), (cos - 1) * y - sin * z, sin * y + (cos - 1) * z], 1)


def jaw_hinge(vertices: Tensor, offsets: Tensor) -> Hinge:
    """The hinge that explains best how the offsets (V, 3) of an opening jaw move the bone under vertices (V, 3)."""
    size = offsets.norm(dim=1)
    bone = size >= _JAW_SHARE * size.max()
    before = vertices[bone, 1:].double()
    after = before + offsets[bone, 1:].double()
    a, b = before - before.mean(0), after - after.mean(0)
    angle = torch.atan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    shift = after.mean(0) - turn @ before.mean(0)
    y, z = torch.linalg.solve(torch.eye(2, dtype=torch.float64) - turn, shift).tolist()
    return Hinge(y, z, float(angle))


def bone_parents(model: HeadModel) -> dict[str, str | None]:
    """The bones that a head model has, and what each hangs on. Neck and Head are always there, the neck first."""
    jaw = {"Jaw": "Head"} if _JAW in model.morph_targets() else {}
    return {"Neck": None, "Head": "Neck"} | jaw | dict.fromkeys(_eyes(model), "Head")


def bone_shares(model: HeadModel) -> Tensor:
    """(V, B) how far each vertex of a head follows the bones of `bone_parents`; rows sum to 1."""
    neck = _neck_share(model)
    others = [_jaw_share(model) * (1 - neck)] if _JAW in model.morph_targets() else []
    others += [model.region(region).float() for region in _eyes(model).values()]
    head = (1 - neck - sum(others)).clamp(min=0)
    shares = torch.stack([neck, head, *others], 1)
    return shares / shares.sum(1, keepdim=True)


def bones(model: HeadModel, vertices: Tensor) -> list[GltfBone]:
    """The joints of a head with vertices (V, 3) and a neutral expression.

    The jaw's lies on its hinge, those of the eyes in the middle of the eyeballs, the neck's in the middle of the lower
    border. The head's lies at the height of the jaw's, between it and the neck's.
    """
    neck, middle = _neck_end(model, vertices), _middle(vertices)
    places = {"Neck": neck, "Head": (neck + middle) / 2}
    if _JAW in model.morph_targets():
        hinge = jaw_hinge(vertices, model.morph_targets()[_JAW])
        places |= {"Head": torch.tensor([0.0, hinge.y, (float(neck[2]) + hinge.z) / 2])}
        places |= {"Jaw": torch.tensor([0.0, hinge.y, hinge.z])}
    places |= {bone: _middle(vertices[model.region(region)]) for bone, region in _eyes(model).items()}
    return [GltfBone(name, parent, places[name].double().numpy()) for name, parent in bone_parents(model).items()]


def _eyes(model: HeadModel) -> dict[str, str]:
    return {bone: region for bone, region in EYE_BONES.items() if region in model.region_names}


def _neck_end(model: HeadModel, vertices: Tensor) -> Tensor:
    """(3,) the middle of the lower border, or the lowest vertex of a head that has none; on the plane of symmetry."""
    border = _lower_border(model)
    end = vertices[border].mean(0) if border.any() else vertices[vertices[:, 1].argmin()]
    return end * torch.tensor([0.0, 1.0, 1.0])


def _middle(points: Tensor) -> Tensor:
    return (points.amin(0) + points.amax(0)) / 2


def _jaw_share(model: HeadModel) -> Tensor:
    """(V,) the part of the hinge's displacement that an opening jaw gives each vertex."""
    offsets = model.morph_targets()[_JAW]
    rigid = jaw_hinge(model.mean, offsets).displacements(model.mean)
    length = rigid.square().sum(1)
    return torch.where(length > 1, (offsets * rigid).sum(1) / length.clamp(min=1), 0.0).clamp(0, 1)


def _neck_share(model: HeadModel) -> Tensor:
    """(V,) 1 at the lower border of the neck, 0 above the neck, and harmonic between."""
    border, neck = _lower_border(model), any_region(model, "neck")
    known = border.float()[:, None]
    smooth = Smoother(model.triangles, len(model.mean), stiffness=1e4)
    return smooth.carry(known, (border | ~neck).float(), torch.zeros_like(known), forget=1e-6)[:, 0].clamp(0, 1)


def _lower_border(model: HeadModel) -> Tensor:
    """(V,) bool, the vertices of the neck on edges that have a triangle on one side only."""
    topology = Topology.build(model.triangles, len(model.mean))
    edges = topology.edges[topology.edge_faces[:, 1] < 0]
    marked = torch.zeros(len(model.mean), dtype=torch.bool)
    marked[edges.flatten()] = True
    return marked & any_region(model, "neck")
