from dataclasses import replace

import torch

from garface.geometry import Camera, Pose, axis_angle_to_matrix
from garface.heads import (
    ARKIT_NAMES,
    IBUG,
    MEDIAPIPE,
    FitSettings,
    FocalPrior,
    Shared,
    fit_landmarks,
    interocular_distance,
    landmark_points,
    load_head,
)
from garface.heads.fit import _Problem, _State, solve_sharing

MODEL = load_head()
ONE_PERSON = FitSettings(shared=Shared(identity=True))


def heads(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Pose, Camera]:
    """Random heads in front of known cameras, 512 px."""
    random = torch.Generator().manual_seed(seed)
    identity = torch.randn(count, MODEL.identities, generator=random)
    expression = torch.rand(count, 52, generator=random) * (torch.rand(count, 52, generator=random) < 0.1)
    turns = (torch.rand(count, 3, generator=random) - 0.5) * torch.tensor([0.5, 1.0, 0.4])
    places = torch.tensor([0.0, 20.0, -800.0]) + 60 * (torch.rand(count, 3, generator=random) - 0.5)
    camera = Camera(torch.full((count,), 1300.0), torch.full((count, 2), 256.0), 512, 512)
    return identity, expression, Pose(axis_angle_to_matrix(turns), places), camera


def project(identity: torch.Tensor, expression: torch.Tensor, pose: Pose, camera: Camera) -> torch.Tensor:
    points = landmark_points(MODEL, MODEL.vertices(identity, expression))
    return camera.project(pose.apply(points))


def test_embedded_head_is_as_documented() -> None:
    assert MODEL.expression_names == ARKIT_NAMES
    assert 4000 < len(MODEL.mean) < 5000
    assert MODEL.identities <= 120
    assert MODEL.triangles.min() == 0
    assert MODEL.triangles.max() == len(MODEL.mean) - 1
    assert bool(((MODEL.uv >= 0) & (MODEL.uv <= 1)).all())
    for embedding, count in ((MODEL.embedding(MEDIAPIPE), 478), (MODEL.embedding(IBUG), 68)):
        assert embedding.barycentric.shape == (count, 3)
        torch.testing.assert_close(embedding.barycentric.sum(1), torch.ones(count))
        assert embedding.barycentric.min() > -1e-4


def test_triangles_face_outwards() -> None:
    a, b, c = MODEL.mean[MODEL.triangles].unbind(1)
    volume = (a * torch.linalg.cross(b, c)).sum() / 6
    assert 1e6 < volume < 8e6  # cubic millimetres of a head and neck, positive when counter-clockwise from outside


