"""TensorFlow Lite files, and MediaPipe's landmark network; what needs the fetched weights is skipped without them."""

import contextlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from garface.borrowed import POINTS, SIDE, load_landmark_critic
from garface.borrowed.mediapipe import TfliteNetwork
from garface.borrowed.tflite_file import Graph, read_graph
from garface.errors import AssetError, SettingError
from garface.weights import find_asset
from garface.weights.fetch import cached_path

flatbuffers = pytest.importorskip("flatbuffers", reason="the FlatBuffers library, by which MediaPipe comes, is missing")

ASSET = cached_path(find_asset("face-landmarker"))
needs_weights = pytest.mark.skipif(not ASSET.is_file(), reason="needs `garface models fetch face-landmarker`")

CODES = {"add": 0, "conv": 3, "depthwise_conv": 4, "dequantize": 6, "logistic": 14, "max_pool": 17, "reshape": 22}
CODES |= {"pad": 34, "prelu": 54, "tanh": 28}
TYPES = {"float32": 0, "float16": 1, "int32": 2}


class Writer:
    """Writes TensorFlow Lite files with Google's FlatBuffers library."""

    def __init__(self) -> None:
        self.build = flatbuffers.Builder(0)
        self.tensors: list[tuple[tuple[int, ...], np.ndarray | None]] = []
        self.operators: list[tuple[str, list[int], int, dict[int, tuple[str, int]]]] = []

    def tensor(self, *shape: int, value: np.ndarray | None = None) -> int:
        self.tensors.append((tuple(value.shape) if value is not None else shape, value))
        return len(self.tensors) - 1

    def half(self, value: np.ndarray) -> int:
        """A constant as MediaPipe stores it: float16 and an operator that widens it."""
        wide = self.tensor(*value.shape)
        self.operators.append(("dequantize", [self.tensor(value=value.astype(np.float16))], wide, {}))
        return wide

    def apply(self, kind: str, inputs: Sequence[int], *shape: int, **options: tuple[int, str, int]) -> int:
        made = self.tensor(*shape)
        self.operators.append((kind, list(inputs), made, {f: (form, v) for f, form, v in options.values()}))
        return made

    def table(self, fields: dict[int, tuple[str, int]]) -> int:
        add = {"i8": "Int8", "u8": "Uint8", "i32": "Int32", "u32": "Uint32", "ref": "UOffsetTRelative"}
        self.build.StartObject(max(fields, default=-1) + 1)
        for field, (form, value) in fields.items():
            getattr(self.build, f"Prepend{add[form]}Slot")(field, value, 0)
        return self.build.EndObject()

    def vector(self, values: Sequence[int], *, references: bool = False) -> int:
        self.build.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.build.PrependUOffsetTRelative(value) if references else self.build.PrependInt32(value)
        return self.build.EndVector()

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        held = [value for _, value in self.tensors if value is not None]
        blocks = [self.build.CreateByteVector(value.tobytes()) for value in held]
        buffers = [self.table({})] + [self.table({0: ("ref", block)}) for block in blocks]
        kinds = sorted({kind for kind, *_ in self.operators})
        codes = [self.table({0: ("i8", CODES[kind]), 3: ("i32", CODES[kind])}) for kind in kinds]
        tensors, number = [], 0
        for i, (shape, value) in enumerate(self.tensors):
            number += value is not None
            parts = {0: ("ref", self.vector(shape)), 3: ("ref", self.build.CreateString(f"tensor{i}"))}
            code = 0 if value is None else TYPES[value.dtype.name]
            tensors.append(self.table(parts | {1: ("i8", code), 2: ("u32", number if value is not None else 0)}))
        steps = [self._operator(kinds, *step) for step in self.operators]
        lists = [self.vector(x, references=r) for x, r in ((tensors, True), (inputs, False), (outputs, False))]
        graph = self.table({i: ("ref", part) for i, part in enumerate([*lists, self.vector(steps, references=True)])})
        parts = {1: self.vector(codes, references=True), 2: self.vector([graph], references=True)}
        parts[4] = self.vector(buffers, references=True)
        root = self.table({0: ("u32", 3)} | {field: ("ref", part) for field, part in parts.items()})
        self.build.Finish(root, file_identifier=b"TFL3")
        return bytes(self.build.Output())

    def _operator(self, kinds: list[str], kind: str, inputs: list[int], output: int, options: dict[int, Any]) -> int:
        made = self.table(options) if options else 0
        fields = {0: ("u32", kinds.index(kind)), 1: ("ref", self.vector(inputs)), 2: ("ref", self.vector([output]))}
        return self.table(fields | ({4: ("ref", made)} if made else {}))


def window(*, same: bool, stride: int) -> dict[str, tuple[int, str, int]]:
    """Padding and strides of an operator."""
    return {"padding": (0, "i8", 0 if same else 1), "x": (1, "i32", stride), "y": (2, "i32", stride)}


