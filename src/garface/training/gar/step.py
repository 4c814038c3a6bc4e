"""One step of the renderer's training: a conditional GAN with a reconstruction branch. Every term is written here once.

Every step renders one batch. Its first part reconstructs photos: the renderer takes each photo's latent and the
photo's own normal map, and must reproduce the photo. The rest renders latents of these photos, and random ones, over
other normal maps. The discriminator judges all of them.

Where a photo's latent comes from is a setting: it is a sample of the Gaussian that the inverter gives, which learns
with the renderer; or it is known, because a generator made the portrait (`datasets.known_latents`). Then the inverter
learns what is known.

A part of a step (`Steps.game`, `Steps.papers`) is a function of tensors: its random numbers are drawn on the
device, and it waits for nothing, so that it can be recorded and launched as a whole (`gar.recorded`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from garface.losses import (
    OBJECTIVES,
    Augmentation,
    draw_augmentation,
    gaussian_likelihood_error,
    geometry_swap,
    kl_to_standard_normal,
    normal_consistency,
    path_length_penalty,
    path_lengths,
    perceptual_distance,
    pyramid_error,
    r1_penalty,
    texture_swap,
)
from garface.networks import InverterOutput
from garface.rendering import normal_pyramid
from garface.training.gar.critics import Critics
from garface.training.gar.networks import Networks
from garface.training.gar.settings import GarTrainingSettings
from garface.training.gar.terms import mix_styles, sample_gaussian, weighted
from garface.training.runtime import Kept, Metrics, Runtime, frozen


class Phase(NamedTuple):
    """How steps are taken, the same for many of them."""

    warm: bool
    """Whether only reconstruction is learned by now."""
    noise: bool
    """Whether the renderer's noise may say something by now."""
    regularised: bool
    """Whether R1 is due."""


class Batch(NamedTuple):
    """What a step begins with, on the device."""

    photo: Tensor
    """(B, 3, R, R) in [-1, 1]."""
    condition: Tensor
    """(B, 4 or more, R, R) of the photos."""
    generated: Tensor
    """(B, 4 or more, R, R) that is rendered: of the photos that are reconstructed, then any."""
    latent: Tensor | None
    """(B, Z) of the photos, where they are known."""
    real: Tensor | None
    """(B, 3, R, R) that the discriminator takes for real; None takes the photos."""
    fade: Tensor
    """() how much of the adversarial term counts, [0, 1]."""


class Pairs(NamedTuple):
    """What the paper's terms are taken on: heads in two poses and expressions, and two latents for each."""

    first: Tensor
    """(N, 4 or more, R, R)."""
    second: Tensor
    """Likewise, of the same identities."""
    latent: Tensor
    """(N, Z)."""
    other: Tensor
    """(N, Z)."""


@dataclass(frozen=True)
class Generated:
    """One generated batch: images that reconstruct photos, then those of one other latent each, then mixed ones."""

    image: Tensor
    """(B, 3, R, R)."""
    reconstructed: int
    """Images that reconstruct a photo."""
    guess: InverterOutput | None
    """(reconstructed, Z), the Gaussian that their latents were drawn from; None where these are known."""
    latent: Tensor
    """(N, Z), of all images but the mixed ones."""

    def detached(self) -> Generated:
        """Without gradient."""
        guess = None if self.guess is None else InverterOutput(*(value.detach() for value in self.guess))
        return replace(self, image=self.image.detach(), guess=guess, latent=self.latent.detach())


@dataclass(frozen=True)
class Augmented:
    """Pairs of image and condition as the discriminator and the perceptual distance see them: augmented."""

    image: Tensor
    """(B, 3, r, r)."""
    condition: Tensor | None
    """(B, 4, r, r), without gradient; None where the discriminator does not look at it."""

    def detached(self) -> Augmented:
        """Without gradient."""
        return replace(self, image=self.image.detach())


