"""The homography benchmark: its layout, its figures on made-up truth, and published numbers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alike_ros import backends, homography_evaluation
from alike_ros.backends.classical import SiftExtractor
from alike_ros.cli import main
from alike_ros.config import Config, DetectorConfig
from alike_ros.data.hpatches import read_scenes
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.homography_evaluation import Figures, evaluate
from alike_ros.homography_metrics import covisible, warp
from alike_ros.match_pictures import CORRECT, WRONG, draw_matches

SIZE = (240, 320)
HOMOGRAPHIES = {
    2: np.array([[1.0, 0.05, -6], [-0.04, 0.98, 9], [1e-4, -5e-5, 1]]),
    3: np.array([[0.8, -0.15, 60], [0.2, 0.85, -20], [-2e-4, 3e-4, 1]]),
}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of a textured picture and two warps of it; the top left pixel tells which."""
    folder = tmp_path_factory.mktemp("benchmark")
    for seed, suffix in ((0, "png"), (1, "ppm")):
        scene = folder / f"v_scene{seed}"
        scene.mkdir()
        picture = _picture(seed)
        for k, homography in {1: np.eye(3), **HOMOGRAPHIES}.items():
            image = cv2.warpPerspective(picture, homography, SIZE[::-1], flags=cv2.INTER_CUBIC)
            image[0, 0] = k
            cv2.imwrite(str(scene / f"{k}.{suffix}"), image)
            if k > 1:
                np.savetxt(scene / f"H_1_{k}", (1, -2)[seed] * homography)  # of any scale
    return folder


def _picture(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    picture = np.full((*SIZE, 3), 128, np.uint8)
    for _ in range(300):
        x, y = (int(v) for v in rng.integers(0, SIZE[::-1]))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.circle(picture, (x, y), int(rng.integers(3, 15)), colour, -1, cv2.LINE_AA)
    return picture


class Oracle:
    """Finds the same points in each image, where the homography says that they are.

    In all images but the first they are off by `shift` pixels, and the descriptors of a share of
    `swapped` are those of other points.
    """

    description = "oracle"

    def __init__(self, shift: float = 0.0, swapped: float = 0.0) -> None:
        self.shift, self.swapped = shift, swapped

    def __call__(self, image: NDArray[np.uint8]) -> Features:
        rng = np.random.default_rng(5)
        points = rng.uniform(0, (SIZE[1] - 1, SIZE[0] - 1), (200, 2))
        names = np.eye(200, dtype=np.float32)
        for homography in HOMOGRAPHIES.values():  # what every view sees
            points = covisible(warp(points, homography), SIZE)
            points = warp(points, np.linalg.inv(homography))
        seen = np.isfinite(points).all(1)
        points, names = points[seen], names[seen]
        number = int(image[0, 0, 0])
        if number > 1:
            points = warp(points, HOMOGRAPHIES[number])
            points[:, 0] += self.shift
            wrong = round(self.swapped * len(points))
            names[:wrong] = np.roll(names[:wrong], wrong // 2, axis=0)
        scores = np.ones(len(points), np.float32)
        return Features(points.astype(np.float32), scores, names)


def _mean(extractor: Oracle | SiftExtractor, folder: Path) -> Figures:
    return Figures.mean([evaluate(extractor, scene) for scene in read_scenes(folder)])


def test_scenes_are_read_in_order(benchmark: Path) -> None:
    scenes = read_scenes(benchmark)
    assert [scene.name for scene in scenes] == ["v_scene0", "v_scene1"]
    assert scenes[1].first.name == "1.ppm"
    assert [view.image.name for view in scenes[0].views] == ["2.png", "3.png"]
    np.testing.assert_allclose(scenes[0].views[1].view_from_first, HOMOGRAPHIES[3])
    assert [scene.name for scene in read_scenes(benchmark / "v_scene1")] == ["v_scene1"]


@pytest.mark.parametrize("text", ["1 0 0\n0 1 0\n", "1 0 0\n0 1 0\n0 0 x\n", "0 0 0\n" * 3, ""])
def test_what_is_no_homography_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "s").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "s" / name).write_bytes(b"")
    (tmp_path / "s" / "H_1_2").write_text(text)
    with pytest.raises(DataError, match="H_1_2"):
        read_scenes(tmp_path)


