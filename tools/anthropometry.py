"""The heads of people in numbers, and the same measurements taken on a head model.

People: the head-and-face survey of the US National Institute for Occupational Safety and Health (NIOSH, 2003; CDC data
set RD-10130-2020-0; dimensions as in Zhuang & Bradtmiller 2005, doi:10.1080/15459620500324727). Works of the US
government, in the public domain.

Every measurement is the length of a chain of points on the mesh: two points for a caliper, the convex hull of a section
of the head for a tape. Points stay where they are on the surface, so that lengths have simple derivatives.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import ConvexHull

# The headforms are copies with about 20,000 triangles.
SHA256 = {
    "niosh-2003-respirator-users.csv": "0f70a4081151da845b8c4de897691ea9502d5ca682bf58f3dcc41a86c5a1a9f7",
    "niosh-headform-medium.stl": "38d88de548009e7ddf828f018c5229f2beeac808f3f69e0eab24dce0a9b8d990",
    "niosh-headform-large.stl": "f4046abf82bec49ca4ab475cf91aa5e2accfecfc61fc0026303e02d7d50cd28d",
}
# Columns of the survey.
DIMENSIONS = {
    "head length": "HEADLTH",
    "head breadth": "HEADBR",
    "head circumference": "HEADCIRC",
    "bitragion coronal arc": "BITCOR",
    "bitragion frontal arc": "BITFRONT",
    "bitragion subnasale arc": "BITSUBN",
    "bitragion chin arc": "BITCHIN",
    "minimum frontal breadth": "MINFRBR",
    "maximum frontal breadth": "MAXFRBR",
    "bizygomatic breadth": "BIZYGOBR",
    "bigonial breadth": "BIGONLBR",
    "menton-sellion length": "MENSELL",
    "subnasale-sellion length": "SUBNASAL",
    "nasal root breadth": "NROOTBR",
    "nose breadth": "NOSEBR",
    "nose protrusion": "NOSEPRO",
    "lip length": "LIPLTH",
    "interpupillary distance": "INTPUPBR",
    "neck circumference": "NECKCIRC",
}
NOT_FITTED = ("neck circumference",)  # half of the people were not asked, and the model's neck ends too early
FITTED = tuple(name for name in DIMENSIONS if name not in NOT_FITTED)
# Vertices of MakeHuman's template, cropped as `build_head.crop_head` does it, chosen by hand.
MIDLINE = {
    "brow": 234,  # just above the brow ridges
    "glabella": 227,
    "sellion": 132,
    "pronasale": 1479,
    "subnasale": 343,
    "chin": 733,  # the foremost point
    "menton": 1721,
    "opisthocranion": 956,
    "neck": 796,
    "nape": 849,
}
# The person's left; several vertices stand for their mean.
LEFT = {
    "euryon": (3109,),
    "frontotemporale": (3547,),
    "zygofrontale": (2464,),
    "zygion": (3007,),
    "gonion": (3031,),
    "root": (2333,),
    "alare": (3611,),
    "cheilion": (3537,),
    "pupil": (4569, 4578, 4560, 4587, 4623, 4614),
    "tragion": (4298,),
}

Point = tuple[tuple[int, float], ...]
"""A point on a mesh: vertices and their weights."""


def read_source(folder: Path, name: str) -> Path:
    """The path of a source file, after its content was checked."""
    path = folder / name
    if not path.is_file():
        raise SystemExit(f"{path} is missing: fetch CDC data set RD-10130-2020-0.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256[name]:
        raise SystemExit(f"{path} has sha256 {digest}, expected {SHA256[name]}.")
    return path


@dataclass(frozen=True)
class People:
    """People with all of `names` measured, sexes and race groups weighted equally."""

    names: tuple[str, ...]
    values: np.ndarray  # (N, D) millimetres
    weights: np.ndarray  # (N,) sum to one

    def mean(self) -> np.ndarray:
        """Mean (D,), millimetres."""
        return self.weights @ self.values

    def deviation(self) -> np.ndarray:
        """Standard deviation (D,), millimetres."""
        return np.sqrt(self.weights @ (self.values - self.mean()) ** 2)

    def size_free(self) -> "People":
        """The same people, all of the mean size."""
        return People(self.names, size_free(self.values), self.weights)

    def covariance_of_logarithms(self) -> np.ndarray:
        """Covariance (D, D) of the logarithms of the values."""
        logarithms = np.log(self.values)
        centred = logarithms - self.weights @ logarithms
        return (centred * self.weights[:, None]).T @ centred


def size_free(values: np.ndarray) -> np.ndarray:
    """Measurements (N, D) divided by their size, times the mean size of all.

    Size is their geometric mean (Mosimann 1970, doi:10.1080/01621459.1970.10481136).
    """
    size = np.log(values).mean(1)
    return values * np.exp(size.mean() - size)[:, None]


def read_people(folder: Path, names: tuple[str, ...] = FITTED) -> People:
    """The people of the survey in `folder`."""
    with read_source(folder, "niosh-2003-respirator-users.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = ["SEX", "RACEGRP", *(DIMENSIONS[name] for name in names)]
    table = np.array([[number(row[column]) for column in columns] for row in rows])
    table = table[np.isfinite(table).all(1)]
    _, group, count = np.unique(table[:, :2], axis=0, return_inverse=True, return_counts=True)
    return People(names, table[:, 2:], 1 / count[group] / len(count))


def number(text: str) -> float:
    """A number with commas between thousands; NaN where it is missing, which the survey writes as a negative number."""
    value = float(text.replace(",", "").strip() or -1)
    return value if value >= 0 else np.nan


@dataclass(frozen=True)
class Ruler:
    """Measures heads of one topology."""

    names: tuple[str, ...]
    points: csr_matrix  # (P, V) all points of all chains, one chain after the other
    chains: csr_matrix  # (D, P - 1) which steps from a point to the next belong to a dimension

    def lengths(self, vertices: np.ndarray) -> np.ndarray:
        """Measurements (D,) of a head (V, 3), in its unit."""
        return self.chains @ np.linalg.norm(np.diff(self.points @ vertices, axis=0), axis=1)

    def derivative(self, vertices: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Derivatives (D, K) of the measurements of a head (V, 3) by coefficients of a basis (K, V, 3)."""
        step = np.diff(self.points @ vertices, axis=0)
        direction = step / np.linalg.norm(step, axis=1, keepdims=True).clip(1e-9)
        columns = [self.chains @ (np.diff(self.points @ offset, axis=0) * direction).sum(1) for offset in basis]
        return np.stack(columns, 1)


