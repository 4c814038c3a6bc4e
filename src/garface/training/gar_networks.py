"""The networks that a training of the renderer begins with."""

from garface.errors import SettingError
from garface.networks import Discriminator, FeatureDiscriminator, FeatureDiscriminatorConfig, Generator, load_generator
from garface.training.gar_settings import GarTrainingSettings


def build_generator(settings: GarTrainingSettings) -> Generator:
    """The renderer that the settings describe: a fresh one, or that of a weight file.

    Raises:
        SettingError: if the weights have another shape than the settings.
        WeightsError: if they cannot be read.
    """
    if settings.start is None:
        fresh = Generator(settings.generator)
        fresh.silence_above(settings.resolution(0))
        return fresh
    started = load_generator(settings.start)
    if started.config != settings.generator:
        raise SettingError(f"The renderer {settings.start} has another shape than the settings ask for; set generator "
                           f"to {started.config}.")  # fmt: skip
    return started.train().requires_grad_(True)


def build_discriminator(settings: GarTrainingSettings) -> Discriminator | FeatureDiscriminator:
    """The discriminator that the settings describe: one of pixels, or one of features."""
    config = settings.discriminator
    if isinstance(config, FeatureDiscriminatorConfig):
        return FeatureDiscriminator(config)
    return Discriminator(config)
