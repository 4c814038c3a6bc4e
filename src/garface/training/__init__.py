"""Training: one runtime, and one loop per network."""

from garface.training.adapters import AdapterSettings, AdapterWeights, train_adapters
from garface.training.gar.critics import Critics, load_critics
from garface.training.gar.run import export_gar, train_gar
from garface.training.gar.settings import GarTrainingSettings, GarWeights
from garface.training.geometry_styles import EncoderSettings, geometry_drawer, relate_faces, train_encoder
from garface.training.inverter import InverterTrainingSettings, InverterWeights, train_inverter
from garface.training.normals import NormalsTrainingSettings, NormalsWeights, train_normals
from garface.training.output_block import OutputBlockTrainingSettings, OutputBlockWeights, train_output_block
from garface.training.parser import LabelledCrops, ParserTrainingSettings, train_parser
from garface.training.presets import INVERTERS, NORMALS, PARSERS, PRESETS, READOUTS, SHAPES, going_on, inverting
from garface.training.readout import ReadoutSettings, mixed_renders, train_readout
from garface.training.runtime import Outcome, RunSettings, Runtime, describe
from garface.training.shape import (
    READOUT_RENDERS,
    SHAPE_RENDERS,
    RenderHeads,
    ShapeTrainingSettings,
    ShapeWeights,
    train_shape,
)

__all__ = [
    "INVERTERS",
    "NORMALS",
    "PARSERS",
    "PRESETS",
    "READOUTS",
    "READOUT_RENDERS",
    "SHAPES",
    "SHAPE_RENDERS",
    "AdapterSettings",
    "AdapterWeights",
    "Critics",
    "EncoderSettings",
    "GarTrainingSettings",
    "GarWeights",
    "InverterTrainingSettings",
    "InverterWeights",
    "LabelledCrops",
    "NormalsTrainingSettings",
    "NormalsWeights",
    "Outcome",
    "OutputBlockTrainingSettings",
    "OutputBlockWeights",
    "ParserTrainingSettings",
    "ReadoutSettings",
    "RenderHeads",
    "RunSettings",
    "Runtime",
    "ShapeTrainingSettings",
    "ShapeWeights",
    "describe",
    "export_gar",
    "geometry_drawer",
    "going_on",
    "inverting",
    "load_critics",
    "mixed_renders",
    "relate_faces",
    "train_adapters",
    "train_encoder",
    "train_gar",
    "train_inverter",
    "train_normals",
    "train_output_block",
    "train_parser",
    "train_readout",
    "train_shape",
]
