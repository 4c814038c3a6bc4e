"""Files with numbers in them: where they come from, their licences and hashes, and how they are read."""

from garface.weights.fetch import asset_path, cache_folder, fetch_asset
from garface.weights.registry import ASSETS, Asset, find_asset

__all__ = ["ASSETS", "Asset", "asset_path", "cache_folder", "fetch_asset", "find_asset"]
