"""Differentiable drawing of meshes: visibility, interpolation, antialiasing, normal maps, graphics shading."""

from garface.rendering.normals import normal_map, normal_pyramid
from garface.rendering.rasterise import barycentrics, interpolate, rasterise

__all__ = ["barycentrics", "interpolate", "normal_map", "normal_pyramid", "rasterise"]
