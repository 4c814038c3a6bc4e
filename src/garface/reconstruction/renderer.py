"""The trained renderer with its head model: coefficients, pose and latent in, image out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from garface.devices import Device, choose_device
from garface.errors import WeightsError
from garface.geometry import Camera, Pose, Topology
from garface.heads import HeadModel, check_stamp, stamped_head
from garface.losses import noise_autocorrelation
from garface.networks import Generator, Inverter, load_generator, load_inverter
from garface.reconstruction.tone import colour_steps
from garface.rendering import normal_map, normal_pyramid
from garface.weights import WeightsCard, load_weights, shipped, weights_hash, weights_of

SAMPLES = 2
"""Samples of the normal map in a pixel, in each direction."""


@dataclass(frozen=True, eq=False)
class Renderer:
    """The Generative Adversarial Renderer (paper, section 3.1) over a morphable head.

    Attributes:
        head_model: the head model.
        generator: normal maps, style and noise -> image.
        inverter: image -> latent.
        cards: what the weights say about themselves, "gar" and "inverter".
        device: where everything lies.
        size: side of the images, pixels, if it is not the generator's own.
    """

    head_model: HeadModel
    generator: Generator
    inverter: Inverter
    cards: dict[str, WeightsCard]
    device: torch.device
    size: int | None = None

    @property
    def resolution(self) -> int:
        """Side of the images, pixels."""
        return self.size or self.generator.config.resolution

    @cached_property
    def topology(self) -> Topology:
        """Topology of the head's mesh."""
        return Topology.build(self.head_model.triangles, len(self.head_model.mean))

    @cached_property
    def mean_style(self) -> Tensor:
        """The mean w, (1, W): the centre of truncation and of the prior on w."""
        return self.generator.mean_style(4096, torch.Generator().manual_seed(0))

    @cached_property
    def style_spread(self) -> Tensor:
        """Root mean square deviation of w from its mean, a scalar: the unit of distances in w."""
        return (self.sample_latents(256, seed=1, truncation=1.0) - self.mean_style).square().mean().sqrt()

    @cached_property
    def colour_steps(self) -> Tensor:
        """What changes the colour of faces, (3, W): see `garface.reconstruction.tone`."""
        return colour_steps(self, self.resolution)

    def vertices(self, identity: Tensor, expression: Tensor, pose: Pose) -> Tensor:
        """Heads (B, V, 3) in the camera frame, millimetres."""
        return pose.apply(self.head_model.vertices(identity, expression))

    def normals(self, identity: Tensor, expression: Tensor, pose: Pose, camera: Camera) -> Tensor:
        """Normal maps (B, 4, R, R) at the renderer's resolution; differentiable in everything.

        A sharp generator answers to detail below a pixel, whose gradient is noise; so pixels have 2 x 2 samples.
        """
        small = camera.resized(self.resolution, self.resolution)
        return normal_map(self.vertices(identity, expression, pose), self.topology, small, samples=SAMPLES)

    def render(self, w: Tensor, normals: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Images (B, 3, R, R), about [-1, 1]; w is (B, W) or (B, L, W), noise None is drawn from seed 0."""
        if noise is None:
            noise = self.sample_noise(len(w))
        return self.generator(w, normal_pyramid(normals), noise, resolution=self.resolution)

    def noise_error(self, noise: Sequence[Tensor]) -> Tensor:
        """(B,) deviation from white noise of unit variance, mean over the layers (Karras et al. 2020, appendix D)."""
        errors = [noise_autocorrelation(layer) + (layer.square().mean((1, 2, 3)) - 1) ** 2 for layer in noise]
        return torch.stack(errors).mean(0)

    def sample_noise(self, count: int, *, seed: int = 0) -> list[Tensor]:
        """Noise for every layer; sample i depends on (seed, i) alone."""
        rows = [
            self.generator.sample_noise(1, _source(seed, i), self.device, resolution=self.resolution)
            for i in range(count)
        ]
        return [torch.cat(layer) for layer in zip(*rows)]

    def sample_latents(self, count: int, *, seed: int = 0, truncation: float = 0.7) -> Tensor:
        """Random styles w (B, W), pulled toward the mean by `truncation` (Karras et al. 2019, section 2)."""
        return self.style(self.sample_z(count, seed=seed), truncation=truncation)

    def sample_z(self, count: int, *, seed: int = 0) -> Tensor:
        """Random latents z (B, Z), standard normal; sample i depends on (seed, i) alone."""
        size = self.generator.config.latent_dim
        return torch.cat([torch.randn(1, size, generator=_source(seed, i)) for i in range(count)]).to(self.device)

    def style(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """Styles w (B, W) of latents z (B, Z), pulled toward the mean by `truncation`."""
        return self.mean_style + truncation * (self.generator.styles(z) - self.mean_style)


def load_renderer(
    model: str | Path = "builtin", *, device: Device = "auto", head: HeadModel | None = None, size: int | None = None
) -> Renderer:
    """Load a trained renderer.

    Args:
        model: "builtin", or a folder with `gar.safetensors` and `inverter.safetensors`, as training writes them.
        device: "auto" takes the GPU if there is one.
        head: the head model; None loads the one that the renderer's weights name.
        size: side of the images, pixels; None is the generator's own. What others there are depends on its kind.

    Raises:
        WeightsError: weights that are missing, unreadable, or do not belong together.
        SettingError: a device that is not there, or weights that belong to another head model.
    """
    place = choose_device(device)
    sources = _sources(model)
    generator, inverter = load_generator(sources["gar"]), load_inverter(sources["inverter"])
    for network in (generator, inverter):
        network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if generator.config.latent_dim != inverter.config.latent_dim:
        raise WeightsError(
            f"{model} holds a renderer with latents of {generator.config.latent_dim} numbers and an inverter that "
            f"gives {inverter.config.latent_dim}; train them together."
        )
    cards = {kind: load_weights(source).card for kind, source in sources.items()}
    return Renderer(
        head_model=_head(head, cards["gar"], f"The renderer {model}").to(place),
        generator=generator,
        inverter=inverter,
        cards=cards,
        device=place,
        size=size,
    )


def _head(given: HeadModel | None, card: WeightsCard, what: str) -> HeadModel:
    """The head model that a renderer renders: the given one, or that of its card."""
    remedy = "train a renderer for it with `garface train gar`"
    model = given or stamped_head(card.head, what=what, remedy=remedy)
    check_stamp(card.head, model, what=what, remedy=remedy)
    return model


def model_hash(model: str | Path = "builtin", shape_model: str | Path = "builtin") -> str:
    """What tells whether reconstructions come from the same weights, the shape estimator's included; hexadecimal.

    Raises:
        WeightsError: weights that are missing.
    """
    sources = (*_sources(model).values(), shipped(shape_model, "shape"))
    return ":".join(weights_hash(source) for source in sources)


def _sources(model: str | Path) -> dict[str, str | Path]:
    return {"gar": weights_of(model, "gar"), "inverter": weights_of(model, "inverter")}


def _source(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + index)
