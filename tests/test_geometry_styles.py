"""What styles tell of the geometry: found again where it is known, and read from normal maps."""

from pathlib import Path

import pytest
import torch
from test_borrowed_generator import appearance, generator, pyramid
from tiny_evaluation import write_faces
from tiny_training import Balls, things
from torch import Tensor

from garface.borrowed.mobile_stylegan import STYLE_DIM
from garface.datasets.conditions import FittedConditions
from garface.datasets.training_set import TrainingSet
from garface.training.geometry_styles import (
    EncoderSettings,
    GeometryStyles,
    before_leak,
    explained_share,
    geometry_drawer,
    relate,
    shares_of,
    train_encoder,
)
from garface.weights import load_weights

SOURCE = torch.Generator().manual_seed(0)
TRUE_ROWS = torch.randn(3, STYLE_DIM, generator=SOURCE) * 0.1


def portraits(count: int = 4000) -> tuple[Tensor, Tensor]:
    """Styles (N, 512) that follow three coefficients (N, 3) of different spreads, and looks beside them."""
    source = torch.Generator().manual_seed(1)
    standard = torch.randn(count, 3, generator=source)
    other = torch.randn(count, 20, generator=source) @ torch.randn(20, STYLE_DIM, generator=source) * 0.05
    styles = 0.3 + standard @ TRUE_ROWS + other
    return styles, standard * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 2.0, -1.0])


def test_the_relation_is_found_again() -> None:
    styles, coefficients = portraits()
    found = relate(styles, coefficients, torch.ones(3), ridge=1e-6)
    assert float((found.rows - TRUE_ROWS).abs().max()) < 0.02
    truth = (coefficients - coefficients.mean(0)) / coefficients.std(0) @ TRUE_ROWS
    assert explained_share(truth, found.offsets(coefficients)) > 0.99
    main = relate(styles, coefficients, torch.ones(3), ridge=1e-6, directions=1)
    assert int(torch.linalg.matrix_rank(main.rows, atol=1e-3)) == 1


def test_appearance_tells_nothing_linear_of_what_was_erased() -> None:
    """No regression finds it again, though styles are not white; and taking it out twice is taking it out once."""
    styles, coefficients = portraits()
    found = relate(styles, coefficients, torch.ones(3))
    centred = styles - found.style_mean
    appearance_only = centred - centred @ found.explained
    standard = (coefficients - found.mean) / found.deviation
    guess = (
        appearance_only @ torch.linalg.lstsq(appearance_only.double(), standard.double(), rcond=1e-4).solution.float()
    )
    assert explained_share(standard, guess) < 0.02
    torch.testing.assert_close(appearance_only @ found.explained, torch.zeros_like(centred), rtol=0, atol=1e-3)
    assert 0.05 < 1 - float(appearance_only.square().sum() / centred.square().sum()) < 0.9


def test_a_coefficient_without_a_share_stays_in_the_appearance() -> None:
    styles, coefficients = portraits()
    found = relate(styles, coefficients, torch.tensor([0.0, 1.0, 1.0]), ridge=1e-6)
    assert float(found.rows[0].abs().max()) == 0
    centred = styles - found.style_mean
    appearance_only = centred - centred @ found.explained
    standard = (coefficients - coefficients.mean(0)) / coefficients.std(0)
    kept = (appearance_only.mT @ standard / len(standard)).norm(dim=0) / TRUE_ROWS.norm(dim=1)
    assert float(kept[0]) == pytest.approx(1, abs=0.1)
    assert float(kept[1:].max()) < 0.1


def test_far_coefficients_are_held() -> None:
    found = relate(*portraits(), torch.ones(3))
    near, far = (found.mean + k * found.deviation for k in (4, 400))
    assert torch.equal(found.offsets(far[None]), found.offsets(near[None]))


def test_shares_of_variance() -> None:
    values = torch.randn(100, 4, generator=torch.Generator().manual_seed(2))
    assert explained_share(values, values) == 1
    assert explained_share(values, values.mean(0).expand_as(values)) == pytest.approx(0, abs=1e-6)


