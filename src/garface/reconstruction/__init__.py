"""Reconstruction of heads from photos by inverting the renderer."""

from garface.reconstruction.costs import COSTS, Context, Term
from garface.reconstruction.pipeline import REFINE, Reconstructor, reconstruct
from garface.reconstruction.quality import CHECKS, Quality
from garface.reconstruction.refine import RefineSettings, refine
from garface.reconstruction.renderer import Renderer, load_renderer
from garface.reconstruction.result import Provenance, Reconstruction, load_state, read_report
from garface.reconstruction.settings import ReconstructionSettings
from garface.reconstruction.stages import STAGES
from garface.reconstruction.state import FaceState, Target
from garface.reconstruction.texture import TextureSettings, UVTexture, unwrap

__all__ = [
    "CHECKS",
    "COSTS",
    "REFINE",
    "STAGES",
    "Context",
    "FaceState",
    "Provenance",
    "Quality",
    "Reconstruction",
    "ReconstructionSettings",
    "Reconstructor",
    "RefineSettings",
    "Renderer",
    "Target",
    "Term",
    "TextureSettings",
    "UVTexture",
    "load_renderer",
    "load_state",
    "read_report",
    "reconstruct",
    "refine",
    "unwrap",
]
