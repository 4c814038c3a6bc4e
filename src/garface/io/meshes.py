"""OBJ with a texture, and binary PLY; of both, what a mesh is made of can be read."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from garface.arrays import Pixels
from garface.errors import InputError, SettingError
from garface.files import write_atomic

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

_PLY_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "<i2",
    "int16": "<i2",
    "ushort": "<u2",
    "uint16": "<u2",
    "int": "<i4",
    "int32": "<i4",
    "uint": "<u4",
    "uint32": "<u4",
    "float": "<f4",
    "float32": "<f4",
    "double": "<f8",
    "float64": "<f8",
}
_HEADER_LIMIT = 1 << 16
_NO_TRIANGLES = np.zeros((0, 3), np.int64)


@dataclass(frozen=True)
class PlyMesh:
    """What a PLY file holds."""

    vertices: NDArray[np.float32]
    """(V, 3), in the file's unit."""
    triangles: NDArray[np.int64]
    """(F, 3); F is 0 for a point cloud."""
    colours: Pixels | None
    """(V, 3) RGB, or None."""


def write_obj(
    path: Path | str,
    vertices: Floats,
    triangles: Integers,
    *,
    normals: Floats | None = None,
    uv: Floats | None = None,
    uv_triangles: Integers | None = None,
    texture: str | None = None,
) -> None:
    """Write a Wavefront OBJ; with `texture` also the material file of the same name with suffix .mtl beside it.

    Args:
        path: the .obj file.
        vertices: (V, 3), written as they are (millimetres).
        triangles: (F, 3), counter-clockwise seen from outside.
        normals: (V, 3) unit normals, one a vertex.
        uv: (T, 2) in [0, 1], origin at the bottom left; needs `uv_triangles`.
        uv_triangles: (F, 3) into `uv`.
        texture: name of the image file, relative to the OBJ.

    Raises:
        SettingError: shapes or indices that do not fit together.
        OutputError: the place cannot be written.
    """
    path = Path(path)
    check_mesh(vertices, triangles)
    if (uv is None) != (uv_triangles is None) or (texture is not None and uv is None):
        raise SettingError("An OBJ texture needs both uv and uv_triangles.")
    lines = ["# millimetres, +y up"]
    if texture is not None:
        write_atomic(path.with_suffix(".mtl"), _material(texture).encode())
        lines += [f"mtllib {path.with_suffix('.mtl').name}", "usemtl head"]
    lines += _rows("v", vertices) + _rows("vt", uv) + _rows("vn", normals)
    lines += _faces(triangles, uv_triangles, normals is not None)
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def write_ply(path: Path | str, vertices: Floats, triangles: Integers, *, colours: Pixels | None = None) -> None:
    """Write a binary little-endian PLY of (V, 3) vertices, (F, 3) triangles and, if given, (V, 3) uint8 RGB colours.

    Raises:
        SettingError: shapes or indices that do not fit together.
        OutputError: the place cannot be written.
    """
    check_mesh(vertices, triangles)
    fields = [(name, "<f4") for name in "xyz"]
    if colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.zeros(len(vertices), fields)
    for column, name in enumerate("xyz"):
        rows[name] = vertices[:, column]
    for column, name in enumerate(("red", "green", "blue") if colours is not None else ()):
        rows[name] = np.asarray(colours)[:, column]
    faces = np.zeros(len(triangles), [("count", "u1"), ("index", "<i4", 3)])
    faces["count"], faces["index"] = 3, triangles
    write_atomic(path, _ply_header(rows.dtype, len(rows), len(faces)) + rows.tobytes() + faces.tobytes())


def read_ply(path: Path | str) -> PlyMesh:
    """Read a binary little-endian PLY of triangles, or of points alone.

    Raises:
        InputError: the file is missing, in another PLY variant, cut off, or has faces that are not triangles.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check name and permissions.") from error
    try:
        elements, offset = _parse_header(path, content)
        rows, offset = _read_rows(content, offset, *elements["vertex"])
        triangles = _read_triangles(content, offset, *elements["face"]) if "face" in elements else _NO_TRIANGLES
        vertices = np.stack([rows[name] for name in "xyz"], axis=1).astype(np.float32)
        check_mesh(vertices, triangles)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"{path} is damaged, cut off or not a triangle mesh ({error}); export it again as binary PLY "
            "with triangles."
        ) from error
    colours = None
    if {"red", "green", "blue"} <= set(rows.dtype.names or ()):
        colours = np.stack([rows[name] for name in ("red", "green", "blue")], axis=1).astype(np.uint8)
    return PlyMesh(vertices, triangles, colours)


def read_obj(path: Path | str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the positions (V, 3) and triangles (F, 3) of a Wavefront OBJ; faces with more corners become fans.

    Indices are those of the positions, in the order of the file; everything else in it is passed over.

    Raises:
        InputError: the file is missing, or has no vertices, broken numbers or indices that lead nowhere.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
        words = [line.split() for line in lines if line.startswith(("v ", "v\t", "f ", "f\t"))]
        vertices = np.array([[float(value) for value in word[1:4]] for word in words if word[0] == "v"], np.float64)
        count, triangles = 0, list[list[int]]()
        for word in words:  # indices may count back from the vertices so far
            count += word[0] == "v"
            triangles += _fan(word[1:], count) if word[0] == "f" else []
        indices = np.array(triangles, np.int64).reshape(-1, 3)
        check_mesh(vertices, indices)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check name and permissions.") from error
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} is not a whole OBJ ({error}); export it again.") from error
    return vertices, indices


def read_mesh(path: Path | str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read vertices (V, 3), in the file's unit, and triangles (F, 3) of a PLY or OBJ.

    Raises:
        InputError: another suffix, or a file that cannot be used.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".obj":
        return read_obj(path)
    if suffix != ".ply":
        raise InputError(f"{path} must be a mesh that ends in .ply or .obj; export it as one of them.")
    mesh = read_ply(path)
    return mesh.vertices.astype(np.float64), mesh.triangles


def check_mesh(vertices: Floats, triangles: Integers) -> None:
    """Raise unless vertices are (V, 3) and finite and triangles (F, 3) with indices below V.

    Raises:
        SettingError: with what came instead.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise SettingError(
            f"A mesh needs vertices (V, 3) and triangles (F, 3), but has {vertices.shape} and {triangles.shape}."
        )
    if not np.isfinite(vertices).all():
        raise SettingError("A mesh has vertices that are not finite; check where it comes from.")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        raise SettingError(
            f"Triangles of a mesh with {len(vertices)} vertices must lie in 0..{len(vertices) - 1}, "
            f"but span {triangles.min()}..{triangles.max()}."
        )


