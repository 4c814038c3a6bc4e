"""Images of heads that no photo shows, made by a trained generative renderer: a `NormalsToImages` of
`SyntheticHeads`.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from garface import networks
from garface.rendering import normal_pyramid
from garface.synthetic.heads import NormalsToImages


def generative_images(renderer: networks.Generator) -> NormalsToImages:
    """What renders normal maps (B, 4, R, R) of the renderer's side with latents and noise of their own.

    They are made on the renderer's device and come back to that of the normals. Renders by the classic renderer err in
    light, skin and surroundings, those of a renderer in the shape that they show: who learns from both trusts neither.
    """
    device = renderer.device

    @torch.no_grad()
    def to_images(normals: Tensor, source: Generator) -> Tensor:
        latent = torch.randn(len(normals), renderer.config.latent_dim, generator=source).to(device)
        pyramid = normal_pyramid(normals.to(device))
        image: Tensor = renderer(renderer.styles(latent), pyramid, noise_generator=source)
        return image.clamp(-1, 1).to(normals)

    return to_images
