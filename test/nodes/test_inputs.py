"""Masks, compressed images and depth; the picture of the tracks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here (rclpy)")

import rclpy
from robot import Robot, header
from ros_helpers import rendered
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from alike_ros.camera import Camera
from alike_ros.config import Config
from alike_ros.data import CameraFrame
from alike_ros.images import image_from_message
from alike_ros.nodes.conversions import (
    camera_info_messages,
    features_from_cloud,
    image_message,
)
from alike_ros.nodes.extraction import Extraction
from alike_ros.nodes.topics import INPUT, OUTPUT
from alike_ros.nodes.vo_node import VoNode

pytestmark = pytest.mark.ros
REMAPPED = (
    "-r rgb/image:=/cam/color -r rgb/camera_info:=/cam/info -p mode:=rgbd "
    "-p image_transport:=compressed -p depth_transport:=compressedDepth"
)


def encoded(frame: CameraFrame) -> CompressedImage:
    data = cv2.imencode(".png", frame.image[..., ::-1])[1].tobytes()
    return CompressedImage(header=header(frame.stamp_ns), format="rgb8; png", data=data)


def encoded_depth(frame: CameraFrame) -> CompressedImage:
    assert frame.depth is not None
    millimetres = np.nan_to_num(frame.depth * 1000).astype(np.uint16)
    data = bytes(12) + cv2.imencode(".png", millimetres)[1].tobytes()
    kind = "16UC1; compressedDepth png"
    return CompressedImage(header=header(frame.stamp_ns), format=kind, data=data)


@pytest.fixture
def compressed(make_robot: Any) -> Any:
    """A robot, and publishers of its compressed image and depth."""
    robot = make_robot(image_transport="compressed", depth_transport="compressedDepth")
    topics = ("rgb/image/compressed", "depth/image/compressedDepth")
    image, depth = (
        robot.talker.create_publisher(CompressedImage, topic, OUTPUT) for topic in topics
    )
    assert robot.spin(lambda: depth.get_subscription_count() and image.get_subscription_count())
    robot.spin(lambda: False, 0.2)
    robot.calibrate()
    return robot, image, depth


def test_compressed_topics_follow_those_of_the_images(ros: Any, config: Config) -> None:
    """As image transports do: who remaps the image need not know of them."""
    rclpy.init(args=["--ros-args", *REMAPPED.split(), "-p", f"model:={config.model or repr('')}"])
    node = VoNode()
    assert node.start()
    topics, _ = node.health.topics
    assert topics == ["/cam/info", "/cam/color/compressed", "/depth/image/compressedDepth"]
    node.close()


def test_compressed_image_and_depth(compressed: Any) -> None:
    robot, image, depth = compressed
    for i, frame in enumerate(rendered("rgbd", 3)):
        image.publish(encoded(frame))
        depth.publish(encoded_depth(frame))
        assert robot.spin(lambda i=i: len(robot.received["odom"]) > i)
    assert robot.statuses()[-1]["status"] == "tracking"


def test_truncated_images_cost_a_frame_each(compressed: Any) -> None:
    robot, image, depth = compressed
    frames = list(rendered("rgbd", 5))
    for frame, short in zip(frames[:4], ("image", "depth", "header", "empty"), strict=True):
        messages = {"image": encoded(frame), "depth": encoded_depth(frame)}
        cut = messages["image" if short in ("image", "empty") else "depth"]
        keep = {"image": 5000, "depth": 5000, "header": 7, "empty": 0}[short]
        cut.data = bytes(cut.data)[:keep]
        before = len(robot.statuses())
        image.publish(messages["image"])
        depth.publish(messages["depth"])
        assert robot.spin(lambda n=before: len(robot.statuses()) > n)
        assert robot.statuses()[-1]["status"] == "unusable", short
    image.publish(encoded(frames[4]))
    depth.publish(encoded_depth(frames[4]))
    assert robot.spin(lambda: robot.received["odom"])


def test_mask(robot: Robot) -> None:
    publisher = robot.talker.create_publisher(Image, "mask", OUTPUT)
    robot.listen(PointCloud2, "keypoints", INPUT)
    robot.calibrate()
    frames = list(rendered("rgbd", 4))
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    robot.spin(lambda: False, 0.2)

    def keypoints(frame: CameraFrame) -> Any:
        before = len(robot.received["keypoints"])
        robot.track(frame)
        assert robot.spin(lambda: len(robot.received["keypoints"]) > before)
        return features_from_cloud(robot.received["keypoints"][-1]).keypoints

    def mask(image: Any) -> None:
        publisher.publish(image_message(header(0), image))
        robot.spin(lambda: False, 0.1)

    everywhere = keypoints(frames[0])
    assert (everywhere[:, 0] < 320).sum() > 50
    right = np.zeros((480, 640), np.uint8)
    right[:, 320:] = 255
    mask(right)
    assert keypoints(frames[1])[:, 0].min() >= 319.5
    mask(np.zeros((480, 640, 3), np.uint8))  # no mask: ignored
    deep = image_message(header(0), np.full((480, 1280), 255, np.uint8))
    deep.width, deep.encoding = 640, "mono16"  # what would its 1 mean?
    publisher.publish(deep)
    robot.spin(lambda: False, 0.1)
    assert keypoints(frames[2])[:, 0].min() >= 319.5
    mask(right[:100])
    robot.show(frames[3])
    assert robot.spin(lambda: robot.statuses()[-1]["status"] == "unusable")
    assert "the mask is 640x100, but the image is 640x480" in robot.statuses()[-1]["message"]


@pytest.mark.parametrize("mode", ["rgbd", "stereo"])
def test_best_keypoints_are_those_outside_of_the_mask(
    make_robot: Any, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as without one; of the right image, to which no mask belongs, no more than that."""
    counts: list[list[int]] = []
    extract = Extraction.extract

    def counted(*arguments: Any) -> Any:
        extracted = extract(*arguments)
        counts.append([len(features) for features in extracted.features])
        return extracted

    monkeypatch.setattr(Extraction, "extract", counted)
    robot = make_robot(mode=mode, detector__top_k=200)
    publisher = robot.talker.create_publisher(Image, "mask", OUTPUT)
    assert robot.spin(lambda: publisher.get_subscription_count() > 0)
    right_half = np.zeros((480, 640), np.uint8)
    right_half[:, 320:] = 255
    publisher.publish(image_message(header(0), right_half))
    robot.spin(lambda: False, 0.2)
    frame = next(iter(rendered(mode, 1)))
    if mode == "rgbd":
        robot.calibrate()
        robot.track(frame)
    else:
        sides = ("left", "right")
        infos = camera_info_messages(header(0), rendered(mode, 1).stereo)
        for kind, name, pair in (
            (CameraInfo, "camera_info", infos),
            (Image, "image", [image_message(header(1), i) for i in (frame.image, frame.right)]),
        ):
            for side, message in zip(sides, pair, strict=True):
                one = robot.talker.create_publisher(kind, f"{side}/{name}", OUTPUT)
                assert robot.spin(lambda one=one: one.get_subscription_count() > 0)
                robot.spin(lambda: False, 0.2)
                one.publish(message)
        assert robot.spin(robot.statuses)
    assert counts == [[200] * (1 if mode == "rgbd" else 2)]


