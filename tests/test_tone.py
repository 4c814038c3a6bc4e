"""Inverted latents get the colour of the photo's face, whoever renders."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import Tensor

from garface.evaluation.skin import MEASURES, SkinRow, SkinTable, compare_colours, textured
from garface.heads import load_head
from garface.metrics.skin import SKIN_CLASSES, cielab, skin_class, typology_angle
from garface.photo.regions import face_masks
from garface.reconstruction import Reconstruction, ReconstructionSettings, Reconstructor
from garface.reconstruction.state import FaceState, Target
from garface.reconstruction.tone import ToneSettings, colour_steps, face_colour, match_tone

SIDE = 32


class Painter:
    """FaceRenderer one colour inside the head: affine in the first three numbers of the style, bent by `curve`."""

    def __init__(self, curve: float = 0.0) -> None:
        self.curve, self.head_model = curve, load_head()
        self.mix = torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.4, 0.1], [0.1, 0.0, 0.3]])
        self.mean_style, self.style_spread = torch.zeros(1, 6), torch.tensor(1.0)

    def normals(self, identity: Tensor, expression: Tensor, pose: object, camera: object) -> Tensor:
        return torch.cat([torch.zeros(len(identity), 3, SIDE, SIDE), torch.ones(len(identity), 1, SIDE, SIDE)], 1)

    def render(self, w: Tensor, normals: Tensor, noise: object = None) -> Tensor:
        style = w if w.ndim == 2 else w.mean(1)
        colour = style[:, :3] @ self.mix
        return (colour + self.curve * colour.square())[:, :, None, None] * normals[:, 3:]


def points_of_a_face() -> Tensor:
    """(1, 478, 2): the mean head's landmarks, filling the image."""
    from garface.heads import landmark_points

    model = load_head()
    flat = landmark_points(model, model.mean[None])[..., :2] * torch.tensor([1.0, -1.0])
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return 2 + (SIDE - 4) * (flat - low) / (high - low).amax()


def problem(colours: Tensor, w: Tensor | None = None) -> tuple[FaceState, Target]:
    count = len(colours)
    state = SimpleNamespace(w=torch.zeros(count, 4, 6) if w is None else w, noise=None)
    image = colours[:, :, None, None].expand(-1, -1, SIDE, SIDE)
    target = Target(
        image, torch.ones(count, 1, SIDE, SIDE), points_of_a_face().expand(count, -1, -1), torch.zeros(count, 1)
    )
    return state, target  # type: ignore[return-value]


