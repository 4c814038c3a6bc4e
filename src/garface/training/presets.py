"""Named recipes of every training."""

from dataclasses import replace

from garface.borrowed.crops import FACE_FEATURES
from garface.errors import SettingError
from garface.losses import AugmentConfig
from garface.networks import (
    DISCRIMINATOR_PRESETS,
    GENERATOR_PRESETS,
    INVERTER_PRESETS,
    DiscriminatorConfig,
    InverterConfig,
    StyleGeneratorConfig,
)
from garface.training.gar.settings import GarTrainingSettings, GarWeights
from garface.training.gar.stages import FOREVER
from garface.training.inverter import InverterTrainingSettings, InverterWeights
from garface.training.normals import NormalsTrainingSettings
from garface.training.parser import ParserTrainingSettings
from garface.training.readout import ReadoutSettings
from garface.training.shape import ShapeTrainingSettings

_WIDE = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128}

_OURS = GarTrainingSettings(
    generator=GENERATOR_PRESETS["cpu-128"],
    discriminator=DISCRIMINATOR_PRESETS["cpu-128"],
    inverter=INVERTER_PRESETS["cpu-128"],
    latents="known",
    latent_every=4,
    weights=GarWeights(
        adversarial=1.0, r1=0.1, path_length=0.0, reconstruction=4.0, perceptual=0.0, prior=0.0, latent=1.0
    ),
    augmentation=AugmentConfig(flip=0.5, colour=0.5, translation=0.0, cutout=0.0),
    objective="logistic",
    stages=((32, 36_000), (64, 80_000), (128, FOREVER)),
    warm_start=4_000,
    fade_in=1_600,
    learning_rate=0.006,
    discriminator_learning_rate=0.003,
    reconstructed=0.25,
    swapped=0.2,
    style_mixing=0.25,
    turned=0.5,
    path_length_every=16,
    papers_every=8,
    noise_from=220_000,
    preload=True,
    batch=16,
    average_half_life=5_000.0,
    max_images=250_000,
)

PRESETS: dict[str, GarTrainingSettings] = {
    "cpu-128": _OURS,
    "gpu-128": replace(
        _OURS,
        generator=StyleGeneratorConfig(latent_dim=512, style_dim=512, mapping_layers=2, channels=_WIDE),
        inverter=InverterConfig(latent_dim=512, channels=_WIDE),
        discriminator=DiscriminatorConfig(channels=_WIDE, conditional=False),
        batch=64,
        learning_rate=0.003,
        stages=((32, 300_000), (64, 1_000_000), (128, FOREVER)),
        warm_start=20_000,
        fade_in=10_000,
        noise_from=2_000_000,
        average_half_life=20_000.0,
        max_images=10_000_000,
        checkpoint_every=100_000,
        sheet_every=50_000,
        log_every=6_400,
    ),
    "further-128": replace(
        _OURS,
        discriminator=DiscriminatorConfig(
            channels={4: 192, 8: 384, 16: 256, 32: 256, 64: 128, 128: 64}, conditional=False
        ),
        weights=replace(_OURS.weights, texture_swap=0.25),
        drawers=6,
        batch=32,
        rise_over=6_400,
        fall_from=283_200,
        fall_over=188_800,
        average_half_life=40_000.0,
        max_images=472_000,
        checkpoint_every=118_000,
    ),
    "unconditional-128": replace(
        _OURS,
        generator=replace(_OURS.generator, injection="none"),
        weights=replace(_OURS.weights, consistency=0.0, texture_swap=0.0, geometry_swap=0.0),
    ),
    "paper-256": GarTrainingSettings(
        generator=GENERATOR_PRESETS["paper-256"],
        discriminator=DISCRIMINATOR_PRESETS["paper-256"],
        inverter=INVERTER_PRESETS["paper-256"],
        weights=GarWeights(
            adversarial=1.0,
            r1=10.0,
            path_length=2.0,
            reconstruction=0.0,
            perceptual=0.0,
            prior=0.0,
            latent=0.0,
            consistency=0.01,
            texture_swap=0.001 / 128,
            geometry_swap=0.5e-5,
        ),
        stages=((256, FOREVER),),
        reconstructed=0.0,
        swapped=0.0,
        style_mixing=0.9,
        mapping_learning_rate=0.002,
        conditions="random",
        augmentation=AugmentConfig(flip=0.0, colour=0.0, translation=0.0, cutout=0.0),
        max_images=12_800_000,
    ),
    "ablate-64": replace(
        _OURS,
        generator=GENERATOR_PRESETS["ablate-64"],
        inverter=INVERTER_PRESETS["ablate-64"],
        discriminator=DISCRIMINATOR_PRESETS["ablate-64"],
        stages=((32, 12_000), (64, FOREVER)),
        warm_start=1_000,
        fade_in=600,
        noise_from=0,
        weights=replace(_OURS.weights, path_length=0.1),
        preload=False,
        average_half_life=1_000.0,
        max_images=20_000,
    ),
}
"""`cpu-128` trains on one or two cores; `gpu-128` is `cpu-128` wider for a GPU; `further-128` goes on from weights on
one GPU, with a wider discriminator and rates that fall in the end; `unconditional-128` is the twin of `cpu-128` without
normals, `paper-256` the paper's recipe (800,000 steps of 16); `ablate-64` compares variants and has all of the paper's
terms."""

