"""Rendered scenes: the images agree with the poses, the depth and the baseline."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from alike_ros.camera import Camera
from alike_ros.data.motion import MOTIONS
from alike_ros.data.renderer import RenderedSequence
from alike_ros.data.scene import Panel, Scene, View
from alike_ros.errors import DataError
from alike_ros.geometry import from_Rt, inverse, rotation_angle, rotation_exp, transform

pytest.importorskip("skimage", reason="photo textures: pip install scikit-image")

DISTORTED = Camera(
    320,
    240,
    np.array([[230.0, 0, 160], [0, 228, 118], [0, 0, 1]]),
    (-0.28, 0.07, 0.0002, -0.0003, 0.0),
)
SMALL = Camera(320, 240, np.array([[250.0, 0, 159.5], [0, 250, 119.5], [0, 0, 1]]))


@pytest.fixture(params=["ideal", "distorted"])
def camera_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (SMALL if request.param == "ideal" else DISTORTED).to_yaml(tmp_path / "camera.yaml")
    return tmp_path / "camera.yaml"


def grid(camera: Camera) -> np.ndarray:
    rows, cols = np.mgrid[4 : camera.height - 4 : 3, 4 : camera.width - 4 : 3]
    return np.column_stack([cols.ravel(), rows.ravel()]).astype(np.float64)


def sample(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    x, y = pixels.astype(np.float32).T[:, None]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR)[0]


def photometric_errors(
    camera0: Camera,
    frame0: object,
    camera1: Camera,
    image1: np.ndarray,
    cam1_from_cam0: np.ndarray,
) -> np.ndarray:
    """Grey differences of pixels of frame 0 and what view 1 shows where their points project."""
    pixels0 = grid(camera0)
    depth = frame0.depth[pixels0[:, 1].astype(int), pixels0[:, 0].astype(int)]
    points = transform(cam1_from_cam0, camera0.unproject(pixels0, depth))
    seen = np.isfinite(depth) & (points[:, 2] > 0.1)
    pixels1 = camera1.project(points[seen])
    inside = ((pixels1 > 3) & (pixels1 < [camera1.width - 4, camera1.height - 4])).all(1)
    grey0, grey1 = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in (frame0.image, image1))
    values0 = sample(grey0, pixels0[seen][inside]).astype(float)
    assert len(values0) > 1000
    return np.abs(values0 - sample(grey1, pixels1[inside]))


@pytest.mark.parametrize("scene", ["room", "corridor", "yard"])
def test_depth_and_poses_agree_with_the_images(scene: str, camera_file: Path) -> None:
    sequence = RenderedSequence(scene, "rgbd", camera_file, frames=7, noise=0)
    frames = list(sequence)
    poses = sequence.truth.world_from_cam
    errors = photometric_errors(
        sequence.camera, frames[0], sequence.camera, frames[6].image, inverse(poses[6]) @ poses[0]
    )
    still = photometric_errors(
        sequence.camera, frames[0], sequence.camera, frames[6].image, np.eye(4)
    )
    assert np.median(errors) <= 2  # measured 0 to 1 grey levels; what moved behind edges differs
    assert np.median(still) > 10  # measured 16 to 42 without the motion


@pytest.mark.parametrize("scene", ["room", "yard"])
def test_disparity_agrees_with_depth(scene: str, tmp_path: Path) -> None:
    SMALL.to_yaml(tmp_path / "camera.yaml")
    rgbd, stereo = (
        RenderedSequence(scene, mode, tmp_path / "camera.yaml", frames=1, noise=0)
        for mode in ("rgbd", "stereo")
    )
    frame, pair = next(iter(rgbd)), next(iter(stereo))
    np.testing.assert_array_equal(frame.image, pair.image)
    assert stereo.stereo.baseline == pytest.approx(0.1)
    errors = photometric_errors(
        SMALL, frame, stereo.stereo.right, pair.right, stereo.stereo.right_from_left
    )
    assert np.median(errors) <= 2  # measured 0 to 1 grey levels


def chequered(distance: float, rotvec: tuple[float, ...] = (0, 0, 0)) -> tuple[Scene, np.ndarray]:
    """A panel of 2 x 1 m with 8 x 4 squares, `distance` ahead, and its inner corners (21, 3)."""
    texture = np.kron(np.indices((4, 8)).sum(0) % 2, np.ones((64, 64)))
    texture = np.repeat((200 * texture + 20).astype(np.uint8)[:, :, None], 3, axis=2)
    R = rotation_exp(np.array(rotvec, float))
    centre, across, down = np.array([0, 0, distance]), 2 * R[:, 0], R[:, 1]
    corner = centre - (across + down) / 2
    a, b = np.meshgrid(np.arange(1, 8) / 8, np.arange(1, 4) / 4)
    corners = corner + a.reshape(-1, 1) * across + b.reshape(-1, 1) * down
    return Scene([Panel(corner, across, down, texture)]), corners


@pytest.mark.parametrize("camera", [SMALL, DISTORTED])
@pytest.mark.parametrize("rotvec", [(0, 0, 0), (0.3, -0.5, 0.2)])
def test_corners_are_where_they_project(camera: Camera, rotvec: tuple[float, ...]) -> None:
    scene, corners = chequered(2.0, rotvec)
    scene_from_cam = from_Rt(rotation_exp(np.array([0.05, 0.1, -0.1])), np.array([0.1, 0.05, 0]))
    image, depth = scene.render(scene_from_cam, View.of(camera))
    in_cam = transform(inverse(scene_from_cam), corners)
    expected = camera.project(in_cam)
    image = cv2.GaussianBlur(image, (5, 5), 1)
    found = expected.astype(np.float32).reshape(-1, 1, 2)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = cv2.cornerSubPix(grey, found, (6, 6), (-1, -1), stop).reshape(-1, 2)
    errors = np.linalg.norm(found - expected, axis=1)
    assert np.abs((found - expected).mean(0)).max() < 0.03  # measured 0.011: no bias
    assert np.median(errors) < 0.06  # measured 0.017 to 0.036
    assert errors.max() < 0.2  # measured 0.10
    nearest = np.round(expected).astype(int)
    np.testing.assert_allclose(depth[nearest[:, 1], nearest[:, 0]], in_cam[:, 2], rtol=0.01)


def test_nothing_is_nan_and_back_sides_are_not_seen() -> None:
    scene, _ = chequered(2.0)
    _, depth = scene.render(np.eye(4), View.of(SMALL))
    seen = np.isfinite(depth)
    assert seen.sum() == pytest.approx(250 * 125, rel=0.01)  # 2 x 1 m at 2 m
    np.testing.assert_allclose(depth[seen], 2, rtol=1e-6)
    behind = from_Rt(rotation_exp(np.array([0, np.pi, 0])), np.array([0, 0, 4.0]))
    _, depth = scene.render(behind, View.of(SMALL))
    assert np.isnan(depth).all()


def test_panels_that_reach_behind_the_camera_are_cut() -> None:
    """A floor under and behind the camera: depth at a row is height * f / (row - cy)."""
    texture = np.full((32, 32, 3), 100, np.uint8)
    corner, across, down = (
        np.array([20.0, 1, -20]),
        np.array([-40.0, 0, 0]),
        np.array([0, 0, 40.0]),
    )
    image, depth = Scene([Panel(corner, across, down, texture)]).render(np.eye(4), View.of(SMALL))
    rows = np.arange(140, 240)
    np.testing.assert_allclose(depth[rows, 100], 250 / (rows - 119.5), rtol=1e-5)
    assert np.isnan(depth[:119]).all()
    assert (image[rows] == 100).all()


def test_the_nearer_panel_hides_the_other() -> None:
    panels = []
    for distance, level in ((3.0, 50), (2.0, 200), (4.0, 120)):
        size = distance  # all as large in the image
        corner = np.array([-size / 4, -size / 4, distance])
        texture = np.full((16, 16, 3), level, np.uint8)
        panels.append(
            Panel(corner, np.array([size / 2, 0, 0]), np.array([0, size / 2, 0]), texture)
        )
    image, depth = Scene(panels).render(np.eye(4), View.of(SMALL))
    assert (image[120, 160] == 200).all()
    assert depth[120, 160] == pytest.approx(2)


def test_iterations_are_equal_and_seeds_differ() -> None:
    sequence = RenderedSequence("room", frames=2, seed=3)
    first, second = list(sequence), list(sequence)
    other = next(iter(RenderedSequence("room", frames=2, seed=4)))
    for a, b in zip(first, second, strict=True):
        assert a.stamp_ns == b.stamp_ns
        np.testing.assert_array_equal(a.image, b.image)
    assert (first[0].image != other.image).mean() > 0.5


def test_noise_and_exposure(tmp_path: Path) -> None:
    SMALL.to_yaml(tmp_path / "camera.yaml")
    options = {"camera_file": tmp_path / "camera.yaml", "frames": 24, "motion": "still"}
    clean = [f.image.astype(float) for f in RenderedSequence("room", noise=0.0, **options)]
    noisy = next(iter(RenderedSequence("room", noise=4.0, **options))).image
    inner = (clean[0] > 20) & (clean[0] < 235)
    assert (noisy - clean[0])[inner].std() == pytest.approx(4, rel=0.1)
    np.testing.assert_array_equal(clean[0], clean[23])
    bright = list(RenderedSequence("room", noise=0.0, exposure=0.2, **options))[23].image
    assert np.median(bright[inner] / clean[0][inner]) == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize("motion", MOTIONS)
def test_motions_are_smooth_and_of_realistic_speed(motion: str) -> None:
    truth = RenderedSequence("room", frames=120, motion=motion, rate_hz=30.0).truth
    np.testing.assert_allclose(truth.world_from_cam[0], np.eye(4), atol=1e-15)
    steps = inverse(truth.world_from_cam[:-1]) @ truth.world_from_cam[1:]
    speed = np.linalg.norm(steps[:, :3, 3], axis=1) * 30
    turn_deg = np.degrees([rotation_angle(step[:3, :3]) for step in steps]) * 30
    limits = {"still": (0, 0), "circle": (0.6, 40), "forward": (1.1, 10), "shake": (0.8, 60)}
    assert speed.max() <= limits[motion][0] + 1e-9
    assert turn_deg.max() <= limits[motion][1] + 1e-6
    assert np.abs(np.diff(speed)).max() < 0.1  # m/s from frame to frame
    if motion != "still":
        assert truth.length_m > 0.5


def test_stamps_and_length() -> None:
    sequence = RenderedSequence("corridor", frames=4, rate_hz=20.0)
    stamps_ns = [f.stamp_ns for f in sequence]
    assert stamps_ns == sequence.truth.stamps_ns.tolist()
    assert np.diff(stamps_ns).tolist() == [50_000_000] * 3
    assert len(sequence) == 4


def test_unknown_names() -> None:
    with pytest.raises(DataError, match="unknown scene 'moon', known are room, corridor, yard"):
        RenderedSequence("moon")
    with pytest.raises(DataError, match="unknown motion 'fly', known are circle"):
        RenderedSequence("room", motion="fly")
    with pytest.raises(DataError, match="frames=0"):
        RenderedSequence("room", frames=0)


def test_missing_textures_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("alike_ros.data.textures.find_spec", lambda _name: None)
    with pytest.raises(DataError, match="pip install scikit-image"):
        RenderedSequence("room", frames=1, seed=123)  # one that is not kept


def test_it_is_fast() -> None:
    sequence = RenderedSequence("room", "rgbd", frames=10)
    started = time.process_time()
    list(sequence)
    assert (time.process_time() - started) / 10 < 0.1  # s of one core; measured 0.015 at 640x480
