"""GLB files: what is in them (`scene`), writing and reading them."""

from garface.io.gltf.reading import read_glb
from garface.io.gltf.scene import GltfBone, GltfCamera, GltfMaterial, GltfMesh, GltfScene
from garface.io.gltf.writing import encode_glb, split_seams, write_glb

__all__ = [
    "GltfBone",
    "GltfCamera",
    "GltfMaterial",
    "GltfMesh",
    "GltfScene",
    "encode_glb",
    "read_glb",
    "split_seams",
    "write_glb",
]
