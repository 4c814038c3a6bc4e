"""The skin of a head as a UV texture."""

from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.eyes import SeenIrises
from garface.reconstruction.texture.parts import PhotoParts
from garface.reconstruction.texture.unwrap import Observed, UVTexture, unwrap
from garface.reconstruction.texture.view import TextureSettings

__all__ = ["Observed", "PhotoParts", "SeenIrises", "TextureSettings", "UVAtlas", "UVTexture", "unwrap"]