@dataclass(frozen=True, eq=False)
class Steps:
    """The parts of a step."""

    settings: GarTrainingSettings
    """Everything that decides how the networks learn."""
    networks: Networks
    """What learns."""
    critics: Critics
    """Frozen judges."""
    runtime: Runtime
    """Precision, and descent over all processes."""
    mean_path: Kept
    """Running mean of the path lengths."""

    def reconstructed(self, phase: Phase, batch: int) -> int:
        """How many of the photos of a batch are reconstructed."""
        return batch if phase.warm else round(self.settings.reconstructed * batch)

    def game(self, phase: Phase, batch: Batch) -> tuple[Metrics, Generated]:
        """Render, update the discriminator, then the renderer and, where it gives the latents, the inverter."""
        generated = self.generate(phase, batch)
        change = self._draw_change(batch.photo)
        with self.runtime.autocast():
            with torch.no_grad():
                photo = self._augment(batch.photo, batch.condition, change)
                real = photo if batch.real is None else self._augment(batch.real, batch.condition, change)
            fake = self._augment(generated.image, batch.generated, change)
        metrics = {} if phase.warm else self._update_discriminator(real, fake.detached())
        terms = self._reconstruction_terms(generated, batch.photo, photo, fake)
        if not phase.warm:
            terms["adversarial"] = batch.fade * self._adversarial_error(real, fake)
        guessing = () if generated.guess is None else (self.networks.inverter_optimiser,)
        loss = weighted(terms, self.settings.weights)
        self.runtime.descend(loss, self.networks.generator_optimiser, *guessing)
        metrics |= terms
        if phase.regularised:
            metrics["r1"] = self._r1(batch, change)
        return metrics, generated.detached()

    def generate(self, phase: Phase, batch: Batch) -> Generated:
        """Reconstruct photos, and render other latents over the rest of the conditions."""
        size, count = len(batch.photo), self.reconstructed(phase, len(batch.photo))
        random = torch.randn(size - count, self.settings.generator.latent_dim, device=batch.photo.device)
        guess = None
        with self.runtime.autocast():
            if batch.latent is not None or not count:
                own = random[:0] if batch.latent is None else batch.latent[:count]
            else:
                guess = self.networks.inverter(batch.photo[:count])
                own = sample_gaussian(guess.mean, guess.log_variance)
            swapped = own.detach()[: round(self.settings.swapped * (size - count))]
            latent = torch.cat([own, swapped, random[len(swapped) :]])
            mixed = round(self.settings.style_mixing * (size - count - len(swapped)))
            image = self._render(latent, batch.generated, mixed=mixed)
        return Generated(image, count, guess, latent[: len(latent) - mixed])

    def _render(self, z: Tensor, condition: Tensor, *, mixed: int = 0) -> Tensor:
        """Images of latents over conditions; the last `mixed` take another latent from a random layer on."""
        generator = self.networks.generator
        w = generator.styles(z)
        if mixed:
            w = w[:, None].repeat(1, generator.layers, 1)
            other = generator.styles(torch.randn_like(z[-mixed:]))
            w = torch.cat([w[:-mixed], mix_styles(w[-mixed:], other)])
        image: Tensor = generator(w, normal_pyramid(condition), resolution=condition.shape[-1])
        return image

    def _draw_change(self, photo: Tensor) -> Augmentation:
        """One augmentation for photos and renders of this step, so that a photo and its reconstruction stay
        comparable.
        """
        batch, _, height, width = photo.shape
        config = self.settings.augmentation_at(height)
        return draw_augmentation((batch, height, width), None, config, device=photo.device)

    def _augment(self, image: Tensor, condition: Tensor, change: Augmentation) -> Augmented:
        """Images (B, 3, R, R) with conditions (B, 4 or more, R, R), augmented; only the normals are kept."""
        looked_at = change.on_normals(condition[:, :4]) if self.settings.discriminator.conditional else None
        return Augmented(change.on_image(image), looked_at)

    def _judge(self, seen: Augmented) -> Tensor:
        """Logits (B, 1), float32."""
        logits: Tensor = self.networks.discriminator(seen.image, seen.condition)
        return logits

    def _update_discriminator(self, real: Augmented, fake: Augmented) -> Metrics:
        with self.runtime.autocast():
            real_logit, fake_logit = self._judge(real), self._judge(fake)
        loss = OBJECTIVES[self.settings.objective].discriminator(real_logit, fake_logit).mean()
        self.runtime.descend(self.settings.weights.adversarial * loss, self.networks.discriminator_optimiser)
        sign = real_logit.detach().sign()
        return {"discriminator": loss, "real_logit": real_logit, "fake_logit": fake_logit, "real_sign": sign}

    def _reconstruction_terms(self, generated: Generated, photo: Tensor, target: Augmented, fake: Augmented) -> Metrics:
        """Of the images that reconstruct photos, and of their latents."""
        terms, count = Metrics(), generated.reconstructed
        if count:
            terms["reconstruction"] = pyramid_error(generated.image[:count], photo[:count])
        if generated.guess is not None:
            terms["prior"] = kl_to_standard_normal(generated.guess.mean, generated.guess.log_variance).sum(dim=1)
        if count and self.settings.weights.perceptual > 0:
            terms["perceptual"] = self._perceptual_error(target.image[:count], fake.image[:count])
        return terms

    def _perceptual_error(self, photo: Tensor, render: Tensor) -> Tensor:
        """Between photos and their reconstructions, (B, 3, r, r) -> (B,)."""
        trunk = self.critics.features
        assert trunk is not None
        with self.runtime.autocast():
            found, wanted = trunk(render), trunk(photo)
        return perceptual_distance(found, wanted, trunk.head_weights)

    def _adversarial_error(self, real: Augmented, fake: Augmented) -> Tensor:
        with self.runtime.autocast(), frozen(self.networks.discriminator):
            fake_logit = self._judge(fake)
            with torch.no_grad():
                real_logit = self._judge(real) if self.settings.objective == "relativistic" else fake_logit.detach()
        return OBJECTIVES[self.settings.objective].generator(real_logit, fake_logit).mean(dim=1)

    def _r1(self, batch: Batch, change: Augmentation) -> Tensor:
        real = (batch.photo if batch.real is None else batch.real).detach().requires_grad_(True)
        with self.runtime.autocast(enabled=not self.settings.precise_regularisers):
            logits = self._judge(self._augment(real, batch.condition, change))
        penalty = r1_penalty(real, logits.mean(dim=1))
        scale = self.settings.weights.r1 / 2 * self.settings.r1_every
        self.runtime.descend(scale * penalty.mean(), self.networks.discriminator_optimiser)
        return penalty

    def teach_inverter(self, generated: Generated, photo: Tensor) -> Metrics:
        """Teach the inverter the latents of renders that reconstruct nothing, and those of photos where they are
        known.
        """
        first, last = 0 if generated.guess is None else generated.reconstructed, len(generated.latent)
        if first == last:
            return {}
        image = torch.cat([photo[: generated.reconstructed], generated.image[generated.reconstructed :]])
        with self.runtime.autocast():
            seen = self.networks.inverter(image[first:last])
        error = gaussian_likelihood_error(generated.latent[first:], seen.mean, seen.log_variance).mean(dim=1)
        self.runtime.descend(self.settings.weights.latent * error.mean(), self.networks.inverter_optimiser)
        return {"latent": error}

    def path_length(self, condition: Tensor) -> Metrics:
        """On half a batch, as StyleGAN2 does; the running mean moves by 1 % at a time."""
        generator, settings = self.networks.generator, self.settings
        pyramid = {size: level.detach().requires_grad_(True) for size, level in normal_pyramid(condition).items()}
        latent = torch.randn(len(condition), settings.generator.latent_dim, device=condition.device)
        with self.runtime.autocast(enabled=not settings.precise_regularisers):
            w = generator.styles(latent)[:, None].repeat(1, generator.layers, 1)
            image = generator(w, pyramid, resolution=condition.shape[-1])
        lengths = path_lengths(image, [w, *pyramid.values()], torch.randn_like(image))
        penalty, mean = path_length_penalty(lengths, self.mean_path.value.to(lengths.device))
        self.mean_path.value = self.runtime.mean(mean)
        scale = settings.weights.path_length * settings.path_length_every
        self.runtime.descend(scale * penalty.mean(), self.networks.generator_optimiser)
        return {"path_length": penalty}

    def papers(self, pairs: Pairs) -> Metrics:
        """The paper's terms (3.3), on one latent z and another z', and one head in two poses and expressions a and b.

        (z, a) and (z, b) must show one identity, (z, a) and (z', a) must have one geometry, and all three must show
        the normals they were rendered from.
        """
        critics, weights = self.critics, self.settings.weights
        conditions = torch.cat([pairs.first, pairs.second, pairs.first])
        with self.runtime.autocast():
            image = self._render(torch.cat([pairs.latent, pairs.latent, pairs.other]), conditions).float()
        base, moved, repainted = image.split(len(pairs.first))
        terms: Metrics = {}
        if weights.texture_swap > 0 and critics.identity is not None:
            terms["texture_swap"] = texture_swap(base, moved, critics.identity)
        if weights.geometry_swap > 0 and critics.landmarks is not None:
            terms["geometry_swap"] = geometry_swap(base, repainted, critics.landmarks)
        if weights.consistency > 0 and critics.normals is not None:
            with self.runtime.autocast():
                terms["consistency"] = normal_consistency(image, conditions[:, :4], critics.normals)
        loss = self.settings.papers_every * weighted(terms, weights)
        self.runtime.descend(loss, self.networks.generator_optimiser)
        return terms
