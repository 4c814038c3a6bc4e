"""What the loops need of a training set."""

from typing import Protocol

from torch import Tensor


class Faces(Protocol):
    """Photos and the normal maps fitted to them, addressed by index; see `garface.data.dataset.FittedFaces`.

    Index i >= n stands for the mirror image of i - n.
    """

    def __len__(self) -> int:
        """How many there are, n."""

    def pictures(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 3, r, r) in [-1, 1]."""

    def conditions(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 4, r, r) normal maps; mirror images have n_x negated."""
