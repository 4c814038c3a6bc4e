"""Kinds of generators by name: what builds one from its configuration, and configurations from weight files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from garface.errors import SettingError
from garface.networks.borrowed import BorrowedGeneratorConfig, borrowed_generator
from garface.networks.configuration import from_dict
from garface.networks.generator import Generator, GeneratorConfig
from garface.networks.stylegan import StyleGenerator, StyleGeneratorConfig
from garface.spelling import unknown_name


@dataclass(frozen=True)
class GeneratorKind:
    """One kind."""

    config: type
    """Its configuration: a `GeneratorConfig`."""
    network: Callable[[Any], Generator]
    """Configuration -> fresh network."""


_KINDS: dict[str, GeneratorKind] = {}
_RETIRED = {"condition": "normals", "coefficients": 0}
"""What files from before there were kinds say besides; with other values they were there to be compared only."""


def register_generator(config: type, network: Callable[[Any], Generator]) -> None:
    """Make a kind of generator known under the `kind` of its configuration.

    Args:
        config: a frozen dataclass that is a `GeneratorConfig`; its `kind` is `field(default=NAME, init=False)`.
        network: builds a fresh network from such a configuration, usually its class.

    Raises:
        SettingError: the name is taken by another kind.
    """
    name, made = str(config.kind), GeneratorKind(config, network)  # type: ignore[attr-defined]
    if _KINDS.setdefault(name, made) != made:
        raise SettingError(f"There is a generator kind {name!r} already; choose another name.")


def generator_kind(name: str) -> GeneratorKind:
    """The kind of this name.

    Raises:
        SettingError: there is none; names those that are known.
    """
    if name not in _KINDS:
        raise SettingError(unknown_name("generator kind", name, _KINDS))
    return _KINDS[name]


def make_generator(config: GeneratorConfig) -> Generator:
    """A fresh generator.

    Raises:
        SettingError: see `generator_kind`.
    """
    return generator_kind(config.kind).network(config)


def generator_config(values: Mapping[str, Any]) -> GeneratorConfig:
    """The configuration that `to_dict` wrote; one without a kind is that of a `StyleGenerator`.

    Raises:
        SettingError: an unknown kind, or a setting that the kind does not have.
    """
    if "kind" not in values:
        known = {name: value for name, value in values.items() if (name, value) not in _RETIRED.items()}
        return generator_config({**known, "kind": StyleGeneratorConfig.kind})
    kind = generator_kind(values["kind"])
    made: GeneratorConfig = from_dict(kind.config, {name: value for name, value in values.items() if name != "kind"})
    return made


register_generator(StyleGeneratorConfig, StyleGenerator)
register_generator(BorrowedGeneratorConfig, borrowed_generator)
