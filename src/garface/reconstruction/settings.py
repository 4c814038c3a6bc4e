"""What a user may choose."""

from dataclasses import dataclass
from typing import Literal

from garface.devices import Device
from garface.photo.initial_shapes import ShapeStart

Quality = Literal["fast", "standard", "best"]
RendererKind = Literal["generative", "classic"]
LatentStart = Literal["inverter", "mean"]
HairStyle = Literal["none", "cap"]
Detail = Literal["low", "high"]


@dataclass(frozen=True)
class ReconstructionSettings:
    """What a user may choose.

    Attributes:
        quality: "fast" stops after the inversion, "standard" refines, "best" refines for longer.
        face: the largest face of a photo, all of them, or one by its number: 1 is the largest, 2 the next.
        device: "auto" takes the GPU if there is one.
        seed: fixes every random draw.
        model: "builtin", or a folder of trained weights.
        texture_size: side of the texture, 16 to 8192 texels; None takes 512 for "fast" and 1024 for the rest.
        renderer: what the refinement descends through: the generative renderer, or the classic one, to be compared with
            it.
        latent_start: where it starts: at the inverter's latent, or at the mean style, to be compared with it.
        shape_start: where its identity starts: at the shape estimator's, or where landmarks alone put it.
        shape_model: "builtin", or a weight file of a shape estimator.
        strict: whether a photo on whose quality there is a note is refused.
        hair: "cap" covers the scalp with hair of the photo's colours if the photo shows hair; "none" leaves it bald.
        detail: of the meshes in head.glb: as the head model has them, or with four smoother triangles for each.
        batch: faces that go through networks and refinement together; more take more memory.
    """

    quality: Quality = "standard"
    face: Literal["largest", "all"] | int = "largest"
    device: Device = "auto"
    seed: int = 0
    model: str = "builtin"
    texture_size: int | None = None
    renderer: RendererKind = "generative"
    latent_start: LatentStart = "inverter"
    shape_start: ShapeStart = "estimator"
    shape_model: str = "builtin"
    strict: bool = False
    hair: HairStyle = "cap"
    detail: Detail = "low"
    batch: int = 4

    @property
    def texels(self) -> int:
        """Side of the texture."""
        return self.texture_size or (512 if self.quality == "fast" else 1024)
