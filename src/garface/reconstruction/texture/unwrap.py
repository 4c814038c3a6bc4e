"""The skin of a head as a UV texture: what the photo shows, then its mirror image, then a smooth guess.

Everything is computed per texel or per vertex on the surface in 3D, never across the UV plane, so the cuts between UV
islands leave no trace. Light is not removed: the texture is the skin as it was lit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from garface.arrays import Pixels
from garface.checks import check_shape
from garface.geometry import Camera, Topology, vertex_normals
from garface.heads import HeadModel, any_region, landmark_points, landmark_pull
from garface.io import to_uint8
from garface.reconstruction.smoothing import Smoother
from garface.reconstruction.texture.atlas import UVAtlas
from garface.reconstruction.texture.eyes import SeenIrises
from garface.reconstruction.texture.hair import grow_hair
from garface.reconstruction.texture.paint import (
    ENOUGH,
    EYES,
    PLAIN_COLOURS,
    paint_regions,
    plain_colours,
)
from garface.reconstruction.texture.parts import PhotoParts, Zones, hair_share, trust
from garface.reconstruction.texture.view import Sight, TextureSettings, View, ramp


@dataclass(frozen=True)
class UVTexture:
    """A texture and how much of it is a photo."""

    colour: Pixels
    """(S, S, 3) sRGB; the first row is at v = 1. Filled everywhere, also between the islands."""
    confidence: NDArray[np.float32]
    """(S, S) in [0, 1]: 1 where the photo shows the surface squarely, 0 where it was mirrored, painted or guessed."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What networks found in the photo of a head."""

    parts: PhotoParts
    """What its pixels show."""
    irises: SeenIrises
    """Of both eyes."""
    points: Tensor
    """(1, 478, 2) MediaPipe's landmarks, px of the photo: colours are taken from where they are."""
    hair: bool = True
    """Whether the scalp gets the hair that the photo shows; skin otherwise."""


@torch.no_grad()
def unwrap(
    photo: Tensor,
    vertices_camera: Tensor,
    model: HeadModel,
    camera: Camera,
    *,
    size: int = 1024,
    settings: TextureSettings | None = None,
    atlas: UVAtlas | None = None,
    observed: Observed | None = None,
) -> UVTexture:
    """Take the texture of a head from a photo.

    A texel gets the photo's colour where it is visible and faces the camera, and where the photo shows there what the
    head has there: skin on skin, lips on lips, hair on the scalp. Otherwise it gets the colour of its mirror image on
    the other half of the head, shifted by the difference between the two halves, which is carried over the surface
    from where both are seen. What neither shows becomes a smooth continuation that fades to the median colour of the
    face, or strands of hair. Mouth, teeth, tongue and eyeballs are painted, wherever the model has regions of these
    names (`PLAIN_COLOURS`, `EYES`).

    Args:
        photo: (1, 3, H, W) in [-1, 1], at full resolution; it is averaged down to about two pixels a texel.
        vertices_camera: (1, V, 3) camera frame, mm.
        model: gives triangles, UV, mirror partners, regions and mean shape.
        camera: of the photo, batch of one.
        size: S, texels a side.
        settings: when the photo is believed; None for the defaults.
        atlas: of this model and size, where there are many photos; None makes it.
        observed: what the photo shows; None believes that all of it is skin, or hair over the scalp.

    Raises:
        SettingError: shapes that do not fit together, or a head that lies outside the image.
    """
    settings = settings or TextureSettings()
    check_shape("photo", photo, (1, 3, camera.height, camera.width))
    check_shape("vertices_camera", vertices_camera, (1, len(model.mean), 3))
    vertices, atlas = vertices_camera[0].float(), atlas or UVAtlas.of(model, size)
    smooth = Smoother(model.triangles, len(vertices), settings.stiffness)
    sight = Sight.build(photo, vertices, model, camera, size, settings)
    watch = _Watch(model, atlas, sight, camera, vertices, Zones.of(model), observed)
    seen, mirrored = watch.look(torch.arange(len(vertices))), watch.look(model.mirror)
    colour, belief = _skin(model, atlas, smooth, settings, seen.skin, mirrored.skin)
    if observed is not None and observed.hair:
        hair = grow_hair(model, atlas, watch.zones, seen.whole, seen.hair, smooth)
        colour = torch.lerp(colour, hair.colour, hair.share[:, None])
        belief = torch.lerp(belief, seen.whole.belief * seen.hair, hair.share)
    irises = SeenIrises.unseen() if observed is None else observed.irises
    colour, belief = paint_regions(model, atlas, colour, irises, belief)
    return UVTexture(_to_image(atlas.image(colour), atlas), atlas.image(belief[:, None])[..., 0].numpy())


@dataclass(frozen=True, eq=False)
class _Look:
    """What a photo shows of the texels of a head."""

    skin: View
    """Believed where it shows the skin that belongs there."""
    whole: View
    """Believed where it shows that or hair of the head."""
    hair: Tensor
    """(N,) share of hair."""


