"""The renderer's training as a run: what is due, on which images, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from garface.datasets.faces import Faces
from garface.datasets.preloaded import PreloadedSet
from garface.datasets.reals import Reals
from garface.errors import SettingError, WeightsError
from garface.io import contact_sheet, to_uint8, write_png
from garface.rendering import normal_pyramid
from garface.training.checkpoints import newest_checkpoint, read_checkpoint
from garface.training.ema import observe_at_times
from garface.training.gar.critics import Critics
from garface.training.gar.networks import Networks, with_started_channels
from garface.training.gar.recorded import Capture, Recorded, capture_graph, prepare_rates, set_rates
from garface.training.gar.settings import GarTrainingSettings
from garface.training.gar.stages import stage_begin
from garface.training.gar.step import Batch, Generated, Pairs, Phase, Steps
from garface.training.latents import known_of
from garface.training.runtime import Kept, Metrics, Outcome, Runtime, configuration
from garface.weights import Kind, WeightsCard, load_weights, save_weights


class GarTraining:
    """Decides what is due, hands it the next images, and keeps the averages.

    Args:
        settings: everything that decides how the networks learn.
        faces: photos with fitted normal maps.
        critics: for the terms that need them.
        runtime: device, precision, registry.
        capture: how parts of a step are recorded, where they are.

    Raises:
        SettingError: if a term is on whose critic is missing, or steps cannot be recorded on this device.
    """

    def __init__(
        self,
        settings: GarTrainingSettings,
        faces: Faces,
        *,
        critics: Critics,
        runtime: Runtime,
        capture: Capture = capture_graph,
    ) -> None:
        critics.check(settings)
        if settings.recorded and capture is capture_graph:
            _check_device(runtime)
            torch.backends.cudnn.benchmark = True
        self.settings, self.faces, self.runtime, self.capture = settings, faces, runtime, capture
        side, device = settings.generator.resolution, runtime.device
        known = known_of(faces, settings.latents, settings.generator)
        if settings.preload:
            self.faces = PreloadedSet(faces, resolution=side, device=device)
        self.reals = None if settings.portraits is None else Reals(settings.portraits, resolution=side, device=device)
        self.critics = critics.to(runtime.place)
        if self.critics.features is not None and settings.precision == "bf16":
            self.critics.features.to(torch.bfloat16)  # once; autocast would do it in every step
        self.networks = Networks.build(settings, runtime, spread=None if known is None else known.spread)
        self._rates = [[float(group["lr"]) for group in one.param_groups] for one in self.networks.optimisers]
        self._known = None if known is None else runtime.register("known", Kept(known.latents.to(device)))
        if settings.start is not None:
            runtime.register("seen_before", Kept(torch.tensor(load_weights(settings.start).card.images)))
        mean_path = runtime.register("mean_path", Kept(torch.zeros(())))
        self.steps = Steps(settings, self.networks, self.critics, runtime, mean_path)
        self._parts: dict[tuple[object, int], Callable[[Any], Any]] = {}
        self._began = False

    @property
    def known(self) -> Tensor | None:
        """(n, Z) latents of the photos, where they are known; checkpoints hold them, so that machines cannot differ."""
        return None if self._known is None else self._known.value.to(self.runtime.device)

    def step(self) -> Metrics:
        """Take one step on the next photos and return its metrics."""
        settings, phase = self.settings, self._phase()
        self._begin(phase)
        batch = self._next_batch(phase)
        terms, generated = self._part(phase, partial(self.steps.game, phase))(batch)
        metrics = Metrics(terms)
        if settings.weights.latent > 0 and self._due(settings.latent_every):
            metrics |= self.steps.teach_inverter(generated, batch.photo)
        if not phase.warm:
            metrics |= self._regularise(batch.condition)
        self._update_averages(batch.photo, generated)
        return metrics

    def _begin(self, phase: Phase) -> None:
        """Everything that a step finds set."""
        if not self._began:
            self._began = True
            for optimiser in self.networks.optimisers:
                prepare_rates(optimiser, recorded=self.settings.recorded, device=self.runtime.device)
        if self._warm_start_ends():
            self.calibrate()
        self.networks.generator.free_noise(phase.noise)
        share = self.settings.rate_share(self.runtime.images)
        for optimiser, rates in zip(self.networks.optimisers, self._rates):
            set_rates(optimiser, rates, share)

    def _part(self, name: object, part: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A part of a step, recorded where that is asked for; records of another size of the images are let go."""
        if not self.settings.recorded:
            return part
        size = self._resolution
        self._parts = {key: kept for key, kept in self._parts.items() if key[1] == size}
        return self._parts.setdefault((name, size), Recorded(part, self.capture))

    @property
    def _resolution(self) -> int:
        return self.settings.resolution(self.runtime.images)

    def _phase(self) -> Phase:
        settings, images = self.settings, self.runtime.images
        warm = images < settings.warm_start
        due = not warm and settings.weights.r1 > 0 and self._due(settings.r1_every)
        return Phase(warm, noise=images >= settings.noise_from, regularised=due)

    def _due(self, every: int) -> bool:
        return self.runtime.step % every == 0

    @property
    def _fade(self) -> float:
        """How much of the adversarial term counts by now, [0, 1]: a discriminator must learn first, at every size."""
        settings, images = self.settings, self.runtime.images
        past = images - max(settings.warm_start, stage_begin(settings.stages, images))
        return min(1.0, past / settings.fade_in) if settings.fade_in else 1.0

    def _warm_start_ends(self) -> bool:
        settings = self.settings
        past = self.runtime.images - settings.warm_start
        wanted = settings.calibrated > 0 and self.known is None  # known ones are standard normal from the start
        return settings.warm_start > 0 and wanted and 0 <= past < settings.batch

    @torch.no_grad()
    def calibrate(self) -> None:
        """Make the latents of photos standard normal; see `Networks.calibrate`."""
        judge = self.networks.average_inverter.network
        count = min(self.settings.calibrated, len(self.faces))
        spread = torch.arange(count) * len(self.faces) // count  # neighbours are often of one person
        found = [judge(self.photos(self.faces, rows)[0]) for rows in spread.split(self.settings.batch)]
        means, log_variances = (torch.cat(parts) for parts in zip(*found))
        self.networks.calibrate(means, log_variances)

    def photos(self, faces: Faces, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, r, r) and conditions (B, 4, r, r) at the size of the present stage, on the device."""
        image = faces.images(indices, resolution=self._resolution).to(self.runtime.device)
        return image, faces.conditions(indices, resolution=self._resolution).to(self.runtime.device)

    def _next_batch(self, phase: Phase) -> Batch:
        # of a mirror image no latent is known: the augmentation mirrors instead
        indices = self.runtime.next_images(len(self.faces) * (2 if self.known is None else 1))
        photo, condition = self.photos(self.faces, indices)
        count = self.steps.reconstructed(phase, len(photo))
        generated = torch.cat([condition[:count], self._other_conditions(condition[count:])])
        latent = None if self.known is None else self.known[indices]
        fade = torch.full((), self._fade, device=photo.device)
        return Batch(photo, condition, generated, latent, self._next_reals(), fade)

    def _next_reals(self) -> Tensor | None:
        """What the discriminator takes for real, if that is more than the photos: these and others, equally often."""
        if self.reals is None:
            return None
        own, size = len(self.faces), self._resolution
        rows = self.runtime.next_images(own + len(self.reals))
        fitted = self.faces.images(rows[rows < own], resolution=size).to(self.runtime.device)
        return torch.cat([fitted, self.reals.images(rows[rows >= own] - own, resolution=size)])

    def _other_conditions(self, condition: Tensor) -> Tensor:
        if self.settings.conditions == "photos" or not len(condition):
            return condition
        assert self.critics.draw_conditions is not None
        return self.critics.draw_conditions(len(condition), condition.shape[-1]).to(condition.device)

    def _regularise(self, condition: Tensor) -> Metrics:
        settings, metrics = self.settings, Metrics()
        if settings.weights.path_length > 0 and self._due(settings.path_length_every):
            half = condition[: max(1, len(condition) // 2)]
            metrics |= self.steps.path_length(self._other_conditions(half))
        if settings.papers_terms and self._due(settings.papers_every):
            metrics |= self._part("papers", self.steps.papers)(self._next_pairs(condition))
        return metrics

    def _next_pairs(self, condition: Tensor) -> Pairs:
        """A quarter of a batch; one head of each photo's own where no pairs are drawn."""
        count = max(1, len(condition) // 4)
        latent, other = torch.randn(2, count, self.settings.generator.latent_dim, device=condition.device)
        first = second = condition[:count]
        if self.critics.draw_pair is not None:
            first, second = (one.to(condition.device) for one in self.critics.draw_pair(count, condition.shape[-1]))
        return Pairs(first, second, latent, other)

    def _update_averages(self, photo: Tensor, generated: Generated) -> None:
        networks, batch = self.networks, self.settings.batch
        self.runtime.share_buffers(networks.inverter)
        networks.update_averages(batch=batch, images=self.runtime.images + batch)
        if generated.guess is not None or self.settings.weights.latent > 0:
            observe_at_times(networks.average_inverter, self.runtime, (torch.cat([photo, generated.image]),))


def _check_device(runtime: Runtime) -> None:
    if runtime.device.type != "cuda" or runtime.processes > 1:
        raise SettingError("Only steps of one process on a CUDA device can be recorded; leave out --recorded.")


def train_gar(
    settings: GarTrainingSettings, faces: Faces, *, held_out: Faces | None = None, critics: Critics | None = None
) -> Outcome:
    """Train renderer and inverter, resuming if the folder holds a checkpoint, and write their weights at the end.

    Args:
        settings: everything that decides how they learn.
        faces: photos with fitted normal maps.
        held_out: faces that are never learned from, for the sample sheets; None takes training faces.
        critics: for the terms that need them.

    Returns:
        How the run ended. `gar.safetensors` and `inverter.safetensors` (averaged weights) lie in the folder, and
        `discriminator.safetensors`.

    Raises:
        SettingError: on settings that contradict each other, or a term whose critic is missing.
        WeightsError: if the folder holds a checkpoint of another configuration.
    """
    settings = with_started_channels(settings)
    runtime = Runtime(settings, configuration=configuration(settings))
    training = GarTraining(settings, faces, critics=critics or Critics(), runtime=runtime)
    shown = faces if held_out is None else held_out
    outcome = runtime.run(training.step, sheet=lambda path: write_sheet(training, shown, path))
    if runtime.is_main:
        export_gar(
            settings.folder,
            settings.folder,
            licence=settings.licence,
            trained_on=settings.trained_on,
            head=settings.head,
        )
    return outcome


def export_gar(run: Path, out: Path, *, licence: str, trained_on: str, head: str | None = None) -> None:
    """Write averaged renderer and inverter, and the discriminator, of a run's newest checkpoint in float16.

    The run may still be going on; nothing of it is touched.

    Args:
        run: folder of the run.
        out: folder that receives `gar.safetensors`, `inverter.safetensors` and `discriminator.safetensors`.
        licence: of the weights.
        trained_on: the training images.
        head: stamp of the head model that they show.

    Raises:
        WeightsError: if the run has no readable checkpoint.
        OutputError: if `out` cannot be written.
    """
    checkpoint = newest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise WeightsError(f"{run} holds no checkpoint; let the training reach its first one.")
    content = read_checkpoint(checkpoint)
    parts: tuple[tuple[Kind, str, str], ...] = (
        ("gar", "generator", "average_generator"),
        ("inverter", "inverter", "average_inverter"),
        ("discriminator", "discriminator", "discriminator"),
    )
    before = int(content["things"].get("seen_before", {"value": 0})["value"])
    for kind, part, stored in parts:
        images = content["images"] + (0 if kind == "inverter" else before)
        own = head if kind == "gar" else None
        card = WeightsCard(kind, content["configuration"][part], licence, trained_on, images=images, head=own)
        save_weights(out / f"{kind}.safetensors", content["things"][stored], card)


@torch.no_grad()
def write_sheet(training: GarTraining, faces: Faces, path: Path, *, columns: int = 8) -> None:
    """Make a sheet with the averaged networks, one face per column.

    Rows: photo, its normals, its reconstruction, the next photo's latent over its normals, two random latents.
    """
    networks = training.networks
    generator, inverter = networks.average_generator.network, networks.average_inverter.network
    photo, condition = training.photos(faces, torch.arange(columns) % len(faces))
    pyramid, size = normal_pyramid(condition), photo.shape[-1]
    mean = inverter(photo).mean
    source = torch.Generator().manual_seed(0)
    random = torch.randn(2, columns, mean.shape[1], generator=source).to(mean)
    generated = [
        generator(generator.styles(z), pyramid, resolution=size) for z in (mean, mean.roll(1, 0), random[0], random[1])
    ]
    rows = [photo, condition[:, :3], *generated]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, contact_sheet([to_uint8(one) for row in rows for one in row], columns, gap=2))
