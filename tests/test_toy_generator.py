"""A kind of generator that the package does not know: registered here, it draws and is fitted to a photo."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from tiny_model import portrait, write_model
from torch import Tensor, nn

from garface.heads import load_head, stamp
from garface.networks import Generator, register_generator, to_dict
from garface.reconstruction import ReconstructionSettings, Reconstructor
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


def test_a_photo_is_reconstructed_with_a_generator_of_another_kind(tmp_path: Path) -> None:
    register_generator(ToyConfig, Toy)
    toy = Toy(ToyConfig())
    folder = write_model(tmp_path, latent=toy.config.latent_dim)  # for its inverter
    card = WeightsCard("gar", to_dict(toy.config), licence="CC0", trained_on="nothing", head=stamp(load_head()))
    save_weights(folder / "gar.safetensors", toy.state_dict(), card)
    settings = ReconstructionSettings(model=str(folder), device="cpu", shape_start="landmarks")
    with Reconstructor(settings) as reconstructor:
        (result,) = reconstructor.reconstruct(portrait())
    assert isinstance(result.renderer.generator, Toy)
    assert result.state.w.shape == (1, 1, 6)
    assert result.history[-1]["photometric"] < result.history[0]["photometric"]
