"""What a user may choose."""

from dataclasses import dataclass
from typing import Literal

from garface.reconstruction.renderer import Device

Quality = Literal["fast", "standard", "best"]
DrawnBy = Literal["renderer", "graphics"]
LatentStart = Literal["inverter", "mean"]


@dataclass(frozen=True)
class ReconstructionSettings:
    """What a user may choose.

    Attributes:
        quality: "fast" stops after the inversion, "standard" refines, "best" refines for longer.
        face: the largest face of a photo, all of them, or one by its number: 1 is the largest, 2 the next.
        device: "auto" takes the GPU if there is one.
        seed: fixes every random draw.
        model: "builtin", or a folder of trained weights.
        texture_size: side of the texture, texels.
        drawn_by: what the refinement descends through: the renderer, or graphics rules, to be compared with it.
        latent_start: where it starts: at the inverter's latent, or at the mean style, to be compared with it.
    """

    quality: Quality = "standard"
    face: Literal["largest", "all"] | int = "largest"
    device: Device = "auto"
    seed: int = 0
    model: str = "builtin"
    texture_size: int = 1024
    drawn_by: DrawnBy = "renderer"
    latent_start: LatentStart = "inverter"
