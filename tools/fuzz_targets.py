"""What is fuzzed: for every kind of file that garface reads, small whole files made here, and what reads them."""

import io
import json
import os
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fuzz_mutations import mutate, npz
from PIL import Image

from garface.borrowed.dlib_file import read_network
from garface.borrowed.tflite_file import read_graph
from garface.datasets.training_set import SETTINGS_FILE, TrainingSet
from garface.errors import GarfaceError
from garface.heads import load_head, stamp
from garface.io import list_photos, read_mesh, read_photo, write_obj, write_ply
from garface.networks import Inverter, InverterConfig, StyleGenerator, StyleGeneratorConfig, to_dict
from garface.networks.loading import load_generator, load_inverter
from garface.reconstruction import load_renderer, load_state, read_report
from garface.reconstruction.renderer import Renderer
from garface.training.checkpoints import read_checkpoint
from garface.weights import WeightsCard, asset_path, save_weights
from garface.weights.legacy_torch import read_legacy_torch

Files = dict[str, bytes]


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    seeds: Files
    """Whole files by name, all of which can be read."""
    read: Callable[[Path], object]
    """Reads a file and uses what it holds; may raise errors of garface only."""
    bombs: Files
    """Files made to take much memory or time; they must be refused or read within the limits."""


def damaged(target: Target, source: random.Random) -> tuple[str, bytes]:
    """Name and content of a damaged file."""
    name = source.choice(sorted(target.seeds))
    return name, mutate(name, target.seeds[name], source)