def test_partners_mirror_the_mean() -> None:
    assert torch.equal(MODEL.mirror[MODEL.mirror], torch.arange(len(MODEL.mean)))
    flipped = MODEL.mean[MODEL.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert (flipped - MODEL.mean).norm(dim=1).median() < 0.5


def test_regions_lie_where_they_should() -> None:
    left, right = (MODEL.mean[MODEL.region(side)].mean(0) for side in ("left_eye", "right_eye"))
    assert left[0] > 25 > -25 > right[0]
    assert MODEL.mean[MODEL.region("lips")][:, 2].min() > 60
    assert MODEL.mean[MODEL.region("neck")][:, 1].max() < MODEL.mean[MODEL.region("face")][:, 1].mean()
    assert MODEL.mean[MODEL.region("ears")][:, 0].abs().min() > 60


def test_left_expressions_move_the_persons_left() -> None:
    for index, name in enumerate(ARKIT_NAMES):
        if name.startswith(("eyeBlink", "mouthSmile", "browDown")):
            size = MODEL.expression_basis[index].norm(dim=1)
            centre = (MODEL.mean[:, 0] * size).sum() / size.sum()
            assert (centre > 0) == name.endswith("Left"), name


def test_landmark_rows_equal_landmarks_of_the_full_mesh() -> None:
    identity, expression, _, _ = heads(3)
    expected = landmark_points(MODEL, MODEL.vertices(identity, expression), IBUG)
    rows = MODEL.landmarks(IBUG)
    torch.testing.assert_close(rows.points(identity, expression), expected, rtol=0, atol=2e-3)
    by_identity, by_expression = rows.derivatives(identity, expression)
    moved = rows.mean + by_identity @ identity[0] + by_expression @ expression[0]
    torch.testing.assert_close(moved, expected[0], rtol=0, atol=2e-3)


def test_jacobian_equals_automatic_differentiation() -> None:
    identity, expression, pose, camera = heads(2)
    observed = project(identity, expression, pose, camera).double()
    problem = _Problem(MODEL, observed, camera, None, None, None, None, FitSettings())
    state = problem.start(pose.rotation)

    def moved(delta: torch.Tensor) -> torch.Tensor:
        return problem.residuals(problem._move(state, delta))

    zero = torch.zeros(2, 7 + MODEL.identities + 52, dtype=torch.float64)
    wanted = torch.autograd.functional.jacobian(lambda d: moved(d).sum(0), zero).transpose(0, 1)
    free = torch.ones(zero.shape[1], dtype=torch.bool)
    free[7 + MODEL.identities :] = False  # neutral expressions sit at their bound, where the clamp has no derivative
    have = torch.cat([problem.jacobian(state), problem.prior_jacobian(state)], 1)
    torch.testing.assert_close(have[..., free], wanted[..., free], rtol=1e-3, atol=1e-3)


def test_recovers_heads_from_their_own_landmarks() -> None:
    """Noise-free landmarks, known camera, prior turned down: the face region comes back to half a millimetre."""
    identity, expression, pose, camera = heads(8)
    settings = FitSettings(
        sigma_landmark=1e-5, sigma_expression=1.0, fit_focal=False, iterations=300, sigma_distance=10.0, tolerance=0.0
    )
    observed = project(identity, expression, pose, camera).double()
    fit = fit_landmarks(MODEL, observed, camera, settings=settings)
    face = MODEL.region("face")
    wanted = pose.apply(MODEL.vertices(identity, expression))[:, face]
    found = fit.pose.apply(MODEL.vertices(fit.identity.float(), fit.expression.float()).double())[:, face]
    assert (found - wanted).norm(dim=-1).mean(1).max() < 0.5


def test_a_batch_equals_its_faces_one_by_one() -> None:
    identity, expression, pose, camera = heads(64)
    observed = project(identity, expression, pose, camera)
    together = fit_landmarks(MODEL, observed, camera)
    assert together.identity.shape == (64, MODEL.identities)
    for row in (0, 63):
        alone = fit_landmarks(MODEL, observed[row : row + 1], camera[row])
        assert (alone.identity[0] - together.identity[row]).abs().max() < 0.01
        assert (alone.cost[0] - together.cost[row]).abs() < 1e-3 * together.cost[row]


def test_cost_never_rises_and_expression_keeps_its_range() -> None:
    identity, expression, pose, camera = heads(4, seed=1)
    fit = fit_landmarks(MODEL, project(identity, 1.5 * expression, pose, camera), camera)
    costs = torch.stack(fit.history)
    assert bool((costs[1:] <= costs[:-1]).all())
    assert float(costs[-1].max()) < 0.5 * float(costs[0].min())
    assert 0 <= fit.expression.min() <= fit.expression.max() <= 1


def test_problems_that_share_unknowns_are_solved_as_one_large_system() -> None:
    torch.manual_seed(0)
    count, own, shared = 3, 5, slice(2, 4)
    roots = torch.randn(count, own + 2, own + 2, dtype=torch.float64)
    matrix, right = roots @ roots.mT + torch.eye(own + 2), torch.randn(count, own + 2, dtype=torch.float64)
    large, side = torch.zeros(2 + count * own, 2 + count * own, dtype=torch.float64), torch.zeros(2 + count * own)
    places = []
    for row in range(count):
        first = 2 + row * own
        places.append(torch.tensor([first, first + 1, 0, 1, *range(first + 2, first + own)]))
        large[places[-1][:, None], places[-1]] += matrix[row]
        side[places[-1]] += right[row]
    found, wanted = solve_sharing(matrix, right, shared), torch.linalg.solve(large, side.double())
    torch.testing.assert_close(found, torch.stack([wanted[place] for place in places]), rtol=1e-5, atol=1e-6)


def test_an_expected_focal_length_settles_distance_and_focal_length() -> None:
    """A face 40 cm away, as in a selfie, of which landmarks alone say little: 90 cm is thought likely."""
    identity, expression, pose, camera = heads(3, seed=4)
    near = Pose(pose.rotation, pose.translation * 0.5)
    observed = project(identity, expression, near, camera)
    told = camera.focal.clone()
    told[2] = torch.nan
    prior = FocalPrior(told, torch.full((3,), 0.025))
    blind, seeing = (fit_landmarks(MODEL, observed, camera, focal=focal) for focal in (None, prior))
    apart = (seeing.camera.focal / camera.focal).log().abs()
    assert float(apart[:2].max()) < 0.05
    distance = (seeing.pose.translation[:2, 2] / near.translation[:2, 2]).log().abs()
    assert float(distance.max()) < 0.08
    assert float((blind.camera.focal / camera.focal).log().abs().max()) > 0.3
    for name in ("identity", "expression", "cost"):
        assert torch.equal(getattr(seeing, name)[2], getattr(blind, name)[2]), name


def test_the_focal_length_prior_is_derived_rightly() -> None:
    identity, expression, pose, camera = heads(2)
    observed = project(identity, expression, pose, camera).double()
    prior = FocalPrior(camera.focal * 1.2, torch.tensor([0.025, 0.1]))
    problem = _Problem(MODEL, observed, camera, None, None, prior, None, FitSettings())
    state = problem.start(pose.rotation)
    grown = replace(state, log_focal=state.log_focal + 0.01)
    slope = (problem.focal_residual(grown) - problem.focal_residual(state)) / 0.01
    torch.testing.assert_close(slope, problem.focal_weight.double())
    assert float(problem.focal_residual(state).abs().max()) < 1e-5  # it starts where it is expected


def test_several_photos_of_one_person_give_one_better_identity() -> None:
    identity, expression, pose, camera = heads(6, seed=2)
    identity = identity[:1].expand_as(identity)
    noise = 0.5 * torch.randn(6, 478, 2, generator=torch.Generator().manual_seed(0))
    observed = project(identity, expression, pose, camera) + noise
    alone = fit_landmarks(MODEL, observed, camera)
    together = fit_landmarks(MODEL, observed, camera, settings=ONE_PERSON)
    assert torch.equal(together.identity, together.identity[:1].expand_as(together.identity))
    assert bool((torch.stack(together.history).diff(dim=0) <= 0).all())
    neutral, face = torch.zeros_like(expression), MODEL.region("face")
    shapes = (MODEL.vertices(k, neutral)[:, face] for k in (identity, alone.identity, together.identity))
    wanted, one, shared = shapes
    assert (shared - wanted).norm(dim=-1).mean() < 0.85 * (one - wanted).norm(dim=-1).mean()


def test_one_photo_of_one_person_is_a_photo() -> None:
    identity, expression, pose, camera = heads(1)
    observed = project(identity, expression, pose, camera)
    alone, together = (fit_landmarks(MODEL, observed, camera, settings=each) for each in (FitSettings(), ONE_PERSON))
    torch.testing.assert_close(alone.identity, together.identity, rtol=0, atol=5e-3)


def test_interocular_distance_of_the_mean_head() -> None:
    points = landmark_points(MODEL, MODEL.mean[None])
    assert 58 < float(interocular_distance(points)) < 70


def test_precision_is_half_the_second_derivative_of_the_objective() -> None:
    """At landmarks without noise and true expectations all residuals vanish, and with them all curvature."""
    identity, expression, pose, camera = heads(2, seed=4)
    expression = 0.5 + 0.0 * expression
    settings = FitSettings(distance_mean=820.0, tolerance=0.0)
    pose = Pose(pose.rotation, pose.translation * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0.0, 0.0, 820.0]))
    observed = project(identity, expression, pose, camera).double()
    fit = fit_landmarks(
        MODEL, observed, camera, rotation=pose.rotation, identity=identity, expression=expression, settings=settings
    )
    assert float(fit.cost.max()) < 1e-5
    problem = _Problem(MODEL, observed, camera, identity, expression, None, None, settings)
    state = _State(fit.pose.rotation, fit.pose.translation, fit.camera.focal.log(), fit.identity, fit.expression)
    sample = [0, 1, 2, 3, 4, 5, 6, 7, 30, 78, 79, 103, 130]  # some of every kind of unknown
    steps = torch.tensor([1e-3] * 3 + [0.1] * 3 + [1e-3] + [1e-2] * (fit.precision.shape[1] - 7)).double()

    def half_cost(a: int, b: int, towards_a: float, towards_b: float) -> torch.Tensor:
        delta = torch.zeros(2, len(steps), dtype=torch.float64)
        delta[:, a] += towards_a * steps[a]
        delta[:, b] += towards_b * steps[b]
        return problem.cost(problem._move(state, delta)) / 2

    for a in sample:
        for b in sample:
            corners = half_cost(a, b, 1, 1) - half_cost(a, b, 1, -1) - half_cost(a, b, -1, 1) + half_cost(a, b, -1, -1)
            scale = (fit.precision[:, a, a] * fit.precision[:, b, b]).sqrt()
            found = corners / (4 * steps[a] * steps[b]) / scale
            torch.testing.assert_close(found, fit.precision[:, a, b] / scale, rtol=0, atol=2e-3)


def test_precision_holds_priors_landmarks_and_every_photo_of_a_person() -> None:
    identity, expression, pose, camera = heads(2, seed=4)
    observed = project(identity, expression, pose, camera)
    fit = fit_landmarks(MODEL, observed, camera, settings=FitSettings(sigma_landmark=1e6, sigma_identity=0.5))
    assert fit.precision.shape == (2, 131, 131)
    torch.testing.assert_close(fit.precision[0, 7:79, 7:79], 4 * torch.eye(72), atol=1e-4, rtol=0)
    torch.testing.assert_close(fit.precision[0, 79:, 79:], 16 * torch.eye(52), atol=1e-4, rtol=0)
    settings = FitSettings(sigma_landmark=1e6, sigma_identity=0.5)
    person = fit_landmarks(MODEL, observed, camera, settings=replace(settings, shared=Shared(identity=True)))
    torch.testing.assert_close(person.precision[:, 7:79, 7:79].sum(0), 4 * torch.eye(72), atol=1e-4, rtol=0)
