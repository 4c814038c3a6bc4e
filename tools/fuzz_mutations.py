"""Damage to files, decided by a random generator: anywhere in the bytes, or inside the structure of a known format."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Mutation = Callable[[bytes, random.Random], bytes]

_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_WRONG = (None, "", "x", 0, -1, 1, 2**31, 2**63, 1e308, float("nan"), float("inf"), True, [], {}, [[]], "\0", "é" * 300)


def mutate(name: str, content: bytes, source: random.Random) -> bytes:
    """Damage a file: half of the time by what its suffix allows, otherwise anywhere."""
    structured = _STRUCTURED.get(name.rpartition(".")[2])
    if structured and source.random() < 0.5:
        return structured(content, source)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        content = source.choice(_ANYWHERE)(content, source)
    return content


# Anywhere


def truncated(content: bytes, source: random.Random) -> bytes:
    """Cut off at a random place."""
    return content[: source.randrange(len(content) + 1)]


def flipped(content: bytes, source: random.Random) -> bytes:
    """A few bits flipped, more often near the start, where headers are."""
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[_place(changed, source)] ^= 1 << source.randrange(8)
    return bytes(changed)


def extreme(content: bytes, source: random.Random) -> bytes:
    """An integer of 1, 2, 4 or 8 bytes replaced by one that readers may trip over."""
    size, order = source.choice((1, 2, 4, 8)), source.choice(("little", "big"))
    value = source.choice(_EXTREMES) % 256**size
    place = _place(content, source)
    return content[:place] + value.to_bytes(size, order) + content[place + size :]


def overwritten(content: bytes, source: random.Random) -> bytes:
    """A random piece replaced by noise, zeros or ones."""
    place, length = _place(content, source), source.choice((1, 4, 64, 1024))
    noise = source.choice((source.randbytes(length), bytes(length), b"\xff" * length))
    return content[:place] + noise[: len(content) - place] + content[place + length :]


def removed(content: bytes, source: random.Random) -> bytes:
    """Without a random piece."""
    place = _place(content, source)
    return content[:place] + content[place + source.choice((1, 2, 16, 256)) :]


def repeated(content: bytes, source: random.Random) -> bytes:
    """With a random piece many times."""
    place, length = _place(content, source), source.choice((1, 8, 64, 512))
    piece = content[place : place + length]
    return content[:place] + piece * source.choice((2, 10, 200)) + content[place:]


def extended(content: bytes, source: random.Random) -> bytes:
    """With noise at the end."""
    return content + source.randbytes(source.choice((1, 16, 4096)))


_ANYWHERE: tuple[Mutation, ...] = (truncated, flipped, extreme, overwritten, removed, repeated, extended)


def _place(content: bytes | bytearray, source: random.Random) -> int:
    """A place in the content, half of the time among its first 128 bytes."""
    end = max(len(content), 1)
    return source.randrange(min(end, 128) if source.random() < 0.5 else end)


# Inside JSON, safetensors and npz


def wrong_json(content: bytes, source: random.Random) -> bytes:
    """JSON with a value that is wrong, missing or unexpected."""
    return json.dumps(wrong_value(json.loads(content), source)).encode("utf-8", "surrogatepass")


def wrong_value(value: Any, source: random.Random) -> Any:
    """Replace, remove or add something somewhere inside a JSON value; text that is JSON itself is entered."""
    if isinstance(value, str) and value.startswith("{") and source.random() < 0.9:
        return json.dumps(wrong_value(json.loads(value), source))
    if not isinstance(value, dict | list) or not value or source.random() < 0.1:
        return source.choice(_WRONG)
    key = source.choice(list(value) if isinstance(value, dict) else range(len(value)))
    changed = value.copy()
    action = source.random()
    if action < 0.15:
        del changed[key]
    elif action < 0.25 and isinstance(changed, dict):
        changed[source.choice(("extra", "", "shape"))] = source.choice(_WRONG)
    else:
        changed[key] = wrong_value(value[key], source)
    return changed


def wrong_safetensors(content: bytes, source: random.Random) -> bytes:
    """A safetensors file with a wrong header, or with values that are not finite."""
    (length,) = struct.unpack_from("<Q", content)
    header, values = json.loads(content[8 : 8 + length]), content[8 + length :]
    if source.random() < 0.2:
        place = source.randrange(0, len(values), 4)
        values = values[:place] + struct.pack("<f", source.choice((np.nan, np.inf, 3e38))) + values[place + 4 :]
    else:
        header = wrong_value(header, source)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def wrong_npz(content: bytes, source: random.Random) -> bytes:
    """An npz file in which one array is wrong or missing."""
    with np.load(io.BytesIO(content)) as table:
        arrays = dict(table)
    name = source.choice(list(arrays))
    array = arrays[name]
    action = source.randrange(6)
    if action == 0:
        del arrays[name]
    elif action == 1:
        arrays[name] = array[: len(array) // 2] if array.ndim else array
    elif action == 2:
        arrays[name] = array.reshape(-1)
    elif action == 3:
        arrays[name] = np.full(array.shape, np.nan, np.float32)
    elif action == 4:
        arrays[name] = np.array(source.choice(("text", 0, -1, 2**62, np.inf)))
    else:
        arrays[name] = np.full(array.shape, "x")
    return npz(arrays)


def npz(arrays: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The bytes of an npz file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", member.getvalue())
    return stream.getvalue()


_STRUCTURED: dict[str, Mutation] = {
    "json": wrong_json,
    "safetensors": wrong_safetensors,
    "npz": wrong_npz,
}
