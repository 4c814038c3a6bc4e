"""Reconstructions against scans: datasets, protocols, methods and the table of them all."""

from garface.evaluation.geometry.dataset import GeometryDataset, LabelledPhoto, Scan, ScanFile, View
from garface.evaluation.geometry.measure import GeometrySettings, measure_geometry
from garface.evaluation.geometry.methods import METHODS, Method, MethodSettings
from garface.evaluation.geometry.predictions import Head, Prediction, read_prediction, write_prediction
from garface.evaluation.geometry.protocols import PROTOCOLS, Protocol
from garface.evaluation.geometry.readers import READERS, open_dataset
from garface.evaluation.geometry.surfaces import Mesh, Surface, sample_surface
from garface.evaluation.geometry.table import GeometryTable

__all__ = [
    "METHODS",
    "PROTOCOLS",
    "READERS",
    "GeometryDataset",
    "GeometrySettings",
    "GeometryTable",
    "Head",
    "LabelledPhoto",
    "Mesh",
    "Method",
    "MethodSettings",
    "Prediction",
    "Protocol",
    "Scan",
    "ScanFile",
    "Surface",
    "View",
    "measure_geometry",
    "open_dataset",
    "read_prediction",
    "sample_surface",
    "write_prediction",
]
