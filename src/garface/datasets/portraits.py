"""Generating portraits of people who do not exist, as training data, with MobileStyleGAN in OpenVINO or PyTorch.

The network is that of Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image
Synthesis", arXiv:2104.04767, distilled from a StyleGAN2 of FFHQ, so its portraits are framed as in FFHQ.
"""

import importlib.util
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from garface.arrays import Pixels
from garface.errors import InputError, MissingExtraError, OutputError, SettingError
from garface.files import make_folder, write_atomic, write_json
from garface.io.arrays import write_arrays
from garface.weights import asset_path, find_asset

Floats = NDArray[np.float32]

STYLE = 512
"""Length of the latent vectors."""
GENERATED_SIZE = 1024
"""Side of the generated images, px."""

Engine = Literal["auto", "openvino", "torch"]
"""What evaluates the networks; "auto" is PyTorch where it has a GPU, else OpenVINO if installed, else PyTorch."""
Network = Callable[[Floats], Floats]
"""Evaluates a network on a batch of vectors (B, 512)."""
NetworkName = Literal["mapping", "synthesis"]

_NETWORKS: tuple[NetworkName, ...] = ("mapping", "synthesis")
_SEED_OFFSET = 1000
_MEAN_DRAWS = 4096
_SETTINGS_FILE, LATENTS_FILE, _CARD_FILE = "settings.json", "latents.npz", "README.md"


@dataclass(frozen=True)
class SynthesisSettings:
    """How portraits are generated; a folder holds portraits of one setting."""

    size: int = 288
    """Side of the images, px, at most 1024."""
    truncation: tuple[float, float] = (0.7, 1.0)
    """Range from which each portrait's truncation is drawn: 0 is the mean face, 1 the full variety."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the networks. In float32 machines agree; bfloat16 needs a processor that has it, and differs from
    float32 by about two of 255 levels. The engine is no setting: in float32 both agree within 1e-4, in [-1, 1]."""


class PortraitSource(Protocol):
    """Whatever maps latents and generates portraits."""

    def latent(self, seed: int) -> Floats:
        """(512,) truncated style vector of a seed."""

    def generate(self, latent: Floats) -> Pixels:
        """(1024, 1024, 3) portrait of a style vector."""


