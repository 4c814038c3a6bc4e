"""Networks from weight files."""

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from garface.errors import SettingError, WeightsError
from garface.networks.configuration import from_dict
from garface.networks.discriminator import Discriminator, DiscriminatorConfig
from garface.networks.face_parser import FaceParser, FaceParserConfig
from garface.networks.generator import Generator
from garface.networks.inverter import Inverter, InverterConfig
from garface.networks.normal_estimator import NormalEstimator, NormalEstimatorConfig
from garface.networks.output_block import OutputBlock, OutputBlockConfig
from garface.networks.registry import generator_config, make_generator
from garface.networks.shape_estimator import ShapeEstimator, ShapeEstimatorConfig
from garface.weights import Kind, load_weights, shipped

Network = TypeVar("Network", bound=nn.Module)

_LARGEST = 2**16
"""Largest number in the configuration of a network."""
_SPARE = 2**26
"""Numbers that a network may have besides those in its file: those of a borrowed network."""
_MAKE = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}
"""What makes parameters; their first argument is a shape, or all of them are."""


def load_generator(path_or_name: str | Path = "builtin") -> Generator:
    """A trained generator of any registered kind, frozen and in evaluation mode.

    Args:
        path_or_name: a weight file, the name of shipped weights, or "builtin" for the default ones.

    Raises:
        WeightsError: unreadable, weights of another network, or a kind of generator that is not known.
    """
    return _load(lambda values: make_generator(generator_config(values)), "gar", path_or_name)


def load_inverter(path_or_name: str | Path = "builtin") -> Inverter:
    """A trained inverter; see `load_generator`."""
    return _load(_build(Inverter, InverterConfig), "inverter", path_or_name)


def load_normal_estimator(path_or_name: str | Path = "builtin") -> NormalEstimator:
    """A trained normal estimator; see `load_generator`."""
    return _load(_build(NormalEstimator, NormalEstimatorConfig), "normals", path_or_name)


def load_shape_estimator(path_or_name: str | Path = "builtin") -> ShapeEstimator:
    """A trained shape estimator; see `load_generator`."""
    return _load(_build(ShapeEstimator, ShapeEstimatorConfig), "shape", path_or_name)


def load_face_parser(path_or_name: str | Path = "builtin") -> FaceParser:
    """A trained face parser; see `load_generator`."""
    return _load(_build(FaceParser, FaceParserConfig), "parser", path_or_name)


def load_output_block(path_or_name: str | Path) -> OutputBlock:
    """A trained output block of the borrowed network; see `load_generator`."""
    return _load(_build(OutputBlock, OutputBlockConfig), "output-block", path_or_name)


def load_discriminator(path: str | Path) -> Discriminator:
    """A trained discriminator; see `load_generator`."""
    return _load(_build(Discriminator, DiscriminatorConfig), "discriminator", path)


def state_hash(network: nn.Module) -> str:
    """SHA-256 of a network's weights, hexadecimal, wherever they come from."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _build(network: Callable[[Any], Network], config: type) -> Callable[[Mapping[str, Any]], Network]:
    return lambda values: network(from_dict(config, values))


def _load(build: Callable[[Mapping[str, Any]], Network], kind: Kind, source: str | Path) -> Network:
    loaded = load_weights(shipped(source, kind))
    if loaded.card.kind != kind:
        raise WeightsError(f"{source} holds {loaded.card.kind} weights, but {kind} weights are needed.")
    try:
        _check_numbers(loaded.card.config)
        with _Budget(_SPARE + 4 * sum(tensor.numel() for tensor in loaded.tensors.values())):
            made = build(loaded.card.config)
        made.load_state_dict(loaded.tensors)
    except Exception as problem:  # a card may ask for anything
        reason = (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")
        raise WeightsError(f"{source} holds a network that cannot be built as its card says: {reason}.") from problem
    return made.eval().requires_grad_(False)


class _Budget(TorchFunctionMode):
    """Refuses to make more numbers than so many: what a card describes must not be larger than what its file holds."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of PyTorch, unless it makes too large a tensor."""
        if function in _MAKE and args:
            self.left -= math.prod(args if isinstance(args[0], int) else args[0])
            if self.left < 0:
                raise SettingError("it would be larger than the file")
        return function(*args, **(kwargs or {}))


def _check_numbers(config: object) -> None:
    """Raise a SettingError if a configuration has a number that no network needs."""
    if isinstance(config, Mapping | list):
        for value in config.values() if isinstance(config, Mapping) else config:
            _check_numbers(value)
    elif isinstance(config, int | float) and not -_LARGEST <= config <= _LARGEST:
        raise SettingError(f"its configuration has the number {config}, but {_LARGEST} is the largest there may be")
