"""Normal maps of heads that no photo shows: what a renderer is asked to render besides the photos' own fits.

`RandomConditions` is the paper's way (section 3.2): heads drawn from the morphable model, unrelated to the photos.
`FittedConditions` combines the fits of photos anew: the identity of one with the expression of a second and the pose
and camera of a third. Either way the head is framed as a photo of it would be cut, so pose and place never disagree.

Randomness comes from PyTorch's default CPU generator, whose state is in every checkpoint, unless `source` is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from garface.datasets.training_set import TrainingSet, mirror_where
from garface.errors import SettingError
from garface.geometry import Camera, Pose, Similarity, Topology, axis_angle_to_matrix
from garface.heads import MEDIAPIPE, HeadModel, Landmarks
from garface.photo.align import ffhq_similarity
from garface.rendering import normal_map

_NEVER = ("tongueOut", "mouthClose")
"""Expressions that random heads do not make: no photo shows the one, and the other needs an open jaw."""
_SIDEWAYS = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
_GAZE = {"eyeLookOutLeft": "left", "eyeLookInRight": "left", "eyeLookInLeft": "right", "eyeLookOutRight": "right"}
_BANDWIDTH = 3.0
"""Degrees: width of the kernel that estimates how common a yaw is."""


@dataclass(frozen=True)
class RandomHeads:
    """How far random heads are from the mean head that looks into the camera.

    There is no roll: the frame turns with the face.
    """

    identity: float = 0.7
    """Standard deviation of the identity coefficients; the model's own prior is 1, photos fitted by landmarks have
    0.3."""
    active: float = 0.12
    """Share of expressions that a head makes; the two sides of a face go together."""
    strongest: float = 0.8
    """Expressions have strengths from 0 to this."""
    yaw: float = 40.0
    """Degrees: heads turn evenly up to this to either side."""
    pitch: float = 15.0
    """Degrees: heads nod evenly up to this."""

    def check(self) -> None:
        """Raise a SettingError if a value is out of its range."""
        for name, most in (("identity", 3.0), ("active", 1.0), ("strongest", 1.0), ("yaw", 90.0), ("pitch", 60.0)):
            if not 0 <= getattr(self, name) <= most:
                raise SettingError(f"{name} of random heads must be 0 to {most:g}, not {getattr(self, name)}.")


@dataclass(frozen=True, eq=False)
class Heads:
    """The geometry of B heads before a camera."""

    identity: Tensor
    """(B, K) standard deviations."""
    expression: Tensor
    """(B, E) within the head model's bounds."""
    pose: Pose
    """Camera from head, millimetres."""
    camera: Camera
    """Of the crops."""

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, rows: slice) -> Heads:
        return Heads(self.identity[rows], self.expression[rows], self.pose[rows], self.camera[rows])

    def expand(self, count: int) -> Heads:
        """`count` heads of one, or the same heads if there are as many already."""
        camera = self.camera
        return Heads(
            self.identity.expand(count, -1),
            self.expression.expand(count, -1),
            Pose(self.pose.rotation.expand(count, -1, -1), self.pose.translation.expand(count, -1)),
            Camera(camera.focal.expand(count), camera.principal.expand(count, -1), camera.height, camera.width),
        )

    def vertices(self, model: HeadModel) -> Tensor:
        """Heads (B, V, 3), camera frame, millimetres."""
        return self.pose.apply(model.vertices(self.identity, self.expression))

    def normals(self, model: HeadModel, topology: Topology, resolution: int) -> Tensor:
        """Normal maps (B, 4, R, R)."""
        return normal_map(self.vertices(model), topology, self.camera.resized(resolution, resolution))


def fitted_heads(faces: TrainingSet, rows: Tensor | Sequence[int]) -> Heads:
    """Heads as they were fitted to the unmirrored photos of these rows (B,)."""
    chosen = torch.as_tensor(rows)
    identity, expression = faces.take("identity", chosen), faces.take("expression", chosen)
    return Heads(identity, expression, faces.poses(chosen), faces.cameras(chosen))