class MobileStyleGan:
    """The two networks of MobileStyleGAN.

    Args:
        settings: precision and truncation.
        engine: what evaluates them.

    Raises:
        MissingExtraError: OpenVINO is wanted, but not installed.
        AssetError: the networks are neither here nor can be fetched.
        SettingError: an unknown engine.
    """

    def __init__(self, settings: SynthesisSettings, engine: Engine = "auto") -> None:
        self._truncation = settings.truncation
        opener = _torch_network if choose_engine(engine) == "torch" else _openvino_network
        draws = np.random.default_rng(0).standard_normal((_MEAN_DRAWS, STYLE)).astype(np.float32)
        self._mean = opener("mapping", _MEAN_DRAWS, settings)(draws).mean(axis=0)
        self._mapping, self._synthesis = (opener(name, 1, settings) for name in _NETWORKS)

    def latent(self, seed: int) -> Floats:
        """(512,) style vector of a seed, truncated about the mean of 4,096 styles (StyleGAN's psi)."""
        random = np.random.default_rng(_SEED_OFFSET + seed)
        z = random.standard_normal((1, STYLE)).astype(np.float32)
        psi = np.float32(random.uniform(*self._truncation))
        style: Floats = self._mean + psi * (self._mapping(z)[0] - self._mean)
        return style

    def generate(self, latent: Floats) -> Pixels:
        """(1024, 1024, 3) portrait of a style vector (512,)."""
        image = self._synthesis(latent[None])[0]
        levels = (np.clip(image, -1, 1) + 1) * 127.5 + 0.5
        return np.ascontiguousarray(np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def choose_engine(engine: Engine) -> Literal["openvino", "torch"]:
    """The engine that "auto" stands for here, or the one named.

    Raises:
        SettingError: another name.
    """
    if engine == "auto":
        import torch

        installed = importlib.util.find_spec("openvino") is not None
        return "openvino" if installed and not torch.cuda.is_available() else "torch"
    if engine not in ("openvino", "torch"):
        raise SettingError(f"The engine must be 'auto', 'openvino' or 'torch', not {engine!r}.")
    return engine


def synthesize(
    out: Path | str,
    *,
    count: int,
    seed: int = 0,
    settings: SynthesisSettings | None = None,
    engine: Engine = "auto",
    progress: bool = True,
) -> int:
    """Generate `count` portraits with the seeds `seed`, `seed` + 1, ... into a folder.

    Writes `<seed>.jpg`, `latents.npz` (`index`: the seeds, `w`: their style vectors (N, 512) float16), the settings and
    a data card. A seed gives the same portrait whatever else is generated. Portraits that are there are kept, so a run
    that was stopped goes on, and a folder can grow.

    Returns:
        How many portraits were generated now.

    Raises:
        SettingError: a setting out of its range, or another one than those of the folder.
        OutputError: the folder holds something else, or cannot be written.
        MissingExtraError: OpenVINO is wanted, but not installed.
        AssetError: the networks are neither here nor can be fetched.
    """
    settings = settings or SynthesisSettings()
    _check(settings, count, seed)
    out = Path(out)
    _check_folder(out, settings)
    source = open_source(settings, engine)
    _start_folder(out, settings)
    missing = [number for number in range(seed, seed + count) if not _image_path(out, number).exists()]
    for number in tqdm(missing, unit="image", disable=not progress):
        write_atomic(_image_path(out, number), finish(source.generate(source.latent(number)), settings.size))
    _write_latents(out, source)
    return len(missing)


def open_source(settings: SynthesisSettings, engine: Engine = "auto") -> PortraitSource:
    """The generator; see `MobileStyleGan`."""
    return MobileStyleGan(settings, engine)


def finish(generated: Pixels, size: int) -> bytes:
    """JPEG file, `size` px wide, of a generated portrait.

    The way goes over a JPEG a ninth larger. It is part of the recipe: without it every portrait would differ a little
    from those generated before.
    """
    larger = min(round(size * 10 / 9), GENERATED_SIZE)
    between = Image.open(io.BytesIO(_jpeg(_lanczos(Image.fromarray(generated), larger), quality=90)))
    return _jpeg(_lanczos(between, size), quality=89)


def _lanczos(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _openvino_network(name: NetworkName, batch: int, settings: SynthesisSettings) -> Network:
    core: Any = _openvino().Core()
    model = core.read_model(*(str(asset_path(f"random-face-{name}-{part}")) for part in ("xml", "bin")))
    model.reshape([batch, STYLE])
    hint = {"float32": "f32", "bfloat16": "bf16"}[settings.precision]
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    return lambda given: np.asarray(compiled([given])[0])


def _torch_network(name: NetworkName, batch: int, settings: SynthesisSettings) -> Network:
    import torch

    from garface.borrowed.mobile_stylegan import evaluate, open_network

    network = open_network(name, device="cuda" if torch.cuda.is_available() else "cpu")
    return lambda given: evaluate(network, torch.from_numpy(given), settings.precision).numpy()


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            "This engine needs OpenVINO; install it with `pip install 'garface[synthesize]'`, or use the engine torch."
        ) from error
    return openvino


def _check(settings: SynthesisSettings, count: int, seed: int) -> None:
    low, high = settings.truncation
    if count < 1 or seed < 0:
        raise SettingError(f"The count must be at least 1 and the seed at least 0, not {count} and {seed}.")
    if not 1 <= settings.size <= GENERATED_SIZE:
        raise SettingError(f"The size must be 1 to {GENERATED_SIZE} px, not {settings.size}.")
    if not 0 <= low <= high:
        raise SettingError(f"The truncation must be a range from 0 upwards, not {low} to {high}.")
    if settings.precision not in ("float32", "bfloat16"):
        raise SettingError(f"The precision must be 'float32' or 'bfloat16', not {settings.precision!r}.")


def _check_folder(out: Path, settings: SynthesisSettings) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; name a folder for the portraits.")
    if not (out / _SETTINGS_FILE).exists():
        if out.is_dir() and any(out.iterdir()):
            raise OutputError(f"{out} holds something else than portraits; name a new or empty folder.")
        return
    earlier = _read_settings(out / _SETTINGS_FILE)
    if earlier != _plain(settings):
        raise SettingError(f"{out} holds portraits made with {earlier}, not {_plain(settings)}; name another folder.")


def _read_settings(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); name another folder.") from error


def _plain(settings: SynthesisSettings) -> Any:
    return json.loads(json.dumps(asdict(settings)))


def _start_folder(out: Path, settings: SynthesisSettings) -> None:
    make_folder(out)
    write_atomic(out / _CARD_FILE, _card(settings).encode())
    write_json(out / _SETTINGS_FILE, _plain(settings))


def _image_path(out: Path, seed: int) -> Path:
    return out / f"{seed:05d}.jpg"


def _write_latents(out: Path, source: PortraitSource) -> None:
    """Latents of all portraits in the folder: they follow from the seeds, so nothing needs to be kept in between."""
    seeds = sorted(int(path.stem) for path in out.glob("*.jpg") if path.stem.isdecimal())
    latents = np.stack([source.latent(seed) for seed in seeds]).astype(np.float16)
    write_arrays(out / LATENTS_FILE, index=np.array(seeds, dtype=np.int32), w=latents)


def _card(settings: SynthesisSettings) -> str:
    asset = find_asset("random-face-synthesis-bin")
    low, high = settings.truncation
    rows = {
        "files": "`<seed>.jpg`; `latents.npz` with `index`, the seeds, and `w`, their style vectors (float16)",
        "drawn by": f"{asset.origin}, the networks inside `{asset.requirement}`, in {settings.precision}",
        "recipe": f"z ~ N(0, 1) of numpy's default_rng({_SEED_OFFSET} + seed), truncation from {low} to {high} about "
        f"the mean style, Lanczos from {GENERATED_SIZE} px",
        "variety": "that of FFHQ as the network learned it: mostly turned less than 25 degrees, many smiles",
        "licence": f"{asset.licence}: take the portraits, and weights trained on them, for research only",
    }
    table = "".join(f"| {name} | {text} |\n" for name, text in rows.items())
    title = f"# Portraits of people who do not exist, {settings.size} x {settings.size} px, framed as in FFHQ"
    return f"{title}\n\nMade by `garface data synthesize`.\n\n| | |\n|---|---|\n{table}"