INVERTERS: dict[str, InverterTrainingSettings] = {
    "cpu-128": InverterTrainingSettings(
        inverter=INVERTER_PRESETS["cpu-128"], latents="known", average_half_life=2_000.0, max_images=40_000
    ),
    "borrowed-128": InverterTrainingSettings(
        inverter=replace(INVERTER_PRESETS["cpu-128"], latent_dim=512, hidden=512),
        weights=InverterWeights(photo=0.0, rerender=0.0),
        latents="known",
        average_half_life=2_000.0,
        max_images=40_000,
    ),
}
"""`borrowed-128` inverts a borrowed renderer by its latents alone, because rendering a photo again takes long."""

NORMALS: dict[str, NormalsTrainingSettings] = {
    "cpu-128": NormalsTrainingSettings(),
    "fine-128": NormalsTrainingSettings(
        start="builtin", learning_rate=2e-4, halve_every=4_000.0, average_half_life=2_000.0, max_images=16_000
    ),
}
"""`fine-128` goes on from the shipped weights, or others, at a falling rate."""

PARSERS: dict[str, ParserTrainingSettings] = {"cpu-128": ParserTrainingSettings()}

SHAPES: dict[str, ShapeTrainingSettings] = {"cpu-128": ShapeTrainingSettings()}

READOUTS: dict[str, ReadoutSettings] = {"cpu-128": ReadoutSettings(start="shape-128", features=FACE_FEATURES)}


def inverting(settings: GarTrainingSettings) -> GarTrainingSettings:
    """The same recipe for photos whose latents nobody knows.

    The inverter gives them, and learns with the renderer. It needs a longer warm start, in which it learns to tell
    photos apart while they are reconstructed, and a prior, which keeps its latents near N(0, I).
    """
    weights = replace(settings.weights, prior=2e-4)
    longer = 3 * settings.warm_start
    return replace(settings, latents="inverted", weights=weights, warm_start=longer, inverter_learning_rate=0.002)


def going_on(settings: GarTrainingSettings, *, start: str | None, discriminator: str | None) -> GarTrainingSettings:
    """The same training from weights on: at its final size, and in the game from the first image.

    Args:
        settings: of a training that starts afresh.
        start: weight file of the renderer, or name of shipped weights.
        discriminator: weight file of the discriminator; the settings' `check` refuses one without the other.

    Raises:
        SettingError: photos' latents come from an inverter, which would start afresh.
    """
    if settings.latents == "inverted" and settings.reconstructed > 0:
        raise SettingError(
            "Only renderers whose photos have known latents go on from weight files; others go on from a checkpoint, "
            "with --resume."
        )
    stages = ((settings.generator.resolution, FOREVER),)
    return replace(
        settings, start=start, start_discriminator=discriminator, stages=stages, warm_start=0, fade_in=0, noise_from=0
    )
