"""A training set with every normal map rendered beforehand, on the device of the training.

Rendering a normal map costs a processor core some milliseconds, which is little beside a training step there, and far
too much beside one on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.datasets.faces import Faces
from garface.datasets.training_set import mirror_where
from garface.errors import SettingError


class PreloadedSet:
    """Faces whose images (8 bits) and normal maps (16 bits) lie in the memory of one device.

    Maps of smaller sizes are averages of the large ones, as the renderer's own pyramid is.

    Args:
        faces: what is loaded; its mirror images must be flipped images with n_x negated.
        resolution: of what is kept, pixels; a face takes 11 bytes a pixel.
        device: where to.
        batch: faces rendered at a time.
    """

    @torch.no_grad()
    def __init__(self, faces: Faces, *, resolution: int, device: torch.device | str, batch: int = 64) -> None:
        self.resolution, self.known_latents, self.styles = resolution, faces.known_latents, faces.styles
        images, conditions = [], []
        for rows in torch.arange(len(faces)).split(batch):
            image = (faces.images(rows, resolution=resolution) + 1) * 127.5
            images.append(image.round().clamp(0, 255).to(torch.uint8).to(device))
            conditions.append(faces.conditions(rows, resolution=resolution).half().to(device))
        self._images, self._conditions = torch.cat(images), torch.cat(conditions)

    def __len__(self) -> int:
        return len(self._images)

    def images(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 3, r, r) in [-1, 1], on the device."""
        rows, mirrored = self._rows(indices)
        image = self._shrunk(self._images[rows].float() / 127.5 - 1, resolution)
        return torch.where(mirrored.view(-1, 1, 1, 1), image.flip(3), image)

    def conditions(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 4, r, r) normal maps, on the device.

        Raises:
            SettingError: conditions other than normal maps, whose mirror images are not known here.
        """
        rows, mirrored = self._rows(indices)
        found = self._conditions[rows].float()
        if found.shape[1] != 4:
            raise SettingError("Only normal maps can be preloaded; switch preload off for other conditions.")
        return mirror_where(self._shrunk(found, resolution), mirrored)

    def _rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(self._images.device)
        return indices % len(self), indices >= len(self)

    def _shrunk(self, x: Tensor, resolution: int) -> Tensor:
        if resolution == self.resolution:
            return x
        if resolution > self.resolution or self.resolution % resolution:
            raise SettingError(f"{resolution} px were asked of faces preloaded at {self.resolution} px.")
        return interpolate(x, size=(resolution, resolution), mode="area")
