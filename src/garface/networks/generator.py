"""What every kind of generator answers: whoever renders with one asks for nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError

Pyramid = Mapping[int, Tensor]
"""Normal maps `(B, 4, r, r)` (n_x, n_y, n_z, mask) of one head by their side r, pixels."""


NORMAL_CHANNELS = 4
"""Channels of a normal map: n_x, n_y, n_z, mask."""


class GeneratorConfig(Protocol):
    """What the configurations of all kinds have; each is a frozen dataclass with a default for every other field."""

    @property
    def kind(self) -> str:
        """Name of the kind, the same for all configurations of one class."""

    @property
    def resolution(self) -> int:
        """Side of the image, pixels."""

    @property
    def latent_dim(self) -> int:
        """Length Z of z."""

    @property
    def conditioned(self) -> bool:
        """Whether the normals are looked at."""


class Generator(nn.Module, ABC):
    """Normal maps, style and noise -> image.

    An abstract class and no structural protocol, because a generator is placed, frozen, hashed and saved as a module.
    """

    config: GeneratorConfig

    @property
    @abstractmethod
    def layers(self) -> int:
        """How many styles an image takes: the L of w+."""

    @abstractmethod
    def styles(self, z: Tensor) -> Tensor:
        """Latents `(B, Z)`, standard normal where they are random -> styles `(B, W)`, float32."""

    @abstractmethod
    def noise_shapes(self, resolution: int | None = None) -> tuple[tuple[int, int, int], ...]:
        """The `(1, r, r)` of each tensor of noise, for images of side `resolution` (default: full); at least one."""

    @abstractmethod
    def forward(
        self,
        w: Tensor,
        pyramid: Pyramid,
        noise: Sequence[Tensor] | None = None,
        *,
        resolution: int | None = None,
        noise_generator: torch.Generator | None = None,
    ) -> Tensor:
        """Render images.

        Args:
            w: styles `(B, W)`, or `(B, L, W)` with one style per layer (w+).
            pyramid: normal maps `(B, 4, r, r)` for every r up to `resolution`; where the configuration is not
                `conditioned` it is not looked at.
            noise: tensors as `noise_shapes` says; None draws them.
            resolution: side of a smaller image, for kinds that have some; None is full.
            noise_generator: source of the noise that is drawn.

        Returns:
            `(B, 3, R, R)`, float32, about [-1, 1], not clamped.

        Raises:
            SettingError: shapes that do not fit this generator, or a side that it does not render.
        """

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def sample_noise(
        self,
        batch: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        *,
        resolution: int | None = None,
    ) -> list[Tensor]:
        """Standard normal noise, `(B, 1, r, r)` each, on `device` (default: the generator's)."""
        device = device or self.device
        source = generator.device if generator is not None else device
        shapes = self.noise_shapes(resolution)
        return [torch.randn(batch, *shape, generator=generator, device=source).to(device) for shape in shapes]

    @torch.no_grad()
    def mean_style(self, count: int = 4096, generator: torch.Generator | None = None) -> Tensor:
        """The mean w of `count` random z, `(1, W)`; the centre of truncation."""
        source = generator.device if generator is not None else self.device
        z = torch.randn(count, self.config.latent_dim, generator=generator, device=source)
        return self.styles(z.to(self.device)).mean(0, keepdim=True)


def checked_levels(pyramid: Pyramid, sides: Sequence[int], shape: tuple[int, int]) -> dict[int, Tensor]:
    """The levels of these sides r.

    Raises:
        SettingError: one is missing, or is not `(*shape, r, r)`.
    """
    missing = [r for r in sides if r not in pyramid]
    if missing:
        raise SettingError(f"pyramid must hold every resolution up to {sides[-1]}, but lacks {missing}.")
    for r in sides:
        check_shape(f"pyramid[{r}]", pyramid[r], (*shape, r, r))
    return {r: pyramid[r] for r in sides}
