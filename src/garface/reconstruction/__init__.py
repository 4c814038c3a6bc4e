"""Reconstruction of heads from photos by inverting the renderer."""

from garface.reconstruction.pipeline import REFINE, Reconstructor, reconstruct
from garface.reconstruction.refine import FaceState, RefineSettings, RefineWeights, Target, objective, refine
from garface.reconstruction.renderer import Renderer, load_renderer
from garface.reconstruction.result import Provenance, Reconstruction, load_state, read_report
from garface.reconstruction.settings import ReconstructionSettings
from garface.reconstruction.texture import TextureSettings, UVTexture, unwrap

__all__ = [
    "REFINE",
    "FaceState",
    "Provenance",
    "Reconstruction",
    "ReconstructionSettings",
    "Reconstructor",
    "RefineSettings",
    "RefineWeights",
    "Renderer",
    "Target",
    "TextureSettings",
    "UVTexture",
    "load_renderer",
    "load_state",
    "objective",
    "read_report",
    "reconstruct",
    "refine",
    "unwrap",
]
