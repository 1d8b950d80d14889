"""Messages and encoded files <-> arrays and cameras.

Pure functions on duck-typed messages: those of rclpy, of the PyPI package rosbags and anything
else with the same fields (lowercase, as in ROS 2). Nothing here imports ROS.
"""

from __future__ import annotations

import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt
from alike_ros.rvl import decode_rvl

#: Encodings of sensor_msgs/Image: (channels, bytes per channel, OpenCV's conversion to RGB).
ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "mono8": (1, 1, None),
    "8UC1": (1, 1, None),
    "mono16": (1, 2, None),
    "16UC1": (1, 2, None),
    "rgb8": (3, 1, None),
    "bgr8": (3, 1, cv2.COLOR_BGR2RGB),
    "8UC3": (3, 1, cv2.COLOR_BGR2RGB),
    "rgba8": (4, 1, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, 1, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, 1, cv2.COLOR_BGRA2RGB),
    # OpenCV names a pattern by its second row and column
    "bayer_rggb8": (1, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, 1, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, 1, cv2.COLOR_YUV2RGB_YUY2),
}

#: Encodings of depth images -> (type, metres per unit).
DEPTH_ENCODINGS = {"16UC1": ("u2", 0.001), "mono16": ("u2", 0.001), "32FC1": ("f4", 1.0)}


def image_from_message(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/Image -> (H, W, 3) RGB or (H, W) grey uint8; 16 bits go through `grey8`.

    The array may share the message's memory. Raises DataError for an encoding that is not in
    ENCODINGS and for sizes that contradict each other.
    """
    if message.encoding not in ENCODINGS:
        raise DataError(
            f"image encoding {message.encoding!r} is unknown, known are {', '.join(ENCODINGS)}"
        )
    channels, size, conversion = ENCODINGS[message.encoding]
    image = _pixels(message, channels, f"u{size}")
    if size == 2:
        return grey8(image)
    if conversion is None:
        return np.ascontiguousarray(image, np.uint8)
    if channels == 2 and message.width % 2:
        raise DataError(f"a {message.encoding} image has odd width {message.width}")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), conversion), np.uint8)


def depth_from_message(message: Any) -> NDArray[np.float32]:
    """sensor_msgs/Image of depth -> (H, W) float32 metres, NaN where unknown."""
    if message.encoding not in DEPTH_ENCODINGS:
        raise DataError(
            f"depth encoding {message.encoding!r} is unknown, known are "
            f"{', '.join(DEPTH_ENCODINGS)}"
        )
    kind, metres_per_unit = DEPTH_ENCODINGS[message.encoding]
    return metres(_pixels(message, 1, kind), metres_per_unit)


def image_from_compressed(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/CompressedImage (JPEG, PNG) -> (H, W, 3) RGB or (H, W) grey uint8."""
    return rgb_or_grey(decode(_bytes(message.data)))


def depth_from_compressed(message: Any) -> NDArray[np.float32]:
    """sensor_msgs/CompressedImage of depth -> (H, W) float32 metres, NaN where unknown.

    16-bit PNG in millimetres, as it is or behind the 12 bytes that ROS'
    compressed_depth_image_transport puts in front; there it may be RVL instead, and 32FC1 is
    quantised inverse depth.
    """
    data = _bytes(message.data)
    header, is_rvl = np.zeros(3, np.float32), False
    if "compressedDepth" in message.format:
        if len(data) < 12:
            raise DataError("a compressed depth image ends within its header")
        header, data = np.frombuffer(data[:12], "<f4"), data[12:]
        is_rvl = "rvl" in message.format
    values = decode_rvl(data) if is_rvl else decode(data)
    if values.ndim != 2 or values.dtype != np.uint16:
        raise DataError(
            f"compressed depth decodes to {values.dtype} {values.shape}, expected uint16 (H, W)"
        )
    if not message.format.startswith("32FC1"):
        return metres(values, 0.001)
    with np.errstate(divide="ignore"):
        inverted = header[1] / (values.astype(np.float32) - header[2])
    return metres(np.where(values > 0, inverted, 0), 1.0)


def decode(data: bytes) -> NDArray[Any]:
    """An encoded image as it is stored: (H, W) or (H, W, C) in OpenCV's order, uint8 or uint16.

    OpenCV fills what a truncated file lacks with grey and says so on stderr only; here that
    raises DataError.
    """
    reason = _incomplete(data)
    if reason:
        raise DataError(f"image is {reason}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise DataError("image cannot be decoded")
    return np.asarray(image)


def rgb_or_grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """What `decode` returns -> (H, W, 3) RGB or (H, W) grey uint8."""
    if image.dtype == np.uint16:
        image = grey8(image)
    if image.dtype != np.uint8:
        raise DataError(f"image has type {image.dtype}, expected uint8 or uint16")
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(image.reshape(image.shape[:2]))
    code = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def grey8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """16 bits -> 8, the first to the 99th percentile stretched over the whole range.

    Cameras with 10, 12 or 14 bits and thermal ones fill a small part of the 16 bits: a fixed
    division would leave a few dark levels of them.
    """
    low, high = np.percentile(image[::4, ::4], [1, 99])
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1))
    return np.asarray(np.clip(scaled + 0.5, 0, 255), np.uint8)