def build_ruler(arrays: dict[str, np.ndarray], names: tuple[str, ...] = tuple(DIMENSIONS)) -> Ruler:
    """A ruler for heads like the mean head in the head's `arrays`."""
    chains = find_chains(arrays)
    entries = [(vertex, weight) for name in names for point in chains[name] for vertex, weight in point]
    starts = np.cumsum([0, *(len(point) for name in names for point in chains[name])])
    vertices, weights = zip(*entries)
    points = csr_matrix((weights, vertices, starts), (len(starts) - 1, len(arrays["mean"])))
    owner = np.repeat(np.arange(len(names)), [len(chains[name]) for name in names])
    steps = np.flatnonzero(owner[1:] == owner[:-1])
    shape = (len(names), len(owner) - 1)
    return Ruler(names, points, csr_matrix((np.ones(len(steps)), (owner[steps], steps)), shape))


def find_chains(arrays: dict[str, np.ndarray]) -> dict[str, list[Point]]:
    """The chain of points of every dimension on the mean head."""
    mirror, mean = arrays["mirror"], arrays["mean"].astype(float)

    def middle(name: str) -> Point:
        return ((MIDLINE[name], 1.0),)

    def both(name: str) -> list[Point]:
        left = tuple((vertex, 1 / len(LEFT[name])) for vertex in LEFT[name])
        return [left, tuple((int(mirror[vertex]), weight) for vertex, weight in left)]

    tragia = both("tragion")
    edges = skin_edges(arrays)
    above = place(mean, tragia[0]) + np.array([0, 100, 0])
    return {
        "head length": [middle("glabella"), middle("opisthocranion")],
        "head breadth": both("euryon"),
        "head circumference": loop(mean, edges, mean[MIDLINE["brow"]], mean[MIDLINE["opisthocranion"]]),
        "bitragion coronal arc": arc(mean, edges, tragia, above),
        "bitragion frontal arc": arc(mean, edges, tragia, mean[MIDLINE["brow"]]),
        "bitragion subnasale arc": arc(mean, edges, tragia, mean[MIDLINE["subnasale"]]),
        "bitragion chin arc": arc(mean, edges, tragia, mean[MIDLINE["chin"]]),
        "minimum frontal breadth": both("frontotemporale"),
        "maximum frontal breadth": both("zygofrontale"),
        "bizygomatic breadth": both("zygion"),
        "bigonial breadth": both("gonion"),
        "menton-sellion length": [middle("menton"), middle("sellion")],
        "subnasale-sellion length": [middle("subnasale"), middle("sellion")],
        "nasal root breadth": both("root"),
        "nose breadth": both("alare"),
        "nose protrusion": [middle("pronasale"), middle("subnasale")],
        "lip length": both("cheilion"),
        "interpupillary distance": both("pupil"),
        "neck circumference": loop(mean, edges, mean[MIDLINE["neck"]], mean[MIDLINE["nape"]]),
    }