def outcome(target: Target, path: Path) -> str:
    """Read a file: "read" or "refused" if all is well, else what is wrong.

    Refusals are errors of garface in one line. Warnings are ignored, as on the command line.
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            target.read(path)
    except GarfaceError as refusal:
        return "refused" if len(str(refusal).splitlines()) == 1 else f"several lines: {str(refusal)!r}"
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
        return f"{type(error).__name__} at {place}: {str(error)[:200]}"
    return "read"


# Photos


def _scene(side: int = 40) -> np.ndarray:
    y, x = np.mgrid[:side, : side + 8]
    return np.stack([5 * x, 6 * y, 255 - 2 * x - 3 * y], axis=2).clip(0, 255).astype(np.uint8)


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _photos() -> Files:
    image = Image.fromarray(_scene())
    frames = [Image.fromarray(np.roll(_scene(), 5 * shift, 0)) for shift in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 26
    profile = Image.open(io.BytesIO(_encoded(image, "PNG"))).info.get("icc_profile") or _srgb_profile()
    grey16 = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    made = {
        "plain.jpg": _encoded(image, "JPEG", exif=exif.tobytes(), icc_profile=profile),
        "progressive.jpg": _encoded(image, "JPEG", progressive=True),
        "cmyk.jpg": _encoded(image.convert("CMYK"), "JPEG"),
        "several.mpo": _encoded(image, "MPO", save_all=True, append_images=frames[1:]),
        "plain.png": _encoded(image, "PNG", exif=exif.tobytes(), icc_profile=profile),
        "palette.png": _encoded(image.quantize(16), "PNG", transparency=3),
        "deep.png": _encoded(grey16, "PNG"),
        "alpha.png": _encoded(image.convert("RGBA"), "PNG"),
        "moving.png": _encoded(image, "PNG", save_all=True, append_images=frames[1:]),
        "plain.webp": _encoded(image, "WEBP", exif=exif.tobytes()),
        "moving.webp": _encoded(image, "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "plain.tif": _encoded(image, "TIFF", exif=exif.tobytes()),
        "packed.tif": _encoded(image, "TIFF", compression="tiff_lzw"),
        "pages.tif": _encoded(grey16, "TIFF", compression="tiff_adobe_deflate", save_all=True, append_images=[grey16]),
        "lab.tif": _encoded(image.convert("LAB"), "TIFF"),
        "plain.bmp": _encoded(image, "BMP"),
        "moving.gif": _encoded(image, "GIF", save_all=True, append_images=frames[1:]),
        "plain.avif": _encoded(image, "AVIF", exif=exif.tobytes()),
        "plain.jp2": _encoded(image, "JPEG2000"),
        "plain.ppm": _encoded(image, "PPM"),
    }
    return made | _heic(image)


def _heic(image: Image.Image) -> Files:
    """A HEIC image, if its extra is installed."""
    try:
        from pillow_heif import from_pillow
    except ImportError:
        return {}
    stream = io.BytesIO()
    from_pillow(image.resize((64, 64))).save(stream)
    return {"plain.heic": stream.getvalue()}


def _srgb_profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, kind: int = 2, depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _zeros(count: int) -> bytes:
    """About so many deflated zeros, a thousandth of their size, without a checksum."""
    packer = zlib.compressobj(9)
    header = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return header + block * (count >> 20) + packer.flush()


def _photo_bombs() -> Files:
    frame = Image.new("P", (4, 4))
    scan = _encoded(Image.fromarray(_scene(200)), "JPEG", progressive=True)
    last = scan.rindex(b"\xff\xda")
    text = _chunk(b"zTXt", b"a\0\0" + _zeros(1 << 30))
    profile = _chunk(b"iCCP", b"a\0\0" + _zeros(1 << 30))
    return {
        "poster.png": _png(100_000, 100_000),
        "claims.png": _png(14_000, 14_000, _chunk(b"IDAT", _zeros(1 << 20))),
        "large.png": _png(14_000, 14_000, _chunk(b"IDAT", _zeros((14_000 * 4 + 1) * 14_000)), kind=6),
        "text.png": _png(4, 4, text, _chunk(b"IDAT", zlib.compress(bytes(13 * 4)))),
        "profile.png": _png(4, 4, profile, _chunk(b"IDAT", zlib.compress(bytes(13 * 4)))),
        "frames.gif": _encoded(frame, "GIF", save_all=True, append_images=[frame] * 3)[:-1] + _gif_frames(1_000_000),
        "scans.jpg": _enlarged_jpeg(scan, last),
        "huge.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
        "huge.ppm": b"P6\n99999999999 99999999999\n255\n",
        "huge.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6),
    }


def _gif_frames(count: int) -> bytes:
    """So many frames of one pixel."""
    return (b"\x2c" + bytes(4) + b"\1\0\1\0\0" + b"\2\2\x44\1\0") * count + b"\x3b"


def _enlarged_jpeg(scan: bytes, last: int) -> bytes:
    """A progressive JPEG of 160 megapixels whose last scan, which ends early, is repeated 20000 times."""
    frame = scan.index(b"\xff\xc2")
    size = struct.pack(">HH", 12_640, 12_640)
    return scan[: frame + 5] + size + scan[frame + 9 : last] + (scan[last : last + 14] + b"\0") * 20_000 + b"\xff\xd9"


# Lists


def _lists() -> Files:
    lines = ["# photos", "a b.png", "ä.jpg", "list-utf-8.txt", "list-utf-16.txt", ""]
    return {f"list-{name}.txt": ends.join(lines).encode(name) for name, ends in (("utf-8", "\r\n"), ("utf-16", "\r"))}


def _read_list(path: Path) -> None:
    os.chdir(path.parent)
    list_photos(path, missing=True)


# Weights, and what a renderer needs

_CHANNELS = {4: 4, 8: 4, 16: 4}


@cache
def tiny_model() -> Files:
    """The weight files of a renderer of 16 pixels with random weights."""
    torch.manual_seed(0)
    drawing = StyleGeneratorConfig(
        resolution=16, latent_dim=4, style_dim=4, mapping_layers=1, channels=_CHANNELS, injection_channels=4
    )
    inverting = InverterConfig(resolution=16, latent_dim=4, channels=_CHANNELS, hidden=4)
    with TemporaryDirectory() as folder:
        for kind, network, config in (
            ("gar", StyleGenerator(drawing), drawing),
            ("inverter", Inverter(inverting), inverting),
        ):
            card = WeightsCard(kind, to_dict(config), "none", "nothing", head=stamp(load_head()))  # type: ignore[arg-type]
            save_weights(Path(folder) / f"{kind}.safetensors", network.state_dict(), card)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@cache
def _renderer() -> Renderer:
    with TemporaryDirectory() as folder:
        for name, content in tiny_model().items():
            (Path(folder) / name).write_bytes(content)
        return load_renderer(folder, device="cpu")


@torch.no_grad()
def _read_weights(path: Path) -> None:
    if path.name.startswith("inverter"):
        load_inverter(path)(torch.zeros(1, 3, 16, 16))
    else:
        load_generator(path).styles(torch.zeros(1, 4))


def _weight_bombs() -> Files:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    content = tiny_model()["gar.safetensors"]
    (length,) = struct.unpack_from("<Q", content)
    made, values = json.loads(content[8 : 8 + length]), content[8 + length :]
    return {
        "gar-length.safetensors": struct.pack("<Q", 2**62) + b"{}",
        "gar-shape.safetensors": struct.pack("<Q", len(header)) + header,
        "gar-deep.safetensors": _with_card(made, values, "[" * 200_000),
        **{
            f"gar-{name}.safetensors": _with_card(made, values, _card_with(made, name, value))
            for name, value in (
                ("latent_dim", 2**31),
                ("style_dim", 2**20),
                ("mapping_layers", 2**31),
                ("resolution", 2**40),
                ("injection_channels", 2**31),
            )
        },
    }


def _card_with(header: dict, name: str, value: int) -> str:
    card = json.loads(header["__metadata__"]["garface"])
    card["config"][name] = value
    return json.dumps(card)


def _with_card(header: dict, values: bytes, card: str) -> bytes:
    text = json.dumps(header | {"__metadata__": {"garface": card}}).encode()
    return struct.pack("<Q", len(text)) + text + values


# States


@cache
def _state() -> Files:
    from safetensors.torch import save

    renderer = _renderer()
    model = renderer.head_model
    tensors = {
        "identity": torch.zeros(1, model.identities),
        "expression": torch.zeros(1, model.expressions),
        "rotation": torch.eye(3)[None],
        "translation": torch.tensor([[0.0, 0.0, -600.0]]),
        "focal": torch.tensor([20.0]),
        "principal": torch.tensor([[8.0, 8.0]]),
        "w": torch.zeros(1, renderer.generator.layers, 4),
    } | {f"noise_{row:02d}": layer for row, layer in enumerate(renderer.sample_noise(1))}
    return {"latent.safetensors": save(tensors, metadata={"head": stamp(model)})}


@torch.no_grad()
def _read_state(path: Path) -> None:
    renderer = _renderer()
    state = load_state(path.parent, renderer)
    image = renderer.render(state.w, torch.zeros(1, 4, 16, 16), state.noise)
    assert torch.isfinite(image).all(), "the image is not finite"
    vertices = renderer.vertices(state.identity, state.expression, state.pose)
    assert torch.isfinite(vertices).all(), "the head is not finite"


def _reports() -> Files:
    report = {
        "name": "a",
        "photo": {"photo": "a.jpg", "sha256": "00", "notes": ["A note."], "faces": 1, "person": []},
        "settings": {"quality": "fast", "seed": 0, "model": "builtin"},
        "weights": {"gar": {"kind": "gar", "config": {}, "licence": "none"}},
        "figures": {"psnr_refined": 20.0},
    }
    return {"reconstruction.json": json.dumps(report).encode()}


def _read_report(path: Path) -> list[object]:
    report = read_report(path.parent)
    photo = report["photo"]
    used = [report["settings"].get("seed"), report["weights"].get("gar"), *photo.get("notes", ())]
    return used + list(photo.get("person", ())) * (photo.get("faces", 1) > 1)


# Arrays, checkpoints, meshes, and formats of others


def _faces() -> Files:
    model, count = load_head(), 2
    arrays = {
        "names": np.array(["1", "2"]),
        "pictures": np.zeros((count, 16, 16, 3), np.uint8),
        "identity": np.zeros((count, model.identities), np.float32),
        "expression": np.zeros((count, model.expressions), np.float32),
        "rotation": np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
        "translation": np.tile(np.float32([0, 0, -600]), (count, 1)),
        "focal": np.full(count, 20, np.float32),
        "principal": np.full((count, 2), 8, np.float32),
    }
    return {"part-00000.npz": npz(arrays), "part-00001.npz": npz(arrays, zipfile.ZIP_DEFLATED)}


def _read_faces(path: Path) -> None:
    (path.parent / SETTINGS_FILE).write_text(json.dumps({"head": stamp(load_head())}))
    faces = TrainingSet(path.parent, split="all")
    rows = torch.arange(2 * len(faces))
    faces.images(rows)
    faces.cameras(rows % len(faces))
    assert torch.isfinite(faces.vertices_camera(rows % len(faces))).all(), "heads that are not finite"


def _bomb(name: str, start: bytes, size: int) -> bytes:
    """A zip archive with one member: `start`, then so many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed, label = first + block * (size >> 20) + packer.flush(), name.encode()
    sizes = struct.pack("<III", 0, len(packed), min(len(start) + size, 2**32 - 1))
    common = struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + struct.pack("<HH", len(label), 0)
    entry = b"PK\3\4" + common + label + packed
    listed = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + label
    return entry + listed + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(listed), len(entry), 0)


