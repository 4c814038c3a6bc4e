import math

import pytest
import torch
from skimage.metrics import structural_similarity as skimage_ssim
from torch import Tensor

from garface import losses
from garface.errors import SettingError


def test_adversarial_losses_are_cross_entropies_of_the_right_label() -> None:
    real, fake = torch.randn(6, 1), torch.randn(6, 1)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    ones = torch.ones_like(real)
    expected = entropy(real, ones, reduction="none") + entropy(fake, 0 * ones, reduction="none")
    torch.testing.assert_close(losses.discriminator_loss(real, fake), expected)
    torch.testing.assert_close(losses.generator_loss(fake), entropy(fake, ones, reduction="none"))


def test_relativistic_losses_see_only_the_difference_and_oppose_each_other() -> None:
    real, fake = torch.randn(6, 1), torch.randn(6, 1)
    shifted = losses.relativistic_generator_loss(real + 3, fake + 3)
    torch.testing.assert_close(losses.relativistic_generator_loss(real, fake), shifted)
    swapped = losses.relativistic_discriminator_loss(fake, real)
    torch.testing.assert_close(losses.relativistic_generator_loss(real, fake), swapped)


def test_r1_is_the_squared_gradient_of_each_sample() -> None:
    images = torch.randn(3, 3, 4, 4).requires_grad_()
    logits = 0.5 * images.square().flatten(1).sum(1, keepdim=True)
    expected = images.square().flatten(1).sum(1)
    torch.testing.assert_close(losses.r1_penalty(images, logits), expected)


def test_path_lengths_of_linear_maps_are_the_norms_of_the_projected_direction() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(3 * 8 * 8, 5)
    w, maps = torch.randn(2, 5).requires_grad_(), torch.randn(2, 3, 8, 8).requires_grad_()
    images = (w @ matrix.T).view(2, 3, 8, 8) + 2 * maps
    projection = torch.randn(2, 3, 8, 8)
    lengths = losses.path_lengths(images, [w, maps, torch.ones(2, 1).requires_grad_()], projection)
    expected = (projection.flatten(1) @ matrix).norm(dim=1) / 8 + 2 * projection.flatten(1).norm(dim=1) / 8
    torch.testing.assert_close(lengths, expected)


def test_path_lengths_have_a_finite_gradient_where_an_input_has_no_influence() -> None:
    w, strength = torch.randn(2, 5).requires_grad_(), torch.zeros(()).requires_grad_()
    images = (w.sum(1) * strength).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    losses.path_lengths(images, [w], torch.randn(2, 3, 4, 4)).sum().backward()
    assert torch.isfinite(strength.grad)


def test_path_length_penalty_starts_from_the_first_lengths_it_sees() -> None:
    penalty, mean = losses.path_length_penalty(torch.tensor([2.0, 4.0]), torch.zeros(()))
    assert float(mean) == 3.0
    assert penalty.tolist() == [1.0, 1.0]


def test_path_length_penalty_follows_its_running_mean() -> None:
    mean = torch.tensor(0.0)
    for _ in range(1000):
        penalty, mean = losses.path_length_penalty(torch.tensor([2.0, 4.0]), mean)
    torch.testing.assert_close(mean, torch.tensor(3.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(penalty, torch.ones(2), atol=1e-3, rtol=0)


def face_condition() -> Tensor:
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 8, 8), dim=1)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:6, 2:6] = 1.0
    return torch.cat([normals * mask, mask], 1)


def test_normal_consistency_is_zero_for_the_truth_and_blind_outside_the_face() -> None:
    condition = face_condition()
    truth = condition[:, :3]
    wild = truth + (1 - condition[:, 3:]) * torch.randn(2, 3, 8, 8)
    assert losses.normal_consistency(wild, condition, lambda x: x).abs().max() == 0
    opposite = losses.normal_consistency(-truth, condition, lambda x: x)
    inside = 2 * truth.abs()
    expected = torch.where(inside < 1, inside.square() / 2, inside - 0.5).flatten(1).sum(1) / (3 * 16)
    torch.testing.assert_close(opposite, expected)


def test_normal_consistency_of_an_empty_condition_is_zero_and_finite() -> None:
    image = torch.randn(1, 3, 8, 8).requires_grad_()
    loss = losses.normal_consistency(image, torch.zeros(1, 4, 8, 8), lambda x: x)
    loss.sum().backward()
    assert loss.item() == 0
    assert torch.isfinite(image.grad).all()