def skin_edges(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Edges (E, 2) of the skin without ears, which a tape goes round."""
    hidden = np.stack([arrays[f"mask_{name}"] for name in ("inner_mouth", "eye_sockets", "teeth", "tongue", "eyes")])
    triangles = arrays["triangles"][~(hidden.any(0) | arrays["mask_ears"])[arrays["triangles"]].any(1)]
    return np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)


def place(vertices: np.ndarray, point: Point) -> np.ndarray:
    """Where a point is, (3,)."""
    return sum(weight * vertices[vertex] for vertex, weight in point)


def section(
    mean: np.ndarray, edges: np.ndarray, start: np.ndarray, through: np.ndarray
) -> tuple[list[Point], np.ndarray]:
    """Points where the plane through two places of the midline and along x cuts edges, and (N, 2) where they are in it.

    The second coordinate of the plane goes from `start` to `through`.
    """
    along = (through - start) * [0, 1, 1] / np.linalg.norm((through - start)[1:])
    height = (mean - start) @ np.cross([1, 0, 0], along)
    cut = edges[(height[edges[:, 0]] > 0) != (height[edges[:, 1]] > 0)]
    share = height[cut[:, 0]] / (height[cut[:, 0]] - height[cut[:, 1]])
    points: list[Point] = [((int(i), 1 - s), (int(j), s)) for (i, j), s in zip(cut, share)]
    return points, in_plane(mean, points, start, along)


def in_plane(mean: np.ndarray, points: list[Point], start: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Coordinates (N, 2) of points: x, and along the plane."""
    places = np.stack([place(mean, point) for point in points])
    return np.stack([places[:, 0], (places - start) @ along], 1)


def loop(mean: np.ndarray, edges: np.ndarray, start: np.ndarray, through: np.ndarray) -> list[Point]:
    """A tape around the head through two places of the midline."""
    points, places = section(mean, edges, start * [0, 1, 1], through)
    order = ConvexHull(places).vertices
    return [points[row] for row in (*order, order[0])]


def arc(mean: np.ndarray, edges: np.ndarray, ends: Sequence[Point], through: np.ndarray) -> list[Point]:
    """A tape from one of `ends` to the other over a place of the midline."""
    start = place(mean, ends[0]) * [0, 1, 1]
    points, places = section(mean, edges, start, through)
    ahead = np.flatnonzero(places[:, 1] > 0)
    points = [*ends, *(points[row] for row in ahead)]
    tips = np.stack([place(mean, end)[:1] for end in ends])
    order = ConvexHull(np.concatenate([np.pad(tips, ((0, 0), (0, 1))), places[ahead]])).vertices
    order = np.roll(order, -int(np.flatnonzero(order == 0)[0]))
    if order[1] == 1:
        order = np.roll(order[::-1], 1)
    return [points[row] for row in order]