def _fan(corners: list[str], count: int) -> list[list[int]]:
    """Triangles of one OBJ face; corners are `v`, `v/vt`, `v//vn` or `v/vt/vn`, counted from one or, negative, back."""
    numbers = [int(corner.split("/")[0]) for corner in corners]
    if 0 in numbers or len(numbers) < 3:
        raise ValueError(f"a face of {len(numbers)} corners {' '.join(corners)}")
    rows = [number - 1 if number > 0 else count + number for number in numbers]
    return [[rows[0], *pair] for pair in pairwise(rows[1:])]


def _material(texture: str) -> str:
    return f"newmtl head\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {texture}\n"


def _rows(word: str, values: Floats | None) -> list[str]:
    return [] if values is None else [" ".join((word, *(f"{number:.6g}" for number in row))) for row in values.tolist()]


def _faces(triangles: Integers, uv_triangles: Integers | None, with_normals: bool) -> list[str]:
    """Face lines `f v/vt/vn ...`, counted from one; normals go with the vertices."""
    corners = triangles + 1
    others = np.zeros_like(corners) if uv_triangles is None else uv_triangles + 1
    if uv_triangles is not None and with_normals:
        form = "{0}/{1}/{0}"
    else:
        form = "{0}//{0}" if with_normals else "{0}" if uv_triangles is None else "{0}/{1}"
    return ["f " + " ".join(map(form.format, a, b)) for a, b in zip(corners.tolist(), others.tolist())]


def _ply_header(vertex: np.dtype, vertex_count: int, face_count: int) -> bytes:
    kinds = {"f": "float", "u": "uchar"}
    properties = [f"property {kinds[vertex[name].kind]} {name}" for name in vertex.names or ()]
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {vertex_count}",
        *properties,
        f"element face {face_count}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode()


def _parse_header(path: Path, content: bytes) -> tuple[dict[str, tuple[int, list[str]]], int]:
    """Elements as name -> (count, property lines), and where the data begins."""
    end = content.find(b"end_header\n", 0, _HEADER_LIMIT)
    lines = content[: max(end, 0)].decode("ascii", "replace").splitlines()
    if end < 0 or lines[:1] != ["ply"] or "format binary_little_endian 1.0" not in lines:
        raise InputError(f"{path} is not a binary little-endian PLY; export it again in that variant.")
    elements: dict[str, tuple[int, list[str]]] = {}
    name = ""
    for line in lines:
        if line.startswith("element "):
            _, name, count = line.split()
            elements[name] = (_count(count), [])
        elif line.startswith("property "):
            elements[name][1].append(line.removeprefix("property "))
    if list(elements)[:1] != ["vertex"] or list(elements)[1:2] not in ([], ["face"]):
        raise InputError(f"{path} does not begin with vertices and then faces; export it again as a plain mesh.")
    return elements, end + len(b"end_header\n")


def _count(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word} of something")
    return int(word)


def _read_rows(content: bytes, offset: int, count: int, properties: list[str]) -> tuple[NDArray[np.void], int]:
    fields = [tuple(reversed(line.split())) for line in properties]
    kind = np.dtype([(name, _PLY_TYPES[word]) for name, word in fields])
    return np.frombuffer(content, kind, count, offset), offset + count * kind.itemsize


def _read_triangles(content: bytes, offset: int, count: int, properties: list[str]) -> NDArray[np.int64]:
    word, size_type, index_type, _ = properties[0].split()
    if word != "list" or len(properties) != 1:
        raise ValueError("faces with more than their vertex indices")
    kind = np.dtype([("count", _PLY_TYPES[size_type]), ("index", _PLY_TYPES[index_type], 3)])
    faces = np.frombuffer(content, kind, count, offset)
    if (faces["count"] != 3).any():
        raise ValueError("faces that are not triangles")
    return faces["index"].astype(np.int64)