def weights(*shape: int) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) / 3).astype(np.float32)


def little() -> tuple[bytes, dict[str, np.ndarray]]:
    """A network with every operator MediaPipe uses, on an image of 9 x 12 pixels, and its constants."""
    w = Writer()
    values = {"a": weights(4, 3, 3, 3), "ab": weights(4), "s": weights(1, 1, 4), "d": weights(1, 3, 3, 4)}
    values |= {"db": weights(4), "e": weights(6, 2, 2, 4), "eb": weights(6), "f": weights(5, 3, 3, 6), "fb": weights(5)}
    c = {name: w.half(value) for name, value in values.items() if name not in ("f", "fb")}
    c |= {name: w.tensor(value=values[name]) for name in ("f", "fb")}
    image = w.tensor(1, 9, 12, 3)
    x = w.apply("conv", [image, c["a"], c["ab"]], 1, 5, 6, 4, **window(same=True, stride=2))
    x = w.apply("prelu", [x, c["s"]], 1, 5, 6, 4)
    y = w.apply("depthwise_conv", [x, c["d"], c["db"]], 1, 5, 6, 4, **window(same=True, stride=1))
    x = w.apply("add", [x, y], 1, 5, 6, 4)
    pool = window(same=False, stride=1) | {"width": (3, "i32", 2), "height": (4, "i32", 2)}
    pooled = w.apply("max_pool", [x], 1, 4, 5, 4, **pool)
    amounts = w.tensor(value=np.array([[0, 0], [0, 0], [0, 0], [0, 2]], np.int32))
    padded = w.apply("pad", [pooled, amounts], 1, 4, 5, 6)
    x = w.apply("conv", [x, c["e"], c["eb"]], 1, 4, 5, 6, **window(same=False, stride=1))
    x = w.apply("add", [x, padded], 1, 4, 5, 6)
    x = w.apply("conv", [x, c["f"], c["fb"]], 1, 2, 3, 5, **window(same=False, stride=1))
    chance = w.apply("logistic", [x], 1, 2, 3, 5)
    flat = w.apply("reshape", [chance, w.tensor(value=np.array([1, -1], np.int32))], 1, 30)
    return w.finish([image], [flat, x]), {
        k: v.astype(np.float16 if k in c and k[0] != "f" else v.dtype) for k, v in values.items()
    }


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, *, same: bool) -> np.ndarray:
    """The definition, pixel by pixel: x (H, W, C), kernel (O, rows, columns, C); TensorFlow's SAME or VALID."""
    (height, width, _), (_, rows, columns, _) = x.shape, kernel.shape
    tall, wide = (
        (n + stride - 1) // stride if same else (n - k) // stride + 1 for n, k in ((height, rows), (width, columns))
    )
    above, left = (max((m - 1) * stride + k - n, 0) // 2 for m, k, n in ((tall, rows, height), (wide, columns, width)))
    result = np.tile(bias.astype(float), (tall, wide, 1))
    for i, j, a, b in np.ndindex(tall, wide, rows, columns):
        y, z = i * stride + a - above, j * stride + b - left
        if 0 <= y < height and 0 <= z < width:
            result[i, j] += kernel[:, a, b] @ x[y, z]
    return result


def naive(image: np.ndarray, c: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`little` in plain numpy, float64, for one image (H, W, C)."""
    c = {name: value.astype(float) for name, value in c.items()}
    x = convolved(image, c["a"], c["ab"], 2, same=True)
    x = np.where(x > 0, x, x * c["s"])
    each = [convolved(x[..., k : k + 1], c["d"][..., k : k + 1], c["db"][k : k + 1], 1, same=True) for k in range(4)]
    x = x + np.concatenate(each, 2)
    pooled = np.maximum.reduce([x[:-1, :-1], x[1:, :-1], x[:-1, 1:], x[1:, 1:]])
    x = convolved(x, c["e"], c["eb"], 1, same=False) + np.pad(pooled, ((0, 0), (0, 0), (0, 2)))
    x = convolved(x, c["f"], c["fb"], 1, same=False)
    return (1 / (1 + np.exp(-x))).ravel(), x


def test_the_walked_graph_equals_its_definition() -> None:
    content, constants = little()
    images = torch.rand(3, 3, 9, 12)
    flat, features = TfliteNetwork(read_graph(content))(images)
    for one, row, plane in zip(images, flat, features):
        expected_row, expected_plane = naive(one.permute(1, 2, 0).double().numpy(), constants)
        np.testing.assert_allclose(row.detach().numpy(), expected_row, atol=1e-5)
        np.testing.assert_allclose(plane.permute(1, 2, 0).detach().numpy(), expected_plane, atol=1e-5)
    assert features.std() > 0.1


def test_a_graph_comes_back() -> None:
    content, constants = little()
    graph = read_graph(content)
    assert [operator.kind for operator in graph.operators].count("dequantize") == 7
    assert graph.shapes[graph.inputs[0]] == (1, 9, 12, 3)
    assert [graph.shapes[i] for i in graph.outputs] == [(1, 30), (1, 2, 3, 5)]
    assert graph.names[graph.inputs[0]] == f"tensor{graph.inputs[0]}"
    kernel = graph.constants[graph.operators[0].inputs[0]]
    np.testing.assert_array_equal(kernel, constants["a"])


def test_damage_is_an_asset_error() -> None:
    """Cut anywhere, or with any byte changed: never another exception."""
    content, random = little()[0], np.random.default_rng(0)
    for end in random.integers(0, len(content) // 2, 40):
        with pytest.raises(AssetError, match="TensorFlow Lite"):
            read_graph(content[:end])
    for place in random.integers(0, len(content), 800):
        damaged = bytearray(content)
        damaged[place] ^= int(random.integers(1, 256))
        with contextlib.suppress(AssetError):
            assert isinstance(read_graph(bytes(damaged)), Graph)


@pytest.mark.parametrize(("kind", "options"), [("tanh", {}), ("conv", {"activation": (3, "i8", 1)}), ("pad", None)])
def test_what_is_not_known_is_an_error(kind: str, options: dict[str, Any] | None) -> None:
    w = Writer()
    image, kernel, bias = w.tensor(1, 4, 4, 1), w.tensor(value=weights(1, 1, 1, 1)), w.tensor(value=weights(1))
    inputs = {"tanh": [image], "conv": [image, kernel, bias], "pad": [image, bias]}[kind]
    step = w.apply("logistic" if options is None else kind, inputs, 1, 4, 4, 1, **(options or {}))
    content = w.finish([image], [step])
    if options is None:
        content = content.replace(b"TFL3", b"TFL2")
    with pytest.raises(AssetError):
        TfliteNetwork(read_graph(content))


def face(side: int = SIDE) -> torch.Tensor:
    """A chip (1, 3, 256, 256) in [0, 1], framed about as MediaPipe frames it."""
    pixels = data.astronaut()[0:226, 110:336].copy()
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.interpolate(planes, (side, side), mode="bilinear").clamp(0, 1)


@needs_weights
def test_the_published_network_equals_its_own_runtime() -> None:
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="needs `pip install ai-edge-litert`")
    with zipfile.ZipFile(ASSET) as archive:
        interpreter = runtime.Interpreter(model_content=archive.read("face_landmarks_detector.tflite"))
    interpreter.allocate_tensors()
    chips = torch.cat([face(), face().flip(3), face() * 0.5])
    points, presence = load_landmark_critic()(chips)
    for chip, found, logit in zip(chips, points, presence):
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], chip.permute(1, 2, 0)[None].contiguous().numpy()
        )
        interpreter.invoke()
        given = {entry["name"]: interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()}
        np.testing.assert_allclose(found.numpy(), given["Identity"].reshape(POINTS, 3), atol=1e-3)
        np.testing.assert_allclose(logit.numpy(), given["Identity_1"].item(), atol=1e-3)


@needs_weights
def test_the_critic_finds_faces_and_nothing_else() -> None:
    critic = load_landmark_critic()
    cat = torch.from_numpy(data.chelsea()[40:296, 0:256].copy()).permute(2, 0, 1)[None].float() / 255
    _, presence = critic(torch.cat([face(), face().flip(3), cat, torch.rand(1, 3, SIDE, SIDE)]))
    assert presence[:2].min() > 3
    assert presence[2:].max() < 0


@needs_weights
def test_the_critic_is_frozen_differentiable_and_bears_bfloat16() -> None:
    critic, chip = load_landmark_critic(), face().requires_grad_(True)
    assert not critic.training
    assert not any(parameter.requires_grad for parameter in critic.parameters())
    points, presence = critic(chip)
    assert points.shape == (1, POINTS, 3)
    assert presence.shape == (1,)
    (gradient,) = torch.autograd.grad(points[..., :2].square().sum(), chip)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        rough, _ = critic(chip)
    assert rough.dtype == torch.float32
    assert (rough - points)[..., :2].norm(dim=-1).mean() < 0.75
    with pytest.raises(SettingError, match="256"):
        critic(face(128))


@needs_weights
def test_what_was_seen_on_the_way_is_the_last_of_its_side() -> None:
    """Against hooks on every step of a whole pass."""
    network = load_landmark_critic().network
    image = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    outputs: list[torch.Tensor] = []
    hooks = [step.register_forward_hook(lambda *given: outputs.append(given[2])) for step in network.steps]
    network(image.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    for side in (4, 16):
        wanted = [output for output in outputs if output.ndim == 4 and output.shape[-1] == side][-1]
        torch.testing.assert_close(network.seen(image, side=side), wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(SettingError, match="no features of 5 x 5"):
        network.seen(image, side=5)
