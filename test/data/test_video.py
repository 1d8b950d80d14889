"""Video files: stamps of the stream, intrinsics beside them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import HEIGHT, WIDTH

from alike_ros.camera import Camera
from alike_ros.data.video import VideoFile
from alike_ros.errors import DataError

LEVELS = [20, 60, 100, 140, 180, 220]  # red of each frame


@pytest.fixture(params=[".avi", ".mp4"])
def video(request: pytest.FixtureRequest, tmp_path: Path, camera: Camera) -> Path:
    path = tmp_path / f"drive{request.param}"
    code = cv2.VideoWriter_fourcc(*("MJPG" if request.param == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, 20, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {request.param}")
    for level in LEVELS:
        writer.write(np.full((HEIGHT, WIDTH, 3), (10, 20, level), np.uint8))
    writer.release()
    camera.to_yaml(tmp_path / "camera.yaml")
    return path


def test_frames_and_stamps(video: Path) -> None:
    sequence = VideoFile(video)
    for _ in range(2):
        frames = list(sequence)
        assert len(frames) == len(sequence) == len(LEVELS)
        steps = np.diff([f.stamp_ns for f in frames])
        np.testing.assert_allclose(steps, 50_000_000, atol=1e6)
        assert frames[0].stamp_ns == 0
        for frame, level in zip(frames, LEVELS, strict=True):
            np.testing.assert_allclose(frame.image[20, 30], [level, 20, 10], atol=12)
        assert not sequence.skipped
    assert sequence.name == "drive"


def test_stamps_that_go_back(tmp_path: Path, camera: Camera) -> None:
    path = tmp_path / "joined.ts"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write .ts")
    for _ in LEVELS:
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    path.write_bytes(2 * path.read_bytes())  # the second half's stamps begin at zero again
    camera.to_yaml(tmp_path / "camera.yaml")
    stamps = [frame.stamp_ns for frame in VideoFile(path)]
    assert len(stamps) == 2 * len(LEVELS)
    np.testing.assert_allclose(np.diff(stamps), 50_000_000, atol=1e6)


def test_intrinsics(video: Path, camera: Camera) -> None:
    Camera(WIDTH, HEIGHT, camera.K * [[2], [2], [1]]).to_yaml(video.with_suffix(".yaml"))
    assert VideoFile(video).camera.fx == 120
    video.with_suffix(".yaml").unlink()
    assert VideoFile(video).camera.fx == 60
    Camera(640, 480, camera.K).to_yaml(video.parent / "camera.yaml")
    with pytest.raises(DataError, match="64x48 pixels, the intrinsics are of 640x480"):
        VideoFile(video)
    (video.parent / "camera.yaml").unlink()
    with pytest.raises(DataError, match="--camera FILE"):
        VideoFile(video)


def test_truth_beside_the_video(video: Path) -> None:
    assert VideoFile(video).truth is None
    video.with_suffix(".tum").write_text("0 0 0 0 0 0 0 1\n1 3 0 4 0 0 0 1\n")
    assert VideoFile(video).truth.length_m == pytest.approx(5)


def test_only_mono(video: Path) -> None:
    with pytest.raises(DataError, match="'rgbd', it offers mono"):
        VideoFile(video, "rgbd")


def test_not_a_video(tmp_path: Path, camera: Camera) -> None:
    (tmp_path / "half.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
    camera.to_yaml(tmp_path / "camera.yaml")
    with pytest.raises(DataError, match=r"half\.mp4 is not a video"):
        VideoFile(tmp_path / "half.mp4")
