"""What several photos have in common, as one value that every stage of a reconstruction reads."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Shared:
    """What the photos of a batch have in common; by default nothing, so that each is on its own.

    What is shared is one unknown instead of B. Its prior counts once: each photo bears one part in `parts` of it.
    """

    identity: bool = False
    """All photos show one person."""

    def parts(self, name: str, batch: int) -> int:
        """How many of `batch` photos bear the prior of an unknown together: all of them, or each its own."""
        return batch if getattr(self, name) else 1

    def merged(self, name: str, values: Tensor) -> Tensor:
        """The unknowns behind values (B, ...): their mean (1, ...) where they are shared, else the values."""
        return values.mean(0, keepdim=True) if getattr(self, name) else values
