"""What an ablation compares: named changes of one recipe, each of which leaves everything else as it is.

The full recipe has all of the paper's terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from garface.datasets.training_set import TrainingSet
from garface.errors import SettingError
from garface.evaluation.ablation.condition_kinds import WideConditions, Widening, WideSet, coefficient_count
from garface.evaluation.ablation.generators import ComparedConfig, compared
from garface.heads import DEFAULT_HEAD, load_head
from garface.spelling import unknown_name
from garface.training import Critics, GarTrainingSettings

Change = Callable[[GarTrainingSettings], GarTrainingSettings]


@dataclass(frozen=True)
class Variant:
    """One training of an ablation."""

    name: str
    """As it is chosen, and as its folder is called."""
    says: str
    """What is different."""
    change: Change
    """The full recipe -> that of the variant."""
    beside: str = "full"
    """The variant it differs from in one thing, to be compared with."""


def _generator(**changes: Any) -> Change:
    return lambda settings: replace(settings, generator=replace(settings.generator, **changes))


def _compared(**changes: Any) -> Change:
    return lambda settings: replace(settings, generator=compared(settings.generator, **changes))


def _weights(**changes: float) -> Change:
    return lambda settings: replace(settings, weights=replace(settings.weights, **changes))


def _seeing(settings: GarTrainingSettings) -> GarTrainingSettings:
    return replace(settings, discriminator=replace(settings.discriminator, conditional=True))


def _random(settings: GarTrainingSettings) -> GarTrainingSettings:
    return replace(settings, conditions="random")


def _coefficients(settings: GarTrainingSettings) -> GarTrainingSettings:
    count = coefficient_count(load_head(DEFAULT_HEAD))
    return _compared(injection="none", condition="coefficients", coefficients=count)(settings)


def _unconditional(settings: GarTrainingSettings) -> GarTrainingSettings:
    return _weights(consistency=0.0, texture_swap=0.0, geometry_swap=0.0)(_generator(injection="none")(settings))


_ALL = (
    Variant("full", "everything", lambda settings: settings),
    Variant("no-consistency", "no normal consistency", _weights(consistency=0.0)),
    Variant("no-swaps", "no texture and geometry swaps", _weights(texture_swap=0.0, geometry_swap=0.0)),
    Variant("no-path-length", "no path length", _weights(path_length=0.0)),
    Variant("depth", "condition: depth map", _compared(condition="depth")),
    Variant("coefficients", "condition: model coefficients in the styles", _coefficients),
    Variant("single-gain", "injection: one gain 1 + g for all channels", _generator(injection="single")),
    Variant(
        "papers-gain",
        "injection: one gain g, no mask, as released",
        _generator(injection="single", gain_offset=False, condition_channels=3),
        "single-gain",
    ),
    Variant("concatenate", "injection: concatenation", _compared(injection="none", concatenate=True)),
    Variant("seeing", "discriminator sees the normals beside the image", _seeing),
    Variant("random-conditions", "heads of the model's prior (paper)", _random),
    Variant("unconditional", "no condition at all", _unconditional),
)

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _ALL}
"""All of them, in the order of the table."""


def find_variants(names: tuple[str, ...]) -> tuple[Variant, ...]:
    """The variants of these names, in their own order.

    Raises:
        SettingError: there is no such variant, or none was named.
    """
    unknown = [name for name in names if name not in VARIANTS]
    if not names:
        raise SettingError(f"No variant was named; choose from: {', '.join(VARIANTS)}.")
    if unknown:
        raise SettingError(unknown_name("variant", unknown[0], VARIANTS))
    return tuple(variant for variant in _ALL if variant.name in names)


def prepare(
    settings: GarTrainingSettings, faces: TrainingSet, held_out: TrainingSet, critics: Critics
) -> tuple[TrainingSet, TrainingSet, Critics]:
    """Faces and critics as the settings' kind of condition needs them.

    Args:
        settings: of a variant.
        faces: training photos.
        held_out: others.
        critics: as for a condition of normal maps.

    Returns:
        The same where the condition is the normal map; else faces whose conditions carry the rest as well, and critics
        who sample such conditions, combined from fits.
    """
    config = settings.generator
    if not isinstance(config, ComparedConfig) or not config.extra_channels:
        return faces, held_out, critics
    widening = Widening.of(config, faces)
    wide = WideSet(faces, widening)
    conditions = WideConditions(wide)
    critics = replace(
        critics,
        draw_pair=critics.draw_pair and conditions.pairs,
        draw_conditions=critics.draw_conditions and conditions,
    )
    return wide, WideSet(held_out, widening), critics
