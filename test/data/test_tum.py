"""TUM RGB-D: association, depth in metres, intrinsics, files that are missing or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import picture, save, truncate

from alike_ros.camera import Camera
from alike_ros.data.tum import TumSequence, published_camera
from alike_ros.errors import DataError


def test_frames_come_as_written(tum_folder: Path, camera: Camera) -> None:
    sequence = TumSequence(tum_folder)
    frames = list(sequence)
    assert [f.stamp_ns for f in frames] == [100 * 10**9 + i * 10**8 for i in range(5)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
        assert frame.depth is None
        assert frame.right is None
    assert len(sequence) == 5
    assert sequence.name == "tum"
    assert sequence.camera.distortion == camera.distortion
    assert sequence.stereo is None
    assert not sequence.skipped


def test_depth_is_the_nearest_within_20_ms(tum_folder: Path) -> None:
    sequence = TumSequence(tum_folder, "rgbd")
    assert len(sequence) == 4
    for _ in range(2):  # a second iteration is the same as the first
        frames = list(sequence)
        assert [float(f.depth[5, 5]) for f in frames] == [1.0, 2.0, 3.0, 5.0]
        assert sequence.skipped == {"no depth image": 1}
    assert frames[0].depth.dtype == np.float32
    assert np.isnan(frames[0].depth[0]).all()


def test_truth_is_read(tum_folder: Path) -> None:
    truth = TumSequence(tum_folder).truth
    np.testing.assert_allclose(truth.positions[:, 0], range(5))
    (tum_folder / "groundtruth.txt").unlink()
    assert TumSequence(tum_folder).truth is None


def test_without_depth_it_offers_mono(tum_folder: Path) -> None:
    (tum_folder / "depth.txt").unlink()
    assert len(list(TumSequence(tum_folder))) == 5
    for mode in ("rgbd", "stereo"):
        with pytest.raises(DataError, match=f"cannot be used in mode '{mode}', it offers mono"):
            TumSequence(tum_folder, mode)


def test_published_intrinsics_go_by_name(tum_folder: Path) -> None:
    assert published_camera("rgbd_dataset_freiburg1_desk").K[0, 0] == 517.3
    assert published_camera("fr2_xyz").K[1, 2] == 249.7
    assert published_camera("rgbd_dataset_freiburg3_long_office").K[1, 1] == 539.2
    assert not any(published_camera("fr3_office").distortion)
    assert published_camera("fr12") is None
    assert published_camera("office") is None

    (tum_folder / "camera.yaml").unlink()
    with pytest.raises(DataError, match=r"--camera FILE or as .*camera\.yaml"):
        TumSequence(tum_folder)
    for i in range(5):
        save(tum_folder / f"rgb/{i}.png", np.zeros((480, 640), np.uint8))
    renamed = tum_folder.rename(tum_folder.with_name("freiburg2_test"))
    assert TumSequence(renamed).camera.fx == 520.9
    link = tum_folder.with_name("desk")
    link.symlink_to(renamed)
    assert TumSequence(link).camera.fx == 520.9
    link = tum_folder.with_name("fr2_desk")
    link.symlink_to(renamed.rename(tum_folder))
    assert TumSequence(link).camera.fx == 520.9


def test_camera_file_wins(tum_folder: Path, tmp_path: Path, camera: Camera) -> None:
    Camera(64, 48, camera.K * [[2], [2], [1]]).to_yaml(tmp_path / "other.yaml")
    assert TumSequence(tum_folder, camera_file=tmp_path / "other.yaml").camera.fx == 120
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.yaml"):
        TumSequence(tum_folder, camera_file=tmp_path / "nowhere.yaml")


def test_camera_of_another_size_is_refused(tum_folder: Path, camera: Camera) -> None:
    Camera(640, 480, camera.K).to_yaml(tum_folder / "camera.yaml")
    with pytest.raises(DataError, match="64x48 pixels, the intrinsics are of 640x480"):
        TumSequence(tum_folder)


def test_depth_of_another_size_is_refused(tum_folder: Path) -> None:
    for i in range(5):
        save(tum_folder / f"depth/{i}.png", np.ones((24, 32), np.uint16))
    assert len(list(TumSequence(tum_folder))) == 5
    with pytest.raises(DataError, match="depth of tum has images of 32x24 pixels"):
        TumSequence(tum_folder, "rgbd")


def test_damaged_images_are_skipped_and_counted(tum_folder: Path) -> None:
    truncate(tum_folder / "rgb/0.png")
    (tum_folder / "rgb/1.png").unlink()
    save(tum_folder / "rgb/3.png", np.zeros((10, 10), np.uint8))
    truncate(tum_folder / "depth/4.png")
    reason = "image missing, damaged or of another size"
    sequence = TumSequence(tum_folder)
    assert [f.stamp_ns for f in sequence] == [100_200_000_000, 100_400_000_000]
    assert sequence.skipped == {reason: 3}
    sequence = TumSequence(tum_folder, "rgbd")
    assert [f.stamp_ns for f in sequence] == [100_200_000_000]
    assert sequence.skipped == {reason: 3, "no depth image": 1}


def test_unsorted_and_duplicate_stamps_are_skipped_and_counted(tum_folder: Path) -> None:
    lines = (tum_folder / "rgb.txt").read_text().splitlines()[1:]
    (tum_folder / "rgb.txt").write_text("\n".join([lines[i] for i in (0, 2, 2, 1, 3, 4)]))
    sequence = TumSequence(tum_folder)
    assert [f.stamp_ns // 10**8 for f in sequence] == [1000, 1002, 1003, 1004]
    assert sequence.skipped == {"stamp not after the last one": 2}


@pytest.mark.parametrize("line", ["100.5", "soon rgb/0.png"])
def test_half_a_line_names_the_file(tum_folder: Path, line: str) -> None:
    with (tum_folder / "rgb.txt").open("a") as file:
        file.write(f"\n{line}")
    with pytest.raises(DataError, match=r"rgb\.txt has a line that is not `seconds file`"):
        TumSequence(tum_folder)


def test_empty_list_says_so(tum_folder: Path) -> None:
    (tum_folder / "rgb.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="has no images"):
        TumSequence(tum_folder)


def test_fr1_rpy(shared_data: Path) -> None:
    folder = shared_data / "tum_fr1_rpy"
    if not folder.is_dir():
        pytest.skip("no tum_fr1_rpy in ../shared/data")
    sequence = TumSequence(folder, "rgbd")
    frame = next(iter(sequence))
    assert len(sequence) == 240
    assert frame.image.shape == (480, 640, 3)
    assert 0.3 < np.nanmedian(frame.depth) < 5  # an office
    assert np.isnan(frame.depth).mean() < 0.5
    np.testing.assert_array_equal(sequence.camera.K, published_camera("fr1").K)
    assert sequence.truth.stamps_ns[0] <= frame.stamp_ns <= sequence.truth.stamps_ns[-1]
