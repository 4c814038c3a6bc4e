"""What is measured of every variant of an ablation: the same images, heads and latents for all.

Beware of judges that a variant was trained with: the normal estimator taught those with normal consistency. The
networks behind person, landmarks and realism taught none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from garface.datasets.conditions import Heads
from garface.datasets.training_set import TrainingSet, choose_rows
from garface.errors import SettingError
from garface.evaluation.ablation.condition_kinds import Widening, WideSet
from garface.evaluation.ablation.variants import VARIANTS
from garface.evaluation.control.control import Pixels, normal_control
from garface.evaluation.fit_renders import photos_of, render_fits
from garface.evaluation.realism.held_out import Distances, measure_realism
from garface.evaluation.summaries import Summary, markdown_table, spread
from garface.geometry import Camera, Pose
from garface.metrics import psnr
from garface.networks import NormalEstimator, state_hash
from garface.reconstruction import Renderer

if TYPE_CHECKING:
    from garface.evaluation.control.measure import ControlSettings, Instruments

_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How much is measured."""

    watched: int = 64
    """Held-out photos that are looked at along the training."""
    count: int = 500
    """Images of each kind at the end."""
    realism: bool = True
    """Whether Fréchet and kernel distances are taken, which needs the Inception network."""
    control: bool = True
    """Whether InsightFace's networks look for persons and landmarks (research only; extra garface[evaluate])."""
    seed: int = 0
    """Fixes which images, heads and latents."""

    def check(self) -> None:
        """Raise a SettingError on a setting outside its range."""
        for name in ("watched", "count"):
            if getattr(self, name) < 2:
                raise SettingError(f"{name} must be at least 2, but is {getattr(self, name)}.")


@dataclass(frozen=True)
class Point:
    """What was seen of held-out photos at one moment of a training."""

    images: int
    """Shown so far."""
    psnr: float
    """Of reconstructed photos, dB: latent by the inverter, geometry by the fit, averaged networks."""
    l1: float
    """Mean absolute difference of the same, in [-1, 1] units."""
    angle: float | None
    """Mean angle, degrees, between a head's normals and those estimated in its render with another latent."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Metrics of images; None is what was not asked for, or has no meaning for them."""

    generator_loss: float | None = None
    """Mean adversarial loss of the generator over the last tenth: the paper's measure. It is the verdict of each
    variant's own discriminator, so it compares variants only roughly."""
    frechet: float | None = None
    """Fréchet distance to held-out photos, of renders of training heads with random latents."""
    kernel: float | None = None
    """Kernel distance of the same, times 1000."""
    psnr: float | None = None
    """Of reconstructed held-out photos, dB."""
    l1: float | None = None
    """Mean absolute difference of the same, in [-1, 1] units."""
    angle: float | None = None
    """Mean angle of normals in renders of held-out heads with random latents, degrees."""
    found: float | None = None
    """Share of such renders in which InsightFace finds a face."""
    landmarks: float | None = None
    """Mean distance of its landmarks from the head's, over the interocular distance."""
    moved: float | None = None
    """Mean distance by which another latent moves these landmarks over one head, in interocular distances."""
    person: float | None = None
    """Mean cosine of embeddings of one identity and latent in two poses and expressions."""


