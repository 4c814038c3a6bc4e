"""Faces rendered by the classic renderer, about which everything is known: training data of the estimators without
labels.

The paper, section 3.3 (after SfSNet, Sengupta et al. 2018). Shape, expression and pose come from three fitted photos,
some expressions from further than photos show; skin colours from the photo of another face with its light divided out,
the light from `sample_light`. Behind the head is the photo whose pose it took, so that there is hair around it, or
any other one. `degradations` then degrades the image. Shapes can also come from the model's prior, cameras from nearer
and farther than the photos', skins can shine, and heads can throw shadows on themselves.

The normals stay those of the head where something hides it, and count in training: the estimator judges renders of
given heads, in which hair and glasses hide the same, and what a head is like there follows from the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate, normalize

from garface.datasets.conditions import FittedConditions, Heads, RandomHeads, random_expressions, yaw_degrees
from garface.datasets.training_set import TrainingSet, mirror_where
from garface.errors import SettingError
from garface.geometry import vertex_normals
from garface.heads import HeadModel, any_region, landmark_pull, region_triangles
from garface.heads.tables import LEFT_IRIS, RIGHT_IRIS
from garface.rendering import (
    barycentrics,
    highlight,
    lost_transfer,
    normal_map,
    rasterise,
    sample_light,
    shade,
    sphere_directions,
)
from garface.rendering import interpolate as interpolate_attributes
from garface.synthetic.degradations import Degradations, degrade
from garface.synthetic.photo_skins import unwrapped_skin
from garface.synthetic.procedural_skins import ProceduralSkins

NormalsToImages = Callable[[Tensor, Generator], Tensor]
"""(normal maps (B, 4, R, R), source of randomness) -> images (B, 3, R, R) in [-1, 1] of whole scenes."""
NEAREST = 250.0
"""Millimetres: nobody is photographed from less."""
_RARE = ("eyeBlink", "jawOpen", "cheekPuff")
"""Expressions that photos hardly show, and that are therefore made often."""
_DIRECTIONS = 64
"""How many directions of light are tried for heads that throw shadows."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What is rendered."""

    flatten: float = 0.6
    """0 takes poses as often as photos show them, 1 makes all yaws about equally common."""
    expressive: float = 0.4
    """Share of heads with an expression drawn at random instead of one from a photo."""
    rare: float = 0.12
    """Share of heads that close their eyes; of those that open the jaw; of those that puff their cheeks."""
    surrounded: float = 0.6
    """Share of heads before the photo whose pose they took, which shows through where they would have hair."""
    identity: float | None = None
    """Standard deviation of identities drawn from the model's prior; None takes those of photos."""
    distance: float = 0.0
    """Cameras lie up to e^this times nearer or farther than the photos', but no nearer than `NEAREST`."""
    shiny: float = 0.0
    """Share of heads with a highlight."""
    shadowed: float = 0.0
    """Share of heads that throw shadows on themselves. Each loses from half to all of the direct light that its own
    surface blocks, since some of it comes back by way of other skin."""
    procedural: float = 0.0
    """Share of heads with skins by rules instead of a photo's (`ProceduralSkins`), before a blurred photo."""
    mirrored: float = 0.5
    """Share of renders that are mirrored."""
    degradations: Degradations = field(default_factory=Degradations)
    """How images are degraded."""

    def check(self) -> None:
        """Raise a SettingError if a value is out of its range."""
        shares = (
            "flatten",
            "expressive",
            "rare",
            "surrounded",
            "distance",
            "shiny",
            "shadowed",
            "procedural",
            "mirrored",
        )
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} of renders must be 0 to 1, not {getattr(self, name)}.")
        if self.identity is not None and not 0 <= self.identity <= 3:
            raise SettingError(f"identity of renders must be 0 to 3, not {self.identity}.")
        self.degradations.check()


@dataclass(frozen=True, eq=False)
class RenderedHeads:
    """B faces and everything known about them."""

    image: Tensor
    """(B, 3, R, R) in [-1, 1], degraded."""
    clean: Tensor
    """(B, 3, R, R) the same before it was degraded."""
    normals: Tensor
    """(B, 3, R, R) unit normals of the head, also where something hides it."""
    mask: Tensor
    """(B, 1, R, R) in [0, 1]: the head, also where something hides it."""
    face: Tensor
    """(B, 1, R, R) 0 or 1: skin of the face, without scalp, ears, neck, eyes and mouth, also where it is hidden."""
    cover: Tensor
    """(B, 1, R, R) in [0, 1]: what is before the head."""
    places: Tensor
    """(B, 3, R, R) points of the mean head that are seen, head frame, decimetres; zero where there is no head."""
    yaw: Tensor
    """(B,) degrees to the viewer's right."""
    heads: Heads
    """As they were before any of them was mirrored."""