def test_keypoints_that_have_no_ray_are_not_published(robot: Robot) -> None:
    """A lens of which the image shows 215 degrees from left to right."""
    K = np.array([[170.0, 0, 320], [0, 170, 240], [0, 0, 1]])
    robot.camera = Camera(640, 480, K, (0.0, 0.0, 0.0, 1e-6), "equidistant")
    robot.listen(PointCloud2, "keypoints", INPUT)
    robot.calibrate()
    frame = next(iter(rendered("rgbd", 1)))
    robot.show(frame)
    assert robot.spin(lambda: robot.received["keypoints"])
    cloud = robot.received["keypoints"][0]
    rays = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)[:, :8].view("<f4")
    keypoints = features_from_cloud(cloud).keypoints
    assert len(keypoints) > 300
    angles = np.hypot(*(keypoints - K[:2, 2]).T) / 170
    assert np.degrees(angles.max()) < 85.1
    expected = (keypoints - K[:2, 2]) / 170 * (np.tan(angles) / angles)[:, None]
    np.testing.assert_allclose(rays, expected, rtol=1e-3, atol=1e-4)


def test_tracks_are_drawn_while_somebody_looks(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = list(rendered("rgbd", 4))
    robot.calibrate()
    with monkeypatch.context() as patch:
        patch.setattr("alike_ros.nodes.tracks.Tracks.draw", lambda *_: 1 // 0)
        robot.track(frames[0])
        robot.spin(lambda: False, 0.3)  # it is drawn, if it is, after the odometry
    robot.listen(Image, "vo/tracks_image", INPUT)
    robot.spin(lambda: False, 0.3)
    for i, frame in enumerate(frames[1:]):
        robot.track(frame)
        assert robot.spin(lambda i=i: len(robot.received["vo/tracks_image"]) > i)
    first, second, _ = (image_from_message(item) for item in robot.received["vo/tracks_image"])
    known = (80, 255, 80)
    assert not (first == known).all(axis=2).any()  # nothing to compare with
    assert (second == known).all(axis=2).sum() > 500
    assert robot.received["vo/tracks_image"][1].header == header(frames[2].stamp_ns)


def test_landmarks_lie_where_depth_says(robot: Robot) -> None:
    frame = next(iter(rendered("rgbd", 1)))
    robot.calibrate()
    robot.listen(PointCloud2, "vo/landmarks", INPUT)
    robot.spin(lambda: False, 0.3)
    robot.track(frame)
    assert robot.spin(lambda: robot.received["vo/landmarks"])
    cloud = robot.received["vo/landmarks"][0]
    points = np.frombuffer(cloud.data, "<f4").reshape(-1, 3)
    assert cloud.header.frame_id == "odom"
    assert (cloud.width, cloud.point_step) == (len(points), 12)
    assert len(points) > 200
    K = robot.camera.K
    x, y = np.round(points[:, :2] / points[:, 2:] @ K[:2, :2].T + K[:2, 2]).astype(int).T
    # the camera is the base, at the origin of odom
    np.testing.assert_allclose(points[:, 2], frame.depth[y, x], rtol=0.05)
