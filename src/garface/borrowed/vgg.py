"""Features of a frozen VGG16, for perceptual distances.

Simonyan and Zisserman 2015, configuration D, up to relu5_3, with the weights of ShiftTolerant-LPIPS (Ghildyal and Liu
2022). Those were tuned with blurred pooling, whose code is CC BY-NC-SA: nothing of it is used, and VGG's own 2x2
maximum pooling takes its place. Distances are so built like those of LPIPS, but have neither its values nor theirs.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.checks import check_shape
from garface.errors import SettingError
from garface.weights import asset_path, read_legacy_torch

ASSET = "perceptual-vgg"
SMALLEST = 32
"""Fewest pixels across, so that the deepest features still have two places across."""

_CONVOLUTIONS = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
"""Where the convolutions of each block stand in the file's numbering."""


class FeatureTrunk(nn.Module):
    """VGG16 without its classifier. All its numbers are constants: buffers that no checkpoint holds.

    So an optimiser never sees them, and `requires_grad_` or `train` of a network around it change nothing.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights by the names of their file; how many channels there are follows from them.

        Args:
            tensors: `net.slice1.0.weight` `(64, 3, 3, 3)`, `net.slice1.0.bias` `(64,)` and so on for 13 convolutions,
                `lin0.model.1.weight` `(1, 64, 1, 1)` and so on for 5 places, and `scaling_layer.shift` and `.scale`
                `(1, 3, 1, 1)`.

        Raises:
            KeyError: one of them is not there.
        """
        super().__init__()
        for name in ("shift", "scale"):
            self._keep(name, tensors[f"scaling_layer.{name}"])
        for block, places in enumerate(_CONVOLUTIONS):
            self._keep(f"head_{block}", tensors[f"lin{block}.model.1.weight"].clamp_min(0))
            for layer, place in enumerate(places):
                for part in ("weight", "bias"):
                    self._keep(f"{part}_{block}_{layer}", tensors[f"net.slice{block + 1}.{place}.{part}"])

    @property
    def head_weights(self) -> tuple[Tensor, ...]:
        """How much each channel counts in `losses.perceptual_distance`, five of `(1, C, 1, 1)`, none negative."""
        return tuple(self.get_buffer(f"head_{block}") for block in range(len(_CONVOLUTIONS)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features after relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.

        Args:
            images: `(B, 3, H, W)` in [-1, 1], at least `SMALLEST` pixels high and wide, of any floating type: the
                work is done in the trunk's own type, or in that of autocast.

        Returns:
            `(B, C, H / 2^i, W / 2^i)` for i from 0 to 4, C = 64, 128, 256, 512, 512; sizes are rounded down.

        Raises:
            SettingError: images of another shape, or too small ones.
        """
        check_shape("images", images, (None, 3, None, None))
        if min(images.shape[2:]) < SMALLEST:
            size = " x ".join(map(str, images.shape[2:]))
            raise SettingError(f"images must have {SMALLEST} x {SMALLEST} pixels or more, but have {size}.")
        shift, scale = self.get_buffer("shift"), self.get_buffer("scale")
        values = ((images.to(shift.dtype) - shift) / scale).contiguous(memory_format=torch.channels_last)
        features = []
        for block in range(len(_CONVOLUTIONS)):
            values = self._block(block, F.max_pool2d(values, 2) if block else values)
            features.append(values)
        return tuple(features)

    def _block(self, block: int, values: Tensor) -> Tensor:
        for layer in range(len(_CONVOLUTIONS[block])):
            weight, bias = (self.get_buffer(f"{part}_{block}_{layer}") for part in ("weight", "bias"))
            values = F.relu(F.conv2d(values, weight, bias, padding=1))
        return values

    def _keep(self, name: str, tensor: Tensor) -> None:
        kept = tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        self.register_buffer(name, kept, persistent=False)


def load_feature_trunk() -> FeatureTrunk:
    """The trunk with the weights of the asset `perceptual-vgg`, float32 on the CPU.

    Raises:
        AssetError: the file is neither in the cache nor can it be fetched.
        WeightsError: it cannot be read.
    """
    return FeatureTrunk(read_legacy_torch(asset_path(ASSET))).eval()