def _array_bombs() -> Files:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1_000_000_000,)})
    return {"part-00000.npz": _bomb("names.npy", header.getvalue(), 4_000_000_000)}


def _checkpoints() -> Files:
    stream = io.BytesIO()
    content = {
        "format": 1,
        "images": 8,
        "configuration": {"seed": 0, "weights": {"r1": 10.0}},
        "things": {"generator": {"weight": torch.zeros(4, 4)}},
    }
    torch.save(content, stream)
    return {"checkpoint-000000000008.pt": stream.getvalue()}


def _read_checkpoint(path: Path) -> None:
    read_checkpoint(path, configuration={"seed": 0, "weights": {"r1": 10.0}})


def _checkpoint_bombs() -> Files:
    return {"checkpoint-000000000008.pt": _bomb("a/data.pkl", b"", 4_000_000_000)}


def _legacy() -> Files:
    stream = io.BytesIO()
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4)}
    torch.save(tensors, stream, _use_new_zipfile_serialization=False)
    return {"vgg.pth": stream.getvalue()}


def _meshes() -> Files:
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    triangles = np.int64([[0, 1, 2], [0, 2, 3]])
    with TemporaryDirectory() as folder:
        write_ply(Path(folder) / "a.ply", vertices, triangles)
        write_obj(Path(folder) / "a.obj", vertices, triangles)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix in (".ply", ".obj")}


