"""What a training needs of a set of faces."""

from typing import Protocol

from torch import Tensor

from garface.datasets.known_latents import KnownLatents


class Faces(Protocol):
    """Photos and the normal maps fitted to them, addressed by index; see `garface.datasets.training_set.TrainingSet`.

    Index i >= n stands for the mirror image of i - n.
    """

    def __len__(self) -> int:
        """How many there are, n."""

    def images(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 3, r, r) in [-1, 1]."""

    def conditions(self, indices: Tensor, *, resolution: int) -> Tensor:
        """(B, 4, r, r) normal maps; mirror images have n_x negated."""

    def known_latents(self, count: int, *, apart_from_geometry: bool) -> KnownLatents:
        """`count` latents of every unmirrored photo; an InputError where they are not known."""

    def styles(self, rows: Tensor) -> Tensor:
        """Styles (B, W), in its own space, of the generator that made unmirrored photos; an InputError if unknown."""