@dataclass(frozen=True, kw_only=True)
class VariantMetrics:
    """One finished training."""

    variant: str
    """Its name."""
    seed: int
    """Of the training."""
    images: int
    """It was shown."""
    seconds: float
    """It took to train."""
    renders: Measured
    """Of its renders."""
    photos: Measured
    """Of photos themselves: what a perfect renderer would reach."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WideRenderer(Renderer):
    """A renderer whose generator looks at another condition than the normal map."""

    widening: Widening
    """Appends it."""

    @classmethod
    def of(cls, renderer: Renderer, widening: Widening) -> WideRenderer:
        """The same renderer."""
        return cls(**{one.name: getattr(renderer, one.name) for one in fields(renderer)}, widening=widening)

    def normals(self, identity: Tensor, expression: Tensor, pose: Pose, camera: Camera) -> Tensor:
        """Normal maps and what follows them, (B, 4 + C, R, R)."""
        normals = super().normals(identity, expression, pose, camera).cpu()
        heads = Heads(identity.cpu(), expression.cpu(), pose.to("cpu"), camera.to("cpu"))
        return self.widening(normals, heads, torch.zeros(len(normals), dtype=torch.bool)).to(self.device)


@dataclass(frozen=True, eq=False)
class Bench:
    """Measures renderers on the same faces."""

    folder: Path
    """The training set."""
    train: TrainingSet
    """Training photos: their heads are rendered for the realism."""
    held_out: TrainingSet
    """Photos kept from every training."""
    settings: BenchSettings
    """How much is measured."""
    estimator: NormalEstimator | None = None
    """Frozen; None leaves the angles out."""
    instruments: Instruments | None = None
    """InsightFace's networks; None leaves their metrics out."""

    @property
    def asked(self) -> dict[str, object]:
        """What makes two measurements the same."""
        return {
            "bench": asdict(self.settings),
            "normals": None if self.estimator is None else state_hash(self.estimator),
            "faces": [self.train.fits_hash, self.held_out.fits_hash],
        }

    def rows(self, count: int) -> list[int]:
        """`count` held-out photos, or all if there are fewer."""
        return choose_rows(len(self.held_out), min(count, len(self.held_out)), seed=self.settings.seed)

    def watch(self, renderer: Renderer, *, images: int) -> Point:
        """Look at held-out photos along a training, after `images`."""
        rows = self.rows(self.settings.watched)
        likeness, difference = reconstruction_quality(renderer, self.held_out, rows)
        return Point(images, likeness, difference, self.angle(self.render(renderer, rows), rows))

    def measure(self, renderer: Renderer, *, loss: float | None) -> tuple[Measured, Measured]:
        """Metrics of a renderer and of photos themselves; `loss` is known from the training."""
        if isinstance(self.held_out, WideSet):
            renderer = WideRenderer.of(renderer, self.held_out.widening)
        rows = self.rows(self.settings.count)
        likeness, difference = reconstruction_quality(renderer, self.held_out, rows)
        renders: dict[str, float | None] = {"generator_loss": loss, "psnr": likeness, "l1": difference}
        renders["angle"] = self.angle(self.render(renderer, rows), rows)
        photos = {"angle": self.angle(photos_of(self.held_out, rows, renderer.resolution), rows)}
        for measured in (self.realism, self.control):
            of_renders, of_photos = measured(renderer)
            renders, photos = renders | of_renders, photos | of_photos
        return Measured(**renders), Measured(**photos)

    def render(self, renderer: Renderer, rows: Sequence[int]) -> Pixels:
        """Held-out heads with random latents."""
        return render_fits(renderer, self.held_out, rows, seed=self.settings.seed, progress=False)

    def angle(self, images: Pixels, rows: Sequence[int]) -> float | None:
        """Mean angle of the normals in images of the held-out heads `rows`, degrees."""
        if self.estimator is None:
            return None
        return _mean(normal_control(images, self.held_out, rows, self.estimator, progress=False).mean)

    def realism(self, renderer: Renderer) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Distances to held-out photos, of renders of training heads and of training photos."""
        if not self.settings.realism:
            return {}, {}
        count, seed = self.settings.count, self.settings.seed
        far = measure_realism(renderer, self.train, self.held_out, count=count, rounds=1, seed=seed, progress=False)
        return _distances(far.renders), _distances(far.floor)

    def control(self, renderer: Renderer) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """What InsightFace's networks see in renders of held-out heads, and in the photos of these."""
        if self.instruments is None:
            return {}, {}
        from garface.evaluation.control.measure import measure_control

        seen = measure_control(
            renderer, self.folder, control_settings(self.settings), instruments=self.instruments, progress=False
        )
        marks, similarity = seen.insightface106, seen.similarity
        renders, photos = ({"found": one.found, "landmarks": _mean(one.error)} for one in (marks.renders, marks.photos))
        renders |= {"moved": _mean(seen.shift.other_latent), "person": _mean(similarity.swapped)}
        return renders, photos | {"person": _mean(similarity.same_photo)}


