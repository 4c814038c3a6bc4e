"""The head as an artist uses it: separate meshes with materials, a skeleton, expressions and visemes."""

from garface.reconstruction.avatar.scene import avatar_scene

__all__ = ["avatar_scene"]
