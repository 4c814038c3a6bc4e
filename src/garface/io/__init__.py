"""Files in and out: photos, images, animations and meshes."""

from garface.io.animation import ANIMATIONS, write_animation, write_gif
from garface.io.gltf import (
    GltfBone,
    GltfCamera,
    GltfMaterial,
    GltfMesh,
    GltfScene,
    encode_glb,
    read_glb,
    split_seams,
    write_glb,
)
from garface.io.images import (
    blend_mask,
    contact_sheet,
    draw_points,
    encode_jpeg,
    encode_png,
    to_tensor,
    to_uint8,
    write_mask,
    write_png,
)
from garface.io.meshes import PlyMesh, read_mesh, read_obj, read_ply, write_obj, write_ply
from garface.io.photo_lists import list_photos
from garface.io.photos import LIMIT_MEGAPIXELS, Photo, read_photo

__all__ = [
    "ANIMATIONS",
    "LIMIT_MEGAPIXELS",
    "GltfBone",
    "GltfCamera",
    "GltfMaterial",
    "GltfMesh",
    "GltfScene",
    "Photo",
    "PlyMesh",
    "blend_mask",
    "contact_sheet",
    "draw_points",
    "encode_glb",
    "encode_jpeg",
    "encode_png",
    "list_photos",
    "read_glb",
    "read_mesh",
    "read_obj",
    "read_photo",
    "read_ply",
    "split_seams",
    "to_tensor",
    "to_uint8",
    "write_animation",
    "write_gif",
    "write_glb",
    "write_mask",
    "write_obj",
    "write_ply",
    "write_png",
]
