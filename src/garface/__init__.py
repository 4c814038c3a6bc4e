"""garface: photo in, 3D head out, by inverting a generative renderer.

Names are loaded when they are first used, so that `import garface` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from garface import errors

if TYPE_CHECKING:
    from garface.heads import HeadModel, load_head
    from garface.reconstruction import (
        Reconstruction,
        ReconstructionSettings,
        Reconstructor,
        Renderer,
        load_renderer,
        reconstruct,
    )

__all__ = [
    "HeadModel",
    "Reconstruction",
    "ReconstructionSettings",
    "Reconstructor",
    "Renderer",
    "errors",
    "load_head",
    "load_renderer",
    "reconstruct",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'garface' has no attribute {name!r}")
    home = "garface.heads" if name in ("HeadModel", "load_head") else "garface.reconstruction"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
