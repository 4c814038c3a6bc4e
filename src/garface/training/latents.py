"""Where the latents of photos come from."""

from typing import Literal

from garface.datasets.faces import Faces
from garface.datasets.known_latents import KnownLatents
from garface.networks import GeneratorConfig

Latents = Literal["inverted", "known"]
"""By an inverter, or from the generator that made them."""


def known_of(faces: Faces, latents: Latents, config: GeneratorConfig) -> KnownLatents | None:
    """The photos' known latents, where they are wanted.

    They tell nothing of the geometry, unless the renderer is told nothing of it either.

    Raises:
        InputError: they are not known.
    """
    if latents == "inverted":
        return None
    return faces.known_latents(config.latent_dim, apart_from_geometry=config.conditioned)
