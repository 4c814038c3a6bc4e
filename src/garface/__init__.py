"""garface: photo in, 3D head out, by inverting a generative renderer.

Names are loaded when they are first used, so that `import garface` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from garface import errors

if TYPE_CHECKING:
    from garface.heads import MorphableModel
    from garface.reconstruction import (
        Reconstruction,
        ReconstructionSettings,
        Reconstructor,
        Renderer,
        load_renderer,
        reconstruct,
    )

__all__ = [
    "MorphableModel",
    "Reconstruction",
    "ReconstructionSettings",
    "Reconstructor",
    "Renderer",
    "errors",
    "load_renderer",
    "reconstruct",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'garface' has no attribute {name!r}")
    home = "garface.heads" if name == "MorphableModel" else "garface.reconstruction"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
