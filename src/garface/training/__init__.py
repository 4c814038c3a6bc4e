"""Training: one runtime, and one loop per network."""

from garface.training.adapters import AdapterSettings, AdapterWeights, train_adapters
from garface.training.gar.critics import Critics, load_critics
from garface.training.gar.run import export_gar, train_gar
from garface.training.gar.settings import GarTrainingSettings, GarWeights
from garface.training.geometry_styles import EncoderSettings, geometry_drawer, relate_faces, train_encoder
from garface.training.inverter import InverterTrainingSettings, InverterWeights, train_inverter
from garface.training.normals import NormalsTrainingSettings, NormalsWeights, train_normals
from garface.training.output_block import OutputBlockTrainingSettings, OutputBlockWeights, train_output_block
from garface.training.presets import INVERTERS, NORMALS, PRESETS, SHAPE_HEADS, SHAPES, going_on, inverting
from garface.training.runtime import Outcome, RunSettings, Runtime, describe
from garface.training.shape import (
    HEAD_DRAWINGS,
    SHAPE_DRAWINGS,
    DrawHeads,
    ShapeTrainingSettings,
    ShapeWeights,
    train_shape,
)
from garface.training.shape_head import ShapeHeadSettings, drawn_by_either, train_shape_head

__all__ = [
    "HEAD_DRAWINGS",
    "INVERTERS",
    "NORMALS",
    "PRESETS",
    "SHAPES",
    "SHAPE_DRAWINGS",
    "SHAPE_HEADS",
    "AdapterSettings",
    "AdapterWeights",
    "Critics",
    "DrawHeads",
    "EncoderSettings",
    "GarTrainingSettings",
    "GarWeights",
    "InverterTrainingSettings",
    "InverterWeights",
    "NormalsTrainingSettings",
    "NormalsWeights",
    "Outcome",
    "OutputBlockTrainingSettings",
    "OutputBlockWeights",
    "RunSettings",
    "Runtime",
    "ShapeHeadSettings",
    "ShapeTrainingSettings",
    "ShapeWeights",
    "describe",
    "drawn_by_either",
    "export_gar",
    "geometry_drawer",
    "going_on",
    "inverting",
    "load_critics",
    "relate_faces",
    "train_adapters",
    "train_encoder",
    "train_gar",
    "train_inverter",
    "train_normals",
    "train_output_block",
    "train_shape",
    "train_shape_head",
]
