"""Known latents: standardised, apart from geometry, copied with the portraits, and learned from."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import PLAIN, Balls, flat, settings, things
from torch import Tensor

from garface.datasets.known_latents import KnownLatents, copy_styles, known_latents, read_styles
from garface.datasets.training_set import TrainingSet
from garface.errors import InputError, SettingError
from garface.losses import pyramid_error
from garface.networks import load_generator, load_inverter
from garface.rendering import normal_pyramid
from garface.training.gar.calibrate import latent_moments
from garface.training.gar.critics import Critics
from garface.training.gar.run import GarTraining, train_gar
from garface.training.gar.step import Batch, Phase
from garface.training.inverter import InverterTraining, InverterTrainingSettings, InverterWeights, train_inverter
from garface.training.runtime import Runtime, configuration


def styles(count: int, width: int = 12, geometry: Tensor | None = None) -> Tensor:
    """Correlated numbers after a leaky ReLU, to which geometry adds."""
    source = torch.Generator().manual_seed(0)
    raw = torch.randn(count, width, generator=source) @ torch.randn(width, width, generator=source)
    if geometry is not None:
        raw = raw + 3 * geometry @ torch.randn(geometry.shape[1], width, generator=source)
    return torch.where(raw < 0, 0.2 * raw, raw)


def test_known_latents_are_standard_and_sorted_by_how_much_they_vary() -> None:
    known = known_latents(styles(500), None, 8)
    mean, covariance = latent_moments(known.latents, torch.full_like(known.latents, -torch.inf))
    torch.testing.assert_close(mean, torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(covariance, torch.eye(8), atol=1e-4, rtol=0)
    assert bool((known.spread.diff() <= 0).all())
    assert float(known.spread.square().mean()) == pytest.approx(1)


def test_all_components_tell_the_styles_exactly() -> None:
    given = styles(500)
    known = known_latents(given, None, 12)
    raw = torch.where(given < 0, 5 * given, given)
    told = torch.linalg.lstsq(known.latents, raw - raw.mean(0)).solution
    torch.testing.assert_close(known.latents @ told, raw - raw.mean(0), atol=1e-3, rtol=1e-3)


def test_geometry_cannot_be_told_from_latents_apart_from_it() -> None:
    geometry = torch.randn(800, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 50.0, 1e-3])
    given = styles(800, geometry=geometry / geometry.std(0))

    def share(known: KnownLatents) -> float:
        """Of the variance of geometry that a linear regression finds in the latents."""
        centred = (geometry - geometry.mean(0)) / geometry.std(0)
        fitted = known.latents @ torch.linalg.lstsq(known.latents, centred).solution
        return float(fitted.square().mean() / centred.square().mean())

    assert share(known_latents(given, None, 8)) > 0.3
    assert share(known_latents(given, geometry, 8)) < 0.01


@pytest.mark.parametrize("count", [0, 13])
def test_a_count_that_styles_cannot_give_is_refused(count: int) -> None:
    with pytest.raises(SettingError, match="give 1 to 12 latents"):
        known_latents(styles(40), None, count)


def write(folder: Path, numbers: list[int], **changes: np.ndarray) -> None:
    arrays = {"index": np.array(numbers), "w": np.arange(2.0 * len(numbers)).reshape(-1, 2).astype(np.float16)}
    np.savez(folder / "latents.npz", **{**arrays, **changes})


def test_styles_are_copied_and_found_by_the_portraits_numbers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    copy_styles(tmp_path, out)
    assert read_styles(out, ["00003"]) is None
    write(tmp_path, [1, 3, 20])
    copy_styles(tmp_path, out)
    found = read_styles(out, ["00020", "00001"])
    assert found is not None
    assert found.tolist() == [[4, 5], [0, 1]]
    for name in ("00002", "portrait"):
        with pytest.raises(InputError, match=f"no style of the image {name}"):
            read_styles(out, ["00001", name])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"w": np.full((2, 2), np.nan)}, "finite w"),
        ({"w": np.zeros((3, 2))}, "finite w"),
        ({"index": np.array([{}, {}], dtype=object)}, "cannot be read"),
    ],
)
def test_torn_latents_are_refused(tmp_path: Path, changes: dict[str, np.ndarray], says: str) -> None:
    write(tmp_path, [1, 2], **changes)
    with pytest.raises(InputError, match=says):
        copy_styles(tmp_path, tmp_path)


KNOWN = dataclasses.replace(PLAIN, latent=1.0, prior=0.0)


def test_a_training_with_known_latents_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = settings(tmp_path / "whole", latents="known", latent_every=2, weights=KNOWN)
    parts = settings(tmp_path / "parts", latents="known", latent_every=2, weights=KNOWN, max_images=8)
    train_gar(whole, Balls(6))
    train_gar(parts, Balls(6))
    train_gar(dataclasses.replace(parts, max_images=16), Balls(6))
    one, other = flat(things(tmp_path / "whole")), flat(things(tmp_path / "parts"))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_renderer_and_inverter_learn_what_is_known(tmp_path: Path) -> None:
    """The colour of a ball that was never shown is drawn from its latent, and its latent found from its image."""
    wanted = settings(
        tmp_path,
        latents="known",
        weights=KNOWN,
        stages=((32, 10**9),),
        warm_start=10**9,
        batch=8,
        max_images=8 * 160,
        learning_rate=0.02,
        inverter_learning_rate=0.02,
    )
    train_gar(wanted, Balls(256))
    generator, inverter = load_generator(tmp_path / "gar.safetensors"), load_inverter(tmp_path / "inverter.safetensors")
    rows, balls = torch.arange(256, 320), Balls(320)
    photo, condition = balls.images(rows, resolution=32), balls.conditions(rows, resolution=32)
    latent = balls.known_latents(8, apart_from_geometry=True).latents[rows]
    with torch.no_grad():
        own, other = (generator(generator.mapping(z), normal_pyramid(condition)) for z in (latent, latent.roll(1, 0)))
        guessed = inverter(photo).mean[:, :3]
    assert float(pyramid_error(own, photo).mean()) < 0.7 * float(pyramid_error(other, photo).mean())
    assert float((guessed - latent[:, :3]).square().mean()) < 0.5


def test_latents_that_are_not_known_are_an_error(tmp_path: Path) -> None:
    class Unknown(Balls):
        def known_latents(self, count: int, *, apart_from_geometry: bool) -> KnownLatents:
            raise InputError("These faces have no known latents.")

    with pytest.raises(InputError, match="no known latents"):
        train_gar(settings(tmp_path, latents="known"), Unknown(4))
    with pytest.raises(SettingError, match="latents must be one of inverted, known"):
        train_gar(settings(tmp_path, latents="guessed"), Balls(4))


def test_the_first_batch_reconstructs_photos_from_their_own_latents(tmp_path: Path) -> None:
    wanted = settings(tmp_path, latents="known", batch=8, warm_start=0, weights=KNOWN, swapped=0.5, style_mixing=0.0)
    balls = Balls(16)
    runtime = Runtime(wanted, configuration=configuration(wanted))
    training = GarTraining(wanted, balls, critics=Critics(), runtime=runtime)
    assert training.known is not None
    photo, condition = training.photos(balls, torch.arange(8))
    batch = Batch(photo, condition, condition, training.known[:8], None, torch.ones(()))
    generated = training.steps.generate(Phase(warm=False, noise=False, regularised=False), batch)
    assert generated.guess is None
    assert torch.equal(generated.latent[:4], training.known[:4])
    assert torch.equal(generated.latent[4:6], training.known[:2])
    assert len(generated.latent) == 8


def test_the_inverter_alone_learns_known_latents_of_photos_and_of_nothing_mirrored(tmp_path: Path) -> None:
    train_gar(settings(tmp_path / "gar", latents="known", weights=KNOWN, max_images=4), Balls(64))
    wanted = InverterTrainingSettings(
        folder=tmp_path / "inverter",
        generator=str(tmp_path / "gar" / "gar.safetensors"),
        inverter=settings(tmp_path).inverter,
        latents="known",
        photos=1.0,
        weights=InverterWeights(style=0.0, rerender=0.0, photo=0.0, prior=0.0),
        learning_rate=0.01,
        batch=16,
        max_images=16 * 160,
        tensorboard=False,
        progress=False,
        device="cpu",
    )
    balls = Balls(64)
    train_inverter(wanted, balls)
    rows = torch.arange(64)
    guessed = load_inverter(tmp_path / "inverter" / "inverter.safetensors")(balls.images(rows, resolution=32)).mean
    known = balls.known_latents(8, apart_from_geometry=True).latents
    assert float((guessed - known)[:, :3].square().mean()) < 0.5
    training = InverterTraining(wanted, balls, runtime=Runtime(wanted, configuration=configuration(wanted)))
    photo, condition = balls.images(rows + 64, resolution=32), balls.conditions(rows + 64, resolution=32)
    assert "latent" not in training._photo_terms(photo, condition, rows + 64)


def test_a_selection_of_faces_with_repetitions_has_the_latents_of_the_whole(tmp_path: Path) -> None:
    faces = TrainingSet.__new__(TrainingSet)
    faces.names = [f"{number:03d}" for number in range(40)]
    faces.arrays = {"style": styles(40).numpy()}
    whole = faces.known_latents(6, apart_from_geometry=False)
    chosen = faces.select(torch.cat([torch.arange(40), torch.tensor([7, 7, 30])]))
    found = chosen.known_latents(6, apart_from_geometry=False)
    torch.testing.assert_close(found.latents[:40], whole.latents)
    torch.testing.assert_close(found.latents[40:], whole.latents[[7, 7, 30]])
    assert torch.equal(found.spread, whole.spread)
