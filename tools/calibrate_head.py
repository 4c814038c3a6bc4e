"""The prior of the head model's coefficients, learned from people.

MakeHuman's sliders say which heads can be made, not which ones there are. Two things are learned here, and neither
leaves the span of the identity basis:

- **the mean** is that of the two heads that fit NIOSH's digital headforms, each of which is the symmetric mean of five
  scanned people, moved towards the survey's means of what a caliper measures;
- **the covariance** is the sliders' own, mapped to that of a survey by the optimal transport between Gaussians in the
  measured directions of the coefficients (Peyré & Cuturi 2019, arXiv 1803.00567, remark 2.31). What was not measured
  stays as it was.

Mean and basis are then expressed so that the coefficients are N(0, I) again. Eyes and lips of the mean head are put to
rest, its frame is centred again, and the region of the brows is put where people have them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from anthropometry import FITTED, build_ruler, read_people, read_source
from scipy.linalg import block_diag
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

# Points of the headforms in the frames of their files, millimetres, placed by hand: midline, and the person's left.
# None where a point slides along the surface. Lids are closed and smoothed, so canthi are less certain.
MARKS: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "medium": {
        "sellion": (0, 18.4, 96.5),
        "pronasale": (0, -18.5, 118.0),
        "subnasale": (0, -34.5, 103.0),
        "stomion": (0, -55.5, 100.3),
        "menton": (0, -99.4, 80.6),
        "cheilion": (28, -59, None),
        "inner canthus": (17, 6, None),
        "outer canthus": (47, 6, None),
    },
    "large": {
        "sellion": (0, 19.7, 101.1),
        "pronasale": (0, -20.0, 122.9),
        "subnasale": (0, -34.5, 106.0),
        "stomion": (0, -58.3, 101.4),
        "menton": (0, -107.4, 80.9),
        "cheilion": (31, -64, None),
        "inner canthus": (19, 6, None),
        "outer canthus": (50, 6, None),
    },
}
# The same points as vertices of the cropped template; of those with two sides, the person's left.
VERTICES = {
    "sellion": 132,
    "pronasale": 1479,
    "subnasale": 343,
    "stomion": 474,
    "menton": 1721,
    "cheilion": 3537,
    "inner canthus": 2297,
    "outer canthus": 3561,
}
MARK_SPREAD, CANTHUS_SPREAD = 2.0, 3.5  # standard deviations, millimetres
# Lowest vertices of the upper lip and the highest below them, from the middle to the person's left corner.
LIPS = ((520, 523), (2708, 2704), (2702, 2705), (2703, 2670), (2618, 2637), (2630, 2644))
LIP_GAP = -0.2  # millimetres: they touch
LIP_SPREAD = 0.5  # of people at rest, millimetres; made up
# Edges of the upper and the lower lid of the left eye, about the pupil.
LIDS = ((4306, 3196), (4307, 3195), (4313, 3197))
# Height of the open eye: about 9.4 (Knezi et al. 2020, Int. J. Morphol. 38:1381), 9.7 +- 1.2 (Read et al. 2006,
# doi:10.1097/01.opx.0000236811.78177.97), 11.4 (Vasanthakumar et al. 2013) and 11.7 +- 1.3 mm (BioMed Research
# International 2013, 821428, table 2) in Serbia, Australia, India and Hong Kong.
EYE_HEIGHT, EYE_HEIGHT_SPREAD = 10.5, 1.3
LIP_REACH = 4.0  # millimetres along the skin that a closed gap is felt
# Tapes are left out: they follow hair and hollows, which a convex hull does not.
CALIPERS = tuple(name for name in FITTED if not name.endswith(("arc", "circumference")))
# How well our points stand for those of a caliper, in standard deviations of people. docs/notes/2026-11-head-prior.md
# says why.
CALIPER_SPREAD = 0.7
SURFACE_WEIGHT = 60.0  # a headform counts as so many independent points that are known to a millimetre
SURFACE_SAMPLES = 80_000
ITERATIONS, FIRST = 40, 10  # all, and those with the wide reach
REACH = (25.0, 12.0)  # millimetres to the surface, during the first iterations and after
LOWEST = -125.0  # y of the neck's lowest vertices that are fitted, millimetres
LIMITS = (0.3, 1.5)  # by which a direction of the coefficients may shrink and grow
# The middle of the person's left brow, millimetres to the left of the midline and above the eyes' centres: where the
# landmark detector finds brows in portraits, carried back to the mean head through landmark fits without them.
BROW = ((14.0, 13.0), (29.6, 16.3), (42.3, 17.1), (52.0, 14.5), (58.5, 10.2))
BROW_HALF_WIDTH = 4.5


@dataclass(frozen=True)
class Prior:
    """The prior of the sliders' coefficients: `mean + factor @ z` with z ~ N(0, I)."""

    mean: np.ndarray  # (K,)
    factor: np.ndarray  # (K, K), symmetric and positive


