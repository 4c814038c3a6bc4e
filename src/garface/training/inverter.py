"""Training of the renderer-inverting network against a frozen renderer (the paper, section 3.4).

Half of every batch are the renderer's own images, whose latents are known; the other half are photos, which the
renderer must reconstruct from the guessed latent over their own normal maps. The latents of portraits that a generator
made are known as well, if the renderer has learned from them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from garface.datasets.faces import Faces
from garface.errors import SettingError
from garface.losses import gaussian_likelihood_error, kl_to_standard_normal, pyramid_error
from garface.networks import (
    BorrowedGenerator,
    Generator,
    Inverter,
    InverterConfig,
    InverterOutput,
    load_generator,
    load_inverter,
    to_dict,
)
from garface.rendering import normal_pyramid
from garface.training.ema import Average, observe_at_times
from garface.training.gar.terms import cosine_rate, sample_gaussian, set_rate, weighted
from garface.training.latents import Latents, known_of
from garface.training.runtime import Metrics, Outcome, RunSettings, Runtime, configuration, free
from garface.weights import WeightsCard, save_weights, seen_before, shipped, weights_hash


@dataclass(frozen=True, kw_only=True)
class InverterWeights:
    """Weight of every term of the inverter's objective; 0 switches a term off."""

    latent: float = 1.0
    """Negative log-likelihood of the known latent of a random image, or of a photo, nats per latent number."""
    style: float = 1.0
    """Mean squared difference of guessed and known w of a random image."""
    rerender: float = 1.0
    """Mean absolute difference over several scales of a random image and its reconstruction, in [-1, 1] units."""
    photo: float = 5.0
    """The same for a photo."""
    prior: float = 1e-3
    """KL divergence of the Gaussian of a photo from N(0, I), nats per image."""


