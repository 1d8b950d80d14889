"""KITTI odometry: rectified stereo, poses of the camera in use, right images that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import HEIGHT, WIDTH, picture, save

from alike_ros.data.kitti import KittiSequence
from alike_ros.errors import DataError
from alike_ros.geometry import from_Rt, rotation_exp, transform

K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
SHIFTS = {0: 0.0, 1: -0.5, 2: 0.06, 3: -0.47}  # x of camN_from_cam0, metres
POSES = [from_Rt(rotation_exp(np.array([0, 0.1 * i, 0])), np.array([0, 0, i])) for i in range(4)]


def write_kitti(folder: Path, cameras: tuple[int, ...], rights: int = 4) -> Path:
    for camera in cameras:
        for i in range(4 if camera % 2 == 0 else rights):
            image = picture(10 * camera + i)
            image = image if camera >= 2 else image[..., 0]
            save(folder / f"image_{camera}/{i:06d}.png", image)
    lines = []
    for camera, shift in SHIFTS.items():
        P = K @ np.column_stack([np.eye(3), [shift, 0, 0]])
        lines.append(f"P{camera}: " + " ".join(f"{v:.12e}" for v in P.ravel()))
    (folder / "calib.txt").write_text("\n".join(lines))
    (folder / "times.txt").write_text("\n".join(f"{i / 10:.6e}" for i in range(4)))
    write_poses(folder / "poses.txt")
    return folder


def write_poses(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(" ".join(map(repr, p[:3].ravel().tolist())) for p in POSES))


def test_grey_stereo(tmp_path: Path) -> None:
    sequence = KittiSequence(write_kitti(tmp_path / "00", (0, 1)), "stereo")
    frames = list(sequence)
    assert [f.stamp_ns for f in frames] == [0, 10**8, 2 * 10**8, 3 * 10**8]
    np.testing.assert_array_equal(frames[2].image, picture(2)[..., 0])
    np.testing.assert_array_equal(frames[2].right, picture(12)[..., 0])
    assert (sequence.camera.width, sequence.camera.height) == (WIDTH, HEIGHT)
    assert sequence.stereo.baseline == pytest.approx(0.5)
    np.testing.assert_allclose(sequence.truth.world_from_cam, POSES, atol=1e-12)


def test_colour_is_used_without_grey(tmp_path: Path) -> None:
    """The poses are of camera 0: those of camera 2 stand beside them."""
    sequence = KittiSequence(write_kitti(tmp_path / "00", (2, 3)), "stereo")
    frames = list(sequence)
    np.testing.assert_array_equal(frames[1].image, picture(21))
    assert sequence.stereo.baseline == pytest.approx(0.53)
    point_in_world = np.array([1.0, 2.0, 9.0])
    for pose0, pose2 in zip(POSES, sequence.truth.world_from_cam, strict=True):
        in_cam0 = transform(np.linalg.inv(pose0), point_in_world)
        in_cam2 = transform(np.linalg.inv(pose2), point_in_world)
        np.testing.assert_allclose(in_cam2 - in_cam0, [0.06, 0, 0], atol=1e-9)


def test_poses_in_the_official_place(tmp_path: Path) -> None:
    folder = write_kitti(tmp_path / "sequences/07", (0,))
    (folder / "poses.txt").unlink()
    assert KittiSequence(folder).truth is None
    write_poses(tmp_path / "poses/07.txt")
    np.testing.assert_allclose(KittiSequence(folder).truth.world_from_cam, POSES, atol=1e-12)


def test_missing_right_images(tmp_path: Path) -> None:
    folder = write_kitti(tmp_path / "00", (0, 1), rights=2)
    mono, stereo = KittiSequence(folder), KittiSequence(folder, "stereo")
    assert [f.right for f in mono] == [None] * 4
    assert (len(mono), mono.stereo) == (4, None)
    assert len(list(stereo)) == len(stereo) == 2
    assert stereo.skipped == {"no right image": 2}


def test_no_right_images_at_all(tmp_path: Path) -> None:
    folder = write_kitti(tmp_path / "00", (0,))
    with pytest.raises(DataError, match="'stereo', it offers mono"):
        KittiSequence(folder, "stereo")


def test_missing_left_images_are_counted(tmp_path: Path) -> None:
    folder = write_kitti(tmp_path / "00", (0,))
    (folder / "image_0/000000.png").unlink()
    sequence = KittiSequence(folder)
    assert len(list(sequence)) == 3
    assert sequence.skipped == {"image missing, damaged or of another size": 1}


def test_damaged_text_files(tmp_path: Path) -> None:
    folder = write_kitti(tmp_path / "00", (0,))
    (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(DataError, match=r"1 poses, times.txt has 4 stamps"):
        KittiSequence(folder)
    (folder / "poses.txt").write_text("1 0 0")
    with pytest.raises(DataError, match="line that is not 12 numbers"):
        KittiSequence(folder)
    (folder / "calib.txt").write_text("P0: 1 2 3")
    with pytest.raises(DataError, match=r"calib.txt has a line that is not `PN: 12 numbers`"):
        KittiSequence(folder)
    (folder / "calib.txt").unlink()
    with pytest.raises(DataError, match="--camera FILE"):
        KittiSequence(folder)


def test_kitti_00(shared_data: Path) -> None:
    folder = shared_data / "kitti00"
    if not folder.is_dir():
        pytest.skip("no kitti00 in ../shared/data")
    mono, stereo = KittiSequence(folder), KittiSequence(folder, "stereo")
    assert (len(mono), len(stereo)) == (120, 21)
    assert mono.truth.length_m == pytest.approx(91.97, abs=0.01)
    assert stereo.stereo.baseline == pytest.approx(0.5372, abs=1e-4)  # published: 0.54 m
    assert next(iter(stereo)).right.shape == (376, 1241)
