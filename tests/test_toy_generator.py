"""A kind of generator that the package does not know: registered here, it draws and is fitted to a photo."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from test_reconstruction import state_of, target_of
from tiny_model import portrait
from torch import Tensor, nn

from garface.metrics import psnr
from garface.networks import Generator, Inverter, InverterConfig, register_generator, to_dict
from garface.reconstruction import ReconstructionSettings, Reconstructor, load_renderer
from garface.reconstruction.refine import RefineSettings, refine
from garface.weights import WeightsCard, save_weights


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    kind: str = field(default="toy", init=False)
    resolution: int = 32
    latent_dim: int = 6
    conditioned: bool = True


class Toy(Generator):
    """Lambert's cosine under a coloured lamp: the style is the lamp's direction and colour."""

    layers = 1

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.tensor(0.5))

    def styles(self, z: Tensor) -> Tensor:
        return self.gain * z

    def noise_shapes(self, resolution: int | None = None) -> tuple[tuple[int, int, int], ...]:
        return ((1, 32, 32),)

    def forward(self, w: Tensor, pyramid: dict, noise: object = None, **_: object) -> Tensor:
        lamp, colour = w.reshape(len(w), 2, 3, 1, 1).unbind(1)
        cosine = (pyramid[32][:, :3] * (lamp + torch.eye(3)[2, :, None, None])).sum(1, keepdim=True)
        return cosine * (0.5 + colour) - 0.5


register_generator(ToyConfig, Toy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    seeing = InverterConfig(resolution=32, latent_dim=6, channels=dict.fromkeys((4, 8, 16, 32), 8))
    toy, inverter = Toy(ToyConfig()), Inverter(seeing)
    folder = tmp_path_factory.mktemp("toy")
    for kind, network in (("gar", toy), ("inverter", inverter)):
        card = WeightsCard(kind, to_dict(network.config), licence="CC0", trained_on="nothing")
        save_weights(folder / f"{kind}.safetensors", network.state_dict(), card)
    return folder


def test_it_draws_and_a_descent_finds_what_it_drew(folder: Path) -> None:
    renderer = load_renderer(folder, device="cpu")
    assert isinstance(renderer.generator, Toy)
    truth, start = state_of(renderer), state_of(renderer, seed=5)
    target = target_of(renderer, truth)
    found, _ = refine(renderer, start, target, RefineSettings(steps=40))
    assert float(psnr(found.draw(renderer), target.picture)) > float(psnr(start.draw(renderer), target.picture)) + 3


def test_it_reconstructs_a_photo(folder: Path) -> None:
    settings = ReconstructionSettings(model=str(folder), quality="standard", device="cpu", shape_start="landmarks")
    with Reconstructor(settings) as reconstructor:
        (result,) = reconstructor.reconstruct(portrait())
    assert result.state.w.shape == (1, 1, 6)
