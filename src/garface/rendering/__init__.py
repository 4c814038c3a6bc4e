"""Differentiable drawing of meshes: visibility, interpolation, antialiasing, normal and depth maps, shading."""

from garface.rendering.antialias import antialias
from garface.rendering.depth import depth_map
from garface.rendering.normals import normal_map, normal_pyramid
from garface.rendering.rasterise import barycentrics, interpolate, rasterise
from garface.rendering.shading import (
    fit_light,
    highlight,
    irradiance,
    linear_to_srgb,
    sample_light,
    shade,
    srgb_to_linear,
)
from garface.rendering.shadows import lost_transfer, sphere_directions

__all__ = [
    "antialias",
    "barycentrics",
    "depth_map",
    "fit_light",
    "highlight",
    "interpolate",
    "irradiance",
    "linear_to_srgb",
    "lost_transfer",
    "normal_map",
    "normal_pyramid",
    "rasterise",
    "sample_light",
    "shade",
    "sphere_directions",
    "srgb_to_linear",
]
