"""What the loops need of a training set."""

from typing import Literal, Protocol

from torch import Tensor

from garface.datasets.known_latents import KnownLatents
from garface.networks import GeneratorConfig

Latents = Literal["inverted", "known"]
"""Where the latents of photos come from."""


class Faces(Protocol):
    """Photos and the normal maps fitted to them, addressed by index; see `garface.datasets.fitted.FittedFaces`.

    Index i >= n stands for the mirror image of i - n.
    """

    def __len__(self) -> int:
        """How many there are, n."""

    def pictures(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 3, r, r) in [-1, 1]."""

    def conditions(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 4, r, r) normal maps; mirror images have n_x negated."""

    def known_latents(self, count: int, *, apart_from_geometry: bool) -> KnownLatents:
        """`count` latents of every unmirrored photo; an InputError where they are not known."""


def known_of(faces: Faces, latents: Latents, config: GeneratorConfig) -> KnownLatents | None:
    """The photos' known latents, where they are wanted.

    They tell nothing of the geometry, unless the renderer is told nothing of it either.

    Raises:
        InputError: they are not known.
    """
    if latents == "inverted":
        return None
    return faces.known_latents(config.latent_dim, apart_from_geometry=config.conditioned)
