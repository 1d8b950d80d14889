"""A rosbag2 recording of any sequence, written without ROS."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.data.bag_topics import Topics
from alike_ros.data.sequence import CameraFrame, Sequence
from alike_ros.errors import DataError
from alike_ros.geometry import Array, rotation_to_quat_xyzw
from alike_ros.images import rectification

#: Storage formats of rosbag2; the first is the default of ROS 2 since Iron.
STORAGES = ("mcap", "sqlite3")

#: What the nodes subscribe to in each mode, so that `ros2 bag play` needs no remapping.
TOPICS = {
    "mono": Topics(image="/image", camera_info="/camera_info"),
    "rgbd": Topics(image="/rgb/image", camera_info="/rgb/camera_info", depth="/depth/image"),
    "stereo": Topics(
        image="/left/image",
        camera_info="/left/camera_info",
        right="/right/image",
        right_camera_info="/right/camera_info",
    ),
}
TRUTH = "/ground_truth"

#: Truth this much before the first and after the last frame is kept: it can still be compared.
TRUTH_MARGIN_NS = 20_000_000

#: Frames of the images and of the truth's origin.
CAMERA_FRAME, WORLD_FRAME = "camera", "world"

_ENCODINGS = {("uint8", 3): "rgb8", ("uint8", 2): "mono8", ("float32", 2): "32FC1"}

#: (topic, stamp_ns, message), the stamp being that of the header.
Stamped = tuple[str, int, Any]


def write_bag(
    path: Path,
    sequence: Sequence,
    frames: Iterable[CameraFrame],
    mode: str,
    storage: str = "mcap",
) -> None:
    """Writes frames of a sequence, and its truth, into a new folder.

    Images and depth (32FC1) are kept bit for bit, with a camera_info beside each image. Truth is
    a PoseStamped of the camera, as long as there are frames. Nothing is left of a bag that cannot
    be written. Raises DataError.
    """
    if path.exists():
        raise DataError(f"{path} exists: remove it, or choose another name")
    try:
        _write(path, sequence, frames, mode, storage)
    except (DataError, OSError) as error:
        shutil.rmtree(path, ignore_errors=True)
        raise DataError(f"cannot write {path}: {error}") from error


def _write(
    path: Path, sequence: Sequence, frames: Iterable[CameraFrame], mode: str, storage: str
) -> None:
    try:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise DataError("writing bags needs rosbags: pip install rosbags") from error
    store = get_typestore(Stores.ROS2_HUMBLE)
    messages = _Messages(store.types, sequence, mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections: dict[str, Any] = {}
        for topic, stamp_ns, message in messages.of(frames):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], stamp_ns, store.serialize_cdr(message, kind))
    if not connections:
        raise DataError(f"{sequence.name} has no images")


class _Messages:
    """Frames and truth as messages of rosbags, in the order of their stamps."""

    def __init__(self, types: dict[str, Any], sequence: Sequence, mode: str) -> None:
        camera = sequence.stereo if mode == "stereo" else sequence.camera
        if camera is None:
            raise DataError(f"{sequence.name} has no right images: take mode mono or rgbd")
        self._types = types
        self._topics = TOPICS[mode]
        self._infos = rectification(camera)
        self._truth = sequence.truth
        self._num_poses = -1  # written so far; -1 before the first frame

    def of(self, frames: Iterable[CameraFrame]) -> Iterator[Stamped]:
        """Each frame, and the truth around it."""
        for frame in frames:
            yield from self._frame(frame)
            yield from self._truth_around(frame.stamp_ns)

    def _truth_around(self, stamp_ns: int) -> Iterator[Stamped]:
        """The poses since the last frame, up to a little later than this one."""
        if self._truth is None:
            return
        stamps_ns = self._truth.stamps_ns
        if self._num_poses < 0:
            self._num_poses = int(np.searchsorted(stamps_ns, stamp_ns - TRUTH_MARGIN_NS))
        end = int(np.searchsorted(stamps_ns, stamp_ns + TRUTH_MARGIN_NS))
        for i in range(self._num_poses, end):
            pose = self._pose(int(stamps_ns[i]), self._truth.world_from_cam[i])
            yield TRUTH, int(stamps_ns[i]), pose
        self._num_poses = max(self._num_poses, end)

    def _frame(self, frame: CameraFrame) -> Iterator[Stamped]:
        topics, stamp_ns = self._topics, frame.stamp_ns
        infos = filter(None, (topics.camera_info, topics.right_camera_info))
        for topic, info in zip(infos, self._infos, strict=True):
            yield topic, stamp_ns, self._camera_info(stamp_ns, *info)
        arrays: list[tuple[str, NDArray[Any] | None]] = [
            (topics.image, frame.image),
            (topics.depth, frame.depth),
            (topics.right, frame.right),
        ]
        for topic, array in arrays:
            if topic and array is not None:
                yield topic, stamp_ns, self._image(stamp_ns, array)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._types["builtin_interfaces/msg/Time"](
            sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
        )
        return self._types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def _image(self, stamp_ns: int, array: NDArray[Any]) -> Any:
        height, width = array.shape[:2]
        return self._types["sensor_msgs/msg/Image"](
            header=self._header(stamp_ns, CAMERA_FRAME),
            height=height,
            width=width,
            encoding=_ENCODINGS[str(array.dtype), array.ndim],
            is_bigendian=0,
            step=array.nbytes // height,
            data=np.ascontiguousarray(array).reshape(-1).view(np.uint8),
        )

    def _camera_info(self, stamp_ns: int, camera: Any, R: Array, P: Array) -> Any:
        whole = self._types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        return self._types["sensor_msgs/msg/CameraInfo"](
            header=self._header(stamp_ns, CAMERA_FRAME),
            height=camera.height,
            width=camera.width,
            distortion_model=camera.distortion_model,
            d=np.array(camera.distortion, np.float64),
            k=camera.K.ravel(),
            r=R.ravel(),
            p=P.ravel(),
            binning_x=0,
            binning_y=0,
            roi=whole,
        )

    def _pose(self, stamp_ns: int, world_from_cam: Array) -> Any:
        position = self._types["geometry_msgs/msg/Point"](*map(float, world_from_cam[:3, 3]))
        orientation = self._types["geometry_msgs/msg/Quaternion"](
            *map(float, rotation_to_quat_xyzw(world_from_cam[:3, :3]))
        )
        return self._types["geometry_msgs/msg/PoseStamped"](
            header=self._header(stamp_ns, WORLD_FRAME),
            pose=self._types["geometry_msgs/msg/Pose"](position, orientation),
        )
