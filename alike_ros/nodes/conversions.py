"""Features, poses and images <-> ROS messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import ConfigError, DataError
from alike_ros.features import Features
from alike_ros.geometry import (
    Array,
    from_Rt,
    inverse,
    rotation_exp,
    rotation_from_quat_xyzw,
    rotation_to_quat_xyzw,
)
from alike_ros.images import rectification

#: Variance of an unknown covariance's diagonal, as rtabmap_odom has it: a filter that fuses the
#: message ignores it, where the -1 of sensor_msgs/Imu would be taken for a number.
UNKNOWN_VARIANCE = 9999.0

_SCALARS = ("x", "y", "z", "u", "v", "score")
_NUMPY_TYPES = {
    PointField.INT8: "i1",
    PointField.UINT8: "u1",
    PointField.INT16: "i2",
    PointField.UINT16: "u2",
    PointField.INT32: "i4",
    PointField.UINT32: "u4",
    PointField.FLOAT32: "f4",
    PointField.FLOAT64: "f8",
}


def stamp_to_ns(stamp: Time) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Nanoseconds -> builtin_interfaces/Time."""
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def cloud_from_features(header: Header, features: Features, bearings: Array) -> PointCloud2:
    """Keypoints as a cloud in the optical frame, at depth 1.

    bearings (N, 2) are the rays of the keypoints, (x, y) at z = 1. Fields x y z u v score and
    `descriptor`, one field of D numbers; u v are pixels of the original image.
    """
    dimension = features.descriptors.shape[1]
    dtype = np.dtype([(name, "<f4") for name in _SCALARS] + [("descriptor", "<f4", (dimension,))])
    points = np.empty(len(features), dtype)
    points["x"], points["y"], points["z"] = bearings[:, 0], bearings[:, 1], 1.0
    points["u"], points["v"] = features.keypoints[:, 0], features.keypoints[:, 1]
    points["score"], points["descriptor"] = features.scores, features.descriptors
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(_SCALARS)
    ]
    fields.append(
        PointField(
            name="descriptor",
            offset=4 * len(_SCALARS),
            datatype=PointField.FLOAT32,
            count=dimension,
        )
    )
    return _cloud(header, points, fields)


def cloud_from_points(header: Header, points: Array) -> PointCloud2:
    """Points (N, 3) in the header's frame as a cloud with fields x y z."""
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    return _cloud(header, points.astype("<f4").view([(name, "<f4") for name in "xyz"]), fields)


def _cloud(header: Header, points: NDArray[Any], fields: list[PointField]) -> PointCloud2:
    """A cloud of structured points, (N,) or (N, 1)."""
    cloud = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.itemsize * len(points),
        is_dense=True,
    )
    _fill(cloud, points)
    return cloud


def features_from_cloud(cloud: PointCloud2) -> Features:
    """What `cloud_from_features` made. Raises DataError for any other cloud."""
    fields = {field.name: field for field in cloud.fields}
    wanted = ("u", "v", "score", "descriptor")
    if any(name not in fields for name in wanted):
        raise DataError(
            f"keypoints have fields {', '.join(fields) or 'none'}, expected {', '.join(wanted)}"
        )
    order = ">" if cloud.is_bigendian else "<"
    try:
        dtype = np.dtype(
            {
                "names": wanted,
                "formats": [
                    (order + _NUMPY_TYPES[fields[name].datatype], (fields[name].count,))
                    for name in wanted
                ],
                "offsets": [fields[name].offset for name in wanted],
                "itemsize": cloud.point_step,
            }
        )
        points = np.frombuffer(cloud.data, dtype, cloud.width * cloud.height)
    except (KeyError, ValueError) as error:
        raise DataError(f"keypoints are not a valid PointCloud2: {error}") from error
    return Features(
        np.hstack([points["u"], points["v"]]).astype(np.float32),
        points["score"][:, 0].astype(np.float32),
        points["descriptor"].astype(np.float32),
    )


def odometry_message(
    header: Header,
    child_frame_id: str,
    odom_from_base: Array,
    covariance: Array | None,
    twist: Array | None,
    twist_covariance: Array | None,
) -> Odometry:
    """nav_msgs/Odometry; covariances as `pose_covariance` and `twist.twist_between` give them.

    What is None is unknown: the twist is zero then, and the variances UNKNOWN_VARIANCE.
    """
    message = Odometry(header=header, child_frame_id=child_frame_id)
    fill_pose(message.pose.pose, odom_from_base)
    message.pose.covariance = _covariance(covariance)
    if twist is not None:
        linear, angular = message.twist.twist.linear, message.twist.twist.angular
        linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = map(float, twist)
    message.twist.covariance = _covariance(twist_covariance)
    return message