def calibrated(arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """What calibration with the files in `folder` changes in the `arrays` of `build_head.build`, and adds to them."""
    learned = apply(learn(arrays, folder), arrays)
    learned |= {"mean": centred(arrays | learned)}
    return learned | {"mask_brows": brows(arrays | learned)}


def learn(arrays: dict[str, np.ndarray], folder: Path) -> Prior:
    """The prior of the coefficients of the head in `arrays` that people have, from the files in `folder`."""
    mean = np.mean([fit_headform(arrays, folder, name) for name in MARKS], axis=0)
    factor = prior_factor(moved(arrays, mean), folder)
    mean = mean + factor @ towards_people(moved(arrays, mean), factor, folder)
    return Prior(mean, prior_factor(moved(arrays, mean), folder))


def centred(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The mean head (V, 3) with the eyes' centres at y = 0 and the middle of the cranium at z = 0."""
    mean, eyes, skin = arrays["mean"], arrays["mask_eyes"], arrays["mask_face"] | arrays["mask_scalp"]
    height, depth = mean[eyes, 1], mean[skin, 2]
    return mean - 0.5 * np.array([0, height.min() + height.max(), depth.min() + depth.max()])


def brows(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Mask (V,) of the brows of a head in the head frame: the face's vertices within `BROW_HALF_WIDTH` of `BROW`."""
    mean, face = arrays["mean"], arrays["mask_face"]
    places = np.stack([np.abs(mean[:, 0]), mean[:, 1]], 1)
    starts, ends = np.array(BROW[:-1]), np.array(BROW[1:])
    along = ends - starts
    share = ((places[:, None] - starts) * along).sum(2) / (along**2).sum(1)
    nearest = starts + share.clip(0, 1)[..., None] * along
    return face & (np.linalg.norm(places[:, None] - nearest, axis=2).min(1) < BROW_HALF_WIDTH)


def moved(arrays: dict[str, np.ndarray], identity: np.ndarray) -> dict[str, np.ndarray]:
    """The head with another mean: that of these coefficients (K,)."""
    return arrays | {"mean": arrays["mean"] + np.tensordot(identity, arrays["identity_basis"].astype(float), 1)}


def towards_people(arrays: dict[str, np.ndarray], factor: np.ndarray, folder: Path) -> np.ndarray:
    """Expected coefficients (K,), in the parametrisation of `factor`, of a head that has people's mean measurements."""
    mean, basis = arrays["mean"], np.tensordot(factor, arrays["identity_basis"].astype(float), 1)
    ruler, people = build_ruler(arrays, FITTED), read_people(folder).size_free()
    lengths = ruler.lengths(mean)
    slopes = ruler.derivative(mean, basis) / lengths[:, None]
    off = np.log(people.mean()) - np.log(lengths)
    rows = [FITTED.index(name) for name in CALIPERS]
    spread = (people.deviation() / people.mean())[rows]
    slopes, off = ((x - x.mean(0))[rows] for x in (slopes, off))
    doubt = np.diag((CALIPER_SPREAD * spread) ** 2)
    return slopes.T @ np.linalg.solve(slopes @ slopes.T + doubt, off)


def apply(prior: Prior, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean and basis under which the coefficients are N(0, I) again, and the prior, which maps to the earlier ones."""
    basis = arrays["identity_basis"].astype(float)
    mean = moved(arrays, prior.mean)["mean"]
    return {
        "mean": mean + at_rest(arrays | {"mean": mean}),
        "identity_basis": np.tensordot(prior.factor, basis, 1),
        "prior_mean": prior.mean,
        "prior_factor": prior.factor,
    }


def at_rest(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Offsets (V, 3) that open the eyes of the mean head as far as people's and close its lips.

    Sliders leave it sleepy, with a slit between the lips; headforms have shut eyes and smooth lips.
    """
    return open_eyes(arrays) + close_lips(arrays)


def open_eyes(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Offsets (V, 3) along the way of a blink, backwards."""
    names = [str(name) for name in arrays["expression_names"]]
    blinks = arrays["expression_basis"][[names.index(f"eyeBlink{side}") for side in ("Left", "Right")]].astype(float)
    height, closing = (gap_rows(arrays, offsets)[1] for offsets in (arrays["mean"][None], blinks))
    share = (EYE_HEIGHT - height.mean()) / np.diag(closing).mean()
    return share * blinks.sum(0)


def close_lips(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Offsets (V, 3) that close the gaps: lips move up and down, and less the farther from the slit along the skin."""
    mean, mirror = arrays["mean"], arrays["mirror"]
    upper, lower = np.unique(np.concatenate([np.array(LIPS), mirror[np.array(LIPS)]]), axis=0).T
    edges = np.unique(np.sort(arrays["triangles"][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    length = np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
    graph = csr_matrix((length, edges.T), (len(mean), len(mean)))
    near = np.exp(-0.5 * (dijkstra(graph, directed=False, indices=np.append(upper, lower)) / LIP_REACH) ** 2)
    fields = near * near.max(0) / near.sum(0).clip(1e-12)
    closing = fields[len(upper) :] - fields[: len(upper)]  # of each pair, by a millimetre up and one down
    gap = mean[upper, 1] - mean[lower, 1] - LIP_GAP
    amount = np.linalg.solve((closing[:, lower] - closing[:, upper]).T, gap)
    return (amount @ closing)[:, None] * [0.0, 1.0, 0.0]


def prior_factor(arrays: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    """The symmetric factor (K, K) that takes the covariance of measurements to the survey's, within `LIMITS`."""
    return transport(*measured_rows(arrays, folder))


def transport(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The optimal transport (K, K) from N(0, I) to a Gaussian whose measurements `rows` (D, K) have covariance (D, D).

    In an orthonormal basis of the measured directions the coefficients have covariance I and shall have C. The
    transport is C^(1/2) there, with eigenvalues within `LIMITS`, and I elsewhere.
    """
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > 1e-6 * values[-1]  # without the one direction that is size
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    directions = rows.T @ whiten  # (K, D), orthonormal
    spread, axes = np.linalg.eigh(whiten.T @ wanted @ whiten)
    spread = np.sqrt(spread.clip(0)).clip(*LIMITS)
    axes = directions @ axes
    return np.eye(len(axes)) + (axes * (spread - 1)) @ axes.T


def measured_rows(arrays: dict[str, np.ndarray], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (D, K) of what is measured by the coefficients, and its covariance (D, D) over people.

    Everything is in standard deviations of people: logarithms of size-free measurements, the gap of the lips, and the
    heights of the eyes.
    """
    mean, basis = arrays["mean"].astype(float), arrays["identity_basis"].astype(float)
    ruler = build_ruler(arrays, FITTED)
    slopes = ruler.derivative(mean, basis) / ruler.lengths(mean)[:, None]
    covariance = read_people(folder).size_free().covariance_of_logarithms()
    deviation = np.sqrt(np.diag(covariance))
    gaps, heights = gap_rows(arrays, basis)
    lips, eyes = gaps.mean(0, keepdims=True) / LIP_SPREAD, heights / EYE_HEIGHT_SPREAD
    rows = np.concatenate([(slopes - slopes.mean(0)) / deviation[:, None], lips, eyes])
    both_eyes_alike = np.ones((2, 2))
    return rows, block_diag(covariance / np.outer(deviation, deviation), 1.0, both_eyes_alike)


def gap_rows(arrays: dict[str, np.ndarray], offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights of the gaps between the lips (2 P, K) and of both eyes (2, K) for offsets or heads (K, V, 3)."""
    sides = [np.arange(len(arrays["mirror"])), arrays["mirror"]]
    lips, lids = np.array(LIPS), np.array(LIDS)
    y = offsets[..., 1].T
    gaps = [y[side[lips[:, 0]]] - y[side[lips[:, 1]]] for side in sides]
    heights = [(y[side[lids[:, 0]]] - y[side[lids[:, 1]]]).mean(0) for side in sides]
    return np.concatenate(gaps), np.stack(heights)


def fit_headform(arrays: dict[str, np.ndarray], folder: Path, name: str) -> np.ndarray:
    """Coefficients (K,) of the head whose skin, scaled and placed, is nearest to a headform (Gauss-Newton).

    The prior is N(0, I). Eyes and ears are left out: those of headforms are generic, and their eyes are shut.
    """
    form, skin, basis = read_headform(folder, name), skin_weights(arrays), arrays["identity_basis"].astype(float)
    prior = np.eye(len(basis), 7 + len(basis), 7)
    identity, placement = np.zeros(len(basis)), Placement(np.eye(3), np.array([0.0, 18.0, 3.0]), 1.0)
    for iteration in range(ITERATIONS):
        head = moved(arrays, identity)
        surface = surface_rows(head, skin, form, placement, REACH[iteration >= FIRST])
        parts = [surface, mark_rows(head, name, placement), (identity, prior)]
        residual, jacobian = (np.concatenate(part) for part in zip(*parts))
        step = np.linalg.lstsq(jacobian, -residual, rcond=None)[0]
        placement, identity = placement.moved(step[:7]), identity + step[7:]
    error = np.sqrt((surface[0] ** 2).sum() / SURFACE_WEIGHT)
    length = np.linalg.norm(identity)
    print(f"headform {name}: {error:.2f} mm, {length:.1f} deviations from the mean, scale {placement.scale:.3f}")
    return identity


@dataclass(frozen=True)
class Placement:
    """A similarity from the head's frame to a headform's."""

    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)
    scale: float

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) in the headform's frame."""
        return self.scale * points @ self.rotation.T + self.translation

    def derivative(self, placed: np.ndarray, direction: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Derivatives (N, 7 + K) of `placed` points along a direction (N, 3) each.

        By turn, shift and logarithm of the scale, and by coefficients of a basis (K, N, 3) in the head's frame.
        """
        arm = placed - self.translation
        by_size = (arm * direction).sum(1, keepdims=True)
        by_shape = np.einsum("knd,nd->nk", basis, self.scale * direction @ self.rotation)
        return np.concatenate([np.cross(arm, direction), direction, by_size, by_shape], 1)

    def moved(self, step: np.ndarray) -> "Placement":
        """After a step (7,) of what `derivative` differentiates by."""
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        return Placement(turn @ self.rotation, self.translation + step[3:6], self.scale * float(np.exp(step[6])))


@dataclass(frozen=True)
class Headform:
    """Points on a headform, its plane of symmetry at x = 0."""

    points: np.ndarray  # (N, 3)
    normals: np.ndarray  # (N, 3)
    tree: cKDTree  # of the points


def read_headform(folder: Path, name: str) -> Headform:
    """A headform from its file."""
    mesh = trimesh.load_mesh(read_source(folder, f"niosh-headform-{name}.stl"))
    points, faces = trimesh.sample.sample_surface(mesh, SURFACE_SAMPLES, seed=0)
    points = points - [mesh.bounds[:, 0].mean(), 0, 0]
    return Headform(points, mesh.face_normals[faces], cKDTree(points))


Rows = tuple[np.ndarray, np.ndarray]
"""Residuals (R,), in standard deviations, and their derivatives (R, 7 + K) by placement and coefficients."""


def surface_rows(
    head: dict[str, np.ndarray], skin: np.ndarray, form: Headform, placement: Placement, reach: float
) -> Rows:
    """Distances of the skin from the planes of the nearest points of a headform, times weights `skin` (V,)."""
    rows = np.flatnonzero(skin)
    placed = placement.apply(head["mean"])
    distance, nearest = form.tree.query(placed[rows])
    normal = form.normals[nearest]
    facing = (normal * vertex_normals(placed, head["triangles"])[rows]).sum(1)
    weight = skin[rows] * ((distance < reach) & (facing > 0.4))
    jacobian = placement.derivative(placed[rows], normal, head["identity_basis"][:, rows])
    return ((placed[rows] - form.points[nearest]) * normal).sum(1) * weight, jacobian * weight[:, None]


def skin_weights(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """How much the distance of each vertex (V,) counts: by area, and not where headforms are not as people are.

    That is at eyes, lids, ears and what is about them.
    """
    mean = arrays["mean"].astype(float)
    eyes = mean[arrays["mask_left_eye"]]
    across, up = (np.abs(mean) - np.abs(0.5 * (eyes.min(0) + eyes.max(0))))[:, :2].T
    lids = (np.hypot(across / 22, up / 13) < 1) & (mean[:, 2] > 40)
    near_ears = cKDTree(mean[arrays["mask_ears"]]).query(mean)[0] < 8
    skin = arrays["mask_face"] | arrays["mask_scalp"] | (arrays["mask_neck"] & (mean[:, 1] > LOWEST))
    area = vertex_areas(mean, arrays["triangles"]) * (skin & ~lids & ~near_ears)
    return np.sqrt(SURFACE_WEIGHT * area / area.sum())


def mark_rows(head: dict[str, np.ndarray], name: str, placement: Placement) -> Rows:
    """Differences of the marks of a headform, on both sides, from where they are on the head, along known axes."""
    vertices, axes, targets, spreads = map(np.array, zip(*marks(head, name)))
    placed = placement.apply(head["mean"][vertices])
    jacobian = placement.derivative(placed, np.eye(3)[axes], head["identity_basis"][:, vertices])
    return (placed[np.arange(len(axes)), axes] - targets) / spreads, jacobian / spreads[:, None]


def marks(head: dict[str, np.ndarray], name: str) -> Iterator[tuple[int, int, float, float]]:
    """Vertex, axis, target and spread of every coordinate of the marks of a headform."""
    for mark, place in MARKS[name].items():
        for side in (1,) if place[0] == 0 else (1, -1):
            vertex = VERTICES[mark] if side == 1 else int(head["mirror"][VERTICES[mark]])
            spread = CANTHUS_SPREAD if "canthus" in mark else MARK_SPREAD
            for axis, value in enumerate(place):
                if value is not None:
                    yield vertex, axis, value * side if axis == 0 else value, spread


def face_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals (F, 3) of triangles, twice their area long."""
    a, b, c = vertices[triangles].swapaxes(0, 1)
    return np.cross(b - a, c - a)


def vertex_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """A third of the area of the triangles about each vertex, (V,)."""
    area = np.linalg.norm(face_normals(vertices, triangles), axis=1) / 2
    return np.bincount(triangles.ravel(), np.repeat(area / 3, 3), len(vertices))


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3)."""
    total = np.zeros_like(vertices)
    np.add.at(total, triangles, face_normals(vertices, triangles)[:, None])
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-9)
