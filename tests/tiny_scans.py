"""Shapes whose distances are known, and small datasets in every layout."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from garface.evaluation import seven_landmarks
from garface.evaluation.geometry import Mesh, Prediction, Scan
from garface.evaluation.geometry.alignment import Similarity3D
from garface.heads import load_head
from garface.io import write_obj, write_ply, write_png

TURN = Rotation.from_euler("xyz", [20, -35, 10], degrees=True).as_matrix()
MOVED = Similarity3D(0.037, TURN, np.array([5.0, -2.0, 9.0]))
"""To another unit and frame."""
CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
AROUND = np.concatenate([CORNERS, np.zeros((1, 3))])
"""Seven points about the origin."""


def grid(side: float, count: int, z: float = 0.0) -> Mesh:
    """A square in the plane of z, seen from +z."""
    line = np.linspace(-side / 2, side / 2, count)
    x, y = np.meshgrid(line, line)
    number = np.arange(count * count).reshape(count, count)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    return Mesh.of(
        np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], 1),
        np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]),
    )


def sphere(radius: float, halvings: int = 4) -> Mesh:
    """An octahedron, its edges halved and pushed out."""
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    corners = CORNERS[np.array(faces)]
    for _ in range(halvings):
        a, b, c = corners.transpose(1, 0, 2)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        corners = np.concatenate([np.stack(part, 1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    points, index = np.unique(corners.reshape(-1, 3).round(9), axis=0, return_inverse=True)
    points = radius * points / np.linalg.norm(points, axis=1, keepdims=True)
    return Mesh.of(points, index.reshape(-1, 3))


def head(seed: int = 0) -> tuple[Mesh, NDArray[np.float64]]:
    """A random head and its seven landmarks; seed 0 is the mean head."""
    model = load_head()
    identity = torch.randn(1, model.identities, generator=torch.Generator().manual_seed(seed)) * (seed > 0)
    vertices = model.vertices(identity, torch.zeros(1, model.expressions))[0]
    return Mesh.of(vertices.numpy(), model.triangles.numpy()), seven_landmarks(vertices, model).double().numpy()


def head_scan(seed: int = 0) -> Scan:
    """The face of such a head: everything within 95 mm of the tip of its nose that looks forward."""
    mesh, landmarks = head(seed)
    tip = mesh.vertices[mesh.vertices[:, 2].argmax()]
    return Scan(mesh.within(tip, 95.0, whole=True), landmarks, tip, True)


def prediction_of(mesh: Mesh, landmarks: NDArray[np.float64], where: Similarity3D = MOVED) -> Prediction:
    """A mesh and its landmarks moved away."""
    return Prediction(where.moved(mesh), where.apply(landmarks))


def write_scan(path: Path, seed: int) -> dict[str, object]:
    """Write the face of a head as PLY or OBJ; returns landmarks and nose tip."""
    scan = head_scan(seed)
    used, triangles = np.unique(scan.mesh.triangles, return_inverse=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write = write_ply if path.suffix == ".ply" else write_obj
    write(path, scan.mesh.vertices[used], triangles.reshape(-1, 3))
    assert scan.nose_tip is not None
    return {"landmarks": scan.landmarks.tolist(), "nose_tip": scan.nose_tip.tolist()}


def write_image(path: Path, pixels: NDArray[np.uint8] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.full((8, 8, 3), 128, np.uint8) if pixels is None else pixels)


def write_bench(folder: Path, subjects: int = 2, views: int = 2, pixels: NDArray[np.uint8] | None = None) -> Path:
    for subject in range(subjects):
        name = f"s{subject:03}"
        truth = write_scan(folder / f"gt/{name}.ply", subject + 1)
        (folder / f"gt/{name}.json").write_text(
            json.dumps({"landmarks7": truth["landmarks"], "nose_tip": truth["nose_tip"]})
        )
        for view in range(views):
            write_image(folder / f"images/{name}_v{view}.jpg", pixels)
            camera = {
                "K": [[900, 0, 256], [0, 900, 250], [0, 0, 1]],
                "R": np.diag([1, -1, -1]).tolist(),
                "t": [1, 2, 800],
                "size": [512, 500],
            }
            (folder / "views").mkdir(exist_ok=True)
            (folder / f"views/{name}_v{view}.json").write_text(json.dumps(camera))
    return folder


def write_listed(folder: Path) -> Path:
    camera = {
        "size_px": [512, 500],
        "focal_px": 900,
        "principal_px": [256, 250],
        "rotation_camera_scan": np.eye(3).tolist(),
        "translation_camera_scan_mm": [1, -2, -800],
    }
    subjects = []
    for name, seed in (("anna", 1), ("bert", 2)):
        truth = write_scan(folder / f"scans/{name}.obj", seed)
        write_image(folder / f"photos/{name}.png")
        subjects.append(
            {
                "name": name,
                "scan": f"scans/{name}.obj",
                **truth,
                "pictures": [{"name": name, "file": f"photos/{name}.png", "camera": camera}],
            }
        )
    content = {"format": "garface geometry 1", "unit_mm": 1.0, "cropped": True, "subjects": subjects}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_now(folder: Path) -> Path:
    for name, seed in (("FaMoS_1_TA", 1), ("FaMoS_2_TA", 2)):
        truth = np.array(write_scan(folder / f"scans/{name}/natural.obj", seed)["landmarks"])
        points = "".join(f'<point x="{x}" y="{y}" z="{z}" active="1" name="{i}"/>' for i, (x, y, z) in enumerate(truth))
        (folder / f"scans_lmks_onlypp/{name}").mkdir(parents=True)
        (folder / f"scans_lmks_onlypp/{name}/natural.pp").write_text(
            f"<!DOCTYPE PickedPoints><PickedPoints>{points}</PickedPoints>"
        )
        write_image(folder / f"NoW_Dataset/final_release_version/iphone_pictures/{name}/selfie/IMG_0101.jpg")
    lines = [f"{name}/selfie/IMG_0101.jpg" for name in ("FaMoS_1_TA", "FaMoS_2_TA")]
    (folder / "imagepathsvalidation.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_florence(folder: Path) -> Path:
    for name, seed in (("subject_01", 1), ("subject_02", 2)):
        truth = write_scan(folder / f"{name}/Model/frontal1/obj/110920150452.obj", seed)
        (folder / f"{name}/landmarks.json").write_text(json.dumps(truth))
        write_image(folder / f"{name}/pictures/frame890.jpg")
    return folder


def write_aflw2000(folder: Path, yaws: tuple[float, ...] = (10.0, -45.0, 80.0)) -> Path:
    for number, yaw in enumerate(yaws):
        points = np.random.default_rng(number).uniform(100, 300, (3, 68))
        points[:2, :2] = [[100.5, 300.5], [100.5, 300.5]]  # a box of 200 px
        pose = np.array([[0.1, np.radians(yaw), 0, 0, 0, 0, 1]])
        write_image(folder / f"image0000{number}.jpg")
        savemat(folder / f"image0000{number}.mat", {"pt3d_68": points, "Pose_Para": pose})
    return folder
