"""A small training set and small settings for the tests of the training loops."""

from pathlib import Path

import torch
from torch import Tensor

from garface.networks import DiscriminatorConfig, GeneratorConfig, InverterConfig
from garface.training.checkpoints import newest_checkpoint, read_checkpoint
from garface.training.gar_settings import GarTrainingSettings

CHANNELS = {4: 16, 8: 16, 16: 12, 32: 8}


class Balls:
    """Shaded balls: the colour is the latent, the place is the geometry, and mirrored copies are exact."""

    def __init__(self, count: int) -> None:
        source = torch.Generator().manual_seed(1)
        self.colour = torch.rand(count, 3, generator=source) * 2 - 1
        self.place = torch.rand(count, 2, generator=source) * 0.6 - 0.3

    def __len__(self) -> int:
        return len(self.colour)

    def pictures(self, indices: Tensor, *, resolution: int) -> Tensor:
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


def settings(folder: Path, **changes: object) -> GarTrainingSettings:
    quiet: dict[str, object] = {"tensorboard": False, "progress": False, "sheet_every": 0, "device": "cpu"}
    base: dict[str, object] = {
        "generator": GeneratorConfig(
            resolution=32, latent_dim=8, style_dim=8, mapping_layers=2, channels=CHANNELS, injection_channels=4
        ),
        "discriminator": DiscriminatorConfig(resolution=32, channels=CHANNELS),
        "inverter": InverterConfig(resolution=32, latent_dim=8, channels=CHANNELS, hidden=16),
        "stages": ((16, 8), (32, 10**9)),
        "warm_start": 4,
        "batch": 4,
        "max_pictures": 16,
        "r1_every": 2,
        "path_length_every": 2,
        "folder": folder,
    }
    return GarTrainingSettings(**{**base, **quiet, **changes})  # type: ignore[arg-type]


def things(folder: Path) -> dict:
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None
    return read_checkpoint(path)["things"]
