"""The skin of a head as a UV texture."""

from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.unwrap import UVTexture, unwrap
from garface.reconstruction.texture.view import TextureSettings

__all__ = ["TextureSettings", "UVAtlas", "UVTexture", "unwrap"]