def null_odometry(header: Header, child_frame_id: str) -> Odometry:
    """No pose: all zero, also the quaternion, which no pose has; variances UNKNOWN_VARIANCE."""
    message = Odometry(header=header, child_frame_id=child_frame_id)
    message.pose.pose.orientation.w = 0.0
    message.pose.covariance = message.twist.covariance = _covariance(None)
    return message


def pose_of_odometry(message: Odometry) -> PoseWithCovarianceStamped:
    """The pose alone."""
    return PoseWithCovarianceStamped(header=message.header, pose=message.pose)


def base_covariance(odom_from_base: Array, covariance: NDArray[Any]) -> Array:
    """A message's covariance (36,), in odom's axes -> (6, 6) in the base's axes."""
    return pose_covariance(inverse(odom_from_base), np.reshape(covariance, (6, 6)))


def pose_from_text(text: str) -> Array:
    """Six numbers, x y z roll pitch yaw in metres and radians -> 4x4; empty is the identity."""
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError:
        numbers = np.zeros(1)
    if not text.strip():
        return np.eye(4)
    if len(numbers) != 6 or not np.isfinite(numbers).all():
        raise ConfigError(f"pose {text!r}: expected six numbers, x y z roll pitch yaw")
    about_x, about_y, about_z = (rotation_exp(v) for v in np.diag(numbers[3:]))
    return from_Rt(about_z @ about_y @ about_x, numbers[:3])


def pose_covariance(odom_from_base: Array, covariance: Array) -> Array:
    """Covariance of the base's pose (6, 6) in the base's axes -> in odom's axes, as ROS has it.

    Small rotations about odom's fixed axes are those about the base's axes, turned.
    """
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = odom_from_base[:3, :3]
    return np.asarray(turn @ covariance @ turn.T)


def fill_pose(message: Any, pose: Array) -> None:
    """Sets a geometry_msgs/Pose."""
    message.position.x, message.position.y, message.position.z = map(float, pose[:3, 3])
    quaternion = message.orientation
    quaternion.x, quaternion.y, quaternion.z, quaternion.w = map(
        float, rotation_to_quat_xyzw(pose[:3, :3])
    )


def pose_from_message(message: Any) -> Array:
    """geometry_msgs/Pose or Transform -> 4x4."""
    t = getattr(message, "position", None) or message.translation
    q = getattr(message, "orientation", None) or message.rotation
    return from_Rt(
        rotation_from_quat_xyzw(np.array([q.x, q.y, q.z, q.w])), np.array([t.x, t.y, t.z])
    )


def stamped_pose(header: Header, pose: Array) -> PoseStamped:
    """A pose of nav_msgs/Path."""
    message = PoseStamped(header=header)
    fill_pose(message.pose, pose)
    return message


def transform_message(header: Header, child_frame_id: str, pose: Array) -> TransformStamped:
    """What goes to /tf."""
    message = TransformStamped(header=header, child_frame_id=child_frame_id)
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = map(float, pose[:3, 3])
    rotation.x, rotation.y, rotation.z, rotation.w = map(
        float, rotation_to_quat_xyzw(pose[:3, :3])
    )
    return message


def status_message(
    level: bytes, name: str, text: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """diagnostic_msgs/DiagnosticStatus; bools are written true and false, floats with 3 digits."""
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, values=pairs)


def values_of_status(message: DiagnosticStatus) -> dict[str, str]:
    """The key-value pairs."""
    return {pair.key: pair.value for pair in message.values}


def image_message(header: Header, image: NDArray[Any]) -> Image:
    """(H, W, 3) RGB or (H, W) grey uint8, or (H, W) float32 depth in metres -> sensor_msgs."""
    kinds = {("uint8", 3): "rgb8", ("uint8", 2): "mono8", ("float32", 2): "32FC1"}
    encoding = kinds[str(image.dtype), image.ndim]
    height, width = image.shape[:2]
    message = Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=image.nbytes // height,
    )
    _fill(message, image)
    return message


def camera_info_messages(header: Header, camera: Camera | StereoCamera) -> list[CameraInfo]:
    """sensor_msgs/CameraInfo of raw images, of one camera or of left and right."""
    return [
        CameraInfo(
            header=header,
            width=one.width,
            height=one.height,
            distortion_model=one.distortion_model,
            d=list(one.distortion),
            k=one.K.ravel(),
            r=R.ravel(),
            p=P.ravel(),
        )
        for one, R, P in rectification(camera)
    ]


def _fill(message: Any, array: NDArray[Any]) -> None:
    """Copies an array into a message's data; to assign it costs a hundred times more."""
    message.data.frombytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _covariance(matrix: Array | None) -> NDArray[np.float64]:
    return (np.eye(6) * UNKNOWN_VARIANCE if matrix is None else matrix).ravel()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)