@contextmanager
def open_bench(folder: Path, settings: BenchSettings, estimator: NormalEstimator | None) -> Iterator[Bench]:
    """The bench of a training set.

    Raises:
        SettingError: a setting outside its range.
        InputError: a split of the training set has no faces.
        MissingExtraError: ONNX Runtime is not installed, but `control` is on.
        AssetError: a network of another party cannot be had.
    """
    settings.check()
    train, held_out = TrainingSet(folder, split="train"), TrainingSet(folder, split="held-out")
    if not settings.control:
        yield Bench(folder, train, held_out, settings, estimator)
        return
    from garface.evaluation.control.measure import open_instruments

    with open_instruments(folder, control_settings(settings), progress=False) as instruments:
        yield Bench(folder, train, held_out, settings, estimator, instruments)


def control_settings(settings: BenchSettings) -> ControlSettings:
    """The same count and seed, and no turned heads."""
    from garface.evaluation.control.measure import ControlSettings

    return ControlSettings(count=settings.count, yaws=(), seed=settings.seed)


@torch.no_grad()
def reconstruction_quality(renderer: Renderer, faces: TrainingSet, rows: Sequence[int]) -> tuple[float, float]:
    """PSNR, dB, and mean absolute difference of photos and their reconstructions, means over the photos `rows`."""
    errors: list[Tensor] = []
    for part in torch.tensor(rows).split(_BATCH):
        photo = faces.images(part, resolution=renderer.resolution).to(renderer.device)
        condition = faces.conditions(part, resolution=renderer.resolution).to(renderer.device)
        w = renderer.generator.styles(renderer.inverter(photo).mean)
        render = renderer.render(w, condition).clamp(-1, 1)
        errors.append(torch.stack([psnr(render, photo), (render - photo).abs().flatten(1).mean(1)]))
    likeness, difference = torch.cat(errors, dim=1).mean(1).tolist()
    return likeness, difference


def generator_loss(lines: Sequence[Mapping[str, float]]) -> float | None:
    """Mean adversarial loss over the last tenth of a training's log lines; None without an adversarial phase."""
    known = [line["adversarial"] for line in lines if "adversarial" in line]
    last = known[-max(1, len(lines) // 10) :]
    return sum(last) / len(last) if last else None


_COLUMNS = {
    "generator_loss": "generator loss",
    "frechet": "FID",
    "kernel": "KID x 1000",
    "psnr": "PSNR, dB",
    "angle": "normals, degrees",
    "landmarks": "landmark error",
    "moved": "shift under another latent",
    "person": "person similarity",
    "found": "faces detected",
}


def ablation_table(metrics: Sequence[VariantMetrics]) -> str:
    """A Markdown table, a row for each variant: means over its seeds, with their deviation if there are several."""
    shown = [name for name in _COLUMNS if any(getattr(one.renders, name) is not None for one in metrics)]
    rows: list[list[object]] = []
    for variant in dict.fromkeys(one.variant for one in metrics):
        own = [one for one in metrics if one.variant == variant]
        cells = [_cell([getattr(one.renders, name) for one in own]) for name in shown]
        rows.append([variant, VARIANTS[variant].says, *cells, _cell([one.seconds for one in own])])
    if metrics:
        rows.append(["", "photos", *(_cell([getattr(metrics[0].photos, name)]) for name in shown), None])
    header = ["variant", "what differs", *(_COLUMNS[name] for name in shown), "seconds"]
    return _title(metrics) + "\n\n" + markdown_table(header, rows)


def _title(metrics: Sequence[VariantMetrics]) -> str:
    if not metrics:
        return "No training has been finished yet."
    seeds, shown = ({getattr(one, name) for one in metrics} for name in ("seed", "images"))
    counts = " or ".join(f"{count:,}" for count in sorted(shown))
    return f"Trained on {counts} images each; seeds {', '.join(map(str, sorted(seeds)))}."


def _cell(values: Sequence[float | None]) -> str | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    found = spread(known)
    return f"{found.mean:.4g}" + ("" if found.deviation is None else f" ± {found.deviation:.2g}")


def _distances(one: Distances) -> dict[str, float | None]:
    return {"frechet": one.frechet.mean, "kernel": 1000 * one.kernel.mean}


def _mean(summary: Summary | None) -> float | None:
    return None if summary is None else summary.mean
