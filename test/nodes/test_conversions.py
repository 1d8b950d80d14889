"""Messages <-> arrays: round trips, and values known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.features import Features
from alike_ros.geometry import Array, from_Rt, inverse, rotation_exp, rotation_log
from alike_ros.images import (
    camera_from_info,
    depth_from_message,
    image_from_message,
    stereo_from_infos,
)
from alike_ros.nodes.anchor import move_covariance
from alike_ros.nodes.conversions import (
    UNKNOWN_VARIANCE,
    camera_info_messages,
    cloud_from_features,
    features_from_cloud,
    image_message,
    odometry_message,
    pose_covariance,
    pose_from_message,
    stamp_from_ns,
    stamp_to_ns,
    status_message,
    transform_message,
    values_of_status,
)

pytestmark = pytest.mark.ros
HEADER = Header(stamp=stamp_from_ns(1_234_567_890_123_456_789), frame_id="camera")
K = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])


def features(n: int, dimension: int = 64) -> Features:
    random = np.random.default_rng(0)
    return Features(
        random.uniform(0, 640, (n, 2)).astype(np.float32),
        random.uniform(0, 1, n).astype(np.float32),
        random.normal(size=(n, dimension)).astype(np.float32),
    )


def motion(*values: float) -> Array:
    return from_Rt(rotation_exp(np.array(values[3:])), np.array(values[:3]))


def test_stamps_keep_nanoseconds() -> None:
    assert stamp_to_ns(HEADER.stamp) == 1_234_567_890_123_456_789


@pytest.mark.parametrize("n", [0, 1, 500])
def test_cloud_round_trip_is_exact(n: int) -> None:
    sent = features(n)
    cloud = cloud_from_features(HEADER, sent, np.zeros((n, 2)))
    received = features_from_cloud(deserialize_message(serialize_message(cloud), PointCloud2))
    for name in ("keypoints", "scores", "descriptors"):
        assert np.array_equal(getattr(received, name), getattr(sent, name))
        assert getattr(received, name).dtype == np.float32


def test_cloud_says_what_it_holds() -> None:
    """Read as any subscriber would: from the fields, not from our own dtype."""
    sent, bearings = features(3), np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    cloud = cloud_from_features(HEADER, sent, bearings)
    assert cloud.header == HEADER
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, 3, True)
    assert [field.name for field in cloud.fields] == [
        *("x", "y", "z", "u", "v", "score", "descriptor")
    ]
    assert all(field.datatype == PointField.FLOAT32 for field in cloud.fields)
    assert [field.count for field in cloud.fields] == [1] * 6 + [64]
    end = max(field.offset + 4 * field.count for field in cloud.fields)
    assert (cloud.point_step, cloud.row_step, len(cloud.data)) == (end, 3 * end, 3 * end)
    point = bytes(cloud.data[end : 2 * end])
    values = {
        f.name: np.frombuffer(point, "<f4", f.count, f.offset).tolist() for f in cloud.fields
    }
    assert np.allclose([values[name][0] for name in "xyz"], [0.3, 0.4, 1.0])
    assert [values["u"][0], values["v"][0]] == sent.keypoints[1].tolist()
    assert values["descriptor"] == sent.descriptors[1].tolist()


def test_sensor_msgs_py_reads_the_cloud() -> None:
    point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2")
    cloud = cloud_from_features(HEADER, features(3), np.zeros((3, 2)))
    points = point_cloud2.read_points(cloud)
    for i, name in enumerate("uv"):
        assert np.array_equal(points[name], features(3).keypoints[:, i])
    assert np.array_equal(points["score"], features(3).scores)
    for i in range(64):
        assert np.array_equal(points[f"descriptor_{i}"], features(3).descriptors[:, i])


def test_foreign_clouds() -> None:
    """Other orders, types and byte orders are read; clouds without features are refused."""
    names = ("score", "descriptor", "v", "u")
    counts, offsets = (1, 2, 1, 1), (0, 8, 32, 40)
    cloud = PointCloud2(height=2, width=1, is_bigendian=True, point_step=48, row_step=48)
    cloud.fields = [
        PointField(name=name, offset=offset, datatype=PointField.FLOAT64, count=count)
        for name, offset, count in zip(names, offsets, counts, strict=True)
    ]
    values = np.array([[0.5, 1, 2, 0, 20, 10], [0.25, 3, 4, 0, 40, 30]], ">f8")
    cloud.data.frombytes(values.tobytes())
    read = features_from_cloud(cloud)
    assert read.keypoints.tolist() == [[10, 20], [30, 40]]
    assert read.descriptors.tolist() == [[1, 2], [3, 4]]
    assert read.scores.tolist() == [0.5, 0.25]
    cloud.data = cloud.data[:-1]
    with pytest.raises(DataError, match="not a valid PointCloud2"):
        features_from_cloud(cloud)
    cloud.fields[0].datatype = 99
    with pytest.raises(DataError, match="not a valid PointCloud2"):
        features_from_cloud(cloud)
    cloud.fields = cloud.fields[:1]
    with pytest.raises(DataError, match="have fields score, expected"):
        features_from_cloud(cloud)


def test_images_round_trip() -> None:
    random = np.random.default_rng(0)
    for shape in ((5, 7, 3), (5, 7)):
        image = random.integers(0, 255, shape, np.uint8)
        assert np.array_equal(image_from_message(image_message(HEADER, image)), image)
    depth = random.uniform(1, 5, (5, 7)).astype(np.float32)
    depth[2, 3] = np.nan
    received = depth_from_message(image_message(HEADER, depth))
    assert np.array_equal(received, depth, equal_nan=True)


def test_cameras_round_trip() -> None:
    camera = Camera(640, 480, K, (0.1, -0.2, 0.3, 0.4), "equidistant")
    (info,) = camera_info_messages(HEADER, camera)
    received = camera_from_info(info, rectified=False)
    assert np.array_equal(received.K, camera.K)
    assert received.distortion == camera.distortion
    assert received.distortion_model == "equidistant"


def test_raw_stereo_pairs_round_trip() -> None:
    left = Camera(640, 480, K, (0.1, 0.0, 0.0, 0.0))
    right = Camera(640, 480, K + np.diag([5.0, 5, 0]))
    stereo = StereoCamera(left, right, motion(-0.11, 0.002, 0.003, 0.01, -0.02, 0.03))
    received = stereo_from_infos(*camera_info_messages(HEADER, stereo), rectified=False)
    assert np.allclose(received.right_from_left, stereo.right_from_left, atol=1e-12)
    assert np.array_equal(received.right.K, right.K)


def test_poses_round_trip() -> None:
    pose = motion(1, 2, 3, 0.1, 0.2, -0.3)
    message = odometry_message(HEADER, "base", pose, None, None, None)
    assert np.allclose(pose_from_message(message.pose.pose), pose, atol=1e-12)
    transform = transform_message(HEADER, "base", pose).transform
    assert np.allclose(pose_from_message(transform), pose, atol=1e-12)
    assert (message.header.frame_id, message.child_frame_id) == ("camera", "base")


def test_unknown_covariance_is_large() -> None:
    message = odometry_message(HEADER, "base", np.eye(4), None, None, None)
    for covariance in (message.pose.covariance, message.twist.covariance):
        assert np.array_equal(covariance.reshape(6, 6), np.eye(6) * UNKNOWN_VARIANCE)


def test_covariance_at_the_base_in_odom_axes() -> None:
    """Against samples of errors in the camera's frame."""
    random = np.random.default_rng(0)
    base_from_cam = motion(0.5, 0.1, 0.3, -1.2, 1.2, -1.2)
    odom_from_base = motion(3, -2, 1, 0.3, -0.8, 2.0)
    half = np.diag([0.01, 0.02, 0.005, 0.004, 0.01, 0.002]) + random.normal(0, 1e-3, (6, 6))
    covariance = half @ half.T
    odom_from_cam = odom_from_base @ base_from_cam
    samples = []
    for error in random.multivariate_normal(np.zeros(6), covariance, 20000):
        true = odom_from_cam @ motion(*error) @ inverse(base_from_cam)
        turn = true[:3, :3] @ odom_from_base[:3, :3].T  # about odom's axes
        samples.append([*(true - odom_from_base)[:3, 3], *rotation_log(turn)])
    expected = np.cov(np.array(samples).T)
    result = pose_covariance(odom_from_base, move_covariance(base_from_cam, covariance))
    # 0.02 measured: 20000 samples
    assert np.linalg.norm(result - expected) < 0.05 * np.linalg.norm(expected)


def test_status_round_trip() -> None:
    values = {"stamp_ns": 5, "is_keyframe": True, "track_ms": 1.23456, "status": "lost"}
    message = status_message(b"\x02", "vo", "lost", values)
    assert values_of_status(message) == {
        "stamp_ns": "5",
        "is_keyframe": "true",
        "track_ms": "1.235",
        "status": "lost",
    }
    assert (message.level, message.name, message.message) == (b"\x02", "vo", "lost")
