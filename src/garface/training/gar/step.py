"""Training of the generative renderer: a conditional GAN with a reconstruction branch.

Every step draws one batch of pictures. Its first part redraws photos: the renderer draws each photo's latent over the
photo's own normal map, and must reproduce the photo. The rest draws latents of these photos, and random ones, over the
normal maps of other photos. The discriminator judges all of them.

Where a photo's latent comes from is a setting: it is a sample of the Gaussian that the inverter gives, which learns
with the renderer; or it is known, because a generator drew the portrait (`data.known_latents`). Then the inverter
learns what is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from garface.borrowed import SMALLEST
from garface.datasets.known_latents import KnownLatents
from garface.datasets.preloaded import PreloadedFaces
from garface.errors import WeightsError
from garface.io import contact_sheet, to_uint8, write_png
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
from garface.networks import (
    FeatureDiscriminator,
    Inverter,
    InverterOutput,
)
from garface.rendering import normal_pyramid
from garface.training.checkpoints import newest_checkpoint, read_checkpoint
from garface.training.ema import Average, observe_at_times
from garface.training.faces import Faces, known_of
from garface.training.gar.calibrate import fold_latent, latent_moments
from garface.training.gar.critics import Critics
from garface.training.gar.networks import build_discriminator, build_generator, with_started_channels
from garface.training.gar.settings import GarTrainingSettings
from garface.training.gar.stages import stage_begin
from garface.training.gar.terms import first_rows, lazy_adam, mix_styles, sample_gaussian, weighted
from garface.training.runtime import Figures, Kept, Outcome, Runtime, configuration, frozen
from garface.weights import Kind, WeightsCard, load_weights, save_weights


@dataclass(frozen=True)
class Drawn:
    """One generated batch: pictures that redraw photos, then those of one other latent each, then mixed ones."""

    picture: Tensor
    """(B, 3, R, R)."""
    condition: Tensor
    """(B, 4, R, R)."""
    redrawn: int
    """Pictures that redraw a photo."""
    guess: InverterOutput | None
    """(redrawn, Z), the Gaussian that their latents were drawn from; None where these are known."""
    latent: Tensor
    """(N, Z), of all pictures but the mixed ones."""


@dataclass(frozen=True)
class Seen:
    """Pairs of picture and condition as the discriminator and the perceptual distance see them: augmented."""

    picture: Tensor
    """(B, 3, r, r)."""
    condition: Tensor
    """(B, 4, r, r), without gradient."""
    features: Sequence[Tensor] | None
    """Of the frozen trunk; None where nothing needs them."""

    def detached(self) -> "Seen":
        """Without gradient."""
        features = None if self.features is None else [layer.detach() for layer in self.features]
        return replace(self, picture=self.picture.detach(), features=features)


class GarTraining:
    """Networks, optimisers and the step of the renderer's training.

    Args:
        settings: everything that decides how it learns.
        faces: photos with fitted normal maps.
        critics: for the terms that need them.
        runtime: device, precision, registry.

    Raises:
        SettingError: if a term is on whose critic is missing.
    """

    def __init__(self, settings: GarTrainingSettings, faces: Faces, *, critics: Critics, runtime: Runtime) -> None:
        critics.check(settings)
        self.settings, self.faces, self.runtime = settings, faces, runtime
        known = known_of(faces, settings.latents, settings.generator)
        if settings.preload:
            self.faces = PreloadedFaces(faces, resolution=settings.generator.resolution, device=runtime.device)
        self.critics = critics.to(runtime.place)
        if self.critics.features is not None and settings.precision == "bf16" and not settings.precise_regularisers:
            self.critics.features.to(torch.bfloat16)  # once; autocast would do it in every step
        self.generator = runtime.register("generator", build_generator(settings))
        self.discriminator = runtime.register("discriminator", build_discriminator(settings))
        self.inverter = runtime.register("inverter", Inverter(settings.inverter))
        life = settings.average_half_life
        self._known = None if known is None else runtime.register("known", Kept(self._start_from(known)))
        self.average_generator = runtime.register("average_generator", Average(self.generator, half_life=life))
        self.average_inverter = runtime.register("average_inverter", Average(self.inverter, half_life=life))
        if settings.start is not None:
            runtime.register("seen_before", Kept(torch.tensor(load_weights(settings.start).card.pictures)))
        self.mean_path = runtime.register("mean_path", Kept(torch.zeros(())))
        self._register_optimisers()

    def _start_from(self, known: KnownLatents) -> Tensor:
        """The latents of all photos; a fresh renderer starts with those that say much in the largest steps."""
        if self.settings.start is None:
            with torch.no_grad():
                self.generator.mapping.first.weight.mul_(known.spread.to(self.runtime.device))
        return known.latents.to(self.runtime.device)

    def _register_optimisers(self) -> None:
        settings = self.settings
        path_every = settings.path_length_every if settings.weights.path_length > 0 else None
        r1_every = settings.r1_every if settings.weights.r1 > 0 else None
        self.generator_optimiser = self.runtime.register(
            "generator_optimiser",
            lazy_adam(
                (self.generator, settings.learning_rate),
                (self.generator.mapping, settings.mapping_learning_rate),
                every=path_every,
            ),
        )
        self.discriminator_optimiser = self.runtime.register(
            "discriminator_optimiser",
            lazy_adam((self.discriminator, settings.discriminator_learning_rate), every=r1_every),
        )
        self.inverter_optimiser = self.runtime.register(
            "inverter_optimiser",
            Adam(self.inverter.parameters(), lr=settings.inverter_learning_rate, betas=(0.9, 0.99)),
        )

    @property
    def known(self) -> Tensor | None:
        """(n, Z) latents of the photos, where they are known; checkpoints hold them, so that machines cannot differ."""
        return None if self._known is None else self._known.value.to(self.runtime.device)

    def step(self) -> Figures:
        """Take one step on the next photos and return its figures."""
        # of a mirror image no latent is known: the augmentation mirrors instead
        indices = self.runtime.next_pictures(len(self.faces) * (2 if self.known is None else 1))
        photo, condition = self.photos(self.faces, indices)
        self.generator.free_noise(self.runtime.pictures >= self.settings.noise_from)
        if self._warm_start_ends():
            self.calibrate()
        warm = self._warm
        known = None if self.known is None else self.known[indices]
        drawn = self._draw(photo, condition, known, share=1.0 if warm else self.settings.redrawn)
        change = self._draw_change(photo)
        with self.runtime.autocast():
            with torch.no_grad():
                real = self._see(photo, condition, change)
            fake = self._see(drawn.picture, drawn.condition, change)
        figures: Figures = {} if warm else self._update_discriminator(real, fake.detached())
        figures |= self._update_drawing(drawn, photo, real, fake, adversarial=not warm)
        if self.settings.weights.latent > 0 and self.runtime.step % self.settings.latent_every == 0:
            figures |= self._update_inverter(drawn, photo)
        if not warm:
            figures |= self._regularise(photo, condition, change)
        self._update_averages(photo, drawn)
        return figures

    @property
    def _warm(self) -> bool:
        """Whether only redrawing is learned by now."""
        return self.runtime.pictures < self.settings.warm_start

    @property
    def _fade(self) -> float:
        """How much of the adversarial term counts by now, [0, 1]: a discriminator must learn first, at every size."""
        settings, pictures = self.settings, self.runtime.pictures
        past = pictures - max(settings.warm_start, stage_begin(settings.stages, pictures))
        return min(1.0, past / settings.fade_in) if settings.fade_in else 1.0

    def _warm_start_ends(self) -> bool:
        settings = self.settings
        past = self.runtime.pictures - settings.warm_start
        wanted = settings.calibrated > 0 and self.known is None  # known ones are standard normal from the start
        return settings.warm_start > 0 and wanted and 0 <= past < settings.batch

    @torch.no_grad()
    def calibrate(self) -> None:
        """Make the latents of photos standard normal, in the networks and their averages; see `fold_latent`.

        The optimisers forget the moments of the two layers that are folded.
        """
        judge, found = self.average_inverter.network, []
        count = min(self.settings.calibrated, len(self.faces))
        spread = torch.arange(count) * len(self.faces) // count  # neighbours are often of one person
        for rows in spread.split(self.settings.batch):
            found.append(judge(self.photos(self.faces, rows)[0]))
        means, log_variances = (torch.cat(parts) for parts in zip(*found))
        mean, covariance = latent_moments(means, log_variances)
        variances = log_variances.exp().mean(0)
        fold_latent(self.generator, self.inverter, mean, covariance, variances)
        fold_latent(self.average_generator.network, judge, mean, covariance, variances)
        folded = [*self.generator.mapping.first.parameters(), *self.inverter.gaussian.parameters()]
        for optimiser in (self.generator_optimiser, self.inverter_optimiser):
            for parameter in folded:
                optimiser.state.pop(parameter, None)

    def photos(self, faces: Faces, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, r, r) and conditions (B, 4, r, r) at the size of the present stage, on the device."""
        resolution = self.settings.resolution(self.runtime.pictures)
        picture = faces.pictures(indices, resolution=resolution).to(self.runtime.device)
        return picture, faces.conditions(indices, resolution=resolution).to(self.runtime.device)

    def _draw(self, photo: Tensor, condition: Tensor, known: Tensor | None = None, *, share: float) -> Drawn:
        """Redraw the first `share` of the photos and draw other latents over the conditions of the rest."""
        count, others = round(share * len(photo)), len(photo) - round(share * len(photo))
        condition = torch.cat([condition[:count], self._other_conditions(condition[count:])])
        random = torch.randn(others, self.settings.generator.latent_dim, device=photo.device)
        guess = None
        with self.runtime.autocast():
            if known is not None or not count:
                own = random[:0] if known is None else known[:count]
            else:
                guess = self.inverter(photo[:count])
                own = sample_gaussian(guess.mean, guess.log_variance)
            swapped = own.detach()[: round(self.settings.swapped * others)]
            latent = torch.cat([own, swapped, random[len(swapped) :]])
            mixed = round(self.settings.style_mixing * (others - len(swapped)))
            picture = self._render(latent, condition, mixed=mixed)
        return Drawn(picture, condition, count, guess, latent[: len(latent) - mixed])

    def _other_conditions(self, condition: Tensor) -> Tensor:
        if self.settings.conditions == "photos" or not len(condition):
            return condition
        assert self.critics.draw_conditions is not None
        return self.critics.draw_conditions(len(condition), condition.shape[-1]).to(condition.device)

    def _render(self, z: Tensor, condition: Tensor, *, mixed: int = 0) -> Tensor:
        """Pictures of latents over conditions; the last `mixed` take another latent from a random layer on."""
        w = self.generator.mapping(z)
        if mixed:
            w = w[:, None].repeat(1, self.generator.layers, 1)
            other = self.generator.mapping(torch.randn_like(z[-mixed:]))
            w = torch.cat([w[:-mixed], mix_styles(w[-mixed:], other)])
        return self.generator(w, normal_pyramid(condition), resolution=condition.shape[-1])

    def _draw_change(self, photo: Tensor) -> Augmentation:
        """One augmentation for photos and drawings of this step, so that a photo and its redrawing stay comparable."""
        batch, _, height, width = photo.shape
        config = self.settings.augmentation_at(height)
        return draw_augmentation((batch, height, width), torch.default_generator, config, device=photo.device)

    def _see(self, picture: Tensor, condition: Tensor, change: Augmentation) -> Seen:
        """Pictures (B, 3, R, R) with conditions (B, 4 or more, R, R), augmented; only the normals are kept."""
        seen = change.on_picture(picture)
        unused = self._warm and (self.settings.weights.perceptual == 0 or picture.shape[-1] <= SMALLEST)
        features = None if self.critics.features is None or unused else self.critics.features(seen)
        return Seen(seen, change.on_normals(condition[:, :4]), features)

    def _judge(self, seen: Seen) -> Tensor:
        """Logits (B, N), float32."""
        condition = seen.condition if self.settings.discriminator.conditional else None
        judged: Tensor | Sequence[Tensor] = seen.picture
        if isinstance(self.discriminator, FeatureDiscriminator):
            judged = [seen.picture, *(seen.features or ())]
        logits: Tensor = self.discriminator(judged, condition)
        return logits.float()

    def _update_discriminator(self, real: Seen, fake: Seen) -> Figures:
        with self.runtime.autocast():
            real_logit, fake_logit = self._judge(real), self._judge(fake)
        loss = OBJECTIVES[self.settings.objective].discriminator(real_logit, fake_logit).mean()
        self.runtime.descend(self.settings.weights.adversarial * loss, self.discriminator_optimiser)
        sign = real_logit.detach().sign()
        return {"discriminator": loss, "real_logit": real_logit, "fake_logit": fake_logit, "real_sign": sign}

    def _update_drawing(self, drawn: Drawn, photo: Tensor, real: Seen, fake: Seen, *, adversarial: bool) -> Figures:
        """Update renderer and inverter on one generated batch."""
        weights, terms = self.settings.weights, Figures()
        if drawn.redrawn:
            terms["reconstruction"] = pyramid_error(drawn.picture[: drawn.redrawn], photo[: drawn.redrawn])
        if drawn.guess is not None:
            terms["prior"] = kl_to_standard_normal(drawn.guess.mean, drawn.guess.log_variance).sum(dim=1)
        if drawn.redrawn and weights.perceptual > 0 and fake.features is not None:
            terms["perceptual"] = self._perceptual_error(real, fake, drawn.redrawn)
        if adversarial:
            terms["adversarial"] = self._fade * self._adversarial_error(real, fake)
        guessed = () if drawn.guess is None else (self.inverter_optimiser,)
        self.runtime.descend(weighted(terms, weights), self.generator_optimiser, *guessed)
        return terms

    def _perceptual_error(self, real: Seen, fake: Seen, count: int) -> Tensor:
        """Between the first `count` photos and their redrawings, (count,)."""
        trunk = self.critics.features
        assert trunk is not None
        first, second = ([first_rows(layer, count) for layer in seen.features or ()] for seen in (fake, real))
        return perceptual_distance(first, second, trunk.head_weights)

    def _adversarial_error(self, real: Seen, fake: Seen) -> Tensor:
        with self.runtime.autocast(), frozen(self.discriminator):
            fake_logit = self._judge(fake)
            with torch.no_grad():
                real_logit = self._judge(real) if self.settings.objective == "relativistic" else fake_logit.detach()
        return OBJECTIVES[self.settings.objective].generator(real_logit, fake_logit).mean(dim=1)

    def _update_inverter(self, drawn: Drawn, photo: Tensor) -> Figures:
        """Teach the inverter the latents of drawings that redraw nothing, and those of photos where they are known."""
        first = 0 if drawn.guess is None else drawn.redrawn
        if first == len(drawn.latent):
            return {}
        picture = torch.cat([photo[: drawn.redrawn], drawn.picture[drawn.redrawn :].detach()])
        with self.runtime.autocast():
            seen = self.inverter(picture[first : len(drawn.latent)])
        error = gaussian_likelihood_error(drawn.latent[first:].detach(), seen.mean, seen.log_variance).mean(dim=1)
        self.runtime.descend(self.settings.weights.latent * error.mean(), self.inverter_optimiser)
        return {"latent": error}

    def _regularise(self, photo: Tensor, condition: Tensor, change: Augmentation) -> Figures:
        settings, figures = self.settings, Figures()
        if settings.weights.r1 > 0 and self.runtime.step % settings.r1_every == 0:
            figures["r1"] = self._r1(photo, condition, change)
        if settings.weights.path_length > 0 and self.runtime.step % settings.path_length_every == 0:
            figures["path_length"] = self._path_length(condition)
        if settings.papers_terms and self.runtime.step % settings.papers_every == 0:
            figures |= self._papers_terms(condition)
        return figures

    def _r1(self, photo: Tensor, condition: Tensor, change: Augmentation) -> Tensor:
        photo = photo.detach().requires_grad_(True)
        with self.runtime.autocast(enabled=not self.settings.precise_regularisers):
            logits = self._judge(self._see(photo, condition, change))
        penalty = r1_penalty(photo, logits.mean(dim=1))
        scale = self.settings.weights.r1 / 2 * self.settings.r1_every
        self.runtime.descend(scale * penalty.mean(), self.discriminator_optimiser)
        return penalty

    def _path_length(self, condition: Tensor) -> Tensor:
        """On half a batch, as StyleGAN2 does; the running mean moves by 1 % at a time."""
        condition = self._other_conditions(condition[: max(1, len(condition) // 2)])
        pyramid = {size: level.detach().requires_grad_(True) for size, level in normal_pyramid(condition).items()}
        latent = torch.randn(len(condition), self.settings.generator.latent_dim, device=condition.device)
        with self.runtime.autocast(enabled=not self.settings.precise_regularisers):
            w = self.generator.mapping(latent)[:, None].repeat(1, self.generator.layers, 1)
            picture = self.generator(w, pyramid, resolution=condition.shape[-1])
        lengths = path_lengths(picture, [w, *pyramid.values()], torch.randn_like(picture))
        penalty, mean = path_length_penalty(lengths, self.mean_path.value.to(lengths.device))
        self.mean_path.value = self.runtime.mean(mean)
        scale = self.settings.weights.path_length * self.settings.path_length_every
        self.runtime.descend(scale * penalty.mean(), self.generator_optimiser)
        return penalty

    def _papers_terms(self, condition: Tensor) -> Figures:
        """The paper's terms (3.3), on one latent z and another z', and one head in two poses and expressions a and b.

        (z, a) and (z, b) must show one identity, (z, a) and (z', a) must have one geometry, and all three must show
        the normals they were drawn from.
        """
        critics, weights, count = self.critics, self.settings.weights, max(1, len(condition) // 4)
        z, other = torch.randn(2, count, self.settings.generator.latent_dim, device=condition.device)
        first, second = condition[:count], condition[:count]
        if critics.draw_pair is not None:
            first, second = (one.to(condition.device) for one in critics.draw_pair(count, condition.shape[-1]))
        conditions = torch.cat([first, second, first])
        with self.runtime.autocast():
            picture = self._render(torch.cat([z, z, other]), conditions).float()
        base, moved, repainted = picture.split(count)
        terms: Figures = {}
        if weights.texture_swap > 0 and critics.identity is not None:
            terms["texture_swap"] = texture_swap(base, moved, critics.identity)
        if weights.geometry_swap > 0 and critics.landmarks is not None:
            terms["geometry_swap"] = geometry_swap(base, repainted, critics.landmarks)
        if weights.consistency > 0 and critics.normals is not None:
            with self.runtime.autocast():
                terms["consistency"] = normal_consistency(picture, conditions[:, :4], critics.normals)
        self.runtime.descend(self.settings.papers_every * weighted(terms, weights), self.generator_optimiser)
        return terms

    def _update_averages(self, photo: Tensor, drawn: Drawn) -> None:
        self.runtime.share_buffers(self.inverter)
        seen = self.runtime.pictures + self.settings.batch
        self.average_generator.update(self.generator, batch=self.settings.batch, pictures=seen)
        self.average_inverter.update(self.inverter, batch=self.settings.batch, pictures=seen)
        learns = drawn.guess is not None or self.settings.weights.latent > 0
        if learns:
            observe_at_times(self.average_inverter, self.runtime, (torch.cat([photo, drawn.picture.detach()]),))


def train_gar(
    settings: GarTrainingSettings, faces: Faces, *, held_out: Faces | None = None, critics: Critics | None = None
) -> Outcome:
    """Train renderer and inverter, resuming if the folder holds a checkpoint, and write their weights at the end.

    Args:
        settings: everything that decides how they learn.
        faces: photos with fitted normal maps.
        held_out: faces that are never learned from, for the sample sheets; None takes training faces.
        critics: for the terms that need them.

    Returns:
        How the run ended. `gar.safetensors` and `inverter.safetensors` (averaged weights) lie in the folder, and
        `discriminator.safetensors`.

    Raises:
        SettingError: on settings that contradict each other, or a term whose critic is missing.
        WeightsError: if the folder holds a checkpoint of another configuration.
    """
    settings = with_started_channels(settings)
    runtime = Runtime(settings, configuration=configuration(settings))
    training = GarTraining(settings, faces, critics=critics or Critics(), runtime=runtime)
    shown = faces if held_out is None else held_out
    outcome = runtime.run(training.step, sheet=lambda path: write_sheet(training, shown, path))
    if runtime.is_main:
        export_gar(settings.folder, settings.folder, licence=settings.licence, trained_on=settings.trained_on)
    return outcome


def export_gar(run: Path, out: Path, *, licence: str, trained_on: str) -> None:
    """Write averaged renderer and inverter, and the discriminator, of a run's newest checkpoint in float16.

    The run may still be going on; nothing of it is touched.

    Args:
        run: folder of the run.
        out: folder that receives `gar.safetensors`, `inverter.safetensors` and `discriminator.safetensors`.
        licence: of the weights.
        trained_on: the training pictures.

    Raises:
        WeightsError: if the run has no readable checkpoint.
        OutputError: if `out` cannot be written.
    """
    checkpoint = newest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise WeightsError(f"{run} holds no checkpoint; let the training reach its first one.")
    content = read_checkpoint(checkpoint)
    parts: tuple[tuple[Kind, str, str], ...] = (
        ("gar", "generator", "average_generator"),
        ("inverter", "inverter", "average_inverter"),
        ("discriminator", "discriminator", "discriminator"),
    )
    before = int(content["things"].get("seen_before", {"value": 0})["value"])
    for kind, part, stored in parts:
        pictures = content["pictures"] + (0 if kind == "inverter" else before)
        card = WeightsCard(kind, content["configuration"][part], licence, trained_on, pictures=pictures)
        save_weights(out / f"{kind}.safetensors", content["things"][stored], card)


@torch.no_grad()
def write_sheet(training: GarTraining, faces: Faces, path: Path, *, columns: int = 8) -> None:
    """Draw a sheet with the averaged networks, one face per column.

    Rows: photo, its normals, its redrawing, the next photo's latent over its normals, two random latents.
    """
    generator, inverter = training.average_generator.network, training.average_inverter.network
    photo, condition = training.photos(faces, torch.arange(columns) % len(faces))
    pyramid, size = normal_pyramid(condition), photo.shape[-1]
    mean = inverter(photo).mean
    source = torch.Generator().manual_seed(0)
    random = torch.randn(2, columns, mean.shape[1], generator=source).to(mean)
    drawn = [
        generator(generator.mapping(z), pyramid, resolution=size) for z in (mean, mean.roll(1, 0), random[0], random[1])
    ]
    rows = [photo, condition[:, :3], *drawn]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, contact_sheet([to_uint8(one) for row in rows for one in row], columns, gap=2))