class Conditions:
    """Normal maps of random heads; `draw_conditions` and `draw_pair` of the renderer's training are its call and its
    `pairs`.

    Half of the maps are mirrored.
    """

    model: HeadModel
    source: Generator | None

    @cached_property
    def topology(self) -> Topology:
        """Topology of the model's mesh."""
        return Topology.build(self.model.triangles, len(self.model.mean))

    @cached_property
    def landmarks(self) -> Landmarks:
        """MediaPipe's landmarks on the model."""
        return self.model.landmarks(MEDIAPIPE)

    def identities(self, count: int) -> Tensor:
        """Identities (B, K), standard deviations."""
        raise NotImplementedError

    def heads(self, identity: Tensor) -> Heads:
        """The heads of identities (B, K), with expressions, poses and cameras of their own."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, count: int, resolution: int) -> Tensor:
        """Normal maps (count, 4, R, R)."""
        return self._views(count, resolution, views=1)[0]

    @torch.no_grad()
    def pairs(self, count: int, resolution: int) -> tuple[Tensor, Tensor]:
        """Two normal maps (count, 4, R, R) of each identity, in two expressions and poses."""
        first, second = self._views(count, resolution, views=2)
        return first, second

    def _views(self, count: int, resolution: int, *, views: int) -> tuple[Tensor, ...]:
        identity = self.identities(count).repeat(views, 1)
        mirrored = (torch.rand(count, generator=self.source) < 0.5).repeat(views)
        normals = self.heads(identity).normals(self.model, self.topology, resolution)
        return mirror_where(normals, mirrored).chunk(views)


@dataclass(frozen=True, eq=False)
class RandomConditions(Conditions):
    """Heads drawn from the model's prior, in random poses, at one distance from the camera.

    Raises:
        SettingError: a setting out of its range.
    """

    model: HeadModel
    """The head."""
    distance: float
    """Millimetres from the camera to the head."""
    settings: RandomHeads = RandomHeads()
    """How different the heads are."""
    source: Generator | None = None
    """Where randomness comes from."""

    def __post_init__(self) -> None:
        self.settings.check()

    @classmethod
    def like(
        cls, faces: TrainingSet, settings: RandomHeads = RandomHeads(), source: Generator | None = None
    ) -> RandomConditions:
        """At the median distance of a training set."""
        return cls(faces.model, -float(torch.from_numpy(faces.arrays["translation"][:, 2]).median()), settings, source)

    def identities(self, count: int) -> Tensor:
        """Identities (B, K) ~ N(0, strength^2)."""
        return self.settings.identity * torch.randn(count, self.model.identities, generator=self.source)

    def heads(self, identity: Tensor) -> Heads:
        """Random expressions and poses, framed as in FFHQ."""
        expression = random_expressions(self.model, len(identity), self.settings, self.source)
        toward = torch.tensor([0.0, 0.0, -self.distance]).expand(len(identity), 3)
        pose = Pose(random_turns(len(identity), self.settings, self.source), toward)
        camera = Camera(torch.full((len(identity),), 128.0), torch.full((len(identity), 2), 64.0), 128, 128)
        return Heads(identity, expression, *framed(self.landmarks.points(identity, expression), pose, camera))


@dataclass(frozen=True, eq=False)
class FittedConditions(Conditions):
    """Identities, expressions and poses of photos, each taken from another one.

    A head lies in its frame as the head lay whose pose it takes. So a photo's own three give the photo's normal map.

    Raises:
        SettingError: `flatten` or `trusted` outside [0, 1].
    """

    faces: TrainingSet
    """Where heads and poses come from."""
    flatten: float = 0.0
    """0 takes poses as often as photos show them, 1 makes all yaws about equally common; see `pose_weights`."""
    trusted: float = 0.95
    """Identities and expressions come from this share of the photos, those with the least landmark errors: fits of
    heads turned far have good poses, but put their errors into the identity."""
    source: Generator | None = None
    """Where randomness comes from."""

    def __post_init__(self) -> None:
        _check_share("flatten", self.flatten)
        _check_share("trusted", self.trusted)

    @property
    def model(self) -> HeadModel:  # type: ignore[override]
        """The head."""
        return self.faces.model

    @cached_property
    def weights(self) -> Tensor:
        """(n,) how often each photo's pose is taken, 1 on average."""
        return pose_weights(self.faces, flatten=self.flatten)

    @cached_property
    def trustworthy(self) -> Tensor:
        """Indices (m,) of the photos with the least mean landmark errors, at least one."""
        error = torch.from_numpy(self.faces.arrays["error"]).mean(1)
        return error.argsort(stable=True)[: max(1, round(self.trusted * len(error)))]

    @cached_property
    def frames(self) -> Similarity:
        """FFHQ frames of the n fitted heads in the photos' crops: nearly, but not quite, the crops themselves."""
        faces, rows = self.faces, torch.arange(len(self.faces))
        points = self.landmarks.points(faces.take("identity", rows), faces.take("expression", rows))
        return ffhq_similarity(faces.cameras(rows).project(faces.poses(rows).apply(points)), faces.size)

    def identities(self, count: int) -> Tensor:
        """Identities (B, K) of random trustworthy photos."""
        return self.faces.take("identity", self._rows(count))

    def heads(self, identity: Tensor) -> Heads:
        """Expressions of random trustworthy photos, poses and cameras of any."""
        expression = self.faces.take("expression", self._rows(len(identity)))
        poses = torch.multinomial(self.weights, len(identity), replacement=True, generator=self.source)
        return self.combine(identity, expression, poses)

    def combine(self, identity: Tensor, expression: Tensor, poses: Tensor, *, farther: Tensor | None = None) -> Heads:
        """Heads of identities (B, K) with expressions (B, E), posed and framed as photos of index `poses` (B,).

        `farther` (B,) times as far away, and by as much longer a lens, which keeps their size but not the perspective.
        """
        faces, points = self.faces, self.landmarks.points(identity, expression)
        pose, camera = faces.poses(poses), faces.cameras(poses)
        if farther is not None:
            pose = Pose(pose.rotation, pose.translation * farther[:, None])
            camera = replace(camera, focal=camera.focal * farther)
        return Heads(identity, expression, *framed(points, pose, camera, frame=self.frames[poses]))

    def _rows(self, count: int) -> Tensor:
        return self.trustworthy[torch.randint(len(self.trustworthy), (count,), generator=self.source)]


