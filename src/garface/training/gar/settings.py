"""Settings of the renderer's training, and presets that can be named."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from garface.borrowed import SMALLEST
from garface.errors import SettingError
from garface.losses import AugmentConfig
from garface.networks import (
    DISCRIMINATOR_PRESETS,
    GENERATOR_PRESETS,
    INVERTER_PRESETS,
    DiscriminatorConfig,
    FeatureDiscriminatorConfig,
    InverterConfig,
    StyleGeneratorConfig,
)
from garface.training.faces import Latents
from garface.training.gar.stages import FOREVER, check_stages, stage_at
from garface.training.runtime import RunSettings, free

Conditions = Literal["photos", "recombined", "random"]
GanObjective = Literal["logistic", "hinge", "relativistic"]


@dataclass(frozen=True, kw_only=True)
class GarWeights:
    """Weight of every term of the renderer's objective; 0 switches a term off.

    The defaults suit a short training from redrawn photos: there the terms' gradients in the picture are of about one
    size. The paper's code has no redrawing, and smaller weights: see the preset `paper-256`.
    """

    adversarial: float = 0.4
    """Loss of the `objective`, per picture: mean over the discriminator's logits (paper 3.3; 1 there)."""
    r1: float = 1.0
    """Squared gradient of the logit in the real picture, halved (Mescheder et al. 2018; 10 in the paper's code, for
    a discriminator of pixels)."""
    path_length: float = 2.0
    """Squared deviation of the path length in w and in the normals (StyleGAN2; 2 in the paper's code, on every
    4th step). On every 16th its gradient at this weight is six times that of all other terms, and shakes the renderer;
    drawings came nearer to photos without it, so `cpu-128` has none."""
    consistency: float = 2.0
    """Smooth L1 between the condition and the normals a frozen estimator sees in the picture, mean over the head (0.01
    in the paper's code, mean over the picture)."""
    texture_swap: float = 0.1
    """Squared distance of identity features of two pictures with one latent and shape, but different pose and
    expression (0.001 in the paper's code, of the mean over 128 features instead of their sum)."""
    geometry_swap: float = 0.005
    """Smooth L1 of landmarks, in pixels, of two pictures with one mesh and different latents (1e-5 in the paper's code,
    of the mean over x and y instead of their sum)."""
    reconstruction: float = 20.0
    """Mean absolute difference, over several scales, between a photo and its redrawing, in [-1, 1] units; ours."""
    perceptual: float = 0.5
    """Distance of frozen features between a photo and its redrawing (built as LPIPS, Zhang et al. 2018); ours."""
    prior: float = 5e-4
    """KL divergence of the inverter's Gaussian from N(0, I), nats per picture: keeps geometry, which the normals give
    for free, out of the latent, and makes random latents meaningful; ours."""
    latent: float = 0.0
    """Negative log-likelihood, nats per latent number, of the true latent of a picture under the inverter (paper 3.4):
    of drawings, and of photos whose latents are known. It moves the inverter only, which may also learn afterwards."""


