"""Shading by the classic renderer: Lambertian surfaces under second-order spherical harmonics.

Light is linear radiance as harmonic coefficients (B, 9, 3), RGB, ordered as in `geometry.harmonic_basis`; albedo is
linear reflectance. Only the finished image is sRGB encoded.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from garface.errors import SettingError
from garface.geometry import COSINE_LOBE, harmonic_basis


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Decode sRGB values in [0, 1] (IEC 61966-2-1) to linear light in [0, 1]."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode linear light in [0, 1] as sRGB in [0, 1] (IEC 61966-2-1); the gradient is finite at zero."""
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.003) ** (1 / 2.4) - 0.055)


def irradiance(normals: Tensor, light: Tensor, lost: Tensor | None = None) -> Tensor:
    """Integrate the light over the cosine lobe around each normal (Ramamoorthi & Hanrahan 2001, eq. 9).

    Args:
        normals: (B, 3, H, W) unit vectors in the frame of the light.
        light: (B, 9, 3) radiance.
        lost: (B, 9, H, W) what is in the light's way, see `lost_transfer`; None if nothing is.

    Returns:
        (B, 3, H, W) linear RGB irradiance; pi under constant radiance one. May be slightly negative, because the
        lobe is cut at second order.
    """
    transfer = _transfer(normals)
    return torch.einsum("bkhw,bkc->bchw", transfer if lost is None else transfer - lost, light)


def shade(normals: Tensor, albedo: Tensor, light: Tensor, lost: Tensor | None = None) -> Tensor:
    """Draw a Lambertian surface: `sRGB(albedo / pi * irradiance)`.

    Args:
        normals: (B, 3, H, W) unit vectors in the frame of the light.
        albedo: (B, 3, H, W) linear reflectance in [0, 1].
        light: (B, 9, 3) radiance.
        lost: (B, 9, H, W) what is in the light's way, see `lost_transfer`; None if nothing is.

    Returns:
        (B, 3, H, W) sRGB-encoded image in [-1, 1]; light beyond what the image can hold is clipped. Where
        normals are zero the value means nothing: mask it.
    """
    radiance = albedo / math.pi * irradiance(normals, light, lost)
    return 2 * linear_to_srgb(radiance.clamp(0, 1)) - 1


def sample_light(generator: torch.Generator) -> Tensor:
    """Draw a plausible light: an ambient part and three directional lamps in front of and above the face.

    Args:
        generator: on the CPU; decides everything.

    Returns:
        (1, 9, 3) radiance in the camera frame. A surface that faces the camera receives an irradiance between
        0.5 pi and 1.1 pi, averaged over RGB, so a bright skin is neither black nor clipped.
    """
    directions = torch.randn(3, 3, generator=generator) * torch.tensor([1.0, 0.6, 0.4])
    directions = normalize(directions + torch.tensor([0.0, 0.3, 0.6]), dim=-1)
    share = torch.rand(3, 1, generator=generator) ** 3
    powers = math.pi * share / share.sum() * (1 + 0.1 * torch.randn(3, 3, generator=generator)).clamp(0.5)
    light = harmonic_basis(directions).T @ powers
    ambient = (0.1 + 0.5 * torch.rand(1, generator=generator)) * (1 + 0.08 * torch.randn(3, generator=generator))
    light[0] += ambient * math.sqrt(4 * math.pi)
    frontal = irradiance(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1), light[None]).mean()
    level = math.pi * (0.5 + 0.6 * torch.rand(1, generator=generator))
    return (light * level / frontal)[None]


def highlight(normals: Tensor, halfway: Tensor, sharpness: Tensor) -> Tensor:
    """Brightness (B, 1, H, W) in [0, 1] of a lamp's reflection (Blinn 1977, doi:10.1145/965141.563893).

    Args:
        normals: (B, 3, H, W) unit vectors.
        halfway: (B, 3) unit vectors between the directions to lamp and camera.
        sharpness: (B,) exponent, 1 or more; larger ones are of smoother surfaces.
    """
    cosine = torch.einsum("bchw,bc->bhw", normals, halfway).clamp_min(0)
    return (cosine ** sharpness.view(-1, 1, 1))[:, None]


def fit_light(
    image: Tensor, normals: Tensor, mask: Tensor, *, albedo: Tensor | None = None, ridge: float = 1e-4
) -> Tensor:
    """Find the light that explains an image, by weighted linear least squares per colour.

    This is what rendering by the classic renderer can know about a photo's light; with `shade` it is the baseline of
    it.

    Args:
        image: (B, 3, H, W) in [-1, 1], sRGB encoded.
        normals: (B, 3, H, W) unit vectors in the camera frame.
        mask: (B, 1, H, W) in [0, 1], the weight of each pixel.
        albedo: (B, 3, H, W) linear reflectance; 0.5 everywhere if not given, so the light takes up the skin colour.
        ridge: damping relative to the mean diagonal of the normal equations.

    Returns:
        (B, 9, 3) radiance.

    Raises:
        SettingError: if a mask is empty.
    """
    if not bool((mask.flatten(1).sum(1) > 0).all()):
        raise SettingError("Light cannot be fitted where the mask is empty; give a mask that covers the face.")
    target = srgb_to_linear((image.double() + 1) / 2).clamp(min=0)
    reflectance = torch.full_like(target, 0.5) if albedo is None else albedo.double()
    design = _transfer(normals.double())[:, :, None] * (reflectance / math.pi)[:, None]  # (B, 9, 3, H, W)
    weighted = design * mask.double()[:, None]
    left = torch.einsum("bkchw,blchw->bckl", weighted, design)
    right = torch.einsum("bkchw,bchw->bck", weighted, target)
    damping = ridge * left.diagonal(dim1=-2, dim2=-1).mean(-1)
    left = left + damping[..., None, None] * torch.eye(9, dtype=left.dtype, device=left.device)
    return torch.linalg.solve(left, right).transpose(1, 2).to(image.dtype)


def _transfer(normals: Tensor) -> Tensor:
    """Return (B, 9, H, W): what one unit of each light coefficient gives as irradiance."""
    lobe = torch.tensor(COSINE_LOBE, dtype=normals.dtype, device=normals.device)
    return lobe.view(1, 9, 1, 1) * harmonic_basis(normals)
