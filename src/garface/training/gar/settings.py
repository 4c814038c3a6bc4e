"""Settings of the renderer's training."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from garface.borrowed import SMALLEST
from garface.errors import SettingError
from garface.losses import AugmentConfig
from garface.networks import DiscriminatorConfig, InverterConfig, StyleGeneratorConfig
from garface.training.gar.stages import FOREVER, check_stages, stage_at
from garface.training.latents import Latents
from garface.training.runtime import RunSettings, free

Conditions = Literal["photos", "recombined", "random"]
GanObjective = Literal["logistic", "relativistic"]


@dataclass(frozen=True, kw_only=True)
class GarWeights:
    """Weight of every term of the renderer's objective; 0 switches a term off.

    The defaults suit a short training from reconstructed photos: there the terms' gradients in the image are of about
    one size. The paper's code has no reconstruction, and smaller weights: see the preset `paper-256`.
    """

    adversarial: float = 0.4
    """Loss of the `objective`, per image: mean over the discriminator's logits (paper 3.3; 1 there)."""
    r1: float = 1.0
    """Squared gradient of the logit in the real image, halved (Mescheder et al. 2018; 10 in the paper's code)."""
    path_length: float = 2.0
    """Squared deviation of the path length in w and in the normals (StyleGAN2; 2 in the paper's code, on every
    4th step). On every 16th its gradient at this weight is six times that of all other terms, and shakes the renderer;
    renders came nearer to photos without it, so `cpu-128` has none."""
    consistency: float = 2.0
    """Smooth L1 between the condition and the normals a frozen estimator sees in the image, mean over the head (0.01
    in the paper's code, mean over the image)."""
    texture_swap: float = 0.1
    """Squared distance of identity features of two images with one latent and shape, but different pose and
    expression (0.001 in the paper's code, of the mean over 128 features instead of their sum)."""
    geometry_swap: float = 0.005
    """Smooth L1 of landmarks, in pixels, of two images with one mesh and different latents (1e-5 in the paper's code,
    of the mean over x and y instead of their sum)."""
    reconstruction: float = 20.0
    """Mean absolute difference, over several scales, between a photo and its reconstruction, in [-1, 1] units; ours."""
    perceptual: float = 0.5
    """Distance of frozen features between a photo and its reconstruction (built as LPIPS, Zhang et al. 2018); ours."""
    prior: float = 5e-4
    """KL divergence of the inverter's Gaussian from N(0, I), nats per image: keeps geometry, which the normals give
    for free, out of the latent, and makes random latents meaningful; ours."""
    latent: float = 0.0
    """Negative log-likelihood, nats per latent number, of the true latent of an image under the inverter (paper 3.4):
    of renders, and of photos whose latents are known. It moves the inverter only, which may also learn afterwards."""


