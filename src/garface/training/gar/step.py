"""One step of the renderer's training: a conditional GAN with a reconstruction branch. Every term is written here once.

Every step draws one batch of pictures. Its first part redraws photos: the renderer draws each photo's latent over the
photo's own normal map, and must reproduce the photo. The rest draws latents of these photos, and random ones, over
other normal maps. The discriminator judges all of them.

Where a photo's latent comes from is a setting: it is a sample of the Gaussian that the inverter gives, which learns
with the renderer; or it is known, because a generator drew the portrait (`datasets.known_latents`). Then the inverter
learns what is known.

A part of a step (`Steps.game`, `Steps.papers`) is a function of tensors: what it draws at random it draws on the
device, and it waits for nothing, so that it can be recorded and launched as a whole (`gar.recorded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from garface.borrowed import SMALLEST
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
from garface.networks import FeatureDiscriminator, InverterOutput
from garface.rendering import normal_pyramid
from garface.training.gar.critics import Critics
from garface.training.gar.networks import Networks
from garface.training.gar.settings import GarTrainingSettings
from garface.training.gar.terms import first_rows, mix_styles, sample_gaussian, weighted
from garface.training.runtime import Figures, Kept, Runtime, frozen


class Phase(NamedTuple):
    """How steps are taken, the same for many of them."""

    warm: bool
    """Whether only redrawing is learned by now."""
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
    drawn: Tensor
    """(B, 4 or more, R, R) that is drawn: of the photos that are redrawn, then any."""
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
class Drawn:
    """One generated batch: pictures that redraw photos, then those of one other latent each, then mixed ones."""

    picture: Tensor
    """(B, 3, R, R)."""
    redrawn: int
    """Pictures that redraw a photo."""
    guess: InverterOutput | None
    """(redrawn, Z), the Gaussian that their latents were drawn from; None where these are known."""
    latent: Tensor
    """(N, Z), of all pictures but the mixed ones."""

    def detached(self) -> Drawn:
        """Without gradient."""
        guess = None if self.guess is None else InverterOutput(*(value.detach() for value in self.guess))
        return replace(self, picture=self.picture.detach(), guess=guess, latent=self.latent.detach())


@dataclass(frozen=True)
class Seen:
    """Pairs of picture and condition as the discriminator and the perceptual distance see them: augmented."""

    picture: Tensor
    """(B, 3, r, r)."""
    condition: Tensor | None
    """(B, 4, r, r), without gradient; None where the discriminator does not look at it."""
    features: Sequence[Tensor] | None
    """Of the frozen trunk; None where nothing needs them."""

    def detached(self) -> Seen:
        """Without gradient."""
        features = None if self.features is None else [layer.detach() for layer in self.features]
        return replace(self, picture=self.picture.detach(), features=features)


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

    def redrawn(self, phase: Phase, batch: int) -> int:
        """How many of the photos of a batch are redrawn."""
        return batch if phase.warm else round(self.settings.redrawn * batch)

    def game(self, phase: Phase, batch: Batch) -> tuple[Figures, Drawn]:
        """Draw, update the discriminator, then the renderer and, where it gives the latents, the inverter."""
        drawn = self.draw(phase, batch)
        change = self._draw_change(batch.photo)
        with self.runtime.autocast():
            with torch.no_grad():
                photo = self._see(phase, batch.photo, batch.condition, change)
                real = photo if batch.real is None else self._see(phase, batch.real, batch.condition, change)
            fake = self._see(phase, drawn.picture, batch.drawn, change)
        figures = {} if phase.warm else self._update_discriminator(real, fake.detached())
        terms = self._redrawing_terms(drawn, batch.photo, photo, fake)
        if not phase.warm:
            terms["adversarial"] = batch.fade * self._adversarial_error(real, fake)
        guessing = () if drawn.guess is None else (self.networks.inverter_optimiser,)
        loss = weighted(terms, self.settings.weights)
        self.runtime.descend(loss, self.networks.generator_optimiser, *guessing)
        figures |= terms
        if phase.regularised:
            figures["r1"] = self._r1(phase, batch, change)
        return figures, drawn.detached()

    def draw(self, phase: Phase, batch: Batch) -> Drawn:
        """Redraw photos, and draw other latents over the rest of the conditions."""
        size, count = len(batch.photo), self.redrawn(phase, len(batch.photo))
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
            picture = self._render(latent, batch.drawn, mixed=mixed)
        return Drawn(picture, count, guess, latent[: len(latent) - mixed])

    def _render(self, z: Tensor, condition: Tensor, *, mixed: int = 0) -> Tensor:
        """Pictures of latents over conditions; the last `mixed` take another latent from a random layer on."""
        generator = self.networks.generator
        w = generator.styles(z)
        if mixed:
            w = w[:, None].repeat(1, generator.layers, 1)
            other = generator.styles(torch.randn_like(z[-mixed:]))
            w = torch.cat([w[:-mixed], mix_styles(w[-mixed:], other)])
        picture: Tensor = generator(w, normal_pyramid(condition), resolution=condition.shape[-1])
        return picture

    def _draw_change(self, photo: Tensor) -> Augmentation:
        """One augmentation for photos and drawings of this step, so that a photo and its redrawing stay comparable."""
        batch, _, height, width = photo.shape
        config = self.settings.augmentation_at(height)
        return draw_augmentation((batch, height, width), None, config, device=photo.device)

    def _see(self, phase: Phase, picture: Tensor, condition: Tensor, change: Augmentation) -> Seen:
        """Pictures (B, 3, R, R) with conditions (B, 4 or more, R, R), augmented; only the normals are kept."""
        seen, trunk = change.on_picture(picture), self.critics.features
        unused = phase.warm and (self.settings.weights.perceptual == 0 or picture.shape[-1] <= SMALLEST)
        looked_at = change.on_normals(condition[:, :4]) if self.settings.discriminator.conditional else None
        return Seen(seen, looked_at, None if trunk is None or unused else trunk(seen))

    def _judge(self, seen: Seen) -> Tensor:
        """Logits (B, N), float32."""
        discriminator = self.networks.discriminator
        judged: Tensor | Sequence[Tensor] = seen.picture
        if isinstance(discriminator, FeatureDiscriminator):
            judged = [seen.picture, *(seen.features or ())]
        logits: Tensor = discriminator(judged, seen.condition)
        return logits.float()

    def _update_discriminator(self, real: Seen, fake: Seen) -> Figures:
        with self.runtime.autocast():
            real_logit, fake_logit = self._judge(real), self._judge(fake)
        loss = OBJECTIVES[self.settings.objective].discriminator(real_logit, fake_logit).mean()
        self.runtime.descend(self.settings.weights.adversarial * loss, self.networks.discriminator_optimiser)
        sign = real_logit.detach().sign()
        return {"discriminator": loss, "real_logit": real_logit, "fake_logit": fake_logit, "real_sign": sign}

    def _redrawing_terms(self, drawn: Drawn, photo: Tensor, target: Seen, fake: Seen) -> Figures:
        """Of the pictures that redraw photos, and of their latents."""
        terms, count = Figures(), drawn.redrawn
        if count:
            terms["reconstruction"] = pyramid_error(drawn.picture[:count], photo[:count])
        if drawn.guess is not None:
            terms["prior"] = kl_to_standard_normal(drawn.guess.mean, drawn.guess.log_variance).sum(dim=1)
        if count and self.settings.weights.perceptual > 0 and fake.features is not None:
            terms["perceptual"] = self._perceptual_error(target, fake, count)
        return terms

    def _perceptual_error(self, target: Seen, fake: Seen, count: int) -> Tensor:
        """Between the first `count` photos and their redrawings, (count,)."""
        trunk = self.critics.features
        assert trunk is not None
        first, second = ([first_rows(layer, count) for layer in seen.features or ()] for seen in (fake, target))
        return perceptual_distance(first, second, trunk.head_weights)

    def _adversarial_error(self, real: Seen, fake: Seen) -> Tensor:
        with self.runtime.autocast(), frozen(self.networks.discriminator):
            fake_logit = self._judge(fake)
            with torch.no_grad():
                real_logit = self._judge(real) if self.settings.objective == "relativistic" else fake_logit.detach()
        return OBJECTIVES[self.settings.objective].generator(real_logit, fake_logit).mean(dim=1)

    def _r1(self, phase: Phase, batch: Batch, change: Augmentation) -> Tensor:
        real = (batch.photo if batch.real is None else batch.real).detach().requires_grad_(True)
        with self.runtime.autocast(enabled=not self.settings.precise_regularisers):
            logits = self._judge(self._see(phase, real, batch.condition, change))
        penalty = r1_penalty(real, logits.mean(dim=1))
        scale = self.settings.weights.r1 / 2 * self.settings.r1_every
        self.runtime.descend(scale * penalty.mean(), self.networks.discriminator_optimiser)
        return penalty

    def teach_inverter(self, drawn: Drawn, photo: Tensor) -> Figures:
        """Teach the inverter the latents of drawings that redraw nothing, and those of photos where they are known."""
        first, last = 0 if drawn.guess is None else drawn.redrawn, len(drawn.latent)
        if first == last:
            return {}
        picture = torch.cat([photo[: drawn.redrawn], drawn.picture[drawn.redrawn :]])
        with self.runtime.autocast():
            seen = self.networks.inverter(picture[first:last])
        error = gaussian_likelihood_error(drawn.latent[first:], seen.mean, seen.log_variance).mean(dim=1)
        self.runtime.descend(self.settings.weights.latent * error.mean(), self.networks.inverter_optimiser)
        return {"latent": error}

    def path_length(self, condition: Tensor) -> Figures:
        """On half a batch, as StyleGAN2 does; the running mean moves by 1 % at a time."""
        generator, settings = self.networks.generator, self.settings
        pyramid = {size: level.detach().requires_grad_(True) for size, level in normal_pyramid(condition).items()}
        latent = torch.randn(len(condition), settings.generator.latent_dim, device=condition.device)
        with self.runtime.autocast(enabled=not settings.precise_regularisers):
            w = generator.styles(latent)[:, None].repeat(1, generator.layers, 1)
            picture = generator(w, pyramid, resolution=condition.shape[-1])
        lengths = path_lengths(picture, [w, *pyramid.values()], torch.randn_like(picture))
        penalty, mean = path_length_penalty(lengths, self.mean_path.value.to(lengths.device))
        self.mean_path.value = self.runtime.mean(mean)
        scale = settings.weights.path_length * settings.path_length_every
        self.runtime.descend(scale * penalty.mean(), self.networks.generator_optimiser)
        return {"path_length": penalty}

    def papers(self, pairs: Pairs) -> Figures:
        """The paper's terms (3.3), on one latent z and another z', and one head in two poses and expressions a and b.

        (z, a) and (z, b) must show one identity, (z, a) and (z', a) must have one geometry, and all three must show
        the normals they were drawn from.
        """
        critics, weights = self.critics, self.settings.weights
        conditions = torch.cat([pairs.first, pairs.second, pairs.first])
        with self.runtime.autocast():
            picture = self._render(torch.cat([pairs.latent, pairs.latent, pairs.other]), conditions).float()
        base, moved, repainted = picture.split(len(pairs.first))
        terms: Figures = {}
        if weights.texture_swap > 0 and critics.identity is not None:
            terms["texture_swap"] = texture_swap(base, moved, critics.identity)
        if weights.geometry_swap > 0 and critics.landmarks is not None:
            terms["geometry_swap"] = geometry_swap(base, repainted, critics.landmarks)
        if weights.consistency > 0 and critics.normals is not None:
            with self.runtime.autocast():
                terms["consistency"] = normal_consistency(picture, conditions[:, :4], critics.normals)
        loss = self.settings.papers_every * weighted(terms, weights)
        self.runtime.descend(loss, self.networks.generator_optimiser)
        return terms