class SyntheticHeads:
    """Renders heads about which everything is known, from the faces of a training set.

    Args:
        faces: where shapes, poses, skins and backgrounds come from.
        resolution: of the renders, pixels; divisible by 16.
        settings: what is rendered.
        paint: what makes images of normal maps, see `generative_images`; None lights skins of photos by the classic
            renderer.

    Raises:
        SettingError: a setting out of its range.
    """

    def __init__(
        self,
        faces: TrainingSet,
        *,
        resolution: int = 128,
        settings: SyntheticSettings = SyntheticSettings(),
        to_images: NormalsToImages | None = None,
    ) -> None:
        settings.check()
        self.faces, self.resolution, self.settings, self.to_images = faces, resolution, settings, to_images
        self.conditions = FittedConditions(faces, flatten=settings.flatten)
        pull = landmark_pull(faces.model)
        self.skin_of = lru_cache(maxsize=8192)(lambda row: unwrapped_skin(faces, row, pull))
        self.procedural_skins = ProceduralSkins(faces.model)

    def __call__(self, count: int, source: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Render `count` faces; the generator decides everything.

        Returns:
            Images (B, 3, R, R) in [-1, 1], unit normals (B, 3, R, R), and the mask (B, 1, R, R) of the head.
        """
        rendered = self.render(count, source)
        return rendered.image, rendered.normals, rendered.mask

    @torch.no_grad()
    def render(self, count: int, source: Generator) -> RenderedHeads:
        """Render `count` faces and tell everything about them; the generator decides everything."""
        skins, backs, others = torch.randint(len(self.faces), (3, count), generator=source)
        poses = torch.multinomial(self.conditions.weights, count, replacement=True, generator=source)
        heads = self._heads(poses, source)
        own = torch.rand(count, generator=source) < self.settings.surrounded
        procedural = torch.rand(count, generator=source) < self.settings.procedural
        own &= ~procedural
        background = self.faces.images(torch.where(own, poses, backs), resolution=self.resolution)
        background[procedural] = _out_of_focus(background[procedural], source)
        rendered = self._compose(heads, skins, background, own, procedural, source)
        mirrored = torch.rand(count, generator=source) < self.settings.mirrored
        rendered, eyes = _mirrored(rendered, mirrored), self._eyes(heads, mirrored)
        patches = self.faces.images(others, resolution=self.resolution)
        image, cover = degrade(rendered.clean, patches, eyes, source, self.settings.degradations)
        return replace(rendered, image=image, cover=cover)

    def _heads(self, poses: Tensor, source: Generator) -> Heads:
        """Identities and expressions of random photos, or random ones, in the poses of photos `poses` (B,)."""
        count, trusted = len(poses), self.conditions.trustworthy
        rows = trusted[torch.randint(len(trusted), (2, count), generator=source)]
        model = self.faces.model
        random = random_expressions(model, count, RandomHeads(active=0.15, strongest=1.0), source)
        made = torch.rand(count, 1, generator=source) < self.settings.expressive
        expression = torch.where(made, random, self.faces.take("expression", rows[1]))
        expression = torch.maximum(expression, _rare_expressions(model, count, self.settings.rare, source))
        identity = self.faces.take("identity", rows[0])
        if self.settings.identity is not None:
            identity = self.settings.identity * torch.randn(identity.shape, generator=source)
        distance = -self.faces.take("translation", poses)[:, 2]
        farther = (self.settings.distance * (2 * torch.rand(count, generator=source) - 1)).exp()
        farther = torch.maximum(farther, (NEAREST / distance).clamp_max(1))
        return self.conditions.combine(identity, expression, poses, farther=farther)

    def _compose(
        self, heads: Heads, skins: Tensor, background: Tensor, own: Tensor, procedural: Tensor, source: Generator
    ) -> RenderedHeads:
        """Render the heads in front of the background, with the skins of photos `skins` unless they are `procedural`.

        `own` lets the background through as hair.
        """
        faces, model, size = self.faces, self.faces.model, self.resolution
        vertices = heads.vertices(model)
        camera = heads.camera.resized(size, size)
        triangle = rasterise(vertices, model.triangles, camera)
        weights = barycentrics(vertices, model.triangles, triangle, camera)
        normals = normal_map(vertices, faces.topology, camera)
        facing, mask = normalize(normals[:, :3], dim=1), normals[:, 3:]
        bald = (~any_region(model, "scalp")).float().view(1, -1, 1)
        known = torch.cat([bald, model.mean[None] / 100], 2).expand(len(vertices), -1, -1)
        found = interpolate_attributes(known, model.triangles, triangle, weights)
        if self.to_images is None:
            seen = mask * torch.where(own.view(-1, 1, 1, 1), found[:, :1], 1.0)
            lit = self._lit(vertices, skins, procedural, facing, triangle, weights, source)
            image = lit * seen + background * (1 - seen)
        else:
            image = self.to_images(normals, source)
        of_face = region_triangles(model, "face")
        there = (triangle >= 0)[:, None]
        face = (of_face[triangle.clamp(min=0)][:, None] & there).float()
        places, yaw = found[:, 1:] * there, yaw_degrees(heads.pose.rotation)
        return RenderedHeads(image, image, facing, mask, face, torch.zeros_like(mask), places, yaw, heads)

    def _lit(
        self,
        vertices: Tensor,
        skins: Tensor,
        procedural: Tensor,
        facing: Tensor,
        triangle: Tensor,
        weights: Tensor,
        source: Generator,
    ) -> Tensor:
        """Heads (B, V, 3), in the skins of photos `skins` unless `procedural`, in random light: (B, 3, R, R) in [-1,
        1].
        """
        by_rules = iter(self.procedural_skins(int(procedural.sum()), source))
        albedos = [next(by_rules) if rules else self.skin_of(int(row)) for row, rules in zip(skins, procedural)]
        skin = torch.stack(albedos)  # (B, V, 3) linear
        lost = [self._lost_light(vertices, source)] if self.settings.shadowed else []
        found = interpolate_attributes(torch.cat([skin, *lost], 2), self.faces.model.triangles, triangle, weights)
        light = torch.cat([sample_light(source) for _ in range(len(skin))])
        lit = shade(facing, found[:, :3].clamp(0, 1), light, found[:, 3:] if lost else None)
        return self._with_highlights(lit, facing, source)

    def _lost_light(self, vertices: Tensor, source: Generator) -> Tensor:
        """What is in the light's way (B, V, 9), of heads (B, V, 3) some of which throw shadows on themselves."""
        lost = vertices.new_zeros(*vertices.shape[:2], 9)
        made, strength = torch.rand(2, len(vertices), generator=source)
        rows = (made < self.settings.shadowed).nonzero()[:, 0]
        if len(rows):
            normals = vertex_normals(vertices[rows], self.faces.topology)
            directions = sphere_directions(_DIRECTIONS, like=vertices)
            hidden = lost_transfer(vertices[rows], normals, self.faces.model.triangles, directions)
            lost[rows] = (0.5 + 0.5 * strength[rows]).view(-1, 1, 1) * hidden
        return lost

    def _with_highlights(self, lit: Tensor, normals: Tensor, source: Generator) -> Tensor:
        """Some images (B, 3, R, R) in [-1, 1] with the reflection of a lamp, weaker in the dark."""
        count = len(lit)
        halfway = torch.randn(count, 3, generator=source)
        halfway = normalize(torch.cat([halfway[:, :2], halfway[:, 2:].abs() + 0.5], 1), dim=1)
        sharp, made, strong = torch.rand(3, count, generator=source)
        shine = highlight(normals, halfway, 8 * 8**sharp)
        strength = (made < self.settings.shiny) * 0.8 * strong * (lit.mean((1, 2, 3)) + 1.2).clamp(0, 1)
        return (lit + strength.view(-1, 1, 1, 1) * shine).clamp_max(1)

    def _eyes(self, heads: Heads, mirrored: Tensor) -> Tensor:
        """Pixels (B, 2, 2) of the pupils, the left of the image first, of renders some of which are `mirrored`."""
        points = heads.pose.apply(
            self.conditions.landmarks.points(heads.identity, heads.expression)[:, [RIGHT_IRIS, LEFT_IRIS]]
        )
        eyes = heads.camera.resized(self.resolution, self.resolution).project(points)
        flipped = torch.stack([self.resolution - eyes[..., 0], eyes[..., 1]], -1).flip(1)
        return torch.where(mirrored.view(-1, 1, 1), flipped, eyes)


def _rare_expressions(model: HeadModel, count: int, share: float, source: Generator) -> Tensor:
    """Expressions (B, E) that are zero but for some closed eyes, open jaws and puffed cheeks of strength 1/2 to 1."""
    chance, strength = torch.rand(2, count, len(_RARE), generator=source)
    made = (chance < share) * (0.5 + 0.5 * strength)
    column = [
        [name.removesuffix("Left").removesuffix("Right") == rare for name in model.expression_names] for rare in _RARE
    ]
    return (made @ torch.tensor(column, dtype=torch.float32)).clamp(*model.expression_bounds)


def _out_of_focus(images: Tensor, source: Generator) -> Tensor:
    """Images (B, 3, R, R) as backgrounds out of focus: each shrunk to 2 to 24 pixels across, and enlarged again."""
    sides = torch.randint(2, 25, (len(images),), generator=source).tolist()
    small = [interpolate(x[None], (side, side), mode="area") for x, side in zip(images, sides)]
    large = [interpolate(x, images.shape[2:], mode="bicubic", align_corners=False) for x in small]
    return torch.cat([images[:0], *large]).clamp(-1, 1)


def _mirrored(rendered: RenderedHeads, where: Tensor) -> RenderedHeads:
    """Renders flipped left to right where `where` (B,) says so."""
    chosen = where.view(-1, 1, 1, 1)
    maps = {part.name: getattr(rendered, part.name) for part in fields(rendered) if part.name not in ("yaw", "heads")}
    flipped = {name: torch.where(chosen, part.flip(3), part) for name, part in maps.items()}
    turned = {
        name: mirror_where(torch.cat([maps[name], rendered.mask], 1), where)[:, :3] for name in ("normals", "places")
    }
    return RenderedHeads(**flipped | turned, yaw=torch.where(where, -rendered.yaw, rendered.yaw), heads=rendered.heads)


__all__ = ["NormalsToImages", "RenderedHeads", "SyntheticHeads", "SyntheticSettings"]