@dataclass(frozen=True, kw_only=True)
class GarTrainingSettings(RunSettings):
    """Everything that decides how the renderer learns."""

    folder: Path = free(Path("runs/gar"))  # noqa: RUF009
    """Receives checkpoints, log.jsonl, sample sheets and, at the end, the weights."""
    start: str | None = None
    """Weight file of the renderer to go on from, with known latents; None starts afresh with `generator`."""
    start_discriminator: str | None = None
    """Weight file of the discriminator that grew up with it, which must come along: a new one asks for contrast before
    it knows faces, and drowns renders in waves."""
    generator: StyleGeneratorConfig = field(default_factory=StyleGeneratorConfig)
    """Shape of the renderer; that of `start`, if it is given."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Shape of the discriminator, and whether it sees the normal map or not (paper). With `start_discriminator`, it has
    at each size the channels of whichever has more."""
    inverter: InverterConfig = field(default_factory=InverterConfig)
    """Shape of the inverter that gives the latent of a photo."""
    weights: GarWeights = field(default_factory=GarWeights)
    """Weight of every term."""
    stages: tuple[tuple[int, int], ...] = ((128, 1_000_000_000),)
    """Progressive size: (pixels, until so many images), in growing order; the last stage has the final size."""
    warm_start: int = 0
    """First images on which only the reconstruction is trained, without a discriminator."""
    fade_in: int = 0
    """Images after the warm start, and at the beginning of every later stage, over which the adversarial term grows
    from zero to its weight, while the discriminator learns already."""
    calibrated: int = 3_000
    """Photos whose latents are made standard normal when the warm start ends (see `calibrate`); 0 leaves them."""
    reconstructed: float = 0.5
    """Share of every generated batch that reconstructs its photos; the rest renders other latents over other
    normals."""
    swapped: float = 0.5
    """Share of that rest which takes the latents of the reconstructed photos (there must be as many); the others are
    random draws of N(0, I)."""
    latents: Latents = "inverted"
    """Where the latents of photos come from: `inverted` by the inverter, which learns with the renderer, or `known` by
    the generator that made them (`data.known_latents`): a shorter way, for portraits of `garface data synthesize`."""
    latent_every: int = 1
    """Steps between two in which the inverter learns latents that are known (term `latent`)."""
    conditions: Conditions = "photos"
    """Normal maps under latents that reconstruct nothing: those of the photos' fits; `recombined` from identities,
    expressions and poses of several fits; or `random` draws of the model's prior (paper)."""
    turned: float = 0.0
    """How far the command line evens out the photos' yaws by repeating those of heads turned far, 0 to 1; see
    `data.conditions.more_turned`."""
    preload: bool = False
    """Render all normal maps beforehand and keep them, with the images, in the memory of the device: 180 KB a portrait
    of 128 px."""
    portraits: Path | None = None
    """Folder of further images, square and framed as the faces are, that the discriminator takes for real as well."""
    recorded: bool = free(False)
    """Launch parts of a step as a whole, as CUDA graphs (`gar.recorded`)."""
    drawers: int = 0
    """Processes that draw pairs of heads for the paper's terms ahead; 0 draws them when they are due."""
    objective: GanObjective = "logistic"
    """The adversarial game: StyleGAN2's and the paper's `logistic`, or R3GAN's `relativistic`."""
    learning_rate: float = 0.002
    """Of the renderer (Adam, betas 0 and 0.99)."""
    discriminator_learning_rate: float = 0.002
    """Of the discriminator (likewise)."""
    mapping_learning_rate: float = 0.02
    """Of the mapping network, whose stored weights are a hundred times the effective ones: 0.002 is StyleGAN's choice
    for millions of images, too slow for fewer."""
    inverter_learning_rate: float = 0.001
    """Of the inverter (Adam, betas 0.9 and 0.99)."""
    rise_over: int = 0
    """Images over which all rates rise at the beginning."""
    fall_from: int = FOREVER
    """Images after which they fall."""
    fall_over: int = 1
    """Images over which they fall, in proportion, to `least_rate` of what they were."""
    least_rate: float = 0.05
    """Share of the rates that is left."""
    noise_from: int = 0
    """Images before the renderer's noise, if it has any, may say something: until then its strengths stay zero. Who
    can hardly render yet makes a woven pattern of it; one that can, and has none, makes ripples for hair."""
    style_mixing: float = 0.5
    """Share of the images with random latents that change latent at a random layer (paper: 0.9)."""
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
    """Half-life of the averaged weights, in images."""

    def check(self) -> None:
        """Raise a SettingError on settings that contradict each other."""
        super().check()
        check_stages(self.stages, end=self.generator.resolution)
        for name, known in (("conditions", Conditions), ("objective", GanObjective), ("latents", Latents)):
            if getattr(self, name) not in get_args(known):
                raise SettingError(f"{name} must be one of {', '.join(get_args(known))}, not {getattr(self, name)!r}.")
        for name in ("latent_every", "r1_every", "path_length_every", "papers_every", "fall_over"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, not {getattr(self, name)}; a weight of 0 switches off.")
        if self.warm_start and self.calibrated and self.latents == "inverted" and self.generator.normalise_latent:
            raise SettingError("Latents that are normalised cannot be calibrated; set calibrated or warm_start to 0.")
        if (self.start is None) != (self.start_discriminator is None):
            raise SettingError(
                "A renderer goes on with the discriminator that it grew up with; give both, --start and "
                "--start-discriminator, or neither."
            )
        self._check_recorded()
        for name in ("reconstructed", "swapped", "style_mixing", "turned", "least_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingError(f"{name} must lie in [0, 1], but is {getattr(self, name)}.")

    def _check_recorded(self) -> None:
        """Raise a SettingError where settings need the processor in the middle of a part."""
        if self.portraits is not None and self.discriminator.conditional:
            raise SettingError("Portraits without fits have no normals; let a discriminator judge that sees none.")
        changes = self.augmentation
        if self.recorded and (self.latents != "known" or changes.translation or changes.cutout or changes.window):
            raise SettingError(
                "Steps can be recorded where latents are known and nothing is moved or cut out (augmentation); leave "
                "out --recorded, or change the preset."
            )

    def rate_share(self, images: int) -> float:
        """Share of all learning rates after `images`: it rises, stays, and falls."""
        rise = min(1.0, (images + self.batch) / self.rise_over) if self.rise_over else 1.0
        fallen = min(1.0, max(0, images - self.fall_from) / self.fall_over)
        return rise * (1 - (1 - self.least_rate) * fallen)

    def augmentation_at(self, resolution: int) -> AugmentConfig:
        """The augmentation of images of this side: the window shrinks with them, to what critics can see."""
        config, full = self.augmentation, self.generator.resolution
        share = max(SMALLEST, config.window * resolution // full)
        return replace(config, window=min(config.window, share, resolution))

    @property
    def papers_terms(self) -> bool:
        """Whether any of normal consistency, texture swap and geometry swap is on."""
        weights = self.weights
        return max(weights.consistency, weights.texture_swap, weights.geometry_swap) > 0

    def resolution(self, images: int) -> int:
        """Size of the images, in pixels, after `images`."""
        return stage_at(self.stages, images)
