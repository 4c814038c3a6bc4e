"""The networks that a training of the renderer begins with."""

from dataclasses import replace

from garface.errors import SettingError
from garface.networks import (
    Discriminator,
    DiscriminatorConfig,
    FeatureDiscriminator,
    FeatureDiscriminatorConfig,
    StyleGenerator,
    load_discriminator,
    load_generator,
    make_generator,
)
from garface.networks.widen import widened
from garface.training.gar.settings import GarTrainingSettings


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
    """Settings whose discriminator of pixels has at each size as many channels as `start_discriminator`, or more.

    Raises:
        WeightsError: if the weights cannot be read, or judge features instead of pixels.
    """
    wanted = settings.discriminator
    if settings.start_discriminator is None or isinstance(wanted, FeatureDiscriminatorConfig):
        return settings
    started = load_discriminator(settings.start_discriminator, wanted).config
    if not isinstance(started, DiscriminatorConfig) or started.channels.keys() != wanted.channels.keys():
        return settings
    channels = {side: max(count, started.channels[side]) for side, count in wanted.channels.items()}
    return replace(settings, discriminator=replace(wanted, channels=channels))


def build_discriminator(settings: GarTrainingSettings) -> Discriminator | FeatureDiscriminator:
    """The discriminator that the settings describe: one of pixels or of features, fresh or that of a weight file.

    One of pixels is widened where the settings have more channels than the file.

    Raises:
        SettingError: if the weights have another shape than the settings, and cannot be widened to it.
        WeightsError: if they cannot be read.
    """
    config = settings.discriminator
    if settings.start_discriminator is not None:
        started = load_discriminator(settings.start_discriminator, config)
        if isinstance(started, Discriminator) and isinstance(config, DiscriminatorConfig):
            _check_shape(
                "discriminator", settings.start_discriminator, replace(started.config, channels=config.channels), config
            )
            return widened(started, config.channels).requires_grad_(True)
        _check_shape("discriminator", settings.start_discriminator, started.config, config)
        return started.train().requires_grad_(True)
    if isinstance(config, FeatureDiscriminatorConfig):
        return FeatureDiscriminator(config)
    return Discriminator(config)


def _check_shape(name: str, source: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SettingError(
            f"The {name} in {source} has another shape than the settings ask for; set {name} to {found}."
        )
