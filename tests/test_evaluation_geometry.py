"""The command: rows that are resumed, rows of others, means over subjects, intervals, error maps."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_evaluation import astronaut, open_detector
from tiny_model import write_model
from tiny_scans import head, head_scan, prediction_of, write_aflw2000, write_bench

from garface.cli import main
from garface.errors import InputError, NoFaceError, SettingError, WeightsError
from garface.evaluation.geometry import (
    GeometrySettings,
    GeometryTable,
    Head,
    Method,
    MethodSettings,
    measure_geometry,
    open_dataset,
    read_prediction,
    write_prediction,
)
from garface.evaluation.geometry import methods as rows
from garface.evaluation.geometry.error_maps import LIMIT, SIDE, colours_of, error_map
from garface.evaluation.geometry.journal import Journal, Row
from garface.evaluation.geometry.measure import JOURNAL
from garface.evaluation.geometry.protocols import PROTOCOLS, now
from garface.evaluation.geometry.table import bootstrap, subject_means
from garface.geometry import Camera, Pose
from garface.heads import load_head

CAMERA = Camera(torch.tensor([900.0]), torch.tensor([[256.0, 250.0]]), 500, 512)
POSE = Pose(torch.eye(3)[None], torch.tensor([[0.0, 0.0, -800.0]]))


class Heads:
    """A method that gives head 1 for every photo, and says which photos it was asked about."""

    def __init__(self, stop_at: int = 99, blind: str = "") -> None:
        self.asked, self.opened, self.stop_at, self.blind = list[str](), 0, stop_at, blind
        self.models = list[str]()

    @contextmanager
    def __call__(self, settings: MethodSettings) -> Iterator[rows.Reconstruct]:
        self.opened += 1
        self.models.append(settings.model)

        def reconstruct(photos: Sequence[Path]) -> list[Head]:
            if len(self.asked) == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append("+".join(photo.stem for photo in photos))
            for photo in photos:
                if photo.stem == self.blind:
                    raise NoFaceError(f"No face in {photo.name}.")
            return [Head(head(1)[0].vertices.astype(np.float32), CAMERA, POSE, load_head()) for _ in photos]

        yield reconstruct


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few points and steps: what is tested here is not how exact the protocols are."""
    settings = now.NowSettings(steps=0, aligned=50, samples=200)
    monkeypatch.setitem(
        PROTOCOLS,
        "now",
        now.Protocol("now", "quickly", "mm", lambda prediction, photo: now.score(prediction, photo, settings=settings)),
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench(tmp_path_factory.mktemp("bench"))


def use(monkeypatch: pytest.MonkeyPatch, **methods: Heads) -> None:
    for name, heads in methods.items():
        monkeypatch.setitem(rows.METHODS, name, Method("for a test", heads))


def measured(bench: Path, out: Path, **settings: object) -> GeometryTable:
    return measure_geometry(open_dataset(bench), out, GeometrySettings(**settings), progress=False)  # type: ignore[arg-type]


# Running, stopping, going on


def test_a_stopped_run_goes_on_where_it_was(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Heads(stop_at=2), Heads()
    use(monkeypatch, ours=first)
    with pytest.raises(KeyboardInterrupt):
        measured(bench, tmp_path, methods=("ours",))
    with (tmp_path / JOURNAL).open("a") as stream:
        stream.write('{"method": "ours", "proto')  # killed while writing
    use(monkeypatch, ours=second)
    table = measured(bench, tmp_path, methods=("ours",))
    assert first.asked == ["s000_v0", "s000_v1"]
    assert second.asked == ["s001_v0", "s001_v1"]
    lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert [line["photo"] for line in lines] == ["s000_v0", "s000_v1", "s001_v0", "s001_v1"]
    assert table.scored == 4

    third = Heads()
    use(monkeypatch, ours=third)
    assert measured(bench, tmp_path, methods=("ours",)).to_json() == table.to_json()
    assert (third.asked, third.opened) == ([], 0)  # nothing is loaded when nothing is missing

    (tmp_path / JOURNAL).write_text("")
    (tmp_path / "meshes/ours/s000_v1.lm7.npy").unlink()  # killed between two files of a head
    assert measured(bench, tmp_path, methods=("ours",)).to_json() == table.to_json()
    assert third.asked == ["s000_v1"]


def test_a_row_of_persons_sees_all_photos_of_a_subject(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = Heads(blind="s001_v1")
    monkeypatch.setitem(rows.METHODS, "ours", Method("for a test", heads, person=True))
    table = measured(bench, tmp_path, methods=("ours",))
    assert heads.asked == ["s000_v0+s000_v1", *2 * ["s001_v0+s001_v1"]]
    assert [name for name, _ in table.missing("now", "ours")] == ["s001_v0", "s001_v1"]


def test_another_protocol_scores_the_heads_that_are_there(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = Heads()
    use(monkeypatch, ours=heads)
    measured(bench, tmp_path, methods=("ours",))
    monkeypatch.setitem(PROTOCOLS, "other", now.Protocol("other", "nothing", "mm", lambda *_: {"one": 1.0}))
    table = measured(bench, tmp_path, methods=("ours",), protocols=("now", "other"))
    assert len(heads.asked) == 4
    assert table.summary("other", "ours") == {"one": 1.0}


def test_failures_are_told_and_tried_again(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ours=Heads(blind="s001_v0"))
    table = measured(bench, tmp_path, methods=("ours",))
    assert table.missing("now", "ours") == [("s001_v0", "No face in s001_v0.jpg.")]
    assert "No face in s001_v0.jpg." in (tmp_path / "table.md").read_text()
    use(monkeypatch, ours=Heads())
    assert not measured(bench, tmp_path, methods=("ours",)).missing("now", "ours")


def test_results_of_another_seed_are_not_mixed_in(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ours=Heads())
    measured(bench, tmp_path, methods=("ours",))
    with pytest.raises(SettingError, match="another seed"):
        measured(bench, tmp_path, methods=("ours",), seed=1)
    (tmp_path / JOURNAL).write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1"):
        measured(bench, tmp_path, methods=("ours",))


def test_heads_of_others_are_scored_beside_ours(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ours=Heads())
    theirs, model = tmp_path / "theirs", load_head()
    for name in ("s000_v0", "s000_v1", "s001_v0"):  # one is missing
        write_prediction(theirs, name, Head(head(1)[0].vertices.astype(np.float32), CAMERA, POSE, model))
    table = measured(bench, tmp_path / "out", methods=("ours",), predictions={"theirs": theirs})
    assert table.missing("now", "theirs") == [("s001_v1", "no mesh")]
    ours, others = table.subjects("now", "ours"), table.subjects("now", "theirs")
    assert others["s000"] == ours["s000"]
    assert ours["s000"]["median"] == pytest.approx(0, abs=1e-3)  # subject 0 is head 1
    assert ours["s001"]["median"] > 0.5
    for row in (tmp_path / "out/rows.jsonl").read_text().splitlines():
        assert json.loads(row)["method"] in ("ours", "theirs")


def test_other_weights_have_a_row_of_the_whole_reconstruction(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads, plain = Heads(), write_model(tmp_path / "plain")
    use(monkeypatch, full=heads)
    table = measured(bench, tmp_path / "out", methods=("full",), models={"plain": plain})
    assert heads.models == ["builtin", str(plain)]
    assert len(heads.asked) == 8
    assert table.summary("now", "plain") == table.summary("now", "full")
    assert (tmp_path / "out/meshes/plain/s000_v0.ply").exists()
    with pytest.raises(SettingError, match="landmarks is a row of garface's own"):
        GeometrySettings(models={"landmarks": plain}, methods=("full",)).check()
    with pytest.raises(SettingError, match="holds results of another model"):
        measured(bench, tmp_path / "out", methods=("full",), models={"plain": write_model(tmp_path / "others")})
    with pytest.raises(WeightsError, match=r"gar\.safetensors"):
        GeometrySettings(models={"empty": tmp_path}).check()


def test_a_row_needs_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no method magic; choose from: mean: the mean head"):
        GeometrySettings(methods=("magic",)).check()
    with pytest.raises(SettingError, match="comes twice"):
        GeometrySettings(methods=("mean",), predictions={"mean": tmp_path}).check()
    with pytest.raises(SettingError, match="Nothing is to be measured"):
        GeometrySettings(methods=()).check()
    with pytest.raises(InputError, match="not a folder"):
        GeometrySettings(predictions={"theirs": tmp_path / "nowhere"}).check()
    with pytest.raises(InputError, match="the weights of theirs, is not a folder"):
        GeometrySettings(models={"theirs": tmp_path / "nowhere"}).check()


# Files of reconstructions


def test_a_prediction_comes_back_with_landmarks_and_points(tmp_path: Path) -> None:
    mesh, landmarks = head(1)
    vertices = mesh.vertices.astype(np.float32)
    write_prediction(tmp_path, "a/b", Head(vertices, CAMERA, POSE, load_head()))
    found = read_prediction(tmp_path, "a/b")
    np.testing.assert_allclose(found.mesh.vertices, vertices)
    np.testing.assert_allclose(found.landmarks, landmarks, atol=1e-4)
    assert found.points is not None
    depth = 800 - landmarks[4, 2]  # row 33 of the 68 is the nose's base, the fifth of the seven
    expected = [256 + 900 * landmarks[4, 0] / depth, 250 - 900 * landmarks[4, 1] / depth]
    np.testing.assert_allclose(found.points[33], expected, atol=0.01)


def test_numbers_of_vertices_serve_all_meshes(tmp_path: Path) -> None:
    vertices = head(1)[0].vertices.astype(np.float32)
    write_prediction(tmp_path, "x", Head(vertices, CAMERA, POSE, load_head()))
    (tmp_path / "x.lm7.npy").unlink()
    with pytest.raises(InputError, match=r"neither x\.lm7\.npy nor lm7_idx\.npy"):
        read_prediction(tmp_path, "x")
    np.save(tmp_path / "lm7_idx.npy", np.arange(7) * 3)
    np.testing.assert_allclose(read_prediction(tmp_path, "x").landmarks, vertices[::3][:7], atol=1e-4)
    np.save(tmp_path / "lm7_idx.npy", np.arange(7) * 10_000)
    with pytest.raises(InputError, match="unmerged"):
        read_prediction(tmp_path, "x")
    np.save(tmp_path / "x.lm7.npy", np.zeros((6, 3)))
    with pytest.raises(InputError, match=r"shape \(7, 3\)"):
        read_prediction(tmp_path, "x")


# The table


def tabulated(values: dict[str, dict[str, float]], baselines: tuple[str, ...] = ("mean",)) -> GeometryTable:
    lines = [
        Row(method, "now", photo, photo[0], {"median": value})
        for method, some in values.items()
        for photo, value in some.items()
    ]
    names = tuple(dict.fromkeys(photo for some in values.values() for photo in some))
    return GeometryTable(tuple(lines), names, tuple(values), ("now",), baselines)


def test_a_subject_counts_once_however_many_views_it_has() -> None:
    table = tabulated({"mean": {"a1": 1.0, "a2": 3.0, "a3": 5.0, "b1": 9.0}})
    assert table.summary("now", "mean") == {"median": 6.0}
    assert subject_means(table.rows) == {"a": {"median": 3.0}, "b": {"median": 9.0}}


def test_methods_are_compared_on_the_photos_that_both_have() -> None:
    table = tabulated({"mean": {"a1": 1.0, "a2": 3.0, "b1": 9.0}, "ours": {"a1": 0.5, "b1": 9.5, "c1": 100.0}})
    (one,) = table.differences("now")
    assert (one.method, one.baseline, one.metric) == ("ours", "mean", "median")
    assert one.interval.mean == pytest.approx(0)
    assert (one.interval.low, one.interval.high) == pytest.approx((-0.5, 0.5))
    assert (one.better, one.subjects) == (1, 2)
    assert "0.000 [-0.500, 0.500]" in table.to_markdown()
    assert table.to_json()["protocols"]["now"]["methods"]["ours"]["missing"] == 1


def test_baselines_are_compared_with_each_other_once() -> None:
    values = {name: {"a1": 1.0} for name in ("landmarks", "ours", "mean")}
    table = tabulated(values, ("mean", "landmarks"))
    pairs = [(one.method, one.baseline) for one in table.differences("now")]
    assert pairs == [("landmarks", "mean"), ("ours", "mean"), ("ours", "landmarks")]


def test_intervals_have_the_width_that_theory_gives() -> None:
    values = np.random.default_rng(0).normal(2, 1, 400)
    found = bootstrap(values.tolist())
    half = 1.96 * values.std() / 400**0.5
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert bootstrap([3.0, 3.0]).low == bootstrap([3.0, 3.0]).high == 3
    assert bootstrap(values.tolist()) == found


def test_turned_heads_are_tabulated_by_their_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ours=Heads())
    table = measured(write_aflw2000(tmp_path / "data"), tmp_path / "out", methods=("ours",))
    metrics = table.summary("aflw2000", "ours")
    assert list(metrics) == ["yaw 0 to 30", "yaw 30 to 60", "yaw 60 to 90", "all photos", "mean of bins"]
    assert metrics["mean of bins"] == pytest.approx(metrics["all photos"])  # one photo in each


def test_the_journal_keeps_the_last_of_two_rows(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl")
    journal.add(Row("m", "now", "p", "s", reason="no"))
    journal.add(Row("m", "now", "p", "s", {"median": 1.0}))
    assert [row.metrics for row in Journal(tmp_path / "rows.jsonl").rows.values()] == [{"median": 1.0}]


# Error maps


def test_an_error_map_is_blue_where_nothing_errs_and_red_where_much_does() -> None:
    low, middle, high = colours_of(np.array([0.0, LIMIT / 2, 3 * LIMIT]))
    assert low[2] > 2 * low[0]
    assert high[0] > 2 * high[2]
    assert middle.min() > 0.7
    scan = head_scan(1)
    photo = error_map(prediction_of(*head(1)), scan).astype(int)
    assert photo.shape == (SIDE, SIDE, 3)
    face = (photo < 255).any(2)
    assert 0.2 < face.mean() < 0.9
    assert (photo[..., 2] > photo[..., 0])[face].mean() > 0.99
    assert (photo[0] == 255).all()
    assert face[SIDE // 2, SIDE // 2]  # the tip of the nose


# The command


def test_the_command_measures_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_detector().close()
    folder = write_bench(tmp_path / "data", subjects=2, views=1, pixels=astronaut())
    arguments = ["evaluate", "geometry", str(folder), "--methods", "mean", "landmarks", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--split", "even", "--error-maps", "1"]) == 0
    told = capsys.readouterr().out
    assert "landmarks | mean | median" in told.replace("  ", " ")
    assert (tmp_path / "out/error_maps.png").stat().st_size > 1000
    mean = read_prediction(tmp_path / "out/meshes/mean", "s000_v0")
    fitted = read_prediction(tmp_path / "out/meshes/landmarks", "s000_v0")
    np.testing.assert_allclose(mean.mesh.vertices, head(0)[0].vertices, atol=1e-4)
    assert np.abs(fitted.mesh.vertices - mean.mesh.vertices).max() > 1
    assert mean.points is not None
    assert fitted.points is not None
    assert np.linalg.norm(mean.points - fitted.points, axis=1).mean() < 20  # of 512 pixels: they share the pose
    assert not (tmp_path / "out/meshes/mean/s001_v0.ply").exists()  # that subject is odd


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "not a folder"),
        (["DATA", "--methods", "magic"], "no method magic"),
        (["DATA", "--predictions", "theirs"], "NAME=FOLDER"),
        (["DATA", "--predictions", "a/b=."], "NAME=FOLDER"),
        (["DATA", "--predictions", "a=.", "a=."], "a different name"),
        (["DATA", "--models", "theirs"], "--models must be NAME=FOLDER"),
        (["DATA", "--protocols", "then"], "no protocol 'then'"),
        (["DATA", "--subjects", "nobody"], "no subject nobody"),
        (["DATA", "--error-maps", "-1"], "0 or more"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    arguments: list[str], reason: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(bench) if word == "DATA" else word for word in arguments]
    assert main(["evaluate", "geometry", *given, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
