"""Folders of images: order, stamps, depth and right images, intrinsics of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pictures import HEIGHT, WIDTH, picture, save

from alike_ros.camera import Camera
from alike_ros.data.folder import ImageFolder
from alike_ros.errors import DataError


def write_images(folder: Path, names: list[str], first: int = 0) -> None:
    for i, name in enumerate(names):
        save(folder / name, picture(first + i))


def test_natural_order_and_fps(tmp_path: Path, camera: Camera) -> None:
    write_images(tmp_path, ["f1.png", "f2.bmp", "f10.png", "f11.PNG", "f100.png"])
    (tmp_path / "notes.txt").write_text("not an image")
    camera.to_yaml(tmp_path / "camera.yaml")
    frames = list(ImageFolder(tmp_path, fps=20.0))
    assert [f.stamp_ns for f in frames] == [i * 50_000_000 for i in range(5)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
    assert next(iter(ImageFolder(tmp_path))).stamp_ns == 0
    assert list(ImageFolder(tmp_path))[3].stamp_ns == 100_000_000


@pytest.mark.parametrize(
    ("names", "stamps_ns"),
    [
        (["1305031229.528748.jpg", "1305031229.564425.jpg"], [1305031229528748000, 35677000]),
        (["1403715274312143104.png", "1403715274362142976.png"], [1403715274312143104, 49999872]),
        (["9.5.png", "10.25.png"], [9_500_000_000, 750_000_000]),
        (["0000000007.png", "0000000008.png"], [0, 33333333]),
        (["1305031229.528748.jpg", "b.jpg"], [0, 33333333]),
    ],
)
def test_stamps_from_names(
    tmp_path: Path, camera: Camera, names: list[str], stamps_ns: list[int]
) -> None:
    write_images(tmp_path, names)
    camera.to_yaml(tmp_path / "camera.yaml")
    first, second = (f.stamp_ns for f in ImageFolder(tmp_path))
    assert [first, second - first] == stamps_ns


@pytest.mark.parametrize("subfolder", [".", "image"])
def test_depth_beside_colour(tmp_path: Path, camera: Camera, subfolder: str) -> None:
    names = ["frame-000000", "frame-000001"]
    write_images(tmp_path / subfolder, [f"{name}.color.png" for name in names])
    for i, name in enumerate(names):
        depth = np.full((HEIGHT, WIDTH), 1000 * (i + 1), np.uint16)
        save(tmp_path / subfolder / f"{name}.depth.png", depth)
    camera.to_yaml(tmp_path / "camera.yaml")
    for i, frame in enumerate(ImageFolder(tmp_path, "mono")):
        np.testing.assert_array_equal(frame.image, picture(i))
    assert len(ImageFolder(tmp_path, "mono")) == 2
    assert [float(f.depth[0, 0]) for f in ImageFolder(tmp_path, "rgbd")] == [1, 2]


def test_depth_and_truth(tmp_path: Path, camera: Camera) -> None:
    write_images(tmp_path / "rgb", ["1.png", "2.png", "3.png"])
    for name in ("1.png", "3.png"):
        save(tmp_path / "depth" / name, np.full((HEIGHT, WIDTH), 1500, np.uint16))
    (tmp_path / "groundtruth.txt").write_text("0 1 2 3 0 0 0 1\n0.1 1 2 4 0 0 0 1\n")
    camera.to_yaml(tmp_path / "camera.yaml")
    sequence = ImageFolder(tmp_path, "rgbd")
    assert [float(f.depth[0, 0]) for f in sequence] == pytest.approx([1.5, 1.5])
    assert sequence.skipped == {"no depth image": 1}
    assert sequence.truth.length_m == pytest.approx(1)
    frame = next(iter(ImageFolder(tmp_path, "rgbd", depth_factor=5000.0)))
    assert frame.depth[0, 0] == pytest.approx(0.3)


def write_calibration(path: Path, camera: Camera, shift: float) -> None:
    """What camera_calibration writes for one of a pair."""
    camera.to_yaml(path)
    content = yaml.safe_load(path.read_text())
    content["projection_matrix"]["data"][3] = shift * content["projection_matrix"]["data"][0]
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("named", [False, True])
def test_stereo_with_two_calibrations(tmp_path: Path, camera: Camera, named: bool) -> None:
    folder = tmp_path / "pair"
    write_images(folder / "left", ["1.png", "2.png"])
    write_images(folder / "right", ["1.png", "2.png"], first=10)
    place = tmp_path if named else folder
    with pytest.raises(DataError, match=r"left\.yaml and right\.yaml"):
        ImageFolder(folder, "stereo")
    write_calibration(place / "left.yaml", camera, 0)
    write_calibration(place / "right.yaml", camera, -0.2)
    sequence = ImageFolder(folder, "stereo", tmp_path / "left.yaml" if named else None)
    np.testing.assert_array_equal(list(sequence)[1].right, picture(11))
    assert sequence.stereo.baseline == pytest.approx(0.2)
    assert sequence.stereo.right.distortion == camera.distortion


def test_intrinsics_are_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path, ["1.png"])
    with pytest.raises(DataError, match=r"--camera FILE or as .*camera\.yaml"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match="'rgbd', it offers mono"):
        ImageFolder(tmp_path, "rgbd")
    with pytest.raises(DataError, match="fps=0"):
        ImageFolder(tmp_path, fps=0)
