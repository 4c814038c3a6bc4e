"""Graphs of OpenVINO in PyTorch: every operation against a plain twin, and portraits against OpenVINO's own."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from garface.borrowed.mobile_stylegan import read_network
from garface.datasets import portraits as synthesize
from garface.datasets.portraits import MobileStyleGan, SynthesisSettings, choose_engine
from garface.errors import AssetError, SettingError
from garface.weights import find_asset
from garface.weights.fetch import cached_path

RANDOM = np.random.default_rng(0)


@dataclass
class Graph:
    """Writes a graph as OpenVINO does; values are known by the number of the layer that makes them."""

    shape: tuple[int, ...]
    content: bytes = b""
    layers: list[tuple[str, dict[str, str], list[tuple[int, int]], int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add("Parameter", shape=_join(self.shape), element_type="f32")

    def add(self, kind: str, *inputs: int | tuple[int, int], outputs: int = 1, **data: str) -> int:
        wires = [one if isinstance(one, tuple) else (one, 0) for one in inputs]
        self.layers.append((kind, data, wires, outputs))
        return len(self.layers) - 1

    def constant(self, value: Any) -> int:
        array = np.asarray(value)
        kind = {"f": "f32", "i": "i64"}[array.dtype.kind]
        part = array.astype({"f32": "<f4", "i64": "<i8"}[kind]).tobytes()
        self.content += b"\0" * (-len(self.content) % 8)
        data = {"element_type": kind, "shape": _join(array.shape), "offset": str(len(self.content))}
        self.content += part
        return self.add("Const", **data, size=str(len(part)))

    def write(self, folder: Path) -> tuple[Path, Path]:
        self.add("Result", len(self.layers) - 1, outputs=0)
        root = ElementTree.Element("net", name="test", version="10")
        layers, edges = ElementTree.SubElement(root, "layers"), ElementTree.SubElement(root, "edges")
        for index, (kind, data, wires, outputs) in enumerate(self.layers):
            version = {"ShapeOf": "opset3", "Broadcast": "opset3", "Gather": "opset7"}.get(kind, "opset1")
            layer = ElementTree.SubElement(layers, "layer", id=str(index), name=f"n{index}", type=kind, version=version)
            ElementTree.SubElement(layer, "data", data)
            _ports(layer, "input", 0, len(wires))
            _ports(layer, "output", len(wires), outputs)
            for port, (start, output) in enumerate(wires):
                origin = str(len(self.layers[start][2]) + output)
                ends = {"from-layer": str(start), "from-port": origin, "to-layer": str(index), "to-port": str(port)}
                ElementTree.SubElement(edges, "edge", ends)
        (folder / "net.xml").write_bytes(ElementTree.tostring(root))
        (folder / "net.bin").write_bytes(self.content)
        return folder / "net.xml", folder / "net.bin"


def _ports(layer: ElementTree.Element, name: str, first: int, count: int) -> None:
    if count:
        ports = ElementTree.SubElement(layer, name)
        for index in range(first, first + count):
            ElementTree.SubElement(ports, "port", id=str(index))


def _join(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def run(graph: Graph, given: NDArray, folder: Path) -> NDArray:
    return read_network(*graph.write(folder))(torch.from_numpy(given)).numpy()


def normal(*shape: int) -> NDArray:
    return RANDOM.standard_normal(shape).astype(np.float32)


WINDOW = {"dilations": "1, 1", "auto_pad": "explicit"}


def test_arithmetic_and_leaky_units(tmp_path: Path) -> None:
    graph, weight, bias, slope = Graph((2, 3)), normal(4, 3), normal(1, 4), np.array([0.2], np.float32)
    dense = graph.add("MatMul", 0, graph.constant(weight), transpose_a="false", transpose_b="true")
    shifted = graph.add("Add", dense, graph.constant(bias))
    leaky = graph.add("PReLU", shifted, graph.constant(slope))
    squared = graph.add("Power", leaky, graph.constant(np.float32([[2]])))
    mean = graph.add("ReduceMean", squared, graph.constant([1]), keep_dims="true")
    inverse = graph.add("Power", mean, graph.constant(np.float32([[-0.5]])))
    graph.add("Multiply", leaky, inverse)
    given = normal(2, 3)
    twin = given @ weight.T + bias
    twin = np.where(twin < 0, 0.2 * twin, twin)
    twin /= np.sqrt((twin**2).mean(1, keepdims=True))
    np.testing.assert_allclose(run(graph, given, tmp_path), twin, rtol=1e-5, atol=1e-6)


def test_shapes_follow_the_batch(tmp_path: Path) -> None:
    """A learned constant is repeated for every vector of the batch, as the first layer of StyleGAN does."""
    graph, learned = Graph((1, 2)), normal(1, 2, 3, 3)
    batch = graph.add("Gather", graph.add("ShapeOf", 0), graph.constant(0), graph.constant(0), batch_dims="0")
    count = graph.add("Unsqueeze", batch, graph.constant([0]))
    ones = graph.add("Broadcast", graph.constant([1]), graph.constant([4]), mode="numpy")
    spread = graph.add("Broadcast", graph.constant(learned), ones, mode="bidirectional")
    repeats = graph.add("Concat", count, *(graph.constant([1]) for _ in range(3)), axis="0")
    tiled = graph.add("Tile", spread, repeats)
    style = graph.add("Reshape", 0, graph.constant([0, -1, 1, 1]), special_zero="true")
    graph.add("Multiply", tiled, style)
    given = normal(5, 2)
    np.testing.assert_allclose(run(graph, given, tmp_path), learned * given[:, :, None, None], rtol=1e-6)


def test_splits_have_their_own_ports(tmp_path: Path) -> None:
    graph = Graph((1, 6, 2))
    halves = graph.add("VariadicSplit", 0, graph.constant(1), graph.constant([2, -1]), outputs=2)
    lone = graph.add("VariadicSplit", (halves, 1), graph.constant(1), graph.constant([1, 3]), outputs=2)
    first = graph.add("Squeeze", (lone, 0), graph.constant([1]))
    second = graph.add("Unsqueeze", first, graph.constant([1]))
    graph.add("Concat", (lone, 1), second, (halves, 0), axis="1")
    given = normal(1, 6, 2)
    assert np.array_equal(run(graph, given, tmp_path), given[:, [3, 4, 5, 2, 0, 1]])


def correlate(image: NDArray, weight: NDArray, pad: int) -> NDArray:
    """Plain (in, h, w) * (out, in, kh, kw) correlation."""
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    high, wide = (padded.shape[i] - weight.shape[i + 1] + 1 for i in (1, 2))
    windows = [
        [np.tensordot(weight, padded[:, y : y + weight.shape[2], x : x + weight.shape[3]], 3) for x in range(wide)]
        for y in range(high)
    ]
    return np.moveaxis(np.array(windows), 2, 0)


def test_convolutions(tmp_path: Path) -> None:
    graph, dense, apart = Graph((1, 4, 5, 6)), normal(3, 4, 1, 1), normal(4, 1, 1, 3, 3)
    pads = {"pads_begin": "1, 1", "pads_end": "1, 1", "strides": "1, 1"}
    deep = graph.add("GroupConvolution", 0, graph.constant(apart), **WINDOW, **pads)
    none = {"pads_begin": "0, 0", "pads_end": "0, 0", "strides": "1, 1"}
    graph.add("Convolution", deep, graph.constant(dense), **WINDOW, **none)
    given = normal(1, 4, 5, 6)
    channels = np.concatenate([correlate(given[0, [i]], apart[i], 1) for i in range(4)])
    np.testing.assert_allclose(run(graph, given, tmp_path)[0], correlate(channels, dense, 0), rtol=1e-4, atol=1e-5)


def test_transposed_convolution(tmp_path: Path) -> None:
    graph, weight = Graph((1, 2, 3, 2)), normal(2, 1, 1, 2, 1)
    places = {"pads_begin": "0, 0", "pads_end": "0, 0", "strides": "2, 1", "output_padding": "0, 0"}
    graph.add("GroupConvolutionBackpropData", 0, graph.constant(weight), **WINDOW, **places)
    given, twin = normal(1, 2, 3, 2), np.zeros((2, 6, 2), np.float32)
    for channel, y, x, step in np.ndindex(2, 3, 2, 2):
        twin[channel, 2 * y + step, x] += given[0, channel, y, x] * weight[channel, 0, 0, step, 0]
    np.testing.assert_allclose(run(graph, given, tmp_path)[0], twin, rtol=1e-6)


def test_unusable_files_are_asset_errors(tmp_path: Path) -> None:
    graph = Graph((1, 2))
    graph.add("Softmax", 0, axis="1")
    with pytest.raises(AssetError, match="Softmax"):
        read_network(*graph.write(tmp_path))
    graph = Graph((1, 2))
    graph.add("Add", 0, graph.constant(normal(1, 2)))
    xml, content = graph.write(tmp_path)
    content.write_bytes(content.read_bytes()[:-1])
    with pytest.raises(AssetError, match=r"net\.xml"):
        read_network(xml, content)
    xml.write_bytes(xml.read_bytes()[:-9])
    with pytest.raises(AssetError, match=r"net\.xml"):
        read_network(xml, content)


def test_padding_to_one_side_is_refused(tmp_path: Path) -> None:
    graph = Graph((1, 1, 2, 2))
    places = {"pads_begin": "0, 0", "pads_end": "1, 1", "strides": "1, 1"}
    graph.add("Convolution", 0, graph.constant(normal(1, 1, 1, 1)), **WINDOW, **places)
    with pytest.raises(AssetError, match="pads"):
        run(graph, normal(1, 1, 2, 2), tmp_path)


@pytest.mark.parametrize(
    ("gpu", "installed", "chosen"), [(True, True, "torch"), (False, True, "openvino"), (False, False, "torch")]
)
def test_auto_takes_the_fastest_engine(
    gpu: bool, installed: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert choose_engine("auto") == chosen
    assert choose_engine("torch") == "torch"
    with pytest.raises(SettingError, match="engine"):
        choose_engine("tensorflow")  # type: ignore[arg-type]


def test_portraits_without_openvino(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine torch draws through the same class, with a mapping that doubles and a synthesis of one colour."""
    doubling = Graph((1, 512))
    doubling.add("Multiply", 0, doubling.constant(np.float32([[2]])))
    (tmp_path / "colour").mkdir()
    colour = Graph((1, 512))
    first = colour.add("VariadicSplit", 0, colour.constant(1), colour.constant([3, -1]), outputs=2)
    colour.add("Reshape", (first, 0), colour.constant([0, 3, 1, 1]), special_zero="true")
    made = {
        "mapping": read_network(*doubling.write(tmp_path)),
        "synthesis": read_network(*colour.write(tmp_path / "colour")),
    }
    monkeypatch.setattr("garface.borrowed.mobile_stylegan.open_network", lambda name, device: made[name])
    source = MobileStyleGan(SynthesisSettings(truncation=(1.0, 1.0)), "torch")
    z = np.random.default_rng(synthesize._SEED_OFFSET + 3).standard_normal((1, 512)).astype(np.float32)
    np.testing.assert_allclose(source.latent(3), 2 * z[0], atol=1e-5)
    style = np.zeros(512, np.float32)
    style[:3] = [-1, 0, 9]
    assert source.generate(style)[0, 0].tolist() == [0, 128, 255]


def needs_networks() -> None:
    names = [f"random-face-{name}-{part}" for name in ("mapping", "synthesis") for part in ("xml", "bin")]
    if not all(cached_path(find_asset(name)).is_file() for name in names):
        pytest.skip("the networks are not in the cache; `garface models fetch random-face-synthesis-bin` fetches them")


def test_both_engines_render_the_same() -> None:
    needs_networks()
    pytest.importorskip("openvino")
    settings = SynthesisSettings()
    official = MobileStyleGan(settings, "openvino")
    ours = MobileStyleGan(settings, "torch")
    style = official.latent(7)
    np.testing.assert_allclose(ours.latent(7), style, atol=1e-4)
    image = official._synthesis(style[None])
    assert image.std() > 0.3
    np.testing.assert_allclose(ours._synthesis(style[None]), image, atol=1e-4)


def test_latents_of_the_recipe_need_no_openvino() -> None:
    """Values kept from an independent run in OpenVINO."""
    needs_networks()
    latent = MobileStyleGan(SynthesisSettings(), "torch").latent(0)
    np.testing.assert_allclose(latent[:4], [-0.0328, -0.16434, -0.19523, -0.06883], atol=1e-4)