def test_incomplete_benchmarks_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        read_scenes(tmp_path / "none")
    with pytest.raises(DataError, match="no scenes"):
        read_scenes(tmp_path)
    (tmp_path / "s").mkdir()
    np.savetxt(tmp_path / "s" / "H_1_2.txt", np.eye(3))
    with pytest.raises(DataError, match=r"H_1_2\.txt is no such name"):
        read_scenes(tmp_path)
    np.savetxt(tmp_path / "H_1_2", np.eye(3))
    with pytest.raises(DataError, match="no image 2"):
        read_scenes(tmp_path)


def test_a_perfect_extractor_gets_full_marks(benchmark: Path) -> None:
    figures = _mean(Oracle(), benchmark)
    for share in (figures.rep, figures.ms, figures.mma, figures.mha):
        np.testing.assert_array_equal(share, np.ones(5))
    assert 100 < figures.keypoints < 200


def test_points_that_are_off_count_from_their_distance_on(benchmark: Path) -> None:
    figures = _mean(Oracle(shift=2.5), benchmark)
    np.testing.assert_array_equal(figures.mma, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(figures.mha, [0, 0, 1, 1, 1])
    assert figures.ms[1] == 0 and figures.ms[2] > 0.97  # a few leave the image
    assert figures.rep[0] < 0.1 and figures.rep[3] > 0.9


def test_wrong_matches_count_as_wrong(benchmark: Path) -> None:
    figures = _mean(Oracle(swapped=0.25), benchmark)
    np.testing.assert_allclose(figures.mma, np.full(5, 0.75), atol=0.01)
    np.testing.assert_allclose(figures.ms, figures.mma)
    np.testing.assert_array_equal(figures.rep, np.ones(5))
    np.testing.assert_array_equal(figures.mha, np.ones(5))


def test_nothing_found_is_zero(benchmark: Path) -> None:
    class Blind:
        description = "blind"

        def __call__(self, image: NDArray[np.uint8]) -> Features:
            return Features(*(np.zeros(s, np.float32) for s in ((0, 2), (0,), (0, 8))))

    figures = evaluate(Blind(), read_scenes(benchmark)[0])
    assert not any(x.any() for x in (figures.rep, figures.ms, figures.mma, figures.mha))
    assert figures.keypoints == 0


def test_sift_does_well_on_warped_pictures(benchmark: Path) -> None:
    figures = _mean(SiftExtractor(), benchmark)
    assert figures.mma[2] > 0.85  # 0.92
    assert figures.rep[2] > 0.55  # 0.63
    assert figures.mha[2] == 1


def test_pictures_show_right_and_wrong_matches() -> None:
    grey, colour = np.zeros((50, 60), np.uint8), np.zeros((40, 70, 3), np.uint8)
    points0, points1 = np.array([[5.0, 10], [5, 30]]), np.array([[20.0, 10], [20, 30]])
    picture = draw_matches(grey, colour, points0, points1, np.array([True, False]))
    assert picture.shape == (50, 130, 3)
    np.testing.assert_allclose(picture[10, 40], CORRECT, atol=30)  # lines are smoothed
    np.testing.assert_allclose(picture[30, 40], WRONG, atol=30)
    none = np.zeros((0, 2))
    assert not draw_matches(grey, colour, none, none, np.zeros(0, bool)).any()


def test_command_compares_extractors(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "out" / "result.json"
    options = ["--extractor", "sift", "orb", "--top-k", "300", "--json", str(written)]
    pictures = ["--pictures", str(tmp_path / "pictures")]
    assert main(["evaluate", "homography", str(benchmark), *options, *pictures]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-2:]] == [["mean", "sift"], ["mean", "orb"]]
    result = json.loads(written.read_text())
    assert set(result) == {"sift", "orb"}
    assert set(result["orb"]) == {"rep", "ms", "mma", "mha", "keypoints", "scenes"}
    assert f"{result['orb']['mma'][0]:.2f}" in lines[-1].split()
    assert result["sift"]["keypoints"] <= 300
    assert {path.name for path in (tmp_path / "pictures" / "orb").iterdir()} == {
        f"v_scene{scene}-1-{k}.jpg" for scene in (0, 1) for k in (2, 3)
    }


def test_command_writes_the_figures_of_one_extractor_flat(benchmark: Path, tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    command = ["evaluate", "homography", str(benchmark), "--extractor", "sift"]
    assert main([*command, "--json", str(written)]) == 0
    result = json.loads(written.read_text())
    assert set(result) == {"rep", "ms", "mma", "mha", "keypoints", "scenes"}
    assert set(result["scenes"]) == {"v_scene0", "v_scene1"}
    means = np.mean([scene["mma"] for scene in result["scenes"].values()], axis=0)
    np.testing.assert_allclose(result["mma"], means, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "detector"),
    [
        ([], DetectorConfig(0, 0.2)),  # the protocol of the published figures
        (["--pixel"], DetectorConfig(0, 0.2, sub_pixel=False)),
        (["--top-k", "2000"], DetectorConfig(2000, 0.0)),
        (["--top-k", "2000", "--min-score", "0.1"], DetectorConfig(2000, 0.1)),
    ],
)
def test_command_hands_settings_to_the_models(
    options: list[str],
    detector: DetectorConfig,
    benchmark: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Config] = []

    def load(config: Config) -> Oracle:
        asked.append(config)
        return Oracle()

    monkeypatch.setattr(backends, "load_extractor", load)
    models = ["a/net.onnx", "b/net.onnx", "c/other.pth"]
    assert main(["evaluate", "homography", str(benchmark), *options, "--model", *models]) == 0
    assert [config.model for config in asked] == models
    assert {config.detector for config in asked} == {detector}
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines()[-3:]]
    assert rows == ["a/net.onnx", "b/net.onnx", "other"]
    assert main(["evaluate", "homography", str(benchmark)]) == 0
    assert asked[-1].model == ""  # the model that comes with the package


