"""Find MediaPipe's 478 landmarks on the surface of the head by asking the landmark network about renders of it.

Random heads are drawn in plain colours from many directions; each landmark that the network finds is carried back to
the triangle under it, and from there to the mean head. The weighted median over all renders is the embedding.
"""

import numpy as np
import torch
import trimesh
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from torch import Tensor

from garface.geometry import Camera, Pose, Topology, axis_angle_to_matrix, vertex_normals
from garface.heads import HeadModel
from garface.heads.embedded import _from_arrays
from garface.photo.detector import LandmarkDetector
from garface.rendering import barycentrics, interpolate, rasterise

HEADS = 24
SIZE = 512
YAWS = (-45, -30, -15, 0, 15, 30, 45)
PITCHES = (-12, 0, 12)
DISTANCE = 900.0
NEIGHBOURS = 24
# MediaPipe's landmarks that stand for the usual 68 points (17 jaw, 10 brows, 9 nose, 12 eyes, 20 mouth).
IBUG68 = (
    162,
    234,
    93,
    58,
    172,
    136,
    149,
    148,
    152,
    377,
    378,
    365,
    397,
    288,
    323,
    454,
    389,
    71,
    63,
    105,
    66,
    107,
    336,
    296,
    334,
    293,
    301,
    168,
    197,
    5,
    4,
    75,
    97,
    2,
    326,
    305,
    33,
    160,
    158,
    133,
    153,
    144,
    362,
    385,
    387,
    263,
    373,
    380,
    61,
    39,
    37,
    0,
    267,
    269,
    291,
    405,
    314,
    17,
    84,
    181,
    78,
    82,
    13,
    312,
    308,
    317,
    14,
    87,
)


def paint(model: HeadModel) -> Tensor:
    """Plain colours (V, 3) in [0, 1]: skin, darker brows, red lips, white teeth and eyes with a brown iris."""
    colour = torch.tensor([0.80, 0.60, 0.50]).repeat(len(model.mean), 1)
    colour[model.region("brows")] = torch.tensor([0.35, 0.25, 0.20])
    colour[model.region("lips")] = torch.tensor([0.68, 0.33, 0.32])
    colour[model.region("inner_mouth")] = torch.tensor([0.35, 0.12, 0.12])
    colour[model.region("teeth") | model.region("eyes")] = 0.92
    colour[model.region("scalp") & (model.mean[:, 1] > 20)] = torch.tensor([0.25, 0.18, 0.14])
    for side in ("left_eye", "right_eye"):
        rows = torch.nonzero(model.region(side))[:, 0]
        eye = model.mean[rows]
        centre = 0.5 * (eye.amin(0) + eye.amax(0))
        off_axis = (eye - centre)[:, :2].norm(dim=1)
        front = eye[:, 2] > centre[2]
        colour[rows[front & (off_axis < 7.5)]] = torch.tensor([0.30, 0.20, 0.12])
        colour[rows[front & (off_axis < 3.0)]] = 0.03
    return colour


def turn(yaw: float, pitch: float) -> Tensor:
    """Rotation (3, 3) from degrees about +y, then +x."""
    about_y = axis_angle_to_matrix(torch.tensor([[0.0, np.deg2rad(yaw), 0.0]]))[0]
    about_x = axis_angle_to_matrix(torch.tensor([[np.deg2rad(pitch), 0.0, 0.0]]))[0]
    return about_x @ about_y


def draw(model: HeadModel, identity: Tensor, rotation: Tensor) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """A render (S, S, 3) uint8 with its triangle ids (S, S), barycentrics (S, S, 3) and n_z (S, S)."""
    topology = Topology.build(model.triangles, len(model.mean))
    camera = Camera(torch.tensor([SIZE * DISTANCE / 330.0]), torch.tensor([[SIZE / 2, SIZE / 2]]), SIZE, SIZE)
    vertices = model.vertices(identity, torch.zeros(1, model.expressions))
    pose = Pose(rotation[None].float(), torch.tensor([[0.0, 30.0, -DISTANCE]]))
    placed = pose.apply(vertices)
    triangle = rasterise(placed, model.triangles, camera)
    weights = barycentrics(placed, model.triangles, triangle, camera)
    attributes = torch.cat([paint(model)[None], vertex_normals(placed, topology)], -1)
    image = interpolate(attributes, model.triangles, triangle, weights)
    normal = image[:, 3:]
    light = 0.55 + 0.45 * (normal * torch.tensor([0.2, 0.5, 0.84]).view(1, 3, 1, 1)).sum(1, keepdim=True).clamp_min(0)
    colour = torch.where(triangle[:, None] >= 0, image[:, :3] * light, torch.tensor(0.45))
    pixels = (colour[0].permute(1, 2, 0).clamp(0, 1) ** 0.9 * 255).to(torch.uint8).numpy()
    return pixels, triangle[0], weights[0], normal[0, 2]


