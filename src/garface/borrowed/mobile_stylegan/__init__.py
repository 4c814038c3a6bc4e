"""MobileStyleGAN, which generates random faces: its graphs evaluated, and its synthesis network as a module."""

from garface.borrowed.mobile_stylegan.backbone import (
    STYLE_DIM,
    Backbone,
    Filter,
    GainShift,
    Injection,
    Level,
    LevelInjection,
    Projection,
    StyleMap,
    as_constants,
    build_backbone,
    load_backbone,
    pointwise,
    scaled,
    steered,
)
from garface.borrowed.mobile_stylegan.graph import Network, evaluate, open_network, read_network
from garface.borrowed.mobile_stylegan.wavelet import BANDS, haar, inverse_haar

__all__ = [
    "BANDS",
    "STYLE_DIM",
    "Backbone",
    "Filter",
    "GainShift",
    "Injection",
    "Level",
    "LevelInjection",
    "Network",
    "Projection",
    "StyleMap",
    "as_constants",
    "build_backbone",
    "evaluate",
    "haar",
    "inverse_haar",
    "load_backbone",
    "open_network",
    "pointwise",
    "read_network",
    "scaled",
    "steered",
]
