import json
import shutil
from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from garface.errors import Cancelled, InputError, NoFaceError, SettingError, WeightsError
from garface.geometry import Camera, Pose
from garface.heads import Shared, landmark_points, load_head, stamp
from garface.io import read_photo, to_uint8
from garface.losses import gaussian_prior
from garface.metrics import psnr
from garface.networks import Inverter, InverterConfig, StyleGenerator, StyleGeneratorConfig, to_dict
from garface.photo.align import ffhq_similarity
from garface.photo.detector import LandmarkDetector
from garface.photo.fitting import align_face, fit_aligned
from garface.reconstruction import (
    COSTS,
    STAGES,
    Context,
    FaceState,
    ReconstructionSettings,
    Reconstructor,
    RefineSettings,
    Renderer,
    Target,
    load_renderer,
    load_state,
    read_report,
    reconstruct,
    refine,
)
from garface.reconstruction.collection import Job, reconstruct_collection
from garface.reconstruction.costs import evaluate
from garface.reconstruction.renderer import model_hash
from garface.rendering import normal_pyramid
from garface.weights import WeightsCard, save_weights

SIZE, LATENT = 32, 16
CHANNELS = {4: 16, 8: 16, 16: 16, 32: 8}


def networks() -> tuple[StyleGenerator, Inverter]:
    torch.manual_seed(0)
    generator = StyleGenerator(
        StyleGeneratorConfig(resolution=SIZE, latent_dim=LATENT, style_dim=LATENT, mapping_layers=2, channels=CHANNELS)
    )
    with torch.no_grad():  # a new generator ignores the normals, because its heads start at zero
        for name, value in generator.named_parameters():
            if ".gains." in name or ".shifts." in name:
                value.add_(0.3 * torch.randn_like(value))
    return generator, Inverter(InverterConfig(resolution=SIZE, latent_dim=LATENT, channels=CHANNELS, hidden=32))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    generator, inverter = networks()
    card = WeightsCard(
        kind="gar", config=to_dict(generator.config), licence="CC0", trained_on="nothing", head=stamp(load_head())
    )
    save_weights(folder / "gar.safetensors", generator.state_dict(), card)
    card = replace(card, kind="inverter", config=to_dict(inverter.config))
    save_weights(folder / "inverter.safetensors", inverter.state_dict(), card)
    return folder


@pytest.fixture(scope="module")
def renderer(model_folder: Path) -> Renderer:
    return load_renderer(model_folder, device="cpu")


def test_a_renderer_makes_smaller_images_of_the_same(model_folder: Path) -> None:
    whole, half = load_renderer(model_folder, device="cpu"), load_renderer(model_folder, device="cpu", size=16)
    assert (whole.resolution, half.resolution) == (32, 16)
    w, normals = half.sample_latents(2), torch.rand(2, 4, 16, 16)
    rendered = half.render(w, normals)
    assert rendered.shape == (2, 3, 16, 16)
    noise = half.sample_noise(2)
    torch.testing.assert_close(rendered, whole.generator(w, normal_pyramid(normals), noise, resolution=16))


def state_of(renderer: Renderer, count: int = 1, seed: int = 0) -> FaceState:
    """Random heads before the camera, filling the crop."""
    random = torch.Generator().manual_seed(seed)
    model = renderer.head_model
    return FaceState(
        identity=0.5 * torch.randn(count, model.identities, generator=random),
        expression=0.2 * torch.rand(count, 52, generator=random),
        pose=Pose(torch.eye(3).repeat(count, 1, 1), torch.tensor([[0.0, 0.0, -800.0]]).repeat(count, 1)),
        camera=Camera(torch.full((count,), 2.6 * SIZE), torch.full((count, 2), SIZE / 2), SIZE, SIZE),
        w=renderer.sample_latents(count, seed=seed)[:, None].repeat(1, renderer.generator.layers, 1),
        noise=renderer.sample_noise(count, seed=seed),
    )