@dataclass(frozen=True, eq=False)
class _Watch:
    """A head before a camera."""

    model: HeadModel
    atlas: UVAtlas
    sight: Sight
    camera: Camera
    vertices: Tensor
    zones: Zones
    observed: Observed | None

    def look(self, rows: Tensor) -> _Look:
        """See every texel as if its vertices were those in `rows` (V,): their own, or their mirror partners."""
        points = self.atlas.spread(self.vertices[rows])
        normals = vertex_normals(self.vertices[None], Topology.build(self.model.triangles, len(self.vertices)))[0]
        shift = self.atlas.spread(self._shift()[rows])
        view = self.sight.look(points, self.atlas.spread(normals[rows]), shift)
        view = _without_strangers(self.model, self.atlas, view, self.sight.settings.stranger)
        if self.observed is None:
            return _Look(view, view, torch.zeros_like(view.belief))
        pixels = self.camera.project(points[None])[0] + shift
        shares, around = self.observed.parts.at(pixels), self.observed.parts.around(pixels)
        skin, whole = (view.doubted(trust(self.zones, self.atlas, around, hair=hair)) for hair in (False, True))
        return _Look(skin, whole, hair_share(shares))

    def _shift(self) -> Tensor:
        """(V, 2) px of the photo from where the vertices are to where the landmarks say that they are."""
        if self.observed is None:
            return torch.zeros(len(self.vertices), 2)
        marks = self.camera.project(landmark_points(self.model, self.vertices[None]))
        return landmark_pull(self.model) @ (self.observed.points - marks)[0]


def _skin(
    model: HeadModel, atlas: UVAtlas, smooth: Smoother, settings: TextureSettings, seen: View, mirrored: View
) -> tuple[Tensor, Tensor]:
    """Colours (N, 3) of skin everywhere, and how far (N,) they are the photo's own."""
    better = 1 - ramp(seen.quality / mirrored.quality.clamp(min=1e-3), *settings.rivalry)
    belief = seen.belief * (1 - mirrored.belief * better)
    on_skin = ~atlas.touches(any_region(model, *PLAIN_COLOURS, *EYES))
    fade, fade_shift = settings.forgetting
    both = torch.minimum(seen.quality, mirrored.quality) * on_skin
    still = torch.zeros(len(model.mean), 3)
    shift = smooth.carry(*atlas.gather(seen.colour - mirrored.colour, both), still, fade_shift)
    colour, total = _over(seen.colour, belief, mirrored.colour + atlas.spread(shift), mirrored.belief)
    plain = plain_colours(model, atlas, colour, total * on_skin)
    guess = smooth.carry(*atlas.gather(colour, total * on_skin), plain, fade)
    colour, _ = _over(colour, total, atlas.spread(guess), torch.ones_like(total))
    return colour, belief


def _over(front: Tensor, alpha: Tensor, back: Tensor, back_alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Porter and Duff's "over" (doi:10.1145/800031.808606) for (N, 3) colours with (N,) alphas, not premultiplied."""
    rest = (1 - alpha) * back_alpha
    total = alpha + rest
    colour = (front * alpha[:, None] + back * rest[:, None]) / total.clamp(min=1e-9)[:, None]
    return colour, total


def _without_strangers(model: HeadModel, atlas: UVAtlas, view: View, reach: float) -> View:
    """Doubt colours that the face does not have on ears and neck and near the outline: hair, clothes, background.

    The spread of the face's own colours, mostly shading, says what it may have. The scalp may have any.
    """
    sample = view.colour[atlas.within(any_region(model, "face")) & (view.belief > 0.5)]
    if len(sample) < ENOUGH:
        return view
    for _ in range(3):  # leave out brows, lips and strands of hair
        centre, spread = sample.mean(0), torch.linalg.cholesky(sample.T.cov() + 1e-4 * torch.eye(3))
        sample = sample[_distance(sample, centre, spread) < 2.5]
    agrees = 1 - ramp(_distance(view.colour, centre, spread), 2.5, 4.0)
    around, _ = atlas.gather(agrees[:, None], view.belief + 1e-6)
    agrees = torch.minimum(agrees, ramp(atlas.spread(around)[:, 0], 0.3, 0.7))
    doubtful = atlas.touches(any_region(model, "ears", "neck")) | (view.rim < reach)
    doubtful &= ~atlas.touches(any_region(model, "scalp"))
    agrees = torch.where(doubtful, agrees, torch.ones_like(agrees))
    return view.doubted(agrees)


def _distance(colour: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Mahalanobis distance (N,) of colours (N, 3); `spread` is the Cholesky factor of their covariance."""
    return torch.linalg.solve_triangular(spread, (colour - centre).T, upper=False).norm(dim=0)


def _to_image(image: Tensor, atlas: UVAtlas) -> Pixels:
    """(S, S, 3) uint8; between the islands each texel repeats the nearest one, so that no filter sees a border."""
    return to_uint8(image.permute(2, 0, 1))[atlas.nearest]
