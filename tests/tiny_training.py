"""A small training set and small settings for the tests of the training loops."""

from pathlib import Path

import torch
from torch import Tensor

from garface.borrowed import FeatureTrunk
from garface.datasets.known_latents import KnownLatents
from garface.networks import DiscriminatorConfig, InverterConfig, StyleGeneratorConfig
from garface.training.checkpoints import newest_checkpoint, read_checkpoint
from garface.training.gar.settings import GarTrainingSettings, GarWeights

FEATURES = (4, 6, 8, 8, 8)
PLAIN = GarWeights(
    adversarial=1.0,
    r1=10.0,
    reconstruction=10.0,
    perceptual=0.0,
    prior=1e-3,
    latent=0.5,
    consistency=0.0,
    texture_swap=0.0,
    geometry_swap=0.0,
)
"""Without the terms that need critics."""
CHANNELS = {4: 16, 8: 16, 16: 12, 32: 8}


class Balls:
    """Shaded balls: the colour is the latent, the place is the geometry, and mirrored copies are exact."""

    def __init__(self, count: int) -> None:
        source = torch.Generator().manual_seed(1)
        self.colour = torch.rand(count, 3, generator=source) * 2 - 1
        self.place = torch.rand(count, 2, generator=source) * 0.6 - 0.3

    def __len__(self) -> int:
        return len(self.colour)

    def images(self, indices: Tensor, *, resolution: int) -> Tensor:
        normals = self.conditions(indices, resolution=resolution)
        colour = self.colour[indices % len(self)][:, :, None, None]
        return normals[:, 3:] * (colour * normals[:, 2:3] + 0.5) - 0.5

    def conditions(self, indices: Tensor, *, resolution: int) -> Tensor:
        axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
        place = self.place[indices % len(self)].clone()
        place[:, 0] *= torch.where(indices < len(self), 1.0, -1.0)
        x = (axis[None, None, :] - place[:, 0, None, None]).expand(-1, resolution, -1) / 0.6
        y = -(axis[None, :, None] - place[:, 1, None, None]).expand(-1, -1, resolution) / 0.6
        mask = (x**2 + y**2 < 1).float()
        z = (1 - x**2 - y**2).clamp(min=0).sqrt()
        return torch.stack([x, y, z, torch.ones_like(z)], dim=1) * mask[:, None]

    def known_latents(self, count: int, *, apart_from_geometry: bool) -> KnownLatents:
        """The colours, standardised, and numbers that mean nothing; of ball i always the same."""
        noise = torch.randn(1000, count - 3, generator=torch.Generator().manual_seed(3))
        return KnownLatents(torch.cat([self.colour * 3**0.5, noise[: len(self)]], 1), torch.ones(count))

    def styles(self, rows: Tensor) -> Tensor:
        """The colours."""
        return self.colour[rows]


def tiny_trunk() -> FeatureTrunk:
    """A trunk built like the real one, with few channels and random weights."""
    source = torch.Generator().manual_seed(2)
    tensors, before = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}, 3
    for block, places in enumerate(((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))):
        for place in places:
            name, spread = f"net.slice{block + 1}.{place}", (2 / (9 * before)) ** 0.5
            tensors[f"{name}.weight"] = spread * torch.randn(FEATURES[block], before, 3, 3, generator=source)
            tensors[f"{name}.bias"] = torch.zeros(FEATURES[block])
            before = FEATURES[block]
        tensors[f"lin{block}.model.1.weight"] = torch.rand(1, before, 1, 1, generator=source)
    return FeatureTrunk(tensors)


def settings(folder: Path, **changes: object) -> GarTrainingSettings:
    quiet: dict[str, object] = {"tensorboard": False, "progress": False, "sheet_every": 0, "device": "cpu"}
    base: dict[str, object] = {
        "generator": StyleGeneratorConfig(
            resolution=32, latent_dim=8, style_dim=8, mapping_layers=2, channels=CHANNELS, injection_channels=4
        ),
        "discriminator": DiscriminatorConfig(resolution=32, channels=CHANNELS),
        "inverter": InverterConfig(resolution=32, latent_dim=8, channels=CHANNELS, hidden=16),
        "stages": ((16, 8), (32, 10**9)),
        "warm_start": 4,
        "batch": 4,
        "max_images": 16,
        "r1_every": 2,
        "path_length_every": 2,
        "weights": PLAIN,
        "folder": folder,
    }
    return GarTrainingSettings(**{**base, **quiet, **changes})  # type: ignore[arg-type]


def things(folder: Path) -> dict:
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None
    return read_checkpoint(path)["things"]


def flat(state: object) -> list[Tensor]:
    """All tensors inside nested dicts, lists and tuples."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        state = list(state.values())
    return [one for part in state for one in flat(part)] if isinstance(state, list | tuple) else []
