"""The skin of a head as a UV texture: what the photo shows, then its mirror image, then a smooth guess.

Everything is computed per texel or per vertex on the surface in 3D, never across the UV plane, so the cuts between UV
islands leave no trace. Light is not removed: the texture is the skin as it was lit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, normalize

from garface.arrays import Pixels
from garface.checks import check_shape
from garface.errors import SettingError
from garface.geometry import Camera, Topology, vertex_normals
from garface.heads import HeadModel
from garface.io import to_tensor, to_uint8
from garface.rendering import barycentrics, interpolate, rasterise

PLAIN_COLOURS = {"inner_mouth": (104, 48, 46), "tongue": (168, 92, 88), "teeth": (214, 205, 190)}
"""sRGB colours of what a photo shows badly or not at all, by the name of the model's mask."""

EYES = ("left_eye", "right_eye")
"""Masks of the model whose texels are painted as eyeballs."""

SCLERA, IRIS, PUPIL = (224, 214, 207), (96, 74, 58), (14, 12, 12)
"""sRGB colours of an eye that the photo does not show."""

IRIS_RADIUS, PUPIL_RADIUS = 5.9, 2.0
"""Millimetres on the eyeball, from its front."""

_ENOUGH = 50
"""Texels from which a colour is taken."""


@dataclass(frozen=True)
class TextureSettings:
    """When a photo is believed. Lengths in mm."""

    grazing: tuple[float, float] = (0.15, 0.45)
    """Cosine between surface normal and view: not believed at or below the first, fully above the second."""
    tolerance: float = 1.0
    """A point this far behind the nearest surface still counts as that surface."""
    step: float = 8.0
    """A surface that much nearer within two pixels of the depth map hides a point beside it as well."""
    border: float = 2.0
    """Belief grows to full within this distance from the outline of the head."""
    rivalry: tuple[float, float] = (0.4, 0.6)
    """Quality relative to the mirror image's, which replaces the photo at or below the first, not above the second."""
    stranger: float = 12.0
    """Within this distance from the outline, colours that the face does not have are taken for background or hair."""
    depth_pixels: int = 1024
    """Longer side of the depth map, at most that of the texture."""
    stiffness: float = 10.0
    """How closely the smooth guess follows what is seen, in units of the pull between neighbouring vertices."""
    forgetting: tuple[float, float] = (0.02, 0.0003)
    """Pulls of the smooth guess toward the plain colour, and of the difference between the halves toward zero: about
    1 / sqrt(forgetting) edges away little of what was seen is left."""


@dataclass(frozen=True)
class UVTexture:
    """A texture and how much of it is a photo."""

    colour: Pixels
    """(S, S, 3) sRGB; the first row is at v = 1. Filled everywhere, also between the islands."""
    confidence: NDArray[np.float32]
    """(S, S) in [0, 1]: 1 where the photo shows the surface squarely, 0 where it was mirrored, painted or guessed."""


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
) -> UVTexture:
    """Take the texture of a head from a photo.

    A texel gets the photo's colour where it is visible and faces the camera. Otherwise it gets the colour of its
    mirror image on the other half of the head, shifted by the difference between the two halves, which is carried
    over the surface from where both are seen. What neither shows becomes a smooth continuation that fades to the
    median colour of skin or scalp. Mouth, teeth and tongue get plain colours, eyeballs are painted with the photo's
    colours of iris and white, wherever the model has masks of these names (`PLAIN_COLOURS`, `EYES`).

    Args:
        photo: (1, 3, H, W) in [-1, 1], at full resolution; it is averaged down to about two pixels a texel.
        vertices_camera: (1, V, 3) camera frame, mm.
        model: gives triangles, UV, mirror partners, masks and mean shape.
        camera: of the photo, batch of one.
        size: S, texels a side.
        settings: when the photo is believed; None for the defaults.
        atlas: of this model and size, where there are many photos; None draws it.

    Raises:
        SettingError: shapes that do not fit together, or a head that lies outside the picture.
    """
    settings = settings or TextureSettings()
    check_shape("photo", photo, (1, 3, camera.height, camera.width))
    check_shape("vertices_camera", vertices_camera, (1, len(model.mean), 3))
    vertices, atlas = vertices_camera[0].float(), atlas or UVAtlas.of(model, size)
    sight = _Sight.build(photo, vertices, model, camera, size, settings)
    normals = vertex_normals(vertices[None], Topology.build(model.triangles, len(vertices)))[0]
    seen = sight.look(atlas.spread(vertices), atlas.spread(normals))
    mirrored = sight.look(atlas.spread(vertices[model.mirror]), atlas.spread(normals[model.mirror]))
    seen, mirrored = (_without_strangers(model, atlas, view, settings.stranger) for view in (seen, mirrored))
    better = 1 - _ramp(seen.quality / mirrored.quality.clamp(min=1e-3), *settings.rivalry)
    belief = seen.belief * (1 - mirrored.belief * better)

    on_skin = ~atlas.touches(_any_mask(model, (*PLAIN_COLOURS, *EYES)))
    smooth = _Smoother(model.triangles, len(vertices), settings.stiffness)
    fade, fade_shift = settings.forgetting
    both = torch.minimum(seen.quality, mirrored.quality) * on_skin
    shift = smooth.carry(*atlas.gather(seen.colour - mirrored.colour, both), torch.zeros_like(vertices), fade_shift)
    colour, total = _over(seen.colour, belief, mirrored.colour + atlas.spread(shift), mirrored.belief)
    plain = _plain_colours(model, atlas, colour, total * on_skin)
    guess = smooth.carry(*atlas.gather(colour, total * on_skin), plain, fade)
    colour, _ = _over(colour, total, atlas.spread(guess), torch.ones_like(total))
    colour, belief = _paint_regions(model, atlas, colour, seen.colour, belief)
    return UVTexture(_to_picture(atlas.image(colour), atlas), atlas.image(belief[:, None])[..., 0].numpy())


