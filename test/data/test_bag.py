"""Bags in both formats: messages that come back, topics that are found, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pictures import HEIGHT, WIDTH, picture, truncate

from alike_ros.data.bag import BagSequence
from alike_ros.errors import DataError
from alike_ros.geometry import Array, from_Rt, rotation_exp, rotation_to_quat_xyzw

rosbags = pytest.importorskip("rosbags.rosbag2", reason="pip install rosbags")
typesys = pytest.importorskip("rosbags.typesys")

STORE = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
T = STORE.types
START_NS = 1_700_000_000_000_000_000
STEP_NS = 33_333_333
K = np.array([60.0, 0, 31.5, 0, 61, 23.5, 0, 0, 1])
BASE_FROM_CAM = from_Rt(rotation_exp(np.array([1.2, -1.2, 1.2])), np.array([0.1, 0.2, 0.3]))


def stamp(ns: int) -> Any:
    return T["builtin_interfaces/msg/Time"](sec=ns // 10**9, nanosec=ns % 10**9)


def header(ns: int, frame_id: str = "camera") -> Any:
    return T["std_msgs/msg/Header"](stamp=stamp(ns), frame_id=frame_id)


def image(ns: int, pixels: np.ndarray, encoding: str) -> Any:
    return T["sensor_msgs/msg/Image"](
        header=header(ns),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].nbytes,
        data=np.ascontiguousarray(pixels).view(np.uint8).ravel(),
    )


def compressed(ns: int, pixels: np.ndarray, kind: str, prefix: bytes = b"") -> Any:
    data = prefix + cv2.imencode(".png", pixels)[1].tobytes()
    return T["sensor_msgs/msg/CompressedImage"](
        header=header(ns), format=kind, data=np.frombuffer(data, np.uint8)
    )


def info(ns: int, shift: float = 0.0) -> Any:
    P = np.array([50.0, 0, 30, shift * 50, 0, 50, 20, 0, 0, 0, 1, 0])
    return T["sensor_msgs/msg/CameraInfo"](
        header=header(ns),
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=np.array([0.1, 0, 0, 0, 0]),
        k=K,
        r=np.eye(3).ravel(),
        p=P,
        binning_x=0,
        binning_y=0,
        roi=T["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )


def pose(matrix: Array) -> Any:
    x, y, z, w = rotation_to_quat_xyzw(matrix[:3, :3])
    position = T["geometry_msgs/msg/Point"](*map(float, matrix[:3, 3]))
    return T["geometry_msgs/msg/Pose"](position, T["geometry_msgs/msg/Quaternion"](x, y, z, w))


def odometry(ns: int, matrix: Array) -> Any:
    zero = T["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    return T["nav_msgs/msg/Odometry"](
        header=header(ns, "map"),
        child_frame_id="base",
        pose=T["geometry_msgs/msg/PoseWithCovariance"](pose(matrix), np.zeros(36)),
        twist=T["geometry_msgs/msg/TwistWithCovariance"](
            T["geometry_msgs/msg/Twist"](zero, zero), np.zeros(36)
        ),
    )


def static_transform(parent: str, child: str, matrix: Array) -> Any:
    at = pose(matrix)
    translation = T["geometry_msgs/msg/Vector3"](at.position.x, at.position.y, at.position.z)
    return T["tf2_msgs/msg/TFMessage"](
        [
            T["geometry_msgs/msg/TransformStamped"](
                header=header(0, parent),
                child_frame_id=child,
                transform=T["geometry_msgs/msg/Transform"](translation, at.orientation),
            )
        ]
    )


def write_bag(path: Path, messages: list[tuple[str, int, Any]], storage: str = "mcap") -> Path:
    """messages: (topic, time of recording in ns, message)."""
    plugin = getattr(rosbags.StoragePlugin, storage.upper())
    with rosbags.Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for topic, ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], ns, STORE.serialize_cdr(message, kind))
    return path


def colour_frames(count: int = 5) -> list[tuple[str, int, Any]]:
    messages: list[tuple[str, int, Any]] = []
    for i in range(count):
        ns = START_NS + i * STEP_NS
        messages.append(("/camera/color/camera_info", ns, info(ns)))
        messages.append(("/camera/color/image_raw", ns + 5, image(ns, picture(i), "rgb8")))
    return messages


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("single_file", [False, True])
def test_colour_images(tmp_path: Path, storage: str, single_file: bool) -> None:
    path = write_bag(tmp_path / "bag", colour_frames(), storage)
    if single_file:
        path = next(p for p in path.iterdir() if p.suffix in {".mcap", ".db3"})
    sequence = BagSequence(path)
    assert len(sequence) == 5
    for _ in range(2):
        frames = list(sequence)
        assert [f.stamp_ns for f in frames] == [START_NS + i * STEP_NS for i in range(5)]
        for i, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.image, picture(i))
    np.testing.assert_array_equal(sequence.camera.K.ravel(), K)
    assert sequence.camera.distortion == (0.1, 0, 0, 0, 0)
    assert sequence.truth is None
    assert not sequence.skipped


def test_rgbd_pairs_by_stamp(tmp_path: Path) -> None:
    """Depth is 10 ms off and recorded up to two frames later; that of frame 2 is missing."""
    messages = colour_frames()
    depths = []
    for i in (0, 1, 3, 4):
        ns = START_NS + i * STEP_NS + 10_000_000
        values = np.full((HEIGHT, WIDTH), 1000 + i, np.uint16)
        late = ns + (i % 3) * STEP_NS
        depths.append(
            ("/camera/aligned_depth_to_color/image_raw", late, image(ns, values, "16UC1"))
        )
        small = np.zeros((8, 8), np.uint16)
        depths.append(("/camera/depth/image_rect_raw", late, image(ns, small, "16UC1")))
    messages = sorted(messages + depths, key=lambda m: m[1])
    sequence = BagSequence(write_bag(tmp_path / "bag", messages), "rgbd")
    frames = list(sequence)
    assert [round(float(f.depth[0, 0]) * 1000) for f in frames] == [1000, 1001, 1003, 1004]
    assert sequence.skipped == {"no depth image": 1}
    assert len(sequence) == 4


def stereo_messages(topic: str) -> list[tuple[str, int, Any]]:
    messages: list[tuple[str, int, Any]] = []
    for i in range(4):
        ns = START_NS + i * STEP_NS
        for side, shift in (("left", 0.0), ("right", -0.12)):
            grey = picture(i + (10 if side == "right" else 0))[..., 0]
            messages.append((f"/{side}/camera_info", ns, info(ns, shift)))
            if (side, i) != ("right", 1):
                messages.append((f"/{side}/{topic}", ns, image(ns, grey, "mono8")))
    return messages


@pytest.mark.parametrize("topic", ["image_raw", "image_rect"])
def test_stereo(tmp_path: Path, topic: str) -> None:
    sequence = BagSequence(write_bag(tmp_path / "bag", stereo_messages(topic)), "stereo")
    frames = list(sequence)
    assert [f.stamp_ns - START_NS for f in frames] == [0, 2 * STEP_NS, 3 * STEP_NS]
    np.testing.assert_array_equal(frames[1].image, picture(2)[..., 0])
    np.testing.assert_array_equal(frames[1].right, picture(12)[..., 0])
    assert sequence.skipped == {"no right image": 1}
    assert sequence.stereo.baseline == pytest.approx(0.12)
    assert sequence.camera.fx == (50 if topic == "image_rect" else 60)
    assert any(sequence.stereo.left.distortion) == (topic == "image_raw")


def test_mono_takes_the_left_one(tmp_path: Path) -> None:
    sequence = BagSequence(write_bag(tmp_path / "bag", stereo_messages("image_raw")))
    np.testing.assert_array_equal(next(iter(sequence)).image, picture(0)[..., 0])
    path = tmp_path / "bag"
    right = BagSequence(path, image="/right/image_raw")
    np.testing.assert_array_equal(next(iter(right)).image, picture(10)[..., 0])


def test_compressed_images_and_depth(tmp_path: Path) -> None:
    messages: list[tuple[str, int, Any]] = []
    for i in range(3):
        ns = START_NS + i * STEP_NS
        messages.append(("/cam/rgb/camera_info", ns, info(ns)))
        bgr = picture(i)[..., ::-1]
        kind = "rgb8; png compressed bgr8"
        messages.append(("/cam/rgb/image_raw/compressed", ns, compressed(ns, bgr, kind)))
        depth = np.full((HEIGHT, WIDTH), 2000 + i, np.uint16)
        kind = "16UC1; compressedDepth png"
        topic = "/cam/depth_registered/image_raw/compressedDepth"
        messages.append((topic, ns, compressed(ns, depth, kind, bytes(12))))
    frames = list(BagSequence(write_bag(tmp_path / "bag", messages), "rgbd"))
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
        np.testing.assert_allclose(frame.depth, 2 + i / 1000, rtol=1e-6)
    assert len(frames) == 3


def test_truth_is_turned_into_the_cameras(tmp_path: Path) -> None:
    poses = [
        from_Rt(rotation_exp(np.array([0, 0, 0.2 * i])), np.array([i, 0, 0])) for i in range(3)
    ]
    messages = colour_frames(3)
    cam_link = from_Rt(np.eye(3), np.array([0.1, 0, 0]))
    messages.append(("/tf_static", START_NS, static_transform("base", "link", cam_link)))
    link_from_cam = np.linalg.inv(cam_link) @ BASE_FROM_CAM
    messages.append(("/tf_static", START_NS, static_transform("link", "camera", link_from_cam)))
    for i, matrix in enumerate(poses):
        ns = START_NS + i * STEP_NS
        messages.append(("/ground_truth/odom", ns, odometry(ns, matrix)))
    path = write_bag(tmp_path / "bag", messages)
    truth = BagSequence(path).truth
    expected = [matrix @ BASE_FROM_CAM for matrix in poses]
    np.testing.assert_allclose(truth.world_from_cam, expected, atol=1e-9)
    np.testing.assert_array_equal(truth.stamps_ns, START_NS + STEP_NS * np.arange(3))


def test_named_truth_of_poses(tmp_path: Path) -> None:
    messages = colour_frames(2)
    for i in range(2):
        ns = START_NS + i * STEP_NS
        at = pose(from_Rt(np.eye(3), np.array([0, 0, 3.0 * i])))
        messages.append(
            ("/mocap", ns, T["geometry_msgs/msg/PoseStamped"](header=header(ns, "map"), pose=at))
        )
    path = write_bag(tmp_path / "bag", messages)
    assert BagSequence(path).truth is None
    assert BagSequence(path, truth="/mocap").truth.length_m == pytest.approx(3)


def test_wrong_frames_are_counted(tmp_path: Path) -> None:
    messages = colour_frames(5)
    ns = START_NS + STEP_NS
    unknown = image(START_NS + 10 * STEP_NS, picture(0), "rgb8")
    unknown.encoding = "nv12"
    messages.append(("/camera/color/image_raw", ns, image(ns, picture(0), "rgb8")))
    messages.append(("/camera/color/image_raw", ns, unknown))
    sequence = BagSequence(write_bag(tmp_path / "bag", messages))
    assert len(list(sequence)) == 5
    assert sequence.skipped == {
        "stamp not after the last one": 1,
        "image damaged or of another size": 1,
    }


def test_messages_without_stamp_have_the_time_of_recording(tmp_path: Path) -> None:
    messages = [(topic, ns, m) for topic, ns, m in colour_frames(3)]
    for _, _, message in messages:
        message.header.stamp = stamp(0)
    frames = list(BagSequence(write_bag(tmp_path / "bag", messages)))
    assert [f.stamp_ns for f in frames] == [START_NS + i * STEP_NS + 5 for i in range(3)]


def test_modes_and_topics_that_are_not_there(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", colour_frames(2))
    for mode in ("rgbd", "stereo"):
        with pytest.raises(DataError, match=f"'{mode}', it offers mono"):
            BagSequence(path, mode)
    with pytest.raises(DataError, match=r"no topic /x, it has /camera/color/camera_info, "):
        BagSequence(path, image="/x")
    with pytest.raises(DataError, match=r"camera_info of .* has no images"):
        BagSequence(path, image="/camera/color/camera_info")


def test_without_camera_info_a_file_is_asked_for(tmp_path: Path, camera: Any) -> None:
    messages = [m for m in colour_frames(2) if m[0].endswith("image_raw")]
    path = write_bag(tmp_path / "bag", messages)
    with pytest.raises(DataError, match="--camera FILE"):
        BagSequence(path)
    camera.to_yaml(path / "camera.yaml")
    assert BagSequence(path).camera.distortion == camera.distortion


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_cut_off_bags(tmp_path: Path, storage: str, share: float) -> None:
    path = write_bag(tmp_path / "bag", colour_frames(20), storage)
    truncate(next(p for p in path.iterdir() if p.suffix in {".mcap", ".db3"}), share)
    try:
        sequence = BagSequence(path)
    except DataError as error:
        assert "cannot be read" in str(error) or "damaged" in str(error)
    else:
        assert len(list(sequence)) < 20
        assert sequence.skipped


def test_no_bag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        BagSequence(tmp_path / "nowhere")
    (tmp_path / "a.mcap").write_text("not a bag")
    with pytest.raises(DataError, match=r"a\.mcap cannot be read"):
        BagSequence(tmp_path / "a.mcap")


def test_folder_without_metadata(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", colour_frames(2))
    (path / "metadata.yaml").unlink()
    assert len(list(BagSequence(path))) == 2
    (path / "second.mcap").write_bytes(b"")
    with pytest.raises(DataError, match="ros2 bag reindex"):
        BagSequence(path)
