"""The networks. They know no meshes and no cameras: geometry comes as normal maps."""

from garface.networks.borrowed import BorrowedGenerator, BorrowedGeneratorConfig
from garface.networks.configuration import from_dict, to_dict
from garface.networks.discriminator import Discriminator, DiscriminatorConfig
from garface.networks.face_parser import CLASSES, FaceParser, FaceParserConfig
from garface.networks.generator import Generator, GeneratorConfig
from garface.networks.inverter import Inverter, InverterConfig, InverterOutput
from garface.networks.loading import (
    load_discriminator,
    load_face_parser,
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
from garface.networks.registry import generator_config, make_generator, register_generator
from garface.networks.shape_estimator import ShapeEstimator, ShapeEstimatorConfig, ShapeMaps, ShapeOutput
from garface.networks.stylegan import StyleGenerator, StyleGeneratorConfig

__all__ = [
    "CLASSES",
    "DISCRIMINATOR_PRESETS",
    "GENERATOR_PRESETS",
    "INVERTER_PRESETS",
    "BorrowedGenerator",
    "BorrowedGeneratorConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "FaceParser",
    "FaceParserConfig",
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
    "StyleGenerator",
    "StyleGeneratorConfig",
    "from_dict",
    "generator_config",
    "load_discriminator",
    "load_face_parser",
    "load_generator",
    "load_inverter",
    "load_normal_estimator",
    "load_output_block",
    "load_shape_estimator",
    "make_generator",
    "register_generator",
    "state_hash",
    "to_dict",
]