def test_swaps_compare_what_the_critics_see() -> None:
    first, second = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)

    def recognise(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def detect(x: Tensor) -> Tensor:
        return 10 * x.mean((2, 3))[:, :, None].expand(-1, -1, 2)

    difference = recognise(first) - recognise(second)
    torch.testing.assert_close(losses.texture_swap(first, second, recognise), difference.square().sum(1))
    smooth = torch.where((10 * difference).abs() < 1, 50 * difference.square(), 10 * difference.abs() - 0.5)
    torch.testing.assert_close(losses.geometry_swap(first, second, detect), 2 * smooth)


def test_charbonnier_is_quadratic_near_zero_and_linear_far_with_finite_gradient() -> None:
    x = torch.tensor([0.0, 1e-4, 5.0], dtype=torch.float64).requires_grad_()
    value = losses.charbonnier(x, 1e-2)
    torch.testing.assert_close(
        value.detach(), torch.tensor([0.0, 5e-7, 4.99], dtype=torch.float64), atol=1e-4, rtol=1e-3
    )
    value.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.0, 1e-2, 1.0], dtype=torch.float64), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("loss", [losses.photometric_error, losses.pyramid_error, losses.gradient_error])
def test_image_losses_vanish_on_equal_images_and_ignore_what_is_masked(loss) -> None:
    torch.manual_seed(0)
    image, mask = torch.rand(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[:, :, :8] = 1
    other = image.clone()
    other[:, :, 9:] += 0.7
    assert loss(image, image).abs().max() == 0
    assert loss(image, other, mask).abs().max() < 1e-6
    assert (loss(image, other) > 0.01).all()


def test_pyramid_error_of_a_constant_shift_is_the_shift_at_every_level() -> None:
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(losses.pyramid_error(image, image + 0.3), torch.full((2,), 0.3))
    assert losses.gradient_error(image, image + 0.3).max() < 1e-6


def test_structural_similarity_agrees_with_skimage() -> None:
    torch.manual_seed(0)
    a = torch.rand(2, 3, 24, 24, dtype=torch.float64) * 2 - 1
    b = (a + 0.3 * torch.randn_like(a)).clamp(-1, 1)
    ours = losses.structural_similarity(a, b)
    for k in range(2):
        _, full = skimage_ssim(
            a[k].numpy(),
            b[k].numpy(),
            channel_axis=0,
            data_range=2.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        torch.testing.assert_close(ours[k], torch.from_numpy(full[:, 5:-5, 5:-5]), atol=1e-9, rtol=0)


def test_kl_and_likelihood_agree_with_torch_distributions() -> None:
    mean, log_variance, value = torch.randn(3, 5), torch.randn(3, 5), torch.randn(3, 5)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    expected = torch.distributions.kl_divergence(normal, standard)
    torch.testing.assert_close(losses.kl_to_standard_normal(mean, log_variance), expected)
    torch.testing.assert_close(losses.gaussian_likelihood_error(value, mean, log_variance), -normal.log_prob(value))
    constant = 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(losses.gaussian_prior(value) + constant, -standard.log_prob(value))


def test_noise_autocorrelation_tells_white_noise_from_an_image() -> None:
    torch.manual_seed(0)
    white = torch.randn(2, 1, 64, 64)
    smooth = torch.nn.functional.avg_pool2d(white, 5, stride=1, padding=2)
    smooth = smooth / smooth.std()
    assert (losses.noise_autocorrelation(white) * 5 < losses.noise_autocorrelation(smooth)).all()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mirroring_normals_is_the_normal_map_of_the_mirrored_surface() -> None:
    torch.manual_seed(0)
    height = torch.randn(1, 1, 9, 9, dtype=torch.float64)

    def normals(z: Tensor) -> Tensor:
        across, down = (torch.gradient(z[0, 0], dim=d)[0] for d in (1, 0))
        n = torch.stack([-across, down, torch.ones_like(across)])
        return torch.cat([torch.nn.functional.normalize(n, dim=0), torch.ones_like(n[:1])])[None]

    torch.testing.assert_close(losses.mirror_normals(normals(height)), normals(height.flip(3)))


def augmented(
    image: Tensor, condition: Tensor, source: torch.Generator, config: losses.AugmentConfig | None = None
) -> tuple[Tensor, Tensor]:
    """Pairs changed alike."""
    batch, _, height, width = image.shape
    change = losses.draw_augmentation((batch, height, width), source, config)
    return change.on_image(image), change.on_normals(condition)


def test_augmentation_mirrors_image_and_normals_together() -> None:
    config = losses.AugmentConfig(flip=0.5, colour=0, translation=0, cutout=0)
    image, condition = torch.randn(16, 3, 8, 8), torch.randn(16, 4, 8, 8)
    moved, normals = augmented(image, condition, seeded(), config)
    mirrored = [torch.equal(m, p.flip(2)) for m, p in zip(moved, image)]
    assert 0 < sum(mirrored) < 16
    for k, flipped in enumerate(mirrored):
        expected = losses.mirror_normals(condition[k : k + 1])[0] if flipped else condition[k]
        assert torch.equal(normals[k], expected)


def test_geometry_of_the_augmentation_is_the_same_for_image_and_normals() -> None:
    config = losses.AugmentConfig(flip=0, colour=0)
    marks = torch.arange(1.0, 16 * 16 + 1).view(1, 1, 16, 16).expand(8, -1, -1, -1)
    moved, condition = augmented(marks.repeat(1, 3, 1, 1), marks.repeat(1, 4, 1, 1), seeded(), config)
    assert torch.equal(moved[:, :1].expand(-1, 4, -1, -1), condition)
    assert not torch.equal(moved[:, :1], marks)
    assert (condition == 0).any()


def test_colour_leaves_the_normals_alone() -> None:
    config = losses.AugmentConfig(flip=0, translation=0, cutout=0)
    image, condition = torch.randn(4, 3, 8, 8), torch.randn(4, 4, 8, 8)
    moved, normals = augmented(image, condition, seeded(), config)
    assert torch.equal(normals, condition)
    assert not torch.allclose(moved, image)


def test_translation_moves_right_and_down_and_fills_with_zero() -> None:
    from garface.losses.augment import translate

    x = torch.rand(2, 1, 6, 6) + 1
    moved = translate(x, torch.tensor([[2, 1], [-1, 0]]))
    assert torch.equal(moved[0, :, 1:, 2:], x[0, :, :-1, :-2])
    assert moved[0, :, :1].abs().max() == moved[0, :, :, :2].abs().max() == 0
    assert torch.equal(moved[1, :, :, :-1], x[1, :, :, 1:])


def test_cutout_blanks_a_square_about_its_centre() -> None:
    from garface.losses.augment import cut_out

    left = cut_out(torch.ones(1, 1, 8, 8), torch.tensor([[2.0, 5.0]]), 4)
    assert left.sum() == 64 - 16
    assert left[0, 0, 3:7, 0:4].sum() == 0


def test_augmentation_repeats_with_its_seed_does_nothing_at_zero_and_keeps_gradients() -> None:
    image, condition = torch.randn(4, 3, 16, 16).requires_grad_(), torch.randn(4, 4, 16, 16).requires_grad_()
    runs = [augmented(image, condition, seeded(s)) for s in (1, 1, 2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert not torch.equal(runs[0][0], runs[2][0])
    still, same = augmented(image, condition, seeded(), losses.AugmentConfig(flip=0, probability=0))
    torch.testing.assert_close(still, image)
    torch.testing.assert_close(same, condition)
    (runs[0][0].square().sum() + runs[0][1].square().sum()).backward()
    assert image.grad.abs().sum() > 0
    assert condition.grad.abs().sum() > 0


def test_windows_are_squares_of_the_image_half_of_them_in_full_detail() -> None:
    config = losses.AugmentConfig(flip=0, colour=0, translation=0, cutout=0, window=16)
    ramp = torch.arange(32.0).expand(1, 1, 32, 32) + 0.5
    images = torch.cat([ramp, ramp.mT, ramp], 1).expand(64, -1, -1, -1)
    seen, normals = augmented(images, torch.cat([images, images[:, :1]], 1), seeded(), config)
    assert seen.shape == (64, 3, 16, 16)
    assert torch.equal(normals[:, :3], seen)
    inner = slice(1, -1)  # at the very edge the bilinear filter meets the border
    steps = seen[:, 0, 8].diff(dim=1)[:, inner]
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[:, 1, :, 8].diff(dim=1)[:, inner], steps, atol=1e-3, rtol=0)
    assert 16 < int((steps[:, 0] - 1).abs().lt(1e-3).sum()) < 48
    assert float(steps.max()) <= 2 + 1e-3
    assert float(seen[:, :2].min()) >= 0.5
    assert float(seen[:, :2].max()) <= 31.5


def test_one_augmentation_changes_two_batches_alike() -> None:
    change = losses.draw_augmentation((4, 16, 16), seeded(), losses.AugmentConfig(window=8))
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(change.on_image(images), change.on_image(images.clone()))
    with pytest.raises(SettingError, match="a window of 32 px does not fit"):
        losses.draw_augmentation((4, 16, 16), seeded(), losses.AugmentConfig(window=32))


def test_every_objective_rewards_both_sides() -> None:
    real, fake = torch.tensor([[2.0], [0.5]]), torch.tensor([[-3.0], [0.25]])
    for name, game in losses.OBJECTIVES.items():
        better = game.generator(real, fake + 1)
        assert bool((better < game.generator(real, fake)).all()), name
        assert bool((game.discriminator(real + 1, fake - 1) < game.discriminator(real, fake)).all()), name


def test_without_a_source_changes_are_rendered_by_the_default_one_and_senseless_strengths_are_refused() -> None:
    torch.manual_seed(4)
    default = losses.draw_augmentation((6, 8, 8), None)
    given = losses.draw_augmentation((6, 8, 8), torch.Generator().manual_seed(4))
    for name in ("flip", "brightness", "saturation", "contrast", "shift", "hole"):
        assert torch.equal(getattr(default, name), getattr(given, name))
    with pytest.raises(SettingError, match="cutout"):
        losses.AugmentConfig(cutout=2.0)