def random_expressions(
    model: HeadModel, count: int, settings: RandomHeads = RandomHeads(), source: Generator | None = None
) -> Tensor:
    """Expressions (B, E) of which few are active; the sides of a face and both eyes go together."""
    names = model.expression_names
    moves = sorted({_move(name) for name in names})
    column = torch.tensor([moves.index(_move(name)) for name in names])
    chance, strength = torch.rand(2, count, len(moves), generator=source)
    made = (strength * settings.strongest * (chance < settings.active))[:, column]
    return (made * torch.tensor([name not in _NEVER for name in names])).clamp(*model.expression_bounds)


def random_turns(count: int, settings: RandomHeads = RandomHeads(), source: Generator | None = None) -> Tensor:
    """Rotations (B, 3, 3) with even pitch and yaw; pitch is about the head's own axis."""
    yaw, pitch = (torch.rand(2, count, generator=source) * 2 - 1).deg2rad()
    none = torch.zeros(count)
    nod = axis_angle_to_matrix(torch.stack([-settings.pitch * pitch, none, none], 1))
    return axis_angle_to_matrix(torch.stack([none, settings.yaw * yaw, none], 1)) @ nod


def framed(points: Tensor, pose: Pose, camera: Camera, *, frame: Similarity | None = None) -> tuple[Pose, Camera]:
    """Poses and cameras of heads in their FFHQ crops: moved, and the camera's image cut, until the frame fits.

    The distance stays, and so does the rotation but for a roll, so perspective is that of the given pose.

    Args:
        points: (B, 478, 3) MediaPipe's landmarks of the heads, head frame, millimetres.
        pose: camera from head, millimetres.
        camera: square images.
        frame: (B,) from the camera's px to those of the wanted frame, which has the size of the image; None wants
            the frame to be the image.
    """
    size, points = camera.height, pose.apply(points)
    middle = points.new_full((len(points), 1, 2), size / 2)
    wanted = middle if frame is None else frame.inverse().apply(middle)
    found = ffhq_similarity(camera.project(points), size).inverse().apply(middle)
    depth = -points[..., 2:].mean(1, keepdim=True)
    move = depth * (camera.directions(wanted) - camera.directions(found))
    pose = Pose(pose.rotation, pose.translation + move[:, 0])
    cut, roll = camera.cropped(ffhq_similarity(camera.project(points + move), size), size, size)
    if frame is not None:
        cut, back = cut.cropped(frame.inverse(), size, size)
        roll = back @ roll
    return pose.rolled(roll), cut


