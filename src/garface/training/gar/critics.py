"""The frozen judges, and the sources of geometry, that terms of the renderer's objective need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from garface.borrowed import FeatureTrunk, load_feature_trunk
from garface.borrowed.crops import load_identity_features, load_landmark_points
from garface.datasets.conditions import Conditions, FittedConditions, RandomConditions
from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.networks import load_normal_estimator
from garface.training.gar.pairs import DrawPair, PairsAhead
from garface.training.gar.settings import GarTrainingSettings
from garface.training.seen_normals import SeenNormals


@dataclass(frozen=True)
class Critics:
    """Frozen judges and samplers for the terms that need them; a term that is on without its critic is an error."""

    features: FeatureTrunk | None = None
    """Features of images (term `perceptual`)."""
    normals: Callable[[Tensor], Tensor] | None = None
    """(B, 3, R, R) image -> (B, 3, R, R) unit normals (term `consistency`)."""
    identity: Callable[[Tensor], Tensor] | None = None
    """(B, 3, R, R) image -> (B, F) features (term `texture_swap`)."""
    landmarks: Callable[[Tensor], Tensor] | None = None
    """(B, 3, R, R) image -> (B, N, 2) pixels (term `geometry_swap`)."""
    draw_conditions: Callable[[int, int], Tensor] | None = None
    """(count, resolution) -> (B, 4, R, R) of heads that no photo shows (setting `conditions`)."""
    draw_pair: DrawPair | None = None
    """(count, resolution) -> two (B, 4, R, R) of the same heads in other poses and expressions (`texture_swap`)."""

    def check(self, settings: GarTrainingSettings) -> None:
        """Raise a SettingError if a term is on whose critic is missing."""
        for critic, reasons in needs(settings).items():
            if reasons and getattr(self, critic) is None:
                raise SettingError(
                    f"{reasons[0]} is on, but its critic {critic!r} is missing; give one or switch it off."
                )

    def to(self, place: Callable[[nn.Module], nn.Module]) -> Critics:
        """The same with every network placed where `place` puts it."""
        placed: dict[str, Any] = {part.name: getattr(self, part.name) for part in fields(self)}
        for name, critic in placed.items():
            if isinstance(critic, nn.Module):
                placed[name] = place(critic)
        return Critics(**placed)


def needs(settings: GarTrainingSettings) -> dict[str, list[str]]:
    """For every critic, the settings that are on and need it."""
    weights = settings.weights
    wanted = {
        "features": {"weights.perceptual": weights.perceptual > 0},
        "normals": {"weights.consistency": weights.consistency > 0},
        "identity": {"weights.texture_swap": weights.texture_swap > 0},
        "landmarks": {"weights.geometry_swap": weights.geometry_swap > 0},
        "draw_conditions": {f"conditions = {settings.conditions!r}": settings.conditions != "photos"},
        "draw_pair": {"weights.texture_swap": weights.texture_swap > 0},
    }
    return {critic: [setting for setting, on in reasons.items() if on] for critic, reasons in wanted.items()}


def _pairs(geometry: Conditions, settings: GarTrainingSettings) -> DrawPair:
    """Draws pairs of heads, by other processes if the settings have any."""
    if not settings.drawers:
        return geometry.pairs
    geometry.pairs(1, settings.resolution(0))  # compiled once, for all processes
    return PairsAhead(geometry.pairs, settings.drawers, settings.seed)


def load_critics(settings: GarTrainingSettings, faces: TrainingSet) -> Critics:
    """Every critic that `settings` need and no other; the networks of others are fetched where they are not here.

    Args:
        settings: of the training.
        faces: its photos, from which geometry is drawn.

    Raises:
        AssetError: a network's file is neither here nor can be fetched.
    """
    wanted = needs(settings)
    geometry = RandomConditions.like(faces) if settings.conditions == "random" else FittedConditions(faces)
    return Critics(
        features=load_feature_trunk() if wanted["features"] else None,
        normals=SeenNormals(load_normal_estimator("normals-128")) if wanted["normals"] else None,
        identity=load_identity_features() if wanted["identity"] else None,
        landmarks=load_landmark_points() if wanted["landmarks"] else None,
        draw_conditions=geometry if wanted["draw_conditions"] else None,
        draw_pair=_pairs(geometry, settings) if wanted["draw_pair"] else None,
    )
