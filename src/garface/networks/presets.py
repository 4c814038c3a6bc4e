"""Named configurations."""

from garface.networks.discriminator import DiscriminatorConfig
from garface.networks.inverter import InverterConfig
from garface.networks.stylegan import StyleGeneratorConfig

SMALL = {4: 256, 8: 256, 16: 192, 32: 128, 64: 64, 128: 32}
NARROW = {4: 192, 8: 192, 16: 128, 32: 64, 64: 32, 128: 16}
TINY = {4: 128, 8: 128, 16: 96, 32: 64, 64: 32}
LARGE = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}

GENERATOR_PRESETS: dict[str, StyleGeneratorConfig] = {
    "cpu-128": StyleGeneratorConfig(channels=SMALL, mapping_layers=2),
    "ablate-64": StyleGeneratorConfig(
        resolution=64, latent_dim=128, style_dim=128, mapping_layers=2, channels=TINY, noise=False
    ),
    "paper-256": StyleGeneratorConfig(
        resolution=256,
        latent_dim=512,
        style_dim=512,
        mapping_layers=8,
        normalise_latent=True,
        channels=LARGE,
        injection="single",
        gain_offset=False,
        condition_channels=3,
    ),
}
"""`cpu-128` trains on two cores and is shipped, `ablate-64` compares variants, `paper-256` has the layout of StyleGAN2
and of the paper's released code."""

DISCRIMINATOR_PRESETS: dict[str, DiscriminatorConfig] = {
    "cpu-128": DiscriminatorConfig(channels=NARROW, conditional=False),
    "ablate-64": DiscriminatorConfig(resolution=64, channels=NARROW, conditional=False),
    "paper-256": DiscriminatorConfig(resolution=256, channels=LARGE, conditional=False),
}

INVERTER_PRESETS: dict[str, InverterConfig] = {
    "cpu-128": InverterConfig(channels=NARROW, hidden=256),
    "ablate-64": InverterConfig(resolution=64, latent_dim=128, channels=TINY),
    "paper-256": InverterConfig(resolution=256, latent_dim=512, channels=LARGE),
}