def test_latents_of_portraits_are_standard_and_vary_as_their_styles_do() -> None:
    source = torch.Generator().manual_seed(3)
    mixing = torch.eye(STYLE_DIM) + torch.randn(STYLE_DIM, STYLE_DIM, generator=source) * 0.02
    raw = torch.randn(3000, STYLE_DIM, generator=source) @ mixing - 0.2
    found = relate(torch.where(raw < 0, 0.2 * raw, raw), raw[:, :3], torch.ones(3))
    torch.testing.assert_close(before_leak(torch.where(raw < 0, 0.2 * raw, raw)), raw)
    latents = torch.linalg.solve(found.latent_axes.mT, (raw - found.latent_mean).mT).mT
    torch.testing.assert_close(latents.mT @ latents / len(raw), torch.eye(STYLE_DIM), rtol=0, atol=0.01)
    assert float(latents.mean(0).abs().max()) < 1e-3
    assert bool((found.latent_axes.norm(dim=1).diff() < 1e-4).all())


def draw(count: int) -> tuple[Tensor, Tensor]:
    """Balls, whose place is their geometry."""
    balls, indices = Balls(64), torch.randint(64, (count,))
    return balls.conditions(indices, resolution=16), balls.place[indices]


def relation() -> GeometryStyles:
    square, mean = torch.eye(STYLE_DIM), appearance(3)[2]
    return GeometryStyles(torch.zeros(2), torch.full((2,), 0.17), TRUE_ROWS[:2], mean, square * 0.5, mean, square * 3)


def settings(folder: Path, **changes: object) -> EncoderSettings:
    quiet = {"tensorboard": False, "progress": False, "sheet_every": 0, "device": "cpu", "precision": "fp32"}
    base = {"folder": folder, "batch": 8, "measured": 32, "average_half_life": 50.0, **quiet}
    return EncoderSettings(**{**base, **changes})  # type: ignore[arg-type]


def test_the_encoder_reads_the_geometry_from_normals(tmp_path: Path) -> None:
    made = generator()
    wanted = settings(tmp_path, max_images=2400, decay_over=2400, head="a head")
    assert train_encoder(wanted, made, relation(), draw).finished
    loaded = load_weights(tmp_path / "gar.safetensors")
    assert (loaded.card.config["kind"], loaded.card.head) == ("borrowed", "a head")
    assert loaded.card.metrics["offsets_explained"] > 0.9
    assert loaded.tensors.keys() == made.state_dict().keys()
    offsets = made.encoder(pyramid()[16])
    assert torch.equal(offsets, offsets[:, :1].expand_as(offsets))
    torch.testing.assert_close(made.appearance(appearance()), appearance() / 2 + relation().style_mean / 2)
    raw = relation().latent_mean + 3 * appearance()
    torch.testing.assert_close(made.styles(appearance()), made.appearance(torch.where(raw < 0, 0.2 * raw, raw)))


def test_its_distillation_resumes_exactly(tmp_path: Path) -> None:
    for name, stops in {"whole": (32,), "parts": (16, 32)}.items():
        for stop in stops:
            train_encoder(settings(tmp_path / name, max_images=stop), generator(), relation(), draw)
    whole, parts = (things(tmp_path / name)["encoder"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_rendered_heads_say_their_own_coefficients(tmp_path: Path) -> None:
    """One face combined with itself is the face that was fitted."""
    faces = TrainingSet(write_faces(tmp_path / "faces"), split="all").select(torch.zeros(1, dtype=torch.long))
    normals, coefficients = geometry_drawer(FittedConditions(faces), 64)(2)
    assert normals.shape == (2, 4, 64, 64)
    rows = torch.zeros(2, dtype=torch.long)
    torch.testing.assert_close(coefficients, faces.geometry(rows), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(normals, faces.conditions(rows, resolution=64), rtol=0, atol=0.05)
    shares = shares_of(faces.model, identity=0.25)
    assert shares.shape == coefficients.shape[1:]
    assert shares.unique(return_counts=True)[1].tolist() == [faces.model.identities, 52 + 9]