def metres(depth: NDArray[Any], metres_per_unit: float) -> NDArray[np.float32]:
    """Depth (H, W) in any unit -> float32 metres; 0, negative and infinite become NaN."""
    scaled = np.asarray(depth * np.float32(metres_per_unit), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled += np.float32(0) / ((scaled > 0) & (scaled < np.inf))  # 0 or, where false, NaN
    return scaled


def camera_from_info(info: Any, rectified: bool) -> Camera:
    """sensor_msgs/CameraInfo -> the camera of the images as they are sent.

    K and D describe the whole raw image, P the rectified one; region of interest and binning
    are applied here. Rectified images have P's intrinsics and no distortion.
    """
    K, name = (_matrix(info.p, 3, 4)[:, :3], "P") if rectified else (_matrix(info.k, 3, 3), "K")
    if not K.any():
        raise DataError(
            f"{name} of camera_info is all zero: the camera is not calibrated "
            "(run camera_calibration, or give the driver its camera_info_url)"
        )
    distortion = () if rectified else tuple(map(float, info.d))
    if not any(distortion) and not info.distortion_model:
        distortion = ()  # drivers of ideal cameras leave the model's name empty
    model = info.distortion_model if distortion else "plumb_bob"
    roi, scale = info.roi, np.array([max(info.binning_x, 1), max(info.binning_y, 1)])
    width, height = (roi.width or info.width), (roi.height or info.height)
    sent = K.copy()
    sent[:2] /= scale[:, None]
    # a binned pixel's centre is the mean of the centres of its parts
    sent[:2, 2] = (K[:2, 2] - [roi.x_offset, roi.y_offset] + 0.5) / scale - 0.5
    return Camera(int(width // scale[0]), int(height // scale[1]), sent, distortion, model)


def stereo_from_infos(left: Any, right: Any, rectified: bool = True) -> StereoCamera:
    """Two sensor_msgs/CameraInfo of a calibrated pair -> StereoCamera of the images as sent.

    The baseline is in P of the right camera; raw images also need R, the rotations to the
    rectified frames.
    """
    cameras = camera_from_info(left, rectified), camera_from_info(right, rectified)
    P_left, P_right = _matrix(left.p, 3, 4), _matrix(right.p, 3, 4)
    if not (P_left[0, 0] and P_right[0, 0]):
        raise DataError("P of camera_info is all zero: the stereo pair is not calibrated")
    baseline = float(P_left[0, 3] / P_left[0, 0] - P_right[0, 3] / P_right[0, 0])
    if not baseline > 0:
        raise DataError(
            f"the baseline -P[3] / P[0] of the right camera_info is {baseline:g} m, expected "
            "more than 0: calibrate the pair together, and check that left is left"
        )
    if rectified:
        return StereoCamera.rectified(*cameras, baseline)
    R_left, R_right = _matrix(left.r, 3, 3), _matrix(right.r, 3, 3)
    shift = np.array([-baseline, 0, 0])
    return StereoCamera(*cameras, from_Rt(R_right.T @ R_left, R_right.T @ shift))


def rectification(camera: Camera | StereoCamera) -> list[tuple[Camera, Array, Array]]:
    """What camera_info says of raw images, of one camera or of left and right: (camera, R, P).

    R (3, 3) and P (3, 4) describe a rectified pair with the left K, from which `stereo_from_infos`
    finds the pose of the right camera.
    """
    if isinstance(camera, Camera):
        return [(camera, np.eye(3), _projection(camera.K, 0.0))]
    K, right_from_left = camera.left.K, camera.right_from_left
    x = -right_from_left[:3, 3] / camera.baseline  # left to right, in the right camera
    y = np.cross([0.0, 0.0, 1.0], x)
    y /= np.linalg.norm(y)
    R_right = np.stack([x, y, np.cross(x, y)])
    R_left = R_right @ right_from_left[:3, :3]
    return [
        (camera.left, R_left, _projection(K, 0.0)),
        (camera.right, R_right, _projection(K, camera.baseline)),
    ]


def _projection(K: Array, baseline: float) -> Array:
    return np.column_stack([K, [-K[0, 0] * baseline, 0, 0]])


def _pixels(message: Any, channels: int, kind: str) -> NDArray[Any]:
    """The message's pixels, (H, W) or (H, W, channels), without the padding of its rows."""
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * dtype.itemsize
    data = np.frombuffer(_bytes(message.data), np.uint8)
    if not row or not height:
        raise DataError(f"image has size {width}x{height}")
    if step < row or len(data) != step * height:
        raise DataError(
            f"a {width}x{height} {message.encoding} image has step {step} and {len(data)} bytes, "
            f"expected step >= {row} and height * step bytes"
        )
    pixels = np.ascontiguousarray(data.reshape(height, step)[:, :row]).view(dtype)
    pixels = pixels.astype(dtype.newbyteorder("="), copy=False)
    return np.asarray(pixels if channels == 1 else pixels.reshape(height, width, channels))


def _bytes(data: Any) -> Any:
    """Something with the buffer protocol: lists and tuples lack it."""
    return bytes(data) if isinstance(data, list | tuple) else data


def _matrix(values: Any, rows: int, cols: int) -> Array:
    matrix = np.asarray(values, np.float64)
    if matrix.size != rows * cols:
        raise DataError(f"camera_info holds a matrix of {matrix.size}, not {rows}x{cols} numbers")
    return matrix.reshape(rows, cols)


def _incomplete(data: Any) -> str:
    """Why an encoded image is not whole; empty for whole ones and for other formats."""
    data = bytes(data)
    if not data.strip(b"\0"):
        return "empty"
    if data.startswith(b"\x89PNG"):
        return _incomplete_png(data)
    if data.startswith(b"\xff\xd8"):
        return _incomplete_jpeg(data)
    if data.startswith(b"BM") and len(data) < int.from_bytes(data[2:6], "little"):
        return "truncated"
    return ""


def _incomplete_png(data: bytes) -> str:
    """Walks the chunks: length, name, content, checksum of name and content."""
    at, name = 8, b""
    while name != b"IEND":
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            return "truncated"
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return "damaged"
        at = end + 4
    return ""


def _incomplete_jpeg(data: bytes) -> str:
    """Skips the segments in front of the scan (one may hold a whole thumbnail), seeks its end."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return "" if data.find(b"\xff\xd9", at) >= 0 else "truncated"
