"""Small pure losses. They return one value per sample, or finer; weights and averages are the caller's."""

from garface.losses.adversarial import (
    OBJECTIVES,
    Objective,
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from garface.losses.augment import Augmentation, AugmentConfig, draw_augmentation, mirror_normals
from garface.losses.consistency import geometry_swap, normal_consistency, texture_swap
from garface.losses.perceptual import perceptual_distance
from garface.losses.photometric import (
    charbonnier,
    gradient_error,
    photometric_error,
    pyramid_error,
    structural_similarity,
)
from garface.losses.priors import (
    gaussian_likelihood_error,
    gaussian_prior,
    kl_to_standard_normal,
    noise_autocorrelation,
)
from garface.losses.reduction import masked_mean

__all__ = [
    "OBJECTIVES",
    "AugmentConfig",
    "Augmentation",
    "Objective",
    "charbonnier",
    "discriminator_loss",
    "draw_augmentation",
    "gaussian_likelihood_error",
    "gaussian_prior",
    "generator_loss",
    "geometry_swap",
    "gradient_error",
    "kl_to_standard_normal",
    "masked_mean",
    "mirror_normals",
    "noise_autocorrelation",
    "normal_consistency",
    "path_length_penalty",
    "path_lengths",
    "perceptual_distance",
    "photometric_error",
    "pyramid_error",
    "r1_penalty",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "structural_similarity",
    "texture_swap",
]
