"""A small renderer that was never trained, and a small training set whose fits are exact."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from garface.datasets.training_set import SETTINGS_FILE
from garface.errors import AssetError
from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import landmark_points, load_head, stamp
from garface.heads.tables import eye_centres
from garface.networks import Inverter, InverterConfig, StyleGenerator, StyleGeneratorConfig, to_dict
from garface.photo.detector import FaceLandmarks, LandmarkDetector
from garface.reconstruction import Renderer
from garface.weights import WeightsCard

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 8}
SIDE = 64


def renderer() -> Renderer:
    torch.manual_seed(0)
    networks = {
        "gar": StyleGenerator(
            StyleGeneratorConfig(resolution=32, latent_dim=8, style_dim=8, mapping_layers=2, channels=CHANNELS)
        ),
        "inverter": Inverter(InverterConfig(resolution=32, latent_dim=8, channels=CHANNELS, hidden=8)),
    }
    cards = {
        kind: WeightsCard(kind, to_dict(network.config), "CC0-1.0", "nothing", images=7)  # type: ignore[arg-type]
        for kind, network in networks.items()
    }
    for network in networks.values():
        network.eval().requires_grad_(False)
    return Renderer(load_head(), networks["gar"], networks["inverter"], cards, torch.device("cpu"))


def write_faces(folder: Path, count: int = 20) -> Path:
    """Faces 0, 1, ...: those ending in 7 are held out. Every head is turned a little differently."""
    model, random = load_head(), np.random.default_rng(0)
    identity = torch.from_numpy(0.3 * random.standard_normal((count, model.identities))).float()
    expression = torch.zeros(count, model.expressions)
    turn = torch.from_numpy(random.uniform(-0.3, 0.3, (count, 3))).float()
    pose = Pose(axis_angle_to_matrix(turn), torch.tensor([0.0, 0.0, -900.0]).expand(count, 3))
    camera = Camera(torch.full((count,), 4.0 * SIDE), torch.full((count, 2), SIDE / 2), SIDE, SIDE)
    heads = pose.apply(model.vertices(identity, expression))
    points = camera.project(landmark_points(model, heads))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(json.dumps({"head": stamp(model)}))
    np.savez(
        folder / "part-00000.npz",
        names=np.array([str(index) for index in range(count)]),
        pictures=random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        points=points.numpy(),
        identity=identity.numpy(),
        expression=expression.numpy(),
        rotation=pose.rotation.numpy(),
        translation=pose.translation.numpy(),
        focal=camera.focal.numpy(),
        principal=camera.principal.numpy(),
        error=np.zeros((count, 478), np.float32),
    )
    return folder


def eyes_of(face: FaceLandmarks) -> NDArray[np.float32]:
    """(2, 2) centres of the left and of the right eye, pixels."""
    right, left = eye_centres(torch.from_numpy(face.points)[None])
    return torch.cat([left, right]).numpy()


def open_detector() -> LandmarkDetector:
    try:
        return LandmarkDetector()
    except AssetError as error:
        pytest.skip(f"no landmark model: {error}")


def astronaut() -> NDArray[np.uint8]:
    from skimage.data import astronaut as photo

    return np.asarray(photo())
