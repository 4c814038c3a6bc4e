"""Files with numbers in them: where they come from, their licences and hashes, and how they are read."""

from garface.weights.cards import Kind, WeightsCard
from garface.weights.fetch import asset_path, cache_folder, fetch_asset
from garface.weights.files import (
    LoadedWeights,
    load_weights,
    save_weights,
    seen_before,
    shipped,
    weights_hash,
    weights_of,
)
from garface.weights.legacy_torch import read_legacy_torch
from garface.weights.library import ModelEntry, add_file, installed_models
from garface.weights.registry import ASSETS, Asset, find_asset

__all__ = [
    "ASSETS",
    "Asset",
    "Kind",
    "LoadedWeights",
    "ModelEntry",
    "WeightsCard",
    "add_file",
    "asset_path",
    "cache_folder",
    "fetch_asset",
    "find_asset",
    "installed_models",
    "load_weights",
    "read_legacy_torch",
    "save_weights",
    "seen_before",
    "shipped",
    "weights_hash",
    "weights_of",
]
