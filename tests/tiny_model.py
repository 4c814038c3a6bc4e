"""A renderer small enough for tests, with random weights, and a photo small enough for it."""

from pathlib import Path

import numpy as np
import torch
from skimage.data import astronaut

from garface.heads import HeadModel, load_head, stamp
from garface.networks import Inverter, InverterConfig, StyleGenerator, StyleGeneratorConfig, to_dict
from garface.weights import WeightsCard, save_weights

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 8}


def write_model(
    folder: Path, *, latent: int = 8, inverter_latent: int | None = None, head: HeadModel | None = None
) -> Path:
    """A folder as training leaves it; of the embedded head, unless it is of another one."""
    torch.manual_seed(0)
    generating = StyleGeneratorConfig(
        resolution=32, latent_dim=latent, style_dim=latent, mapping_layers=2, channels=CHANNELS, injection_channels=4
    )
    inverting = InverterConfig(resolution=32, latent_dim=inverter_latent or latent, channels=CHANNELS, hidden=16)
    generator, inverter = StyleGenerator(generating), Inverter(inverting)
    save_weights(folder / "gar.safetensors", generator.state_dict(), _card("gar", generating, head))
    save_weights(folder / "inverter.safetensors", inverter.state_dict(), _card("inverter", inverting, head))
    return folder


def _card(kind: str, config: object, head: HeadModel | None) -> WeightsCard:
    belongs = stamp(head or load_head())
    return WeightsCard(kind, to_dict(config), licence="none", trained_on="nothing", head=belongs)  # type: ignore[arg-type]


def portrait() -> np.ndarray:
    """(240, 240, 3): a face of about 100 px."""
    return np.ascontiguousarray(astronaut()[:240, 100:340])