@dataclass(frozen=True, kw_only=True)
class GarTrainingSettings(RunSettings):
    """Everything that decides how the renderer learns."""

    folder: Path = free(Path("runs/gar"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl, sample sheets and, at the end, the weights."""
    start: str | None = None
    """Weight file of the renderer to go on from, with known latents; None starts afresh with `generator`."""
    start_discriminator: str | None = None
    """Weight file of the discriminator that grew up with it, which must come along: a new one asks for contrast before
    it knows faces, and drowns drawings in waves."""
    generator: StyleGeneratorConfig = field(default_factory=StyleGeneratorConfig)
    """Shape of the renderer; that of `start`, if it is given."""
    discriminator: DiscriminatorConfig | FeatureDiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Shape of the discriminator, of pixels or of frozen features, and whether it sees the normal map (ours) or not
    (paper). That of `start_discriminator`, if it is given: one of pixels has the channels of whichever has more."""
    inverter: InverterConfig = field(default_factory=InverterConfig)
    """Shape of the inverter that gives the latent of a photo."""
    weights: GarWeights = field(default_factory=GarWeights)
    """Weight of every term."""
    stages: tuple[tuple[int, int], ...] = ((128, 1_000_000_000),)
    """Progressive size: (pixels, until so many pictures), in growing order; the last stage has the final size."""
    warm_start: int = 0
    """First pictures on which only the reconstruction is trained, without a discriminator."""
    fade_in: int = 0
    """Pictures after the warm start, and at the beginning of every later stage, over which the adversarial term grows
    from zero to its weight, while the discriminator learns already."""
    calibrated: int = 3_000
    """Photos whose latents are made standard normal when the warm start ends (see `calibrate`); 0 leaves them."""
    redrawn: float = 0.5
    """Share of every generated batch that redraws its photos; the rest draws other latents over other normals."""
    swapped: float = 0.5
    """Share of that rest which takes the latents of the redrawn photos (there must be as many); the others are random
    draws of N(0, I)."""
    latents: Latents = "inverted"
    """Where the latents of photos come from: `inverted` by the inverter, which learns with the renderer, or `known` by
    the generator that drew them (`data.known_latents`): a shorter way, for portraits of `garface data synthesize`."""
    latent_every: int = 1
    """Steps between two in which the inverter learns latents that are known (term `latent`)."""
    conditions: Conditions = "photos"
    """Normal maps under latents that redraw nothing: those of the photos' fits; `recombined` from identities,
    expressions and poses of several fits; or `random` draws of the model's prior (paper)."""
    turned: float = 0.0
    """How far the command line evens out the photos' yaws by repeating those of heads turned far, 0 to 1; see
    `data.conditions.more_turned`."""
    preload: bool = False
    """Draw all normal maps beforehand and keep them, with the pictures, in the memory of the device: 180 KB a portrait
    of 128 px."""
    objective: GanObjective = "logistic"
    """The adversarial game: StyleGAN2's and the paper's `logistic`, `hinge`, or R3GAN's `relativistic`."""
    learning_rate: float = 0.002
    """Of the renderer (Adam, betas 0 and 0.99)."""
    discriminator_learning_rate: float = 0.002
    """Of the discriminator (likewise)."""
    mapping_learning_rate: float = 0.02
    """Of the mapping network, whose stored weights are a hundred times the effective ones: 0.002 is StyleGAN's choice
    for millions of pictures, too slow for fewer."""
    inverter_learning_rate: float = 0.001
    """Of the inverter (Adam, betas 0.9 and 0.99)."""
    noise_from: int = 0
    """Pictures before the renderer's noise, if it has any, may say something: until then its strengths stay zero. Who
    can hardly draw yet makes a woven pattern of it; who can, and has none, draws ripples for hair."""
    style_mixing: float = 0.5
    """Share of the pictures with random latents that change latent at a random layer (paper: 0.9)."""
    augmentation: AugmentConfig = field(default_factory=lambda: AugmentConfig(flip=0.0))
    """What pairs go through before discriminator and perceptual distance see them; mirroring is the data set's, unless
    latents are known. The window is that of the last stage."""
    r1_every: int = 16
    """Steps between two R1 terms (lazy regularisation)."""
    path_length_every: int = 4
    """Steps between two path length terms."""
    papers_every: int = 4
    """Steps between two batches of the paper's terms: normal consistency and both swaps."""
    precise_regularisers: bool = False
    """Compute R1 and path length, which differentiate twice, in float32 whatever the precision of the rest."""
    average_half_life: float = 10_000.0
    """Half-life of the averaged weights, in pictures."""
    licence: str = free("research only: set by the licence of the training pictures")
    """Licence of the weights, written into their card."""
    trained_on: str = free("unnamed pictures")
    """The training pictures, written into the card."""

    def check(self) -> None:
        """Raise a SettingError on settings that contradict each other."""
        super().check()
        check_stages(self.stages, end=self.generator.resolution)
        for name, known in (("conditions", Conditions), ("objective", GanObjective), ("latents", Latents)):
            if getattr(self, name) not in get_args(known):
                raise SettingError(f"{name} must be one of {', '.join(get_args(known))}, not {getattr(self, name)!r}.")
        for name in ("latent_every", "r1_every", "path_length_every", "papers_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, not {getattr(self, name)}; a weight of 0 switches off.")
        if self.warm_start and self.calibrated and self.latents == "inverted" and self.generator.normalise_latent:
            raise SettingError("Latents that are normalised cannot be calibrated; set calibrated or warm_start to 0.")
        if (self.start is None) != (self.start_discriminator is None):
            raise SettingError(
                "A renderer goes on with the discriminator that it grew up with; give both, --start and "
                "--start-discriminator, or neither."
            )
        for name in ("redrawn", "swapped", "style_mixing", "turned"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingError(f"{name} must lie in [0, 1], but is {getattr(self, name)}.")

    def augmentation_at(self, resolution: int) -> AugmentConfig:
        """The augmentation of pictures of this side: the window shrinks with them, to what critics can see."""
        config, full = self.augmentation, self.generator.resolution
        share = max(SMALLEST, config.window * resolution // full)
        return replace(config, window=min(config.window, share, resolution))

    @property
    def papers_terms(self) -> bool:
        """Whether any of normal consistency, texture swap and geometry swap is on."""
        weights = self.weights
        return max(weights.consistency, weights.texture_swap, weights.geometry_swap) > 0

    def resolution(self, pictures: int) -> int:
        """Size of the pictures, in pixels, after `pictures`."""
        return stage_at(self.stages, pictures)


_WIDE = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128}

_PHOTOS = GarTrainingSettings(
    generator=GENERATOR_PRESETS["photos-128"],
    discriminator=FeatureDiscriminatorConfig(),
    inverter=INVERTER_PRESETS["cpu-128"],
    objective="hinge",
    stages=((64, 40_000), (128, FOREVER)),
    warm_start=44_000,
    fade_in=8_000,
    turned=0.5,
    learning_rate=0.001,
    discriminator_learning_rate=0.003,
    augmentation=AugmentConfig(flip=0.0, colour=0.5, translation=0.0, cutout=0.0, window=64),
    path_length_every=16,
    papers_every=8,
    batch=8,
    average_half_life=5_000.0,
    max_pictures=300_000,
)
_OURS = replace(
    _PHOTOS,
    generator=GENERATOR_PRESETS["cpu-128"],
    discriminator=DISCRIMINATOR_PRESETS["cpu-128"],
    latents="known",
    latent_every=4,
    weights=GarWeights(
        adversarial=1.0, r1=0.1, path_length=0.0, reconstruction=4.0, perceptual=0.0, prior=0.0, latent=1.0
    ),
    augmentation=replace(_PHOTOS.augmentation, flip=0.5, window=0),
    objective="logistic",
    stages=((32, 36_000), (64, 80_000), (128, FOREVER)),
    warm_start=4_000,
    fade_in=1_600,
    learning_rate=0.006,
    redrawn=0.25,
    swapped=0.2,
    style_mixing=0.25,
    papers_every=8,
    noise_from=220_000,
    preload=True,
    batch=16,
    average_half_life=5_000.0,
    max_pictures=250_000,
)

PRESETS: dict[str, GarTrainingSettings] = {
    "cpu-128": _OURS,
    "photos-128": _PHOTOS,
    "gpu-128": replace(
        _OURS,
        generator=StyleGeneratorConfig(latent_dim=512, style_dim=512, mapping_layers=2, channels=_WIDE),
        inverter=InverterConfig(latent_dim=512, channels=_WIDE),
        discriminator=DiscriminatorConfig(channels=_WIDE, conditional=False),
        batch=64,
        learning_rate=0.003,
        stages=((32, 300_000), (64, 1_000_000), (128, FOREVER)),
        warm_start=20_000,
        fade_in=10_000,
        noise_from=2_000_000,
        average_half_life=20_000.0,
        max_pictures=10_000_000,
        checkpoint_every=100_000,
        sheet_every=50_000,
        log_every=6_400,
    ),
    "unconditional-128": replace(
        _OURS,
        generator=replace(_OURS.generator, injection="none"),
        weights=replace(_OURS.weights, consistency=0.0, texture_swap=0.0, geometry_swap=0.0),
    ),
    "paper-256": GarTrainingSettings(
        generator=GENERATOR_PRESETS["paper-256"],
        discriminator=DISCRIMINATOR_PRESETS["paper-256"],
        inverter=INVERTER_PRESETS["paper-256"],
        weights=GarWeights(
            adversarial=1.0,
            r1=10.0,
            path_length=2.0,
            reconstruction=0.0,
            perceptual=0.0,
            prior=0.0,
            latent=0.0,
            consistency=0.01,
            texture_swap=0.001 / 128,
            geometry_swap=0.5e-5,
        ),
        stages=((256, FOREVER),),
        redrawn=0.0,
        swapped=0.0,
        style_mixing=0.9,
        mapping_learning_rate=0.002,
        conditions="random",
        augmentation=AugmentConfig(flip=0.0, colour=0.0, translation=0.0, cutout=0.0),
        max_pictures=12_800_000,
    ),
    "ablate-64": replace(
        _OURS,
        generator=GENERATOR_PRESETS["ablate-64"],
        inverter=INVERTER_PRESETS["ablate-64"],
        discriminator=DISCRIMINATOR_PRESETS["ablate-64"],
        stages=((32, 12_000), (64, FOREVER)),
        warm_start=1_000,
        fade_in=600,
        noise_from=0,
        weights=replace(_OURS.weights, path_length=0.1),
        preload=False,
        average_half_life=1_000.0,
        max_pictures=20_000,
    ),
}
"""`cpu-128` trains on one or two cores from portraits whose latents are known, `photos-128` from any portraits;
`gpu-128` is `cpu-128` wider for a GPU, `unconditional-128` its twin without normals, `paper-256` the paper's recipe
(800,000 steps of 16); `ablate-64` compares variants and has all of the paper's terms."""


def going_on(settings: GarTrainingSettings, *, start: str | None, discriminator: str | None) -> GarTrainingSettings:
    """The same training from weights on: at its final size, and in the game from the first picture.

    Args:
        settings: of a training that starts afresh.
        start: weight file of the renderer, or name of shipped weights.
        discriminator: weight file of the discriminator; the settings' `check` refuses one without the other.

    Raises:
        SettingError: photos' latents come from an inverter, which would start afresh.
    """
    if settings.latents == "inverted" and settings.redrawn > 0:
        raise SettingError(
            "Only renderers whose photos have known latents go on from weight files; with this preset, "
            "--resume goes on from a checkpoint."
        )
    stages = ((settings.generator.resolution, FOREVER),)
    return replace(
        settings, start=start, start_discriminator=discriminator, stages=stages, warm_start=0, fade_in=0, noise_from=0
    )
