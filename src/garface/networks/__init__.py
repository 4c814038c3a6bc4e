"""The networks. They know no meshes and no cameras: geometry comes as normal maps."""

from garface.networks.configuration import from_dict, to_dict
from garface.networks.discriminator import Discriminator, DiscriminatorConfig
from garface.networks.feature_discriminator import FeatureDiscriminator, FeatureDiscriminatorConfig
from garface.networks.generator import Generator, GeneratorConfig, coefficient_planes
from garface.networks.inverter import Inverter, InverterConfig, InverterOutput
from garface.networks.loading import (
    load_discriminator,
    load_generator,
    load_inverter,
    load_normal_estimator,
    load_output_block,
    load_shape_estimator,
    state_hash,
)
from garface.networks.normal_estimator import NormalEstimator, NormalEstimatorConfig
from garface.networks.output_block import OutputBlock, OutputBlockConfig
from garface.networks.presets import DISCRIMINATOR_PRESETS, GENERATOR_PRESETS, INVERTER_PRESETS
from garface.networks.shape_estimator import ShapeEstimator, ShapeEstimatorConfig, ShapeMaps, ShapeOutput

__all__ = [
    "DISCRIMINATOR_PRESETS",
    "GENERATOR_PRESETS",
    "INVERTER_PRESETS",
    "Discriminator",
    "DiscriminatorConfig",
    "FeatureDiscriminator",
    "FeatureDiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "Inverter",
    "InverterConfig",
    "InverterOutput",
    "NormalEstimator",
    "NormalEstimatorConfig",
    "OutputBlock",
    "OutputBlockConfig",
    "ShapeEstimator",
    "ShapeEstimatorConfig",
    "ShapeMaps",
    "ShapeOutput",
    "coefficient_planes",
    "from_dict",
    "load_discriminator",
    "load_generator",
    "load_inverter",
    "load_normal_estimator",
    "load_output_block",
    "load_shape_estimator",
    "state_hash",
    "to_dict",
]
