"""The ways to reconstruct a photo that are compared, by name: what differs from the usual settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """A way to reconstruct."""

    says: str
    """What it does."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """Fields of `ReconstructionSettings` and their values."""


RECONSTRUCTIONS = {
    "inverted": Variant("one pass of the networks, nothing refined (fast)", {"quality": "fast"}),
    "classic": Variant("the whole reconstruction, refined through a classic renderer", {"renderer": "classic"}),
    "no-start": Variant(
        "the refinement without learned initial estimates: landmark fit and mean latent",
        {"latent_start": "mean", "shape_start": "landmarks"},
    ),
    "classic-no-start": Variant(
        "the refinement through a classic renderer, from the landmark fit",
        {"renderer": "classic", "shape_start": "landmarks"},
    ),
    "full": Variant("the whole reconstruction (standard)"),
    "best": Variant("the whole reconstruction, refined for longer (best)", {"quality": "best"}),
}
"""By name, the same in every table."""