def embed_landmarks(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Triangle and barycentrics of the landmark sets "mediapipe478" and "ibug68" for the head in `arrays`."""
    model = _from_arrays(arrays)
    partner, side = partners(model)
    places, weights = [], []
    with LandmarkDetector() as detector:
        for head in range(HEADS):
            identity = 0.7 * torch.from_numpy(np.random.default_rng([478, head]).standard_normal((1, model.identities)))
            for yaw in YAWS:
                for pitch in PITCHES:
                    pixels, *surface = draw(model, identity.float(), turn(yaw, pitch))
                    faces = detector.find(pixels)
                    if faces:
                        place, weight = carry_back(model, faces[0].points, *surface)
                        places.append(place)
                        weights.append(weight * turned_to_camera(side, yaw))
    print(f"the landmark network found {len(places)} of {HEADS * len(YAWS) * len(PITCHES)} renders")
    points = weighted_median(np.stack(places), np.stack(weights))
    points = symmetric(points, partner)
    triangle, barycentric = nearest_on_surface(points, model)
    rows = list(IBUG68)
    return {
        "mediapipe478_triangle": triangle.astype(np.int32),
        "mediapipe478_barycentric": barycentric.astype(np.float32),
        "ibug68_triangle": triangle[rows].astype(np.int32),
        "ibug68_barycentric": barycentric[rows].astype(np.float32),
    }


def carry_back(
    model: HeadModel, found: np.ndarray, triangle: Tensor, weights: Tensor, facing: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Points (478, 3) on the mean head under the found pixels, and their weights (478,): n_z squared, 0 if outside."""
    column, row = np.clip(found.astype(int), 0, SIZE - 1).T
    hit = triangle[row, column]
    corners = model.mean[model.triangles[hit.clamp_min(0)]]  # (478, 3, 3)
    places = (corners * weights[row, column][..., None]).sum(1)
    weight = facing[row, column].clamp_min(0) ** 2 * (hit >= 0)
    return places.numpy(), weight.numpy()


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Per-coordinate weighted median (N, 3) of (D, N, 3) with weights (D, N)."""
    order = values.argsort(0)
    ranked = np.take_along_axis(values, order, 0)
    share = np.take_along_axis(np.broadcast_to(weights[..., None], values.shape), order, 0).cumsum(0)
    middle = (share >= 0.5 * share[-1:]).argmax(0)
    return np.take_along_axis(ranked, middle[None], 0)[0]


def turned_to_camera(side: np.ndarray, yaw: float) -> np.ndarray:
    """Whether landmarks at `side` (478,), -1 right to 1 left of the face, can be seen from `yaw` degrees.

    On the far side the pixel under a hidden landmark shows some other part of the face.
    """
    return (np.abs(side) < 0.5) | (side * yaw <= 0)


def partners(model: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Left-right partner (478,) of every landmark and its place across the face (478,), from -1 to 1.

    Both come from a frontal render of the symmetric mean head and its mirror image.
    """
    pixels, *_ = draw(model, torch.zeros(1, model.identities), torch.eye(3))
    with LandmarkDetector() as detector:
        found = detector.find(pixels)[0].points
        flipped = detector.find(np.ascontiguousarray(pixels[:, ::-1]))[0].points
    centred = 0.5 * (found - found.mean(0) + flipped - flipped.mean(0))
    cost = np.linalg.norm(centred[:, None] - centred[None] * [-1, 1], axis=2)
    return linear_sum_assignment(cost + cost.T)[1], centred[:, 0] / np.abs(centred[:, 0]).max()


def symmetric(points: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """Average every landmark (N, 3) with the mirror image of its partner."""
    return 0.5 * (points + points[partner] * [-1, 1, 1])


def nearest_on_surface(points: np.ndarray, model: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Triangle (N,) and barycentrics (N, 3) of the closest points on the visible parts of the mean head."""
    hidden = model.region("inner_mouth") | model.region("eye_sockets") | model.region("teeth") | model.region("tongue")
    outer = np.flatnonzero(~hidden[model.triangles].any(1).numpy())
    corners = model.mean.numpy()[model.triangles[outer].numpy()]  # (F, 3, 3)
    near = cKDTree(corners.mean(1)).query(points, k=NEIGHBOURS)[1]  # (N, k)
    asked = np.repeat(points, NEIGHBOURS, axis=0)
    closest = trimesh.triangles.closest_point(corners[near.ravel()], asked)
    best = np.linalg.norm(closest - asked, axis=1).reshape(near.shape).argmin(1)
    rows = np.arange(len(points))
    face = near[rows, best]
    closest = closest.reshape(*near.shape, 3)[rows, best]
    return outer[face], trimesh.triangles.points_to_barycentric(corners[face], closest)