def test_a_model_is_not_taken_for_the_extractor_of_its_name(
    benchmark: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backends, "load_extractor", lambda _: Oracle())
    command = ["evaluate", "homography", str(benchmark), "--extractor", "orb"]
    assert main([*command, "--model", "trained/orb.onnx"]) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == ["trained/orb.onnx", "orb"]


def test_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "homography", str(tmp_path)]) == 1
    assert "no scenes" in capsys.readouterr().err


#: MMA at 1 to 5 px of the released weights on three scenes of HPatches, and keypoints per image.
PUBLISHED = {
    ("alike-t", DetectorConfig(0)): ([21.22, 43.13, 54.26, 60.02, 63.71], 3306),
    ("alike-t", DetectorConfig(0, sub_pixel=False)): ([17.59, 38.51, 49.65, 55.29, 59.12], 3306),
    ("alike-t", DetectorConfig(2000, 0.0)): ([21.51, 43.12, 53.86, 59.02, 61.99], 2000),
    ("alike-n", DetectorConfig(0)): ([27.26, 51.29, 61.59, 66.57, 69.77], 2598),
    ("alike-n", DetectorConfig(0, sub_pixel=False)): ([23.47, 47.57, 58.40, 63.24, 67.03], 2598),
}


@pytest.mark.parametrize("variant", ["alike-t", pytest.param("alike-n", marks=pytest.mark.slow)])
def test_published_figures_are_reproduced(
    variant: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(homography_evaluation, "RANSAC_DRAWS", 1)  # MHA is not compared
    from alike_ros.backends import load_extractor
    from alike_ros.backends.onnx import OnnxExtractor

    data, weights = shared / "data" / "homography", shared / "weights" / f"{variant}.pth"
    if not (data.is_dir() and weights.is_file()):
        pytest.skip("no scenes or released weights in ../shared")
    extractor = load_extractor(Config(model=str(weights), engine_cache_dir=str(tmp_path)))
    assert isinstance(extractor, OnnxExtractor)
    outputs: dict[bytes, dict[str, NDArray[np.float32]]] = {}
    run = extractor.run

    def run_once(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        key = image[::50].tobytes()
        if key not in outputs:
            # it uses the arrays again
            outputs[key] = {name: array.copy() for name, array in run(image).items()}
        return outputs[key]

    extractor.run = run_once  # type: ignore[method-assign]
    settings = {d: expected for (name, d), expected in PUBLISHED.items() if name == variant}
    results: dict[DetectorConfig, list[Figures]] = {detector: [] for detector in settings}
    for scene in read_scenes(data):
        outputs.clear()
        for detector, figures in results.items():
            extractor.detector = detector
            figures.append(evaluate(extractor, scene))
    for detector, (mma, keypoints) in settings.items():
        mean = Figures.mean(results[detector])
        np.testing.assert_allclose(100 * mean.mma, mma, atol=0.1)
        assert mean.keypoints == pytest.approx(keypoints, abs=1)
