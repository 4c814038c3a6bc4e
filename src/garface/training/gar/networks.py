"""The networks that learn in a training of the renderer, with their averages and optimisers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import Adam

from garface.errors import SettingError
from garface.networks import (
    Discriminator,
    Inverter,
    StyleGenerator,
    load_discriminator,
    load_generator,
    make_generator,
)
from garface.networks.widen import widened
from garface.training.ema import Average
from garface.training.gar.calibrate import fold_latent, latent_moments
from garface.training.gar.settings import GarTrainingSettings
from garface.training.gar.terms import lazy_adam
from garface.training.runtime import Runtime


@dataclass(frozen=True, eq=False)
class Networks:
    """What learns, all of it in the registry of a runtime."""

    generator: StyleGenerator
    """The renderer."""
    discriminator: Discriminator
    """Its opponent."""
    inverter: Inverter
    """Gives the latent of a photo."""
    average_generator: Average[StyleGenerator]
    """Exponential moving average of the renderer."""
    average_inverter: Average[Inverter]
    """Of the inverter."""
    generator_optimiser: Adam
    """Of the renderer; its mapping network has a rate of its own."""
    discriminator_optimiser: Adam
    """Of the discriminator."""
    inverter_optimiser: Adam
    """Of the inverter."""

    @classmethod
    def build(cls, settings: GarTrainingSettings, runtime: Runtime, *, spread: Tensor | None) -> Networks:
        """Fresh ones, or those of the weight files that the settings name.

        Args:
            settings: of the training.
            runtime: takes them into its registry and places them.
            spread: (Z,) how much each number of known latents says; a fresh renderer starts with those that say much
                in the largest steps. None where latents are inverted.

        Raises:
            SettingError: weights of another shape than the settings.
            WeightsError: weights that cannot be read.
        """
        add, life = runtime.register, settings.average_half_life
        generator = add("generator", build_generator(settings))
        discriminator = add("discriminator", build_discriminator(settings))
        inverter = add("inverter", Inverter(settings.inverter))
        if spread is not None and settings.start is None:
            with torch.no_grad():
                generator.mapping.first.weight.mul_(spread.to(runtime.device))
        generating, judging, guessing = _optimisers(settings, generator, discriminator, inverter)
        return cls(
            generator,
            discriminator,
            inverter,
            add("average_generator", Average(generator, half_life=life)),
            add("average_inverter", Average(inverter, half_life=life)),
            add("generator_optimiser", generating),
            add("discriminator_optimiser", judging),
            add("inverter_optimiser", guessing),
        )

    @property
    def optimisers(self) -> tuple[Adam, Adam, Adam]:
        """All of them."""
        return self.generator_optimiser, self.discriminator_optimiser, self.inverter_optimiser

    def update_averages(self, *, batch: int, images: int) -> None:
        """After a step of `batch` images; `images` were seen by then."""
        self.average_generator.update(self.generator, batch=batch, images=images)
        self.average_inverter.update(self.inverter, batch=batch, images=images)

    @torch.no_grad()
    def calibrate(self, means: Tensor, log_variances: Tensor) -> None:
        """Make the latents of photos standard normal, in the networks and their averages; see `fold_latent`.

        The optimisers forget the moments of the two layers that are folded.

        Args:
            means: (N, Z) that the averaged inverter gives for photos.
            log_variances: (N, Z) likewise.
        """
        mean, covariance = latent_moments(means, log_variances)
        variances = log_variances.exp().mean(0)
        fold_latent(self.generator, self.inverter, mean, covariance, variances)
        fold_latent(self.average_generator.network, self.average_inverter.network, mean, covariance, variances)
        folded = [*self.generator.mapping.first.parameters(), *self.inverter.gaussian.parameters()]
        for optimiser in (self.generator_optimiser, self.inverter_optimiser):
            for parameter in folded:
                optimiser.state.pop(parameter, None)


def _optimisers(
    settings: GarTrainingSettings,
    generator: StyleGenerator,
    discriminator: Discriminator,
    inverter: Inverter,
) -> tuple[Adam, Adam, Adam]:
    path_every = settings.path_length_every if settings.weights.path_length > 0 else None
    r1_every = settings.r1_every if settings.weights.r1 > 0 else None
    mapping = (generator.mapping, settings.mapping_learning_rate)
    return (
        lazy_adam((generator, settings.learning_rate), mapping, every=path_every),
        lazy_adam((discriminator, settings.discriminator_learning_rate), every=r1_every),
        Adam(inverter.parameters(), lr=settings.inverter_learning_rate, betas=(0.9, 0.99)),
    )


def build_generator(settings: GarTrainingSettings) -> StyleGenerator:
    """The renderer that the settings describe: a fresh one, or that of a weight file.

    Raises:
        SettingError: if the weights have another shape than the settings.
        WeightsError: if they cannot be read.
    """
    if settings.start is None:
        fresh = make_generator(settings.generator)
        assert isinstance(fresh, StyleGenerator)
        fresh.silence_above(settings.resolution(0))
        return fresh
    started = load_generator(settings.start)
    _check_shape("generator", settings.start, started.config, settings.generator)
    assert isinstance(started, StyleGenerator)
    return started.train().requires_grad_(True)


def with_started_channels(settings: GarTrainingSettings) -> GarTrainingSettings:
    """Settings whose discriminator has at each size as many channels as `start_discriminator`, or more.

    Raises:
        WeightsError: if the weights cannot be read.
    """
    if settings.start_discriminator is None:
        return settings
    wanted, started = settings.discriminator, load_discriminator(settings.start_discriminator).config
    if started.channels.keys() != wanted.channels.keys():
        return settings
    channels = {side: max(count, started.channels[side]) for side, count in wanted.channels.items()}
    return replace(settings, discriminator=replace(wanted, channels=channels))


def build_discriminator(settings: GarTrainingSettings) -> Discriminator:
    """The discriminator that the settings describe: a fresh one, or that of a weight file.

    It is widened where the settings have more channels than the file.

    Raises:
        SettingError: if the weights have another shape than the settings, and cannot be widened to it.
        WeightsError: if they cannot be read.
    """
    config, source = settings.discriminator, settings.start_discriminator
    if source is None:
        return Discriminator(config)
    started = load_discriminator(source)
    _check_shape("discriminator", source, replace(started.config, channels=config.channels), config)
    return widened(started, config.channels).requires_grad_(True)


def _check_shape(name: str, source: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SettingError(
            f"The {name} in {source} has another shape than the settings ask for; set {name} to {found}."
        )