def target_of(renderer: Renderer, state: FaceState) -> Target:
    model = renderer.head_model
    head = state.pose.apply(model.vertices(state.identity, state.expression))
    points = state.camera.project(landmark_points(model, head))
    with torch.no_grad():
        image = state.render(renderer)
    return Target(image, torch.ones_like(image[:, :1]), points, torch.zeros_like(state.identity))


def test_refinement_finds_the_image_of_another_latent(renderer: Renderer) -> None:
    truth, start = state_of(renderer, 2), state_of(renderer, 2, seed=5)
    start = replace(start, identity=truth.identity, expression=truth.expression)
    target = target_of(renderer, truth)
    state, history = refine(renderer, start, target, RefineSettings(steps=40))
    before, after = psnr(start.render(renderer), target.image), psnr(state.render(renderer), target.image)
    assert bool((after > before + 3).all())
    assert len(history) == 40
    assert bool((history[-1]["photometric"] < 0.6 * history[0]["photometric"]).all())
    assert 0 <= state.expression.min() <= state.expression.max() <= 1


def test_faces_of_a_batch_do_not_influence_each_other(renderer: Renderer) -> None:
    truth, start = state_of(renderer, 2), state_of(renderer, 2, seed=5)
    target, settings = target_of(renderer, truth), RefineSettings(steps=3)
    both, history = refine(renderer, start, target, settings)
    first = FaceState(
        start.identity[:1],
        start.expression[:1],
        start.pose[:1],
        start.camera[:1],
        start.w[:1],
        [layer[:1] for layer in start.noise],
    )
    alone, terms = refine(renderer, first, target[0], settings)
    assert float(terms[0]["photometric"]) == pytest.approx(float(history[0]["photometric"][0]), rel=1e-3)
    torch.testing.assert_close(alone.w, both.w[:1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(alone.identity, both.identity[:1], rtol=1e-3, atol=1e-3)


def test_faces_of_one_person_share_an_identity_whose_prior_counts_once(renderer: Renderer) -> None:
    start = state_of(renderer, 2, seed=5)
    target, settings = target_of(renderer, state_of(renderer, 2)), RefineSettings(steps=3)
    state, history = refine(renderer, start, target, replace(settings, shared=Shared(identity=True)))
    assert torch.equal(state.identity[0], state.identity[1])
    prior = gaussian_prior(start.identity.mean(0, keepdim=True)).mean()
    assert history[0]["identity"].tolist() == pytest.approx([float(prior) / 2] * 2)
    double = replace(
        start,
        identity=start.identity[[0, 0]],
        expression=start.expression[[0, 0]],
        w=start.w[[0, 0]],
        noise=[layer[[0, 0]] for layer in start.noise],
    )
    twice = Target(target.image[[0, 0]], target.mask[[0, 0]], target.points[[0, 0]], target.identity[[0, 0]])
    settings = replace(settings, terms={name: term for name, term in COSTS.items() if name != "identity"})
    same, _ = refine(renderer, double, twice, replace(settings, shared=Shared(identity=True)))
    alone, _ = refine(renderer, start[0], target[0], settings)
    torch.testing.assert_close(same[1].identity, alone.identity, rtol=1e-3, atol=1e-3)


def test_one_person_from_two_photos(model_folder: Path) -> None:
    settings = ReconstructionSettings(quality="fast", model=str(model_folder), device="cpu", texture_size=64)
    with Reconstructor(settings) as reconstructor:
        first, second = reconstructor.reconstruct_person([astronaut(), astronaut()[:, ::-1].copy()], names=["a", "b"])
        alone = reconstructor.reconstruct(astronaut(), name="a")[0]
    with Reconstructor(replace(settings, face="all")) as reconstructor:
        crowd = np.concatenate([astronaut(), astronaut()], axis=1)
        assert reconstructor.reconstruct_person([crowd], names=["c"])[0].name == "c"
        with pytest.raises(SettingError, match="2 photos cannot be reconstructed under 1 names"):
            reconstructor.reconstruct_person([astronaut(), astronaut()], names=["a"])
        with pytest.raises(NoFaceError, match="b: "):
            reconstructor.reconstruct_person([astronaut(), np.full((64, 64, 3), 90, np.uint8)], names=["a", "b"])
    assert (first.name, second.name) == ("a", "b")
    assert torch.equal(first.identity, second.identity)
    assert not torch.equal(first.identity, alone.identity)
    assert not torch.equal(first.expression, second.expression)
    assert first.state.w.shape == alone.state.w.shape
    assert set(first.seconds) == set(alone.seconds)


def test_photos_of_a_batch_come_out_as_they_do_alone_and_bad_ones_say_why(model_folder: Path) -> None:
    settings = ReconstructionSettings(model=str(model_folder), device="cpu", texture_size=64, batch=2)
    photos = [astronaut(), np.full((64, 64, 3), 90, np.uint8), astronaut()[:, ::-1].copy(), astronaut()[:400].copy()]
    told: list[tuple[str, float]] = []
    with Reconstructor(settings, refinement=RefineSettings(steps=2)) as reconstructor:
        found = reconstructor.reconstruct_batch(photos, names=list("abcd"), tell=lambda *stage: told.append(stage))
        alone = reconstructor.reconstruct(photos[3], name="d")[0]
        with pytest.raises(SettingError, match="4 photos cannot be reconstructed under 1 names"):
            reconstructor.reconstruct_batch(photos, names=["a"])
    assert isinstance(found[1], NoFaceError)
    assert str(found[1]).startswith("b: ")
    faces = [part[0] for part in found if isinstance(part, list)]
    assert [face.name for face in faces] == ["a", "c", "d"]
    torch.testing.assert_close(faces[2].identity, alone.identity, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(faces[2].state.w, alone.state.w, rtol=1e-3, atol=1e-3)
    assert faces[2].history[-1]["landmarks"] == pytest.approx(alone.history[-1]["landmarks"], rel=0.05)
    assert faces[0].history[-1]["landmarks"] != faces[1].history[-1]["landmarks"]
    stages = [stage for stage, _ in groupby(told, key=lambda entry: entry[0])]
    assert stages == ["find", *["fit", "invert", "check", "refine", "texture"] * 2]
    assert sum(stage == "refine" for stage, _ in told) == 2 * (1 + 2 + 1)  # every step tells
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert (told[0][1], told[-1][1]) == (0.0, 1.0)


class Stop(Cancelled):
    pass


@pytest.mark.parametrize("stage", STAGES)
def test_work_can_be_cancelled_in_every_stage_and_nothing_is_left(
    stage: str, model_folder: Path, tmp_path: Path
) -> None:
    settings = ReconstructionSettings(model=str(model_folder), device="cpu", texture_size=16)
    told: list[str] = []

    def cancel(_: object, now: str, share: float) -> None:
        told.append(now)
        if told.count(stage) == 2 or (stage == "find" and now == stage):  # inside it, where it tells of an inside
            raise Stop

    with Reconstructor(settings, refinement=RefineSettings(steps=2)) as reconstructor:
        jobs = [Job(name, astronaut()) for name in "ab"]
        with pytest.raises(Stop):
            list(reconstruct_collection(reconstructor, jobs, tmp_path / "out", progress=cancel))
    assert told[-1] == stage
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_batch_of_no_face_is_refused() -> None:
    with pytest.raises(SettingError, match="batch must be at least 1"):
        Reconstructor(ReconstructionSettings(batch=0))


def test_every_term_vanishes_or_rests_at_the_truth(renderer: Renderer) -> None:
    truth = state_of(renderer)
    terms = evaluate(COSTS, Context.of(renderer, truth, truth, target_of(renderer, truth)), Shared())
    for name in ("photometric", "detail", "landmarks", "expression", "spread"):
        assert float(terms[name].abs().max()) < 1e-5, name


def test_gradients_reach_every_unknown(renderer: Renderer) -> None:
    truth, state = state_of(renderer), state_of(renderer, seed=3)
    unknowns = [state.identity, state.expression, state.pose.rotation, state.pose.translation, state.w, *state.noise]
    for value in unknowns:
        value.requires_grad_()
    renderer = replace(renderer, generator=deepcopy(renderer.generator))
    for block in renderer.generator.blocks.values():
        for layer in block.layers:
            layer.noise_strength.data.fill_(0.1)  # zero in a new generator
    terms = evaluate(COSTS, Context.of(renderer, state, truth, target_of(renderer, truth)), Shared())
    gradients = torch.autograd.grad(terms["photometric"].sum(), unknowns)
    assert all(bool(torch.isfinite(g).all()) and float(g.abs().max()) > 0 for g in gradients)


def test_samples_depend_on_seed_and_index_alone(renderer: Renderer) -> None:
    torch.testing.assert_close(renderer.sample_latents(5, seed=3)[:2], renderer.sample_latents(2, seed=3))
    assert torch.equal(renderer.sample_noise(3, seed=1)[4][:1], renderer.sample_noise(1, seed=1)[4])
    assert not torch.equal(renderer.sample_latents(1, seed=3), renderer.sample_latents(1, seed=4))


@pytest.fixture(scope="module")
def saved(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "astronaut"
    reconstruct(astronaut(), model=str(model_folder), quality="fast", texture_size=128).save(folder)
    return folder


def test_a_result_folder_is_complete(saved: Path) -> None:
    names = {path.name for path in saved.iterdir() if not path.name.startswith(".")}
    assert names == {
        "head.glb",
        "head.obj",
        "head.mtl",
        "texture.png",
        "confidence.png",
        "render.png",
        "normals.png",
        "overlay.png",
        "comparison.png",
        "reconstruction.json",
        "latent.safetensors",
    }
    report = read_report(saved)
    assert set(report) >= {"identity", "expression", "camera", "metrics", "seconds", "history", "versions", "weights"}
    assert len(report["expression"]) == 52
    assert set(report["seconds"]) == {"read", "find", "fit", "invert", "check", "texture"}
    json.dumps(report, allow_nan=False)


def test_the_reported_camera_projects_the_saved_head_onto_the_photo(saved: Path) -> None:
    """Read the OBJ and the JSON as a user would, and land on the landmarks found in the full photo."""
    report = read_report(saved)
    lines = [line.split() for line in (saved / "head.obj").read_text().splitlines()]
    vertices = np.array([[float(x) for x in words[1:4]] for words in lines if words and words[0] == "v"])
    camera = report["camera"]
    placed = vertices @ np.array(camera["rotation_camera_head"]).T + camera["translation_camera_head_mm"]
    centre = np.array(camera["principal_px"])
    pixels = centre + camera["focal_px"] * placed[:, :2] * [1, -1] / -placed[:, 2:]
    model = load_head()
    points = landmark_points(model, torch.from_numpy(pixels)[None])[0].numpy()
    with LandmarkDetector() as detector:
        found = detector.find(astronaut())[0]
    assert np.median(np.linalg.norm(points - found.points, axis=1)) < 0.04 * found.interocular_distance


def test_the_confidence_mask_is_saved_in_grey_and_hidden_parts_are_black(saved: Path) -> None:
    mask = Image.open(saved / "confidence.png")
    assert (mask.mode, mask.size) == ("L", Image.open(saved / "texture.png").size)
    model, values = load_head(), np.asarray(mask)
    back = model.uv[model.uv_triangles[model.mean[model.triangles, 2].amax(1) < model.mean[:, 2].min() + 20].flatten()]
    texels = (back * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])) * len(values)
    column, row = texels.long().clamp(0, len(values) - 1).unbind(1)
    assert values[row, column].max() == 0
    assert values.max() > 250


def test_a_saved_state_renders_the_same_image(saved: Path, renderer: Renderer) -> None:
    state = load_state(saved, renderer)
    rendered = to_uint8(state.render(renderer)[0].clamp(-1, 1))
    assert np.abs(rendered.astype(int) - read_photo(saved / "render.png").pixels).max() <= 1


def test_the_same_seed_gives_the_same_bytes(model_folder: Path, saved: Path, tmp_path: Path) -> None:
    settings = {"model": str(model_folder), "quality": "fast", "texture_size": 128}
    again = reconstruct(astronaut(), **settings).save(tmp_path / "astronaut")
    for name in ("head.glb", "head.obj", "texture.png", "render.png", "latent.safetensors"):
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name


def test_crop_and_photo_share_one_camera() -> None:
    """A point projects to the same place through the crop's camera and through the photo's."""
    with LandmarkDetector() as detector:
        face = detector.find(astronaut())[0]
    aligned = align_face(astronaut(), face, 128)
    fit = fit_aligned(load_head(), [aligned])
    camera, pose = aligned.to_photo(fit.camera, fit.pose)
    points = torch.randn(1, 20, 3) * 80
    in_crop = fit.camera.project(fit.pose.apply(points))
    in_photo = camera.project(pose.apply(points))
    similarity = ffhq_similarity(torch.from_numpy(face.points)[None], 128)
    torch.testing.assert_close(similarity.apply(in_photo), in_crop, rtol=0, atol=5e-2)
    torch.testing.assert_close(camera.principal, torch.tensor([[256.0, 256.0]]), rtol=0, atol=5e-2)


def test_a_blank_photo_has_no_face(model_folder: Path) -> None:
    with pytest.raises(NoFaceError, match="photo: No face"):
        reconstruct(np.full((256, 256, 3), 128, np.uint8), model=str(model_folder))


def test_the_rows_to_compare_with_start_and_descend_as_they_say(renderer: Renderer) -> None:
    plain = ReconstructionSettings(quality="fast", texture_size=16)
    compared = {
        "fitted": plain,
        "classic": replace(plain, quality="standard", renderer="classic"),
        "from the mean": replace(plain, latent_start="mean"),
    }
    faces = {}
    for name, settings in compared.items():
        with Reconstructor(settings, renderer=renderer) as reconstructor:
            faces[name] = reconstructor.reconstruct(np.ascontiguousarray(astronaut()[:240, 100:340]))[0]
    fitted, classic, mean = faces.values()
    assert not torch.allclose(classic.identity, fitted.identity, atol=1e-3)
    assert torch.equal(classic.state.w, fitted.state.w)
    assert classic.history[-1]["photometric"] < classic.history[0]["photometric"]
    assert torch.equal(mean.identity, fitted.identity)
    torch.testing.assert_close(mean.state.w[0], renderer.mean_style.expand_as(mean.state.w[0]))


def test_settings_are_checked(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="quality"):
        Reconstructor(ReconstructionSettings(quality="great", model=str(model_folder)))  # type: ignore[arg-type]
    for wrong in ({"renderer": "hand"}, {"latent_start": "nowhere"}, {"shape_start": "guess"}):
        with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be"):
            Reconstructor(ReconstructionSettings(model=str(model_folder), **wrong))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="no setting 'qualty'"):
        reconstruct(astronaut(), qualty="fast")
    with pytest.raises(WeightsError, match="not a folder"):
        load_renderer(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no finished reconstruction"):
        load_state(tmp_path, load_renderer(model_folder))


def test_every_network_of_a_reconstruction_counts_in_its_hash(model_folder: Path, tmp_path: Path) -> None:
    hashes = [model_hash(), model_hash(model_folder)]
    save_weights(tmp_path / "shape.safetensors", {}, WeightsCard("shape", {}, "free", "nothing"))
    hashes.append(model_hash(model_folder, tmp_path / "shape.safetensors"))
    for name in ("gar", "inverter"):
        shutil.copytree(model_folder, tmp_path / name)
        save_weights(tmp_path / name / f"{name}.safetensors", {}, WeightsCard(name, {}, "free", "nothing"))
        hashes.append(model_hash(tmp_path / name))
    assert len(set(hashes)) == len(hashes)
    assert model_hash(model_folder) == hashes[1]
