"""EuRoC: OpenCV's YAML, extrinsics, truth of the body turned into that of the camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import HEIGHT, WIDTH, picture, save

from alike_ros.data.euroc import EurocSequence
from alike_ros.errors import DataError
from alike_ros.geometry import (
    from_Rt,
    inverse,
    rotation_exp,
    rotation_to_quat_xyzw,
    transform,
)

START_NS = 1403715274312143104
BODY_FROM_CAM = [
    from_Rt(rotation_exp(np.array([0.1, 1.2, -0.3])), np.array([0.01, -0.02, 0.03])),
    from_Rt(rotation_exp(np.array([0.12, 1.19, -0.31])), np.array([0.02, 0.09, 0.03])),
]
WORLD_FROM_BODY = [
    from_Rt(rotation_exp(np.array([0.3, 0.1 * i, 1.0])), np.array([i, 2.0, 3.0])) for i in range(4)
]


def write_sensor(cam: Path, body_from_cam: np.ndarray, model: str = "radial-tangential") -> None:
    cam.mkdir(parents=True, exist_ok=True)
    data = ", ".join(f"{v:.15g}" for v in body_from_cam.ravel())
    (cam / "sensor.yaml").write_text(
        f"%YAML:1.0\nsensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{data}]\n"
        f"rate_hz: 20\nresolution: [{WIDTH}, {HEIGHT}]\ncamera_model: pinhole\n"
        "intrinsics: [60, 61.5, 31.5, 23.5] #fu, fv, cu, cv\n"
        f"distortion_model: {model}\ndistortion_coefficients: [-0.28, 0.07, 0.0002, 1.7e-05]\n"
    )


@pytest.fixture
def euroc_folder(tmp_path: Path) -> Path:
    """Four stereo pairs at 20 Hz; the right image of frame 2 is missing."""
    folder = tmp_path / "V9_01"
    mav = folder / "mav0"
    for cam in (0, 1):
        write_sensor(mav / f"cam{cam}", BODY_FROM_CAM[cam])
        lines = ["#timestamp [ns],filename"]
        for i in range(4):
            if (cam, i) == (1, 2):
                continue
            stamp_ns = START_NS + 50_000_000 * i
            save(mav / f"cam{cam}/data/{stamp_ns}.png", picture(10 * cam + i)[..., 0])
            lines.append(f"{stamp_ns},{stamp_ns}.png")
        (mav / f"cam{cam}/data.csv").write_text("\r\n".join(lines))
    lines = ["#timestamp, p_RS_R_x [m], ..."]
    for i, pose in enumerate(WORLD_FROM_BODY):
        x, y, z, w = rotation_to_quat_xyzw(pose[:3, :3])
        numbers = [*pose[:3, 3], w, x, y, z, 0.1, 0.2, 0.3, 0, 0, 0, 0, 0, 0]
        lines.append(f"{START_NS + 50_000_000 * i}," + ",".join(f"{v:.12f}" for v in numbers))
    (mav / "state_groundtruth_estimate0").mkdir()
    (mav / "state_groundtruth_estimate0/data.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("sub", [".", "mav0"])
def test_stereo_pairs(euroc_folder: Path, sub: str) -> None:
    sequence = EurocSequence(euroc_folder / sub, "stereo")
    frames = list(sequence)
    assert [f.stamp_ns - START_NS for f in frames] == [0, 50_000_000, 150_000_000]
    assert sequence.skipped == {"no right image": 1}
    np.testing.assert_array_equal(frames[2].image, picture(3)[..., 0])
    np.testing.assert_array_equal(frames[2].right, picture(13)[..., 0])
    assert sequence.name == "V9_01"


def test_extrinsics(euroc_folder: Path) -> None:
    stereo = EurocSequence(euroc_folder, "stereo").stereo
    point_in_body = np.array([0.4, 0.5, 3.0])
    in_left, in_right = (transform(inverse(T), point_in_body) for T in BODY_FROM_CAM)
    np.testing.assert_allclose(transform(stereo.right_from_left, in_left), in_right, atol=1e-12)
    np.testing.assert_allclose(stereo.left.K, [[60, 0, 31.5], [0, 61.5, 23.5], [0, 0, 1]])
    assert stereo.left.distortion_model == "plumb_bob"
    assert stereo.left.distortion == (-0.28, 0.07, 0.0002, 1.7e-05)


def test_truth_is_of_the_left_camera(euroc_folder: Path) -> None:
    truth = EurocSequence(euroc_folder).truth
    expected = [pose @ BODY_FROM_CAM[0] for pose in WORLD_FROM_BODY]
    np.testing.assert_allclose(truth.world_from_cam, expected, atol=1e-9)
    assert truth.stamps_ns[1] - truth.stamps_ns[0] == 50_000_000


def test_one_camera_offers_mono(euroc_folder: Path) -> None:
    (euroc_folder / "mav0/cam1").rename(euroc_folder / "gone")
    sequence = EurocSequence(euroc_folder)
    assert len(list(sequence)) == 4
    assert sequence.stereo is None
    with pytest.raises(DataError, match="'stereo', it offers mono"):
        EurocSequence(euroc_folder, "stereo")


def test_distortion_models(euroc_folder: Path) -> None:
    write_sensor(euroc_folder / "mav0/cam0", BODY_FROM_CAM[0], "equidistant")
    assert EurocSequence(euroc_folder).camera.distortion_model == "equidistant"
    write_sensor(euroc_folder / "mav0/cam0", BODY_FROM_CAM[0], "double-sphere")
    with pytest.raises(DataError, match="unknown distortion model 'double-sphere'"):
        EurocSequence(euroc_folder)


def test_missing_and_damaged_calibration(euroc_folder: Path) -> None:
    sensor = euroc_folder / "mav0/cam0/sensor.yaml"
    sensor.write_text(sensor.read_text()[:100])
    with pytest.raises(DataError, match=r"sensor\.yaml is not a camera of the ASL format"):
        EurocSequence(euroc_folder)
    sensor.unlink()
    with pytest.raises(DataError, match="--camera FILE"):
        EurocSequence(euroc_folder)
    with pytest.raises(DataError, match="how its two cameras stand"):
        EurocSequence(euroc_folder, "stereo")


def test_v101_standing_still(shared_data: Path) -> None:
    folder = shared_data / "euroc_v101_still"
    if not folder.is_dir():
        pytest.skip("no euroc_v101_still in ../shared/data")
    sequence = EurocSequence(folder, "stereo")
    frames = list(sequence)
    assert len(frames) == 20
    assert frames[0].right.shape == (480, 752)
    assert sequence.stereo.baseline == pytest.approx(0.1101, abs=1e-4)  # published: 0.11 m
    assert sequence.truth.length_m < 0.01