# Texels and the surface


@dataclass(frozen=True, eq=False)
class UVAtlas:
    """The N texels that lie on the surface, in row-major order, and where on it they lie."""

    covered: Tensor
    """(S, S) bool."""
    triangles: Tensor
    """(F, 3) vertices of the mesh's triangles."""
    triangle: Tensor
    """(N,) each texel's triangle."""
    mixing: sparse.csr_matrix
    """(N, V) barycentric: vertices to texels."""
    nearest: tuple[NDArray[np.int32], NDArray[np.int32]]
    """Row and column (S, S) of the covered texel that is nearest to each."""

    @staticmethod
    def of(model: HeadModel, size: int) -> UVAtlas:
        """Draw the UV triangles with a camera whose picture is the texture: u to the right, v up, one unit wide."""
        distance = 10.0
        flat = torch.full_like(model.uv[:, :1], -distance)
        plane = torch.cat([(model.uv.float() - 0.5) * distance, flat], dim=1)[None]
        camera = Camera(torch.tensor([float(size)]), torch.full((1, 2), size / 2), size, size)
        a, b, c = (plane[0, model.uv_triangles[:, k], :2] for k in range(3))
        clockwise = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
        order = torch.where(clockwise[:, None], torch.tensor([0, 2, 1]), torch.tensor([0, 1, 2]))
        facing = model.uv_triangles.gather(1, order)
        drawn = rasterise(plane, facing, camera)
        covered = drawn[0] >= 0
        triangle = drawn[0][covered]
        weights = barycentrics(plane, facing, drawn, camera)[0][covered]
        corners = model.triangles.gather(1, order)[triangle]
        ends = np.arange(0, 3 * len(corners) + 1, 3)
        entries = (weights.flatten().numpy(), corners.flatten().numpy(), ends)
        mixing = sparse.csr_matrix(entries, shape=(len(corners), len(model.mean)))
        nearest = ndimage.distance_transform_edt(~covered.numpy(), return_distances=False, return_indices=True)
        return UVAtlas(covered, model.triangles, triangle, mixing, tuple(nearest))

    def spread(self, values: Tensor) -> Tensor:
        """(V, C) at vertices to (N, C) at texels."""
        return torch.from_numpy(self.mixing @ values.numpy())

    def touches(self, mask: Tensor) -> Tensor:
        """(N,) bool: whether any corner of a texel's triangle is in `mask` (V,)."""
        return mask[self.triangles].any(1)[self.triangle]

    def within(self, mask: Tensor) -> Tensor:
        """(N,) bool: whether all corners of a texel's triangle are in `mask` (V,)."""
        return mask[self.triangles].all(1)[self.triangle]

    def gather(self, values: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Average (N, C) texels with weights (N,) to (V, C) at vertices; also the mean weight (V,) around each."""
        weighted = torch.cat([belief[:, None] * values, belief[:, None], torch.ones_like(belief[:, None])], 1)
        summed = torch.from_numpy(self.mixing.T @ weighted.numpy())
        summed, total, share = summed[:, :-2], summed[:, -2], summed[:, -1]
        return summed / total.clamp(min=1e-9)[:, None], total / share.clamp(min=1e-9)

    def image(self, values: Tensor) -> Tensor:
        """(N, C) texels as an (S, S, C) picture, zero between the islands."""
        picture = torch.zeros(*self.covered.shape, values.shape[1])
        picture[self.covered] = values
        return picture


# What the photo shows


@dataclass(frozen=True)
class _View:
    """What the photo shows of N points of the surface."""

    colour: Tensor
    """(N, 3) in [-1, 1]."""
    belief: Tensor
    """(N,) in [0, 1]: whether it shows the point at all."""
    quality: Tensor
    """(N,) in [0, 1]: how squarely, and how far from the outline of the head."""
    rim: Tensor
    """(N,) distance to the outline, mm."""


@dataclass(frozen=True)
class _Sight:
    """The part of a photo with the head in it, and how far away its surface is."""

    picture: Tensor
    """(1, 3, h, w)."""
    camera: Camera
    depth_camera: Camera
    nearest: Tensor
    """(1, 1, h', w') camera-frame z of the visible surface, minus infinity where there is none."""
    around: Tensor
    """(1, 1, h', w') the nearest of it within two pixels."""
    outline: Tensor
    """(1, 1, h', w') distance to the outline of the head, pixels of this map."""
    settings: TextureSettings

    @staticmethod
    def build(
        photo: Tensor, vertices: Tensor, model: HeadModel, camera: Camera, size: int, settings: TextureSettings
    ) -> _Sight:
        """Cut out the head, averaged down to about two pixels a texel of `size` a side, and draw its depth."""
        picture, camera = _cut_out(photo, camera, camera.project(vertices[None])[0], 2 * size)
        scale = min(settings.depth_pixels, size) / max(camera.height, camera.width)
        height, width = math.ceil(camera.height * scale), math.ceil(camera.width * scale)
        small = Camera(camera.focal * scale, camera.principal * scale, height, width)
        triangle = rasterise(vertices[None], model.triangles, small)
        weights = barycentrics(vertices[None], model.triangles, triangle, small)
        depth = interpolate(vertices[None, :, 2:], model.triangles, triangle, weights)
        depth = depth.masked_fill(triangle[:, None] < 0, -torch.inf)
        outline = torch.from_numpy(ndimage.distance_transform_edt(np.pad(triangle[0].numpy() >= 0, 1, mode="edge")))
        around = max_pool2d(depth, 5, stride=1, padding=2)
        return _Sight(picture, camera, small, depth, around, outline[None, None, 1:-1, 1:-1].float(), settings)

    def look(self, points: Tensor, normals: Tensor) -> _View:
        """See (N, 3) points of the surface with (N, 3) normals."""
        facing = (normalize(normals, dim=1) * normalize(-points, dim=1)).sum(1)
        pixels = self.depth_camera.project(points[None])
        footprint = -points[:, 2] / self.depth_camera.focal
        rim = _sample(self.outline, pixels)[:, 0] * footprint
        shown = self._in_front(points, pixels, facing, footprint) & self._inside(points)
        belief = shown * _ramp(facing, *self.settings.grazing) * _ramp(rim, 0.0, self.settings.border)
        quality = belief * facing.clamp(0, 1) * _ramp(rim, 0.0, 4 * self.settings.border)
        return _View(_sample(self.picture, self.camera.project(points[None])), belief, quality, rim)

    def _in_front(self, points: Tensor, pixels: Tensor, facing: Tensor, footprint: Tensor) -> Tensor:
        """Depth test with a tolerance that grows with the slope, and a margin beside steps in depth."""
        slope = (1 - facing.square()).clamp(min=0).sqrt() / facing.clamp(min=0.1)
        behind = _sample(self.nearest, pixels, mode="nearest")[:, 0] - points[:, 2]
        step = _sample(self.around, pixels, mode="nearest")[:, 0] - points[:, 2]
        return (behind < self.settings.tolerance + footprint * slope) & (step < self.settings.step)

    def _inside(self, points: Tensor) -> Tensor:
        x, y = self.camera.project(points[None])[0].unbind(1)
        return (x >= 0.5) & (y >= 0.5) & (x <= self.camera.width - 0.5) & (y <= self.camera.height - 0.5)


def _cut_out(photo: Tensor, camera: Camera, projected: Tensor, limit: int) -> tuple[Tensor, Camera]:
    """Crop to the (N, 2) projected points and average blocks of pixels, exactly as the camera returned sees it."""
    span = float((projected.amax(0) - projected.amin(0)).max())
    block = max(1, math.floor(span / limit))
    margin = 4 * block
    left, top = (max(0, math.floor(float(projected[:, k].min())) - margin) for k in (0, 1))
    right = min(camera.width, math.ceil(float(projected[:, 0].max())) + margin)
    bottom = min(camera.height, math.ceil(float(projected[:, 1].max())) + margin)
    width, height = (right - left) // block, (bottom - top) // block
    if width < 1 or height < 1:
        raise SettingError("The head lies outside the picture; check that vertices and camera belong to this photo.")
    picture = (
        avg_pool2d(photo[:, :, top:bottom, left:right].float(), block)
        if block > 1
        else (photo[:, :, top:bottom, left:right].float())
    )
    principal = (camera.principal - torch.tensor([[left, top]])) / block
    return picture, Camera(camera.focal / block, principal, height, width)


def _sample(picture: Tensor, pixels: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Values (N, C) of a (1, C, H, W) picture at (1, N, 2) pixel coordinates, the border repeated outside."""
    size = torch.tensor([picture.shape[3], picture.shape[2]])
    grid = 2 * pixels / size - 1
    found = grid_sample(picture, grid[:, None], mode=mode, padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _over(front: Tensor, alpha: Tensor, back: Tensor, back_alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Porter and Duff's "over" (doi:10.1145/800031.808606) for (N, 3) colours with (N,) alphas, not premultiplied."""
    rest = (1 - alpha) * back_alpha
    total = alpha + rest
    colour = (front * alpha[:, None] + back * rest[:, None]) / total.clamp(min=1e-9)[:, None]
    return colour, total


# What it does not show


class _Smoother:
    """Carries values over the mesh from where they are known: a screened Laplace equation on its edges.

    Minimises `sum_edges |x_i - x_j|^2 + stiffness sum_i w_i |x_i - known_i|^2 + forgetting sum_i |x_i - plain_i|^2`.
    """

    def __init__(self, triangles: Tensor, vertex_count: int, stiffness: float) -> None:
        corners = triangles.numpy()
        start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
        half = sparse.coo_matrix((np.ones(len(start)), (start, end)), (vertex_count, vertex_count)).tocsr()
        self.laplacian = sparse.csgraph.laplacian((half + half.T).sign())
        self.stiffness = stiffness

    def carry(self, known: Tensor, belief: Tensor, plain: Tensor, forget: float) -> Tensor:
        """(V, C) values everywhere, from `known` (V, C) believed by (V,) in [0, 1] and `plain` (V, C) far from it."""
        hold = self.stiffness * belief.double().numpy()
        system = self.laplacian + sparse.diags(hold + forget)
        wanted = hold[:, None] * known.double().numpy() + forget * plain.double().numpy()
        return torch.from_numpy(splu(system.tocsc()).solve(wanted)).float()


def _any_mask(model: HeadModel, names: tuple[str, ...]) -> Tensor:
    none = torch.zeros(len(model.mean), dtype=torch.bool)
    return torch.stack([none, *(model.masks[name] for name in names if name in model.masks)]).any(0)


def _plain_colours(model: HeadModel, atlas: UVAtlas, colour: Tensor, belief: Tensor) -> Tensor:
    """(V, 3) the median colour that is seen of the scalp for its vertices, of the face for the others."""
    scalp, face = _any_mask(model, ("scalp",)), _any_mask(model, ("face",))
    trusted = belief > 0.5
    skin = _median(colour[trusted & atlas.within(face if face.any() else ~scalp)], torch.zeros(3))
    hair = _median(colour[trusted & atlas.within(scalp)], skin)
    return torch.where(scalp[:, None], hair, skin)


def _median(values: Tensor, otherwise: Tensor) -> Tensor:
    return values.median(0).values if len(values) >= _ENOUGH else otherwise


def _without_strangers(model: HeadModel, atlas: UVAtlas, view: _View, reach: float) -> _View:
    """Doubt colours that the face does not have on ears and neck and near the outline: hair, clothes, background.

    The spread of the face's own colours, mostly shading, says what it may have. The scalp may have any.
    """
    sample = view.colour[atlas.within(_any_mask(model, ("face",))) & (view.belief > 0.5)]
    if len(sample) < _ENOUGH:
        return view
    for _ in range(3):  # leave out brows, lips and strands of hair
        centre, spread = sample.mean(0), torch.linalg.cholesky(sample.T.cov() + 1e-4 * torch.eye(3))
        sample = sample[_distance(sample, centre, spread) < 2.5]
    agrees = 1 - _ramp(_distance(view.colour, centre, spread), 2.5, 4.0)
    around, _ = atlas.gather(agrees[:, None], view.belief + 1e-6)
    agrees = torch.minimum(agrees, _ramp(atlas.spread(around)[:, 0], 0.3, 0.7))
    doubtful = atlas.touches(_any_mask(model, ("ears", "neck"))) | (view.rim < reach)
    doubtful &= ~atlas.touches(_any_mask(model, ("scalp",)))
    agrees = torch.where(doubtful, agrees, torch.ones_like(agrees))
    return replace(view, belief=view.belief * agrees, quality=view.quality * agrees)


def _distance(colour: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Mahalanobis distance (N,) of colours (N, 3); `spread` is the Cholesky factor of their covariance."""
    return torch.linalg.solve_triangular(spread, (colour - centre).T, upper=False).norm(dim=0)


# Mouth and eyes


def _paint_regions(
    model: HeadModel, atlas: UVAtlas, colour: Tensor, seen: Tensor, belief: Tensor
) -> tuple[Tensor, Tensor]:
    """Paint mouth, teeth, tongue and eyeballs over (N, 3) colours; the belief (N,) is zero there."""
    for name in (*PLAIN_COLOURS, *EYES):
        if name in model.masks:
            mask = model.masks[name]
            if name in EYES:
                paint = _eyeball(model, atlas, mask, seen, belief)
            else:
                paint = _cavity(model, atlas, mask, _colour(PLAIN_COLOURS[name]))
            share = _ramp(atlas.spread(mask.float()[:, None]), 0.0, 1.0)
            colour, belief = torch.lerp(colour, paint, share), belief * (1 - share[:, 0])
    return colour, belief


def _cavity(model: HeadModel, atlas: UVAtlas, mask: Tensor, plain: Tensor) -> Tensor:
    """(N, 3) a plain colour (3,) that darkens to a third over 45 mm into the head, as little light gets there."""
    depth = model.mean[mask, 2].max() - atlas.spread(model.mean[:, 2:])
    return (plain + 1) * (1 - 0.67 * _ramp(depth, 0.0, 45.0)) - 1


def _eyeball(model: HeadModel, atlas: UVAtlas, mask: Tensor, seen: Tensor, belief: Tensor) -> Tensor:
    """(N, 3) white, iris and pupil by the distance on the eyeball from its front, which looks along +z in the mean."""
    ball = model.mean[mask]
    centre = (ball.amin(0) + ball.amax(0)) / 2
    radius = float((ball - centre).norm(dim=1).mean())
    toward = normalize(atlas.spread(model.mean - centre), dim=1)
    arc = radius * torch.acos(toward[:, 2].clamp(-1, 1))
    usable = (belief > 0.5) & atlas.within(mask)
    white = _white_of_the_eye(seen[usable & (arc > IRIS_RADIUS + 1)])
    iris = _median(seen[usable & (arc > PUPIL_RADIUS + 0.5) & (arc < IRIS_RADIUS - 0.5)], _colour(IRIS))
    rim = 1 - 0.45 * _ramp(arc, IRIS_RADIUS - 1.8, IRIS_RADIUS)
    iris_lit = (iris + 1) * rim[:, None] - 1
    inside = torch.lerp(_colour(PUPIL), iris_lit, _ramp(arc, PUPIL_RADIUS - 0.4, PUPIL_RADIUS + 0.4)[:, None])
    return torch.lerp(inside, white, _ramp(arc, IRIS_RADIUS - 0.5, IRIS_RADIUS + 0.5)[:, None])


def _white_of_the_eye(seen: Tensor) -> Tensor:
    """The lightest of (N, 3) colours, because lids shade the rest, halfway to grey, because lids mix in."""
    if len(seen) < _ENOUGH:
        return _colour(SCLERA)
    grey = seen.mean(1)
    light = seen[grey >= grey.quantile(0.85)].mean(0)
    return (light + light.mean()) / 2


def _colour(value: tuple[int, int, int]) -> Tensor:
    """An sRGB colour as (3,) in [-1, 1]."""
    return to_tensor(np.array(value, np.uint8).reshape(1, 1, 3)).flatten()


def _to_picture(image: Tensor, atlas: UVAtlas) -> Pixels:
    """(S, S, 3) uint8; between the islands each texel repeats the nearest one, so that no filter sees a border."""
    return to_uint8(image.permute(2, 0, 1))[atlas.nearest]
