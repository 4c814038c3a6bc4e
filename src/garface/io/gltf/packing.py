"""The binary part of a GLB file: arrays in one buffer, described by buffer views and accessors."""

from typing import Any

import numpy as np
import pygltflib as gl
from numpy.typing import NDArray

UINT8, UINT16, UINT32, FLOAT = 5121, 5123, 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


class Packer:
    """Collects arrays in one buffer and describes them as buffer views and accessors."""

    def __init__(self, file: gl.GLTF2) -> None:
        self.file = file
        self.blob = bytearray()

    def view(self, content: bytes, target: int | None = None) -> int:
        """Append bytes, aligned to four."""
        self.blob += bytes(-len(self.blob) % 4)
        place = gl.BufferView(buffer=0, byteOffset=len(self.blob), byteLength=len(content), target=target)
        self.file.bufferViews.append(place)
        self.blob += content
        return len(self.file.bufferViews) - 1

    def dense(self, values: NDArray[Any], kind: str, target: int | None, *, bounds: bool = False) -> int:
        """Accessor of (N, C) float32 or of unsigned indices."""
        component = {"f4": FLOAT, "u1": UINT8, "u2": UINT16, "u4": UINT32}[values.dtype.str[1:]]
        view = self.view(values.tobytes(), target)
        accessor = gl.Accessor(bufferView=view, componentType=component, count=len(values), type=kind)
        return self._add(accessor, values if bounds else None)

    def offsets(self, values: NDArray[np.float32], still: float, *, bounds: bool = False) -> int:
        """Accessor of (N, 3) values of which many are zero: sparse where that is smaller (glTF 2.0, 3.6.2.3)."""
        moved = np.flatnonzero(np.abs(values).max(axis=1) > still)
        moved = moved if len(moved) else np.zeros(1, np.int64)  # the format asks for at least one
        if len(moved) * 16 >= len(values) * 12:
            return self.dense(values, "VEC3", ARRAY_BUFFER, bounds=bounds)
        kind, component = (np.uint16, UINT16) if len(values) <= 65535 else (np.uint32, UINT32)
        where = gl.AccessorSparseIndices(bufferView=self.view(moved.astype(kind).tobytes()), componentType=component)
        what = gl.AccessorSparseValues(bufferView=self.view(values[moved].tobytes()))
        sparse = gl.Sparse(count=len(moved), indices=where, values=what)
        accessor = gl.Accessor(byteOffset=None, componentType=FLOAT, count=len(values), type="VEC3", sparse=sparse)
        stored = np.zeros_like(values)
        stored[moved] = values[moved]
        return self._add(accessor, stored if bounds else None)

    def finish(self) -> bytes:
        """The GLB file."""
        self.blob += bytes(-len(self.blob) % 4)
        self.file.buffers = [gl.Buffer(byteLength=len(self.blob))]
        self.file.set_binary_blob(bytes(self.blob))
        return b"".join(self.file.save_to_bytes())

    def _add(self, accessor: Any, bounded: NDArray[Any] | None) -> int:
        if bounded is not None:
            accessor.min, accessor.max = bounded.min(axis=0).tolist(), bounded.max(axis=0).tolist()
        self.file.accessors.append(accessor)
        return len(self.file.accessors) - 1
