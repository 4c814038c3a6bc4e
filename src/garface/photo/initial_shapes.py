"""The shapes that landmark fits start from: what the shape estimator sees in the crops, or the mean head's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from garface.borrowed.crops import FaceFeatures, load_face_features
from garface.errors import SettingError
from garface.heads import FitSettings, HeadModel, LandmarkFit, Shared, check_stamp
from garface.networks import ShapeEstimator, load_shape_estimator
from garface.networks.shape_estimator import ShapeMaps, ShapeOutput
from garface.photo.fitting import AlignedFace, fit_aligned
from garface.weights import WeightsCard, load_weights, shipped

ShapeStart = Literal["estimator", "landmarks"]
"""Where identities start: at the shape estimator's, or where landmarks alone put them."""

ESTIMATED = 0.05
"""Standard deviation of identities about what the shape estimator answers, as far as landmarks may move them: it has
seen where they are, and more."""


class InitialShapes:
    """A shape estimator with everything that it looks through.

    Args:
        estimator: of expected identities.
        features: what else it sees of a crop; None if it needs nothing else.
        card: of its weights.
    """

    def __init__(self, estimator: ShapeEstimator, features: FaceFeatures | None, card: WeightsCard) -> None:
        self.estimator, self.features, self.card = estimator, features, card

    def check_size(self, size: int) -> None:
        """Raise a SettingError if crops of this side, in pixels, are too small to see shapes in."""
        needed = self.estimator.config.resolution
        if size < needed:
            raise SettingError(
                f"The shape estimator needs crops of at least {needed} px, not {size}; make them "
                "larger, or start from landmarks alone (--shape-start landmarks)."
            )

    def identities(self, faces: Sequence[AlignedFace]) -> Tensor:
        """Estimated identities (B, K) of faces, on the CPU; less is seen in crops that `check_size` refuses."""
        return self.look(faces).identity

    @torch.no_grad()
    def look(self, faces: Sequence[AlignedFace]) -> ShapeOutput:
        """Estimated identities (B, K) of faces and the maps they follow from, on the CPU."""
        size = self.estimator.config.resolution
        crops = torch.cat([face.image for face in faces])
        image = interpolate(crops, size=(size, size), mode="area").to(next(self.estimator.parameters()).device)
        seen = None if self.features is None else self.features(image)
        answer: ShapeOutput = self.estimator(image, seen)
        return ShapeOutput(answer.identity.cpu(), ShapeMaps(*(one.cpu() for one in answer.maps)))


def load_initial_shapes(
    source: str = "builtin", *, model: HeadModel, device: torch.device | str = "cpu"
) -> InitialShapes:
    """The shape estimator of a weight file, or the shipped one, with what it looks through.

    Args:
        source: "builtin", or a weight file.
        model: the head model that identities are fitted in.
        device: where the networks go.

    Raises:
        SettingError: an estimator of another head model.
        WeightsError: weights that cannot be used.
        AssetError: a network that it looks through is neither here nor can be fetched.
    """
    estimator = load_shape_estimator(source).to(device)
    card = load_weights(shipped(source, "shape")).card
    check_stamp(
        card.head, model, what=f"The shape estimator {source}", remedy="train one for it with `garface train shape`"
    )
    given, wanted = estimator.config.coefficients, model.identities
    if given != wanted:
        raise SettingError(
            f"The shape estimator {source} gives {given} identity coefficients, but the head model has "
            f"{wanted}; train one for it with `garface train shape`."
        )
    features = load_face_features().to(device) if estimator.config.features else None
    return InitialShapes(estimator, features, card)


def fit_from(
    model: HeadModel, faces: Sequence[AlignedFace], identity: Tensor | None, *, shared: Shared = Shared()
) -> LandmarkFit:
    """`fit_aligned` near expected identities (B, K), or from the mean head as far as landmarks say."""
    settings = FitSettings(shared=shared)
    settings = settings if identity is None else replace(settings, sigma_identity=ESTIMATED)
    return fit_aligned(model, faces, settings, identity=identity)