def _read_mesh(path: Path) -> None:
    vertices, triangles = read_mesh(path)
    assert np.isfinite(vertices[triangles]).all(), "vertices that are not finite"


def _dlib() -> Files:
    return {"network.dat": asset_path("dlib-face-resnet").read_bytes()}


def _tflite() -> Files:
    with zipfile.ZipFile(asset_path("face-landmarker")) as archive:
        return {"network.tflite": archive.read("face_landmarks_detector.tflite")}


TARGETS: dict[str, Callable[[], Target]] = {
    "photo": lambda: Target(_photos(), read_photo, _photo_bombs()),
    "list": lambda: Target(_lists(), _read_list, {"long.txt": b"a\n" * (40 << 20), "zeros.txt": bytes(1 << 20)}),
    "weights": lambda: Target(tiny_model(), _read_weights, _weight_bombs()),
    "state": lambda: Target(_state(), _read_state, {}),
    "report": lambda: Target(_reports(), _read_report, {"reconstruction.json": b"[" * 1_000_000}),
    "faces": lambda: Target(_faces(), _read_faces, _array_bombs()),
    "checkpoint": lambda: Target(
        _checkpoints(), _read_checkpoint, {"checkpoint-000000000008.pt": _bomb("a/data.pkl", b"", 4_000_000_000)}
    ),
    "legacy": lambda: Target(_legacy(), read_legacy_torch, {}),
    "mesh": lambda: Target(_meshes(), _read_mesh, {}),
    "dlib": lambda: Target(_dlib(), lambda path: read_network(path.read_bytes()), {}),
    "tflite": lambda: Target(_tflite(), lambda path: read_graph(path.read_bytes()), {}),
}
"""Kinds of files by name; what makes each."""
