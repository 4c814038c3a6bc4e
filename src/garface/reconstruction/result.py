"""What a user gets: coefficients, camera, images and meshes of one reconstructed face, and the folder they fill."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from garface.arrays import Pixels
from garface.errors import InputError
from garface.files import whole_folder, write_atomic, write_json
from garface.geometry import Camera, Pose, Topology, vertex_normals
from garface.heads import HeadModel, check_stamp, interocular_distance, landmark_points, stamp
from garface.io import (
    GltfCamera,
    GltfScene,
    contact_sheet,
    to_tensor,
    to_uint8,
    write_glb,
    write_mask,
    write_obj,
    write_png,
)
from garface.metrics import psnr
from garface.reconstruction.avatar import avatar_scene
from garface.reconstruction.quality import Quality
from garface.reconstruction.renderer import Renderer
from garface.reconstruction.settings import ReconstructionSettings
from garface.reconstruction.state import FaceState, Target
from garface.reconstruction.texture import UVTexture
from garface.rendering import fit_light, normal_map, shade
from garface.weights import WeightsCard, find_asset

OVERLAY_SIDE = 2048
"""Longest side of the overlay, pixels."""

STATE_FILE, REPORT_FILE = "latent.safetensors", "reconstruction.json"
_ABSURD = 1e6
"""No value of a state comes near it, whatever its unit."""
_REUSED = ("photo", "settings", "weights")
HEAD_KEY = "head"
"""Metadata of `STATE_FILE`: the stamp of the head model that the coefficients belong to."""


@dataclass(frozen=True)
class Provenance:
    """Where a reconstruction came from.

    Attributes:
        photo: path of the photo, None for pixels in memory.
        sha256: of the photo's file.
        notes: what was decided while reading it.
        faces: how many of its faces were reconstructed.
        person: sha256 of all photos of one person that were reconstructed together; empty for a photo on its own.
    """

    photo: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    faces: int = 1
    person: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One face of one photo.

    Attributes:
        name: of the folder it is saved in.
        identity: (K,) standard deviations.
        expression: (E,) within the head model's bounds.
        camera: of the full photo.
        pose: camera from head, millimetres, for that camera.
        state: everything that renders the face in the frame of its crop.
        renderer: the renderer it belongs to.
        pixels: (H, W, 3) uint8, the photo.
        texture: colour and confidence in UV.
        settings: what the user chose.
        provenance: where the photo came from.
        cards: what all weights that were used say about themselves.
        quality: numbers and notes on photo and estimates.
        inverted: (3, R, R), the render before the refinement, about [-1, 1].
        start: the state before the refinement.
        target: the crop, its mask and its landmarks.
        classic_render: (3, R, R) in [-1, 1], the render of the classic renderer where it took the generative one's
            place.
        history: every step's terms.
        seconds: time by stage.
    """

    name: str
    identity: Tensor
    expression: Tensor
    camera: Camera
    pose: Pose
    state: FaceState
    renderer: Renderer
    pixels: Pixels
    texture: UVTexture
    settings: ReconstructionSettings
    provenance: Provenance
    cards: dict[str, WeightsCard] = field(default_factory=dict)
    quality: Quality = field(default_factory=lambda: Quality({}, ()))
    inverted: Tensor | None = None
    start: FaceState | None = None
    target: Target | None = None
    classic_render: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def head_model(self) -> HeadModel:
        """The head model, on the CPU as everything that is saved."""
        return self.renderer.head_model.to("cpu")

    @property
    def topology(self) -> Topology:
        """Topology of the head's mesh, on the CPU."""
        return self.renderer.topology.to("cpu")

    def vertices(self, *, neutral: bool = False) -> Tensor:
        """Head (V, 3), head frame, millimetres; with `neutral`, without its expression."""
        expression = torch.zeros_like(self.expression) if neutral else self.expression
        return self.head_model.vertices(self.identity[None], expression[None])[0]

    @torch.no_grad()
    def render(self) -> Tensor:
        """The image (3, R, R) of the face, [-1, 1], by the renderer or what took its place."""
        image = self.state.render(self.renderer)[0] if self.classic_render is None else self.classic_render
        return image.clamp(-1, 1).cpu()

    def avatar(self) -> GltfScene:
        """The head as it goes into the GLB: neutral shape, morph targets at the fitted strengths."""
        model = self.head_model
        return avatar_scene(
            model,
            self.vertices(neutral=True),
            self.expression,
            self.texture.colour,
            fine=self.settings.detail == "high",
            camera=GltfCamera(
                focal=float(self.camera.focal[0]),
                height=self.camera.height,
                width=self.camera.width,
                rotation=self.pose.rotation[0].double().numpy(),
                translation=self.pose.translation[0].double().numpy(),
            ),
            licence=f"Head shape: {model.licence}. Texture: as the photo.",
        )

    @torch.no_grad()
    def metrics(self) -> dict[str, float]:
        """How near the face comes to the photo, before and after the refinement.

        `psnr_inverted` and `psnr_refined`: of the render inside the head, dB. `landmark_error_fitted` and
        `landmark_error_refined`: median distance of the projected landmarks from the observed ones, interocular
        distances.
        """
        if self.target is None or self.start is None or self.inverted is None:
            return {}
        mask = (self.start.normals(self.renderer)[:, 3:] * self.target.mask).cpu()
        first = self.inverted[None].clamp(-1, 1)
        images = {"psnr_inverted": first, "psnr_refined": self.render()[None]}
        photo = self.target.image.cpu()
        return {name: float(psnr(image, photo, mask)) for name, image in images.items()} | {
            "landmark_error_fitted": _landmark_error(self.start, self.renderer, self.target),
            "landmark_error_refined": _landmark_error(self.state, self.renderer, self.target),
        }

    def report(self) -> dict[str, Any]:
        """Everything about the reconstruction that is not an image, as plain JSON values."""
        names = self.renderer.head_model.expression_names
        return {
            "name": self.name,
            "photo": asdict(self.provenance) | {"height": self.camera.height, "width": self.camera.width},
            "settings": asdict(self.settings),
            "identity": {f"identity_{i:03d}": float(value) for i, value in enumerate(self.identity)},
            "expression": {name: float(value) for name, value in zip(names, self.expression)},
            "camera": {
                "model": "pinhole: x = cx + f X / -Z, y = cy - f Y / -Z, pixel centres at .5, +y up, looking down -z",
                "focal_px": float(self.camera.focal[0]),
                "principal_px": self.camera.principal[0].tolist(),
                "rotation_camera_head": self.pose.rotation[0].tolist(),
                "translation_camera_head_mm": self.pose.translation[0].tolist(),
            },
            "metrics": self.metrics(),
            "quality": asdict(self.quality),
            "seconds": self.seconds,
            "history": self.history,
            "versions": {name: _version(name) for name in ("garface", "torch", "numpy", "mediapipe")},
            "weights": {kind: asdict(card) for kind, card in self.cards.items()},
            "assets": _assets(self.cards),
        }

    def save(self, folder: Path | str, *, report: Callable[[float], None] = lambda _share: None) -> Path:
        """Write the result folder, whole or not at all; an earlier result is replaced. Returns the folder.

        Args:
            folder: its place.
            report: told the share that is written, 0 to 1; what it raises ends the writing, and nothing is left of it.

        Raises:
            OutputError: the folder cannot be written.
        """
        final = Path(folder)
        writers = (self._write_meshes, self._write_images, self._write_state, self._write_report)
        with whole_folder(final) as draft:
            for number, write in enumerate(writers):
                report(number / len(writers))
                write(draft)
        return final

    def _write_state(self, draft: Path) -> None:
        write_atomic(draft / STATE_FILE, save(self._tensors(), metadata={HEAD_KEY: stamp(self.head_model)}))

    def _write_report(self, draft: Path) -> None:
        write_json(draft / REPORT_FILE, self.report())

    def _write_meshes(self, draft: Path) -> None:
        write_glb(draft / "head.glb", self.avatar(), image="jpeg")
        model, vertices = self.head_model, self.vertices()
        normals = vertex_normals(vertices[None], self.topology)[0]
        write_png(draft / "texture.png", self.texture.colour)
        write_mask(draft / "confidence.png", self.texture.confidence)
        write_obj(
            draft / "head.obj",
            vertices.numpy(),
            model.triangles.numpy(),
            normals=normals.numpy(),
            uv=model.uv.numpy(),
            uv_triangles=model.uv_triangles.numpy(),
            texture="texture.png",
        )

    @torch.no_grad()
    def _write_images(self, draft: Path) -> None:
        render, normals = self.render(), self.state.normals(self.renderer)[0].cpu()
        write_png(draft / "render.png", to_uint8(render))
        write_png(draft / "normals.png", to_uint8(normals[:3]))
        write_png(draft / "overlay.png", self._overlay())
        if self.target is not None:
            photo = self.target.image[0].cpu()
            shaded = shaded_mesh(photo[None], normals[None])[0]
            panels = [_enlarge(to_uint8(panel)) for panel in (photo, render, normals[:3], shaded)]
            write_png(draft / "comparison.png", contact_sheet(panels, 4, gap=4))

    def _overlay(self) -> Pixels:
        """The photo, at most `OVERLAY_SIDE` pixels long, with the mesh's normals over the face."""
        photo, camera = _reduce(self.pixels, self.camera, OVERLAY_SIDE)
        head = self.pose.apply(self.vertices()[None])
        normals = normal_map(head, self.topology, camera)
        alpha = 0.55 * normals[:, 3:]
        return to_uint8(photo * (1 - alpha) + normals[:, :3].clamp(-1, 1) * alpha)

    def _tensors(self) -> dict[str, Tensor]:
        state = self.state
        tensors = {
            "identity": state.identity,
            "expression": state.expression,
            "rotation": state.pose.rotation,
            "translation": state.pose.translation,
            "focal": state.camera.focal,
            "principal": state.camera.principal,
            "w": state.w,
        } | {f"noise_{i:02d}": layer for i, layer in enumerate(state.noise)}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def load_state(folder: Path | str, renderer: Renderer) -> FaceState:
    """What renders the face of a finished reconstruction, from its folder.

    Raises:
        InputError: the folder holds no reconstruction, or one that another renderer made.
        SettingError: its coefficients belong to another head model than the renderer's.
    """
    path = Path(folder) / STATE_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no finished reconstruction; make one with `garface reconstruct PHOTO`.")
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(HEAD_KEY)
        tensors = {name: value.to(renderer.device) for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read; reconstruct the photo again.") from error
    check_stamp(found, renderer.head_model, what=str(folder), remedy="reconstruct the photo again")
    noise = [tensors[name] for name in sorted(tensors) if name.startswith("noise_")]
    shapes = [tuple(layer.shape[1:]) for layer in noise]
    width = tensors["w"].shape[-1] if "w" in tensors else 0
    if shapes != list(renderer.generator.noise_shapes()) or width != renderer.mean_style.shape[1]:
        raise InputError(f"{folder} was made by another renderer; give the same --model as for the reconstruction.")
    if not _is_state(tensors, renderer):
        raise InputError(f"{path} is damaged; reconstruct the photo again.")
    return FaceState(
        identity=tensors["identity"],
        expression=tensors["expression"],
        pose=Pose(tensors["rotation"], tensors["translation"]),
        camera=Camera(tensors["focal"], tensors["principal"], renderer.resolution, renderer.resolution),
        w=tensors["w"],
        noise=noise,
    )


def _is_state(tensors: Mapping[str, Tensor], renderer: Renderer) -> bool:
    """Whether tensors of a face have the shapes that the renderer needs, and finite values."""
    model = renderer.head_model
    shapes: dict[str, tuple[int, ...]] = {
        "identity": (1, model.identities),
        "expression": (1, model.expressions),
        "rotation": (1, 3, 3),
        "translation": (1, 3),
        "focal": (1,),
        "principal": (1, 2),
        "w": (1, renderer.generator.layers, renderer.mean_style.shape[1]),
    }
    shapes |= {f"noise_{row:02d}": (1, *shape) for row, shape in enumerate(renderer.generator.noise_shapes())}
    if any(name not in tensors or tuple(tensors[name].shape) != shape for name, shape in shapes.items()):
        return False
    values = [tensors[name] for name in shapes]
    return all(value.dtype == torch.float32 and bool((value.abs() < _ABSURD).all()) for value in values)


def read_report(folder: Path | str) -> dict[str, Any]:
    """The report of a finished reconstruction, see `Reconstruction.report`.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = Path(folder) / REPORT_FILE
    try:
        report = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no finished reconstruction; make one by `garface reconstruct`.") from error
    except (OSError, ValueError, RecursionError):
        report = None
    if not _is_report(report):
        raise InputError(f"{path} is damaged; delete the folder {folder} and reconstruct the photo again.")
    return dict(report)


def _is_report(report: Any) -> bool:
    """Whether the parts of a report that are used again have their types."""
    if not isinstance(report, dict) or not all(isinstance(report.get(part), dict) for part in _REUSED):
        return False
    photo = report["photo"]
    lists = [photo.get("notes", []), photo.get("person", [])]
    return isinstance(photo.get("faces", 1), int) and all(isinstance(part, list) for part in lists)


def _landmark_error(state: FaceState, renderer: Renderer, target: Target) -> float:
    """Median distance of one face's projected landmarks from the observed ones, in its interocular distance."""
    model = renderer.head_model
    head = renderer.vertices(state.identity, state.expression, state.pose)
    projected = state.camera.project(landmark_points(model, head))
    return float((projected - target.points).norm(dim=2).median() / interocular_distance(target.points))


def shaded_mesh(photo: Tensor, normals: Tensor) -> Tensor:
    """The mesh under the photo's own light, grey: (B, 3, R, R) in [-1, 1]."""
    albedo = torch.full_like(photo, 0.5)
    light = fit_light(photo, normals[:, :3], normals[:, 3:], albedo=albedo)
    grey = light.mean(2, keepdim=True).expand_as(light)
    mask = normals[:, 3:]
    return shade(normals[:, :3], albedo, grey) * mask + 0.9 * (1 - mask)


def _reduce(pixels: Pixels, camera: Camera, longest: int) -> tuple[Tensor, Camera]:
    """A photo (1, 3, h, w) and its camera with a whole-numbered reduction to at most `longest` pixels a side."""
    block = -(-max(camera.height, camera.width) // longest)
    height, width = camera.height // block * block, camera.width // block * block
    photo = avg_pool2d(to_tensor(pixels[:height, :width]), block)
    return photo, Camera(camera.focal / block, camera.principal / block, height // block, width // block)


def _enlarge(pixels: Pixels, least: int = 256) -> Pixels:
    factor = max(1, -(-least // pixels.shape[0]))
    big = interpolate(to_tensor(pixels), scale_factor=factor, mode="bicubic").clamp(-1, 1)
    return to_uint8(big)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _assets(cards: Mapping[str, WeightsCard]) -> list[dict[str, str]]:
    used = ["face-landmarker"]
    if "shape" in cards and cards["shape"].config["features"]:
        used.append("dlib-face-resnet")
    return [
        {
            "name": asset.name,
            "package": f"{asset.package}=={asset.version}",
            "licence": asset.licence,
            "sha256": asset.member_sha256,
        }
        for asset in map(find_asset, used)
    ]