@dataclass(frozen=True, kw_only=True)
class InverterTrainingSettings(RunSettings):
    """Everything that decides how the inverter learns."""

    folder: Path = free(Path("runs/inverter"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl and, at the end, the weights."""
    generator: str = "builtin"
    """Weight file, or name of shipped weights, of the frozen renderer."""
    start: str | None = None
    """Weight file of the inverter to go on from; None starts afresh with `inverter`."""
    inverter: InverterConfig = field(default_factory=InverterConfig)
    """Shape of a fresh inverter."""
    weights: InverterWeights = field(default_factory=InverterWeights)
    """Weight of every term."""
    half_size: int = 0
    """First images that have half the renderer's size, which costs less."""
    latents: Latents = "inverted"
    """`known` if the renderer was trained with known latents, on the same faces: photos are then judged by them too."""
    photos: float = 0.5
    """Share of photos in every batch; the rest are random images of the renderer."""
    learning_rate: float = 3e-3
    """Of Adam (betas 0.9 and 0.99), at the beginning."""
    decay_over: int = 40_000
    """Images over which it falls along a cosine, to a thousandth."""
    average_half_life: float = 10_000.0
    """Half-life of the averaged weights, in images."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        super().check()
        if self.decay_over < 1:
            raise SettingError(f"decay_over must be at least 1, but is {self.decay_over}.")
        if not 0.0 <= self.photos <= 1.0:
            raise SettingError(f"photos must lie in [0, 1], but is {self.photos}.")


class InverterTraining:
    """Networks, optimiser and the step of the inverter's training.

    Args:
        settings: everything that decides how it learns.
        faces: photos with fitted normal maps.
        runtime: device, precision, registry.

    Raises:
        SettingError: if inverter and renderer disagree about the latent or the size of the images.
    """

    def __init__(self, settings: InverterTrainingSettings, faces: Faces, *, runtime: Runtime) -> None:
        self.settings, self.faces, self.runtime = settings, faces, runtime
        self.generator: Generator = runtime.place(load_generator(settings.generator))
        inverter = Inverter(settings.inverter) if settings.start is None else load_inverter(settings.start)
        _check_pair(self.generator, inverter)
        self.known = _known_latents(faces, settings.latents, self.generator)
        self.inverter = runtime.register("inverter", inverter.train().requires_grad_(True))
        self.average = runtime.register("average", Average(self.inverter, half_life=settings.average_half_life))
        adam = Adam(self.inverter.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), foreach=True)
        self.optimiser = runtime.register("optimiser", adam)

    def step(self) -> Metrics:
        """Take one step on the next photos and return its metrics."""
        full, device = self.inverter.config.resolution, self.runtime.device
        size = full // 2 if self.runtime.images < self.settings.half_size else full
        indices = self.runtime.next_images(2 * len(self.faces))
        count = round(self.settings.photos * len(indices))
        photo = self.faces.images(indices[:count], resolution=size).to(device)
        condition = self.faces.conditions(indices, resolution=size).to(device)
        rate = cosine_rate(self.settings.learning_rate, self.runtime.images, over=self.settings.decay_over)
        set_rate(self.optimiser, rate)
        terms, shown = {}, []
        if count:
            terms = self._photo_terms(photo, condition[:count], indices[:count])
            shown.append(photo)
        if count < len(indices):
            z, w, image = self._draw_random(condition[count:])
            random = self._random_terms(z, w, image, condition[count:])
            found = [part["latent"] for part in (terms, random) if "latent" in part]
            terms |= {**random, "latent": torch.cat(found)}
            shown.append(image)
        self.runtime.descend(weighted(terms, self.settings.weights), self.optimiser)
        self._update_average(shown)
        return terms

    def _update_average(self, shown: list[Tensor]) -> None:
        runtime, batch = self.runtime, self.settings.batch
        runtime.share_buffers(self.inverter)
        self.average.update(self.inverter, batch=batch, images=runtime.images + batch)
        observe_at_times(self.average, runtime, *((images,) for images in shown))

    def _photo_terms(self, photo: Tensor, condition: Tensor, indices: Tensor) -> Metrics:
        guess = self._guess(photo)
        terms = {"prior": kl_to_standard_normal(guess.mean, guess.log_variance).sum(dim=1)}
        if self.settings.weights.photo > 0:
            with self.runtime.autocast():
                w = self.generator.styles(sample_gaussian(guess.mean, guess.log_variance))
                reconstruction = self.generator(w, normal_pyramid(condition), resolution=photo.shape[-1])
            terms["photo"] = pyramid_error(reconstruction, photo)
        told = indices < len(self.faces)  # of a mirror image no latent is known
        if self.known is not None and bool(told.any()):
            latent = self.known[indices[told]].to(photo.device)
            error = gaussian_likelihood_error(latent, guess.mean[told], guess.log_variance[told])
            terms["latent"] = error.mean(dim=1)
        return terms

    @torch.no_grad()
    def _draw_random(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Random latents z (B, Z), their w (B, W), and the renderer's images of them."""
        z = torch.randn(len(condition), self.generator.config.latent_dim, device=condition.device)
        with self.runtime.autocast():
            w = self.generator.styles(z)
            return z, w, self.generator(w, normal_pyramid(condition), resolution=condition.shape[-1])

    def _random_terms(self, z: Tensor, w: Tensor, image: Tensor, condition: Tensor) -> Metrics:
        guess = self._guess(image)
        guessed_w = self.generator.styles(guess.mean)
        terms = {
            "latent": gaussian_likelihood_error(z, guess.mean, guess.log_variance).mean(dim=1),
            "style": (guessed_w - w).square().mean(dim=1),
        }
        if self.settings.weights.rerender > 0:
            with self.runtime.autocast():
                reconstruction = self.generator(guessed_w, normal_pyramid(condition), resolution=condition.shape[-1])
            terms["rerender"] = pyramid_error(reconstruction, image)
        return terms

    def _guess(self, image: Tensor) -> InverterOutput:
        with self.runtime.autocast():
            guess: InverterOutput = self.inverter(image)
        return guess


def _known_latents(faces: Faces, latents: Latents, generator: Generator) -> Tensor | None:
    """Latents (N, Z) of the photos, where they are known and wanted."""
    if latents == "known" and isinstance(generator, BorrowedGenerator):
        return generator.latents(faces.styles(torch.arange(len(faces))).to(generator.device))
    known = known_of(faces, latents, generator.config)
    return None if known is None else known.latents


def _check_pair(generator: Generator, inverter: Inverter) -> None:
    ours, theirs = inverter.config, generator.config
    if ours.latent_dim != theirs.latent_dim:
        raise SettingError(
            f"the inverter's latent_dim is {ours.latent_dim}, but the renderer's is {theirs.latent_dim}; make them "
            "equal."
        )
    if theirs.resolution % ours.resolution:
        raise SettingError(
            f"the inverter's resolution is {ours.resolution}, but the renderer's is {theirs.resolution}, which is no "
            "multiple of it."
        )


def train_inverter(settings: InverterTrainingSettings, faces: Faces) -> Outcome:
    """Train the inverter, resuming if the folder holds a checkpoint, and write `inverter.safetensors` at the end.

    Args:
        settings: everything that decides how it learns, and which renderer it inverts.
        faces: photos with fitted normal maps.

    Raises:
        SettingError: on settings that contradict each other.
        WeightsError: on weights that cannot be read, or a checkpoint of another configuration.
    """
    before = seen_before(settings.start, "inverter")
    renderer = weights_hash(shipped(settings.generator, "gar"))
    runtime = Runtime(settings, configuration={**configuration(settings), "renderer_sha256": renderer})
    training = InverterTraining(settings, faces, runtime=runtime)
    outcome = runtime.run(training.step)
    if runtime.is_main:
        card = WeightsCard(
            kind="inverter",
            config=to_dict(training.inverter.config),
            licence=settings.licence,
            trained_on=settings.trained_on,
            images=before + runtime.images,
        )
        save_weights(settings.folder / "inverter.safetensors", training.average.state_dict(), card)
    return outcome