def pose_weights(faces: TrainingSet, *, flatten: float = 0.5, most: float = 10.0) -> Tensor:
    """How often to take each photo so that rare yaws become less rare.

    The weight is density(|yaw|)^-flatten: 0 leaves photos as they are, 1 makes all yaws about equally common.

    Args:
        faces: fitted photos, which count mirrored as well.
        flatten: in [0, 1].
        most: the rarest pose is taken at most this many times as often as the commonest.

    Returns:
        (n,) weights, 1 on average.

    Raises:
        SettingError: a value out of its range.
    """
    _check_share("flatten", flatten)
    if most < 1:
        raise SettingError(f"most must be at least 1, not {most}.")
    density = _density(yaw_degrees(faces.take("rotation", torch.arange(len(faces)))).abs())
    weights = (density.max() / density).pow(flatten).clamp(max=most)
    return weights / weights.mean()


def more_turned(faces: TrainingSet, flatten: float) -> TrainingSet:
    """The photos with those of rare poses repeated, so that a training sees heads turned far more often.

    Args:
        faces: the photos.
        flatten: 0 repeats none, 1 makes all yaws about equally common; see `pose_weights`.

    Raises:
        SettingError: `flatten` outside [0, 1].
    """
    if flatten == 0:
        return faces
    copies = pose_weights(faces, flatten=flatten).round().long().clamp_min(1)
    return faces.select(torch.arange(len(faces)).repeat_interleave(copies))


def yaw_degrees(rotation: Tensor) -> Tensor:
    """(B,) how far heads with rotations (B, 3, 3) look to the viewer's right, degrees."""
    return torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2]).rad2deg()


def pitch_degrees(rotation: Tensor) -> Tensor:
    """(B,) how far heads with rotations (B, 3, 3) look up, degrees."""
    return rotation[:, 1, 2].clamp(-1, 1).asin().rad2deg()


def _density(turn: Tensor) -> Tensor:
    """Density (n,) at each of n turns in [0, 180] degrees, by a Gaussian kernel reflected at 0, to whole degrees."""
    grid = torch.arange(182.0)[:, None]
    kernel = (-((grid - turn) ** 2) / (2 * _BANDWIDTH**2)).exp() + (-((grid + turn) ** 2) / (2 * _BANDWIDTH**2)).exp()
    return kernel.mean(1)[turn.round().long()]


def _move(name: str) -> str:
    """What is done together: both sides of an expression, both eyes to one side, and sideways moves alone."""
    if name in _SIDEWAYS:
        return name
    return _GAZE.get(name) or name.removesuffix("Left").removesuffix("Right")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise SettingError(f"{name} must be 0 to 1, not {value}.")
