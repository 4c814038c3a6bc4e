"""Pictures of heads that no photo shows, drawn by a trained renderer: a `Paint` of `Drawings`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from garface import networks
from garface.rendering import normal_pyramid
from garface.synthetic.drawings import Paint


def painting(renderer: networks.Generator) -> Paint:
    """What draws normal maps (B, 4, R, R) of the renderer's side in latents and noise of their own.

    They are made on the renderer's device and come back to that of the normals. Drawings by graphics rules err in
    light, skin and surroundings, those of a renderer in the shape that they show: who learns from both trusts neither.
    """
    device = renderer.device

    @torch.no_grad()
    def paint(normals: Tensor, source: Generator) -> Tensor:
        latent = torch.randn(len(normals), renderer.config.latent_dim, generator=source).to(device)
        pyramid = normal_pyramid(normals.to(device))
        picture: Tensor = renderer(renderer.styles(latent), pyramid, noise_generator=source)
        return picture.clamp(-1, 1).to(normals)

    return paint
