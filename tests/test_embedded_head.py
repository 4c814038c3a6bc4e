"""What the mean and the spread of the embedded head say about people."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from anthropometry import FITTED, build_ruler, size_free
from calibrate_head import CALIPERS, LIP_GAP, brows, gap_rows
from measure_head import sampled

from garface.geometry import Camera
from garface.heads import MEDIAPIPE, load_head
from garface.rendering import rasterise

MODEL = load_head()
SIDE, DISTANCE = 512, 900.0  # pixels, millimetres
# Of people in millimetres, sexes and race groups weighted equally: mean, standard deviation, and standard deviation of
# people of one size. NIOSH survey of 2003 (CDC data set RD-10130-2020-0; Zhuang & Bradtmiller 2005,
# doi:10.1080/15459620500324727).
PEOPLE = {
    "head length": (191.0, 9.3, 7.4),
    "head breadth": (150.3, 6.7, 5.9),
    "minimum frontal breadth": (104.1, 5.8, 4.4),
    "maximum frontal breadth": (111.0, 5.8, 3.9),
    "bizygomatic breadth": (140.6, 7.8, 5.0),
    "bigonial breadth": (116.6, 11.1, 8.4),
    "menton-sellion length": (118.3, 8.3, 5.8),
    "subnasale-sellion length": (49.6, 4.5, 4.0),
    "nose breadth": (37.0, 4.9, 4.0),
    "nose protrusion": (19.6, 2.8, 2.6),
    "lip length": (50.2, 4.6, 3.7),
    "interpupillary distance": (64.0, 4.0, 2.8),
}
BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    with (files("garface.heads") / "data" / "head.npz").open("rb") as stream:
        stored = np.load(stream, allow_pickle=False)
        return {name: stored[name] for name in stored.files}


def seen_from_the_front(expression: torch.Tensor) -> torch.Tensor:
    """Triangles (S, S) of the mean head that a camera before it sees; -1 beside the head."""
    camera = Camera(torch.tensor([3.0 * SIDE]), torch.tensor([[SIDE / 2, SIDE / 2]]), SIDE, SIDE)
    head = MODEL.vertices(torch.zeros(1, MODEL.identities), expression[None])
    return rasterise(head - torch.tensor([0.0, -20.0, DISTANCE]), MODEL.triangles, camera)[0]


def count(seen: torch.Tensor, *names: str) -> torch.Tensor:
    """Pixels of each column (S,) that show vertices of these regions alone."""
    inside = torch.stack([MODEL.region(name) for name in names]).any(0)[MODEL.triangles].all(1)
    return ((seen >= 0) & inside[seen.clamp_min(0)]).sum(0)


def expression(share: float, *names: str) -> torch.Tensor:
    """Coefficients (E,) of a face that does these."""
    return share * torch.tensor([float(name in names) for name in MODEL.expression_names])


def test_the_mean_heads_lips_are_closed() -> None:
    assert not count(seen_from_the_front(expression(0)), "teeth", "tongue").any()
    assert count(seen_from_the_front(expression(0.3, "jawOpen")), "teeth", "tongue").sum() > 100


def test_the_mean_heads_lips_touch_as_the_calibration_lets_them(table: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(gap_rows(table, table["mean"][None].astype(float))[0], LIP_GAP, atol=1e-4)


def test_the_mean_heads_eyes_are_as_open_as_peoples() -> None:
    """Samples of people have mean heights of 9.4 to 11.7 mm; sources are in tools/calibrate_head.py."""
    seen = seen_from_the_front(expression(0))
    for side in ("left_eye", "right_eye"):
        depth = DISTANCE - float(MODEL.mean[MODEL.region(side), 2].max())
        height = float(count(seen, side).max()) * depth / (3.0 * SIDE)
        assert 9.4 < height < 11.7
    blink = expression(1, "eyeBlinkLeft", "eyeBlinkRight")
    assert not count(seen_from_the_front(blink), "eyes").any()


def test_brows_are_where_the_landmark_detector_finds_them() -> None:
    found = MODEL.embedding(MEDIAPIPE).points(MODEL.mean[None], MODEL.triangles)[0, list(BROWS)]
    apart = torch.cdist(found, MODEL.mean[MODEL.region("brows")])
    assert apart.amin(1).max() < 7  # landmarks run along both edges
    assert apart.amin(0).max() < 9  # the mesh's vertices are 5 mm apart
    above = found[:, 1].mean() - MODEL.mean[MODEL.region("eyes"), 1].mean()
    assert 10 < above < 20


def test_brows_are_those_of_the_calibration(table: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(brows(table), table["mask_brows"])


def test_frowning_moves_the_brows() -> None:
    size = MODEL.expression_basis[MODEL.expression_names.index("browDownLeft")].norm(dim=1)
    left = MODEL.region("brows") & (MODEL.mean[:, 0] > 0)
    assert size[left].mean() > 0.6 * size.max()


def test_the_mean_head_measures_what_people_do(table: dict[str, np.ndarray]) -> None:
    """Every caliper but the root of the nose, whose place on a smooth surface is uncertain."""
    assert {*PEOPLE, "nasal root breadth"} == set(CALIPERS)
    mean, deviation, _ = np.array(list(PEOPLE.values())).T
    found = build_ruler(table, tuple(PEOPLE)).lengths(table["mean"].astype(float))
    np.testing.assert_array_less(np.abs(found - mean) / deviation, 0.7)


def test_heads_differ_as_people_of_one_size_do(table: dict[str, np.ndarray]) -> None:
    spread = dict(zip(FITTED, size_free(sampled(table, 400)).std(0)))
    ratio = np.array([spread[name] / wanted for name, (_, _, wanted) in PEOPLE.items()])
    np.testing.assert_allclose(ratio, 1, atol=0.25)


def test_the_covariance_of_the_prior_is_positive(table: dict[str, np.ndarray]) -> None:
    factor = table["prior_factor"].astype(float)
    np.testing.assert_allclose(factor, factor.T, atol=1e-6)
    assert np.linalg.eigvalsh(factor).min() > 0.2


def test_the_factor_leads_back_to_the_principal_components_of_the_sliders(table: dict[str, np.ndarray]) -> None:
    """They are orthogonal and sorted by length, which what they were mixed into is not."""
    basis = table["identity_basis"].reshape(MODEL.identities, -1).astype(float)
    unmixed = np.linalg.solve(table["prior_factor"].astype(float), basis)
    for rows, principal in ((unmixed, True), (basis, False)):
        gram = rows @ rows.T
        length = np.sqrt(np.diag(gram))
        cosine = np.abs(gram / np.outer(length, length) - np.eye(len(gram))).max()
        assert (cosine < 0.02) == principal
        assert bool((np.diff(length) < 0.01).all()) == principal
