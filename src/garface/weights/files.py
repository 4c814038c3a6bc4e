"""Weight files: safetensors with a card in the metadata. Nothing in them can run."""

import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from garface.errors import WeightsError
from garface.files import make_folder, write_atomic
from garface.spelling import suggestion
from garface.weights.cards import Kind, WeightsCard
from garface.weights.fetch import cache_folder, sha256_of

SUFFIX = ".safetensors"
_CARD_KEY = "garface"


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """What a weight file holds."""

    card: WeightsCard
    """What the file says about itself."""
    tensors: dict[str, Tensor]
    """By name, on the CPU; floating point ones as float32."""


def builtin_folder() -> Path:
    """Folder of the weights that ship with garface."""
    return Path(__file__).parent / "files"


def added_folder() -> Path:
    """Folder of the weights a person added with `garface models add`."""
    return cache_folder() / "weights"


def save_weights(path: Path | str, tensors: Mapping[str, Tensor], card: WeightsCard, *, half: bool = True) -> None:
    """Write a weight file, whole or not at all.

    Args:
        path: the file; its folder is made.
        tensors: by name.
        card: an empty `garface_version` becomes the running one.
        half: keep floating point tensors as float16, all but those with a value beyond its range (65504).

    Raises:
        WeightsError: a value that is not finite, or a card that is not JSON.
        OutputError: the file cannot be written.
    """
    card = card if card.garface_version else replace(card, garface_version=importlib.metadata.version("garface"))
    stored = {name: _stored(name, tensor, half) for name, tensor in tensors.items()}
    content = save(stored, metadata={_CARD_KEY: card.to_json()})
    make_folder(Path(path).parent)
    write_atomic(path, content)


def weights_hash(source: Path | str) -> str:
    """SHA-256 of a weight file, hexadecimal: what tells whether results come from the same weights.

    Raises:
        WeightsError: no such file or name.
    """
    return sha256_of(weights_path(source))


def shipped(source: Path | str, kind: Kind) -> Path | str:
    """The name of the weights of a kind that ship with garface if `source` is "builtin", else `source` itself."""
    return f"{kind}-128" if source == "builtin" else source


def weights_of(model: Path | str, kind: Kind) -> Path | str:
    """The weights of a kind in a model: those that ship if it is "builtin", else KIND.safetensors in its folder.

    Raises:
        WeightsError: there is no such folder. Whether the file is there shows when it is read.
    """
    if model == "builtin":
        return shipped(model, kind)
    if not os.path.isdir(model):  # unlike Path.is_dir, also False for names that no file can have
        raise WeightsError(
            f"{model} is not a folder with {kind}{SUFFIX}; give the folder of a training run, or builtin."
        )
    return Path(model) / f"{kind}{SUFFIX}"


def seen_before(source: str | None, kind: Kind) -> int:
    """Images that weights to go on from had been shown: those of `source`, "builtin" or none.

    Raises:
        WeightsError: see `load_weights`.
    """
    return 0 if source is None else load_weights(shipped(source, kind)).card.images


def load_weights(source: Path | str) -> LoadedWeights:
    """Read a weight file.

    Args:
        source: a path, or the name of weights that ship with garface or were added with `garface models add`.

    Raises:
        WeightsError: no such file or name, a damaged file, or one that garface did not write.
    """
    path = weights_path(source)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            card = _card(path, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({_first_line(error)}).") from error
    widened = {name: _widened(tensor) for name, tensor in tensors.items()}
    for name, tensor in widened.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path} holds {name} with values that are not finite; use another copy of the file.")
    return LoadedWeights(card, widened)


def read_card(path: Path) -> WeightsCard:
    """Read only the card of a weight file.

    Raises:
        WeightsError: a damaged file, or one that garface did not write.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return _card(path, file.metadata())
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({_first_line(error)}).") from error


def weights_path(source: Path | str) -> Path:
    """The file that `source`, a path or a name, stands for; a name is a word without separators or suffix.

    Raises:
        WeightsError: there is none.
    """
    path = Path(source)
    is_name = isinstance(source, str) and path.name == source and path.suffix != SUFFIX
    candidates = [folder / f"{source}{SUFFIX}" for folder in (builtin_folder(), added_folder())] if is_name else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if is_name:
        here = [file.stem for folder in (builtin_folder(), added_folder()) for file in folder.glob(f"*{SUFFIX}")]
        raise WeightsError(
            f"There are no weights called '{source}' here{suggestion(str(source), here)}; `garface models` lists "
            "those there are, `garface train` trains others, and the path of a weight file does as well."
        )
    raise WeightsError(f"There is no weight file {path}.")


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    kept = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not kept.is_floating_point():
        return kept
    if not bool(torch.isfinite(kept).all()):
        raise WeightsError(f"The weights '{name}' are not finite.")
    if not half:
        return kept
    halved = kept.half()
    return halved if bool(torch.isfinite(halved).all()) else kept


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _card(path: Path, metadata: Mapping[str, str] | None) -> WeightsCard:
    if not metadata or _CARD_KEY not in metadata:
        raise WeightsError(f"{path} holds no garface card, so it was not written by garface and cannot be used.")
    try:
        return WeightsCard.from_json(metadata[_CARD_KEY])
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["empty"])[0].rstrip(".")
