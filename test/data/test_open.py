"""One door to all sources: layouts, options, messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import picture, save

from alike_ros.camera import Camera
from alike_ros.data import open_sequence
from alike_ros.data.bag import BagSequence
from alike_ros.data.euroc import EurocSequence
from alike_ros.data.folder import ImageFolder
from alike_ros.data.kitti import KittiSequence
from alike_ros.data.open import layout
from alike_ros.data.tum import TumSequence
from alike_ros.data.video import VideoFile
from alike_ros.errors import DataError


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["rgb.txt", "rgb/1.png"], TumSequence),
        (["times.txt", "image_0/000000.png"], KittiSequence),
        (["times.txt", "image_2/000000.png"], KittiSequence),
        (["mav0/cam0/data.csv"], EurocSequence),
        (["cam0/data.csv"], EurocSequence),
        (["1.png"], ImageFolder),
        (["left/1.png", "right/1.png"], ImageFolder),
        (["metadata.yaml", "a_0.mcap"], BagSequence),
        (["metadata.yaml", "1.png"], ImageFolder),
        (["a_0.db3"], BagSequence),
    ],
)
def test_folders_are_recognised(tmp_path: Path, files: list[str], kind: type) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert layout(tmp_path) is kind


@pytest.mark.parametrize(
    ("name", "kind"), [("a.mcap", BagSequence), ("a.db3", BagSequence), ("a.MP4", VideoFile)]
)
def test_files_are_recognised(tmp_path: Path, name: str, kind: type) -> None:
    (tmp_path / name).touch()
    assert layout(tmp_path / name) is kind


def test_bags_with_compressed_files_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information:\n")
    (tmp_path / "a_0.mcap.zstd").touch()
    assert layout(tmp_path) is BagSequence


def test_unknown_layouts_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)no layout that is known.*TUM.*KITTI.*EuRoC.*webcam"):
        open_sequence(tmp_path)
    with pytest.raises(DataError, match=r"does not exist; sources are"):
        open_sequence(tmp_path / "nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="no layout that is known"):
        open_sequence(tmp_path / "a.txt")


def test_options(tmp_path: Path, camera: Camera) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png", picture(i))
    camera.to_yaml(tmp_path / "camera.yaml")
    assert [f.stamp_ns for f in open_sequence(f"{tmp_path}?fps=10")] == [0, 10**8, 2 * 10**8]
    with pytest.raises(DataError, match="no option 'speed', known are: fps, depth_factor"):
        open_sequence(f"{tmp_path}?speed=3")
    with pytest.raises(DataError, match="option fps='fast' is not of type float"):
        open_sequence(f"{tmp_path}?fps=fast")


def test_a_name_with_a_question_mark_is_a_name(tmp_path: Path, camera: Camera) -> None:
    save(tmp_path / "what?/1.png", picture(1))
    camera.to_yaml(tmp_path / "what?/camera.yaml")
    assert open_sequence(tmp_path / "what?").name == "what?"


def test_mode_and_camera_file_arrive(tum_folder: Path, tmp_path: Path, camera: Camera) -> None:
    Camera(64, 48, camera.K * [[3], [3], [1]]).to_yaml(tmp_path / "c.yaml")
    sequence = open_sequence(tum_folder, "rgbd", tmp_path / "c.yaml")
    assert sequence.camera.fx == 180
    assert next(iter(sequence)).depth is not None
    with pytest.raises(DataError, match="mode 'lidar'"):
        open_sequence(tum_folder, "lidar")


def test_render() -> None:
    pytest.importorskip("skimage", reason="photo textures: pip install scikit-image")
    sequence = open_sequence("render:room?frames=3&motion=shake&seed=1", "stereo")
    frames = list(sequence)
    assert len(frames) == len(sequence) == 3
    assert frames[0].right.shape == (480, 640, 3)
    assert not np.array_equal(frames[0].image, frames[2].image)
    with pytest.raises(DataError, match="unknown scene 'x'"):
        open_sequence("render:x")