def matched(painter: Painter, colours: Tensor, settings: ToneSettings) -> tuple[Tensor, Tensor]:
    """Rendered colours (B, 3) after matching, and styles (B, L, W)."""
    state, target = problem(colours)
    state = FaceState(None, None, None, None, state.w, None)  # type: ignore[arg-type]
    normals = painter.normals(torch.zeros(len(colours), 1), None, None, None)  # type: ignore[arg-type]
    steps = colour_steps(painter, SIDE)  # type: ignore[arg-type]
    found = match_tone(painter, state, normals, target, steps, settings)  # type: ignore[arg-type]
    return painter.render(found.w, normals)[:, :, SIDE // 2, SIDE // 2], found.w


def test_a_linear_renderer_is_matched_in_one_step_by_the_least_move() -> None:
    painter, wanted = Painter(), torch.tensor([[0.2, -0.1, 0.15], [0.0, 0.0, 0.0]])
    colours, w = matched(painter, wanted, ToneSettings(steps=1))
    torch.testing.assert_close(colours, wanted, atol=2e-3, rtol=0)
    expected = wanted @ torch.linalg.inv(painter.mix)  # the only move of the first three numbers
    torch.testing.assert_close(w[:, 0, :3], expected, atol=5e-3, rtol=0)
    assert float(w[..., 3:].abs().max()) == 0, "what has nothing to do with colour stays"
    assert torch.equal(w[:, 0], w[:, 3]), "every layer moves alike"


def test_more_steps_come_nearer_where_colour_is_not_linear() -> None:
    wanted = torch.tensor([[0.3, -0.2, -0.3]])
    errors = [float((matched(Painter(0.4), wanted, ToneSettings(steps=n))[0] - wanted).norm()) for n in (0, 1, 2, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.1 * errors[0]


def test_no_style_goes_farther_than_allowed() -> None:
    _, w = matched(Painter(), torch.tensor([[1.0, -1.0, 1.0], [0.05, 0.0, 0.0]]), ToneSettings(farthest=0.3))
    lengths = w[:, 0].square().mean(1).sqrt()
    assert float(lengths[0]) == pytest.approx(0.3, rel=1e-3)
    assert float(lengths[1]) < 0.1


def test_only_the_face_counts() -> None:
    mask = face_masks(points_of_a_face(), SIDE)
    image = torch.where(mask.bool(), torch.tensor(0.4), torch.tensor(-1.0)).expand(1, 3, -1, -1)
    torch.testing.assert_close(face_colour(image, mask), torch.full((1, 3), 0.4))


@pytest.fixture(scope="module")
def face() -> Reconstruction:
    settings = ReconstructionSettings(quality="fast", device="cpu", texture_size=256)
    with Reconstructor(settings) as reconstructor:
        return reconstructor.reconstruct(astronaut())[0]


def test_the_shipped_renderer_takes_a_dark_and_a_light_face(face: Reconstruction) -> None:
    renderer, target = face.renderer, face.target
    assert target is not None
    assert face.start is not None
    mask = face_masks(target.points, target.image.shape[-1])
    normals = face.start.normals(renderer)
    for colour in ([-0.45, -0.6, -0.7], [0.6, 0.4, 0.3]):
        wanted = torch.tensor([colour])
        flat = replace(target, image=wanted[:, :, None, None].expand_as(target.image))
        found = match_tone(renderer, face.start, normals, flat, renderer.colour_steps)
        before, after = (
            float((face_colour(state.render(renderer).detach(), mask) - wanted).norm()) for state in (face.start, found)
        )
        assert after < 0.15 * before


def test_lab_and_typology_angle_of_known_colours() -> None:
    white, red = torch.ones(1, 3, 1, 1), torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(cielab(white)[0, :, 0, 0], torch.tensor([100.0, 0, 0]), atol=0.02, rtol=0)
    torch.testing.assert_close(cielab(red)[0, :, 0, 0], torch.tensor([53.24, 80.09, 67.20]), atol=0.05, rtol=0)
    lab = torch.tensor([[60.0, 12.0, 10.0], [50.0, 12.0, 20.0], [30.0, 10.0, 20.0]])
    torch.testing.assert_close(typology_angle(lab), torch.tensor([45.0, 0.0, -45.0]))
    angles = [60.0, 50.0, 30.0, 20.0, 0.0, -50.0]
    assert tuple(skin_class(angle) for angle in angles) == SKIN_CLASSES
    assert [skin_class(edge) for edge in (55.0, 10.0, -30.0)] == ["light", "brown", "dark"]


def test_the_textured_head_looks_like_the_photo_where_it_is_seen(face: Reconstruction) -> None:
    assert face.target is not None
    mask = face_masks(face.target.points, face.target.image.shape[-1]).bool().expand(-1, 3, -1, -1)
    shown, photo = textured(face)[mask], face.target.image[mask]
    assert float((shown - photo).abs().median()) < 0.1, "all but hair, eyes and mouth, which are modelled"
    assert float(textured(face)[0, :, 0, 0].max()) == -1, "nothing is drawn beside the head"


def test_errors_of_one_photo_and_their_table(face: Reconstruction, tmp_path) -> None:
    row = compare_colours(tmp_path / "astronaut.png", face)
    assert set(row.errors) == set(MEASURES)
    assert row.group in SKIN_CLASSES
    assert row.errors["render, mean colour"] < 3
    assert row.errors["texture"] < row.errors["render"]
    dark = SkinRow("b", -60.0, dict.fromkeys(MEASURES, 6.0))
    light = SkinRow("c", 60.0, dict.fromkeys(MEASURES, 2.0))
    table = SkinTable("fast", (dark, light, light), (("d", "no face"),))
    assert table.mean("render") == pytest.approx(10 / 3)
    assert (table.mean("render", "dark"), table.mean("render", "tan")) == (6.0, None)
    assert table.worst("render") == pytest.approx(1.5)
    text = table.to_markdown()
    assert "| dark | 1 | 6 |" in text
    assert "no face" in text
    assert np.isfinite(table.to_json()["worst"]["texture"])
