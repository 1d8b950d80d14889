"""The webcam, with OpenCV's capture replaced by one that needs no camera."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import picture

from alike_ros.camera import Camera
from alike_ros.data import open_sequence
from alike_ros.data.webcam import Webcam
from alike_ros.errors import DataError


class FakeCapture:
    """Three frames, the second of which cannot be read."""

    opened = True
    released = 0

    def __init__(self, index: int) -> None:
        self.index, self._frames = index, iter([True, False, True])
        self._good = False

    def isOpened(self) -> bool:
        return self.opened

    def set(self, _property: int, _value: float) -> None:
        pass

    def grab(self) -> bool:
        self._good = next(self._frames, None)
        return self._good is not None

    def retrieve(self) -> tuple[bool, Any]:
        return (True, picture(self.index)[..., ::-1]) if self._good else (False, None)

    def release(self) -> None:
        FakeCapture.released += 1


@pytest.fixture
def camera_file(tmp_path: Path, camera: Camera, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("alike_ros.data.webcam.cv2.VideoCapture", FakeCapture)
    camera.to_yaml(tmp_path / "camera.yaml")
    return tmp_path / "camera.yaml"


def test_frames_have_the_time_of_the_clock(camera_file: Path) -> None:
    sequence = open_sequence("webcam:2", camera_file=camera_file)
    before, released = time.time_ns(), FakeCapture.released
    frames = list(sequence)
    assert len(frames) == 2
    assert before <= frames[0].stamp_ns < frames[1].stamp_ns <= time.time_ns()
    np.testing.assert_array_equal(frames[0].image, picture(2))
    assert sequence.skipped == {"no image": 1}
    assert FakeCapture.released == released + 1
    assert len(sequence) == 0
    assert sequence.name == "webcam:2"


def test_wrong_use(camera_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="give --camera FILE"):
        Webcam(0)
    with pytest.raises(DataError, match="expected a number, as in webcam:0"):
        open_sequence("webcam:front", camera_file=camera_file)
    with pytest.raises(DataError, match="it offers mono"):
        Webcam(0, "rgbd", camera_file)
    monkeypatch.setattr(FakeCapture, "opened", False)
    with pytest.raises(DataError, match="cannot be opened: is it connected"):
        list(Webcam(0, camera_file=camera_file))
