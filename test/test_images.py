"""Messages and encoded images -> arrays and cameras, against values known beforehand."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from alike_ros.errors import DataError
from alike_ros.geometry import rotation_exp, transform
from alike_ros.images import (
    ENCODINGS,
    camera_from_info,
    decode,
    depth_from_compressed,
    depth_from_message,
    image_from_compressed,
    image_from_message,
    rgb_or_grey,
    stereo_from_infos,
)

HEIGHT, WIDTH = 6, 8
COLOUR = (200, 120, 40)  # RGB


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Any:
    """sensor_msgs/Image with `padding` bytes of rubbish behind each row."""
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(big),
        data=array.array("B", rows.tobytes()),
    )


def info(**changes: Any) -> Any:
    """sensor_msgs/CameraInfo of a rectified right camera with a baseline of 0.1 m."""
    fields = {
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": [0.1, -0.2, 0.001, 0.002, 0.3],
        "k": [500.0, 0, 320, 0, 510, 240, 0, 0, 1],
        "r": np.eye(3).ravel().tolist(),
        "p": [480.0, 0, 310, -48, 0, 480, 230, 0, 0, 0, 1, 0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return SimpleNamespace(**(fields | changes))


def left_info(**changes: Any) -> Any:
    return info(p=[480.0, 0, 310, 0, 0, 480, 230, 0, 0, 0, 1, 0], **changes)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        ("rgb8", [0, 1, 2]),
        ("bgr8", [2, 1, 0]),
        ("8UC3", [2, 1, 0]),
        ("rgba8", [0, 1, 2, 3]),
        ("bgra8", [2, 1, 0, 3]),
    ],
)
def test_colour_comes_back_as_rgb(
    encoding: str, order: list[int], padding: int, random: np.random.Generator
) -> None:
    rgba = random.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    image = image_from_message(message(rgba[..., order], encoding, padding))
    np.testing.assert_array_equal(image, rgba[..., :3])
    assert image.flags.c_contiguous


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_unchanged(encoding: str, padding: int, random: np.random.Generator) -> None:
    grey = random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    np.testing.assert_array_equal(image_from_message(message(grey, encoding, padding)), grey)


@pytest.mark.parametrize("container", [bytes, list, np.array, memoryview])
def test_data_may_have_any_container(container: Any, random: np.random.Generator) -> None:
    grey = random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    sent = message(grey, "mono8")
    sent.data = container(sent.data)
    np.testing.assert_array_equal(image_from_message(sent), grey)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_one_colour_is_that_colour(pattern: str) -> None:
    tile = np.array(["rgb".index(c) for c in pattern]).reshape(2, 2)
    mosaic = np.array(COLOUR, np.uint8)[np.tile(tile, (HEIGHT // 2, WIDTH // 2))]
    image = image_from_message(message(mosaic, f"bayer_{pattern}8", padding=2))
    np.testing.assert_array_equal(image, np.broadcast_to(COLOUR, (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_yuv422_of_one_colour_is_that_colour(encoding: str, order: str) -> None:
    r, g, b = COLOUR  # BT.601, limited range
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    pair = np.round([{"y": y, "u": u, "v": v}[c] for c in order]).astype(np.uint8)
    image = image_from_message(
        message(np.tile(pair, HEIGHT * WIDTH // 2).reshape(HEIGHT, WIDTH, 2), encoding, 4)
    )
    np.testing.assert_allclose(image, np.broadcast_to(COLOUR, image.shape), atol=2)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_sixteen_bits_keep_their_contrast(encoding: str, big: bool) -> None:
    ramp = np.linspace(1000, 5095, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = image_from_message(message(ramp, encoding, 2, big))
    assert image.dtype == np.uint8
    assert image.min() == 0
    assert image.max() == 255
    assert (np.diff(image.ravel().astype(int)) >= 0).all()
    flat = image_from_message(message(np.full_like(ramp, 77), encoding))
    assert flat.max() == 0


def test_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'nv21' is unknown, known are mono8.*yuyv"):
        image_from_message(message(np.zeros((2, 2), np.uint8), "nv21"))
    with pytest.raises(DataError, match="'mono8' is unknown, known are 16UC1, mono16, 32FC1"):
        depth_from_message(message(np.zeros((2, 2), np.uint8), "mono8"))
    assert "bayer_rggb8" in ENCODINGS


@pytest.mark.parametrize(
    "wrong",
    [{"step": 7}, {"step": 9}, {"data": b"1234"}, {"data": b""}, {"height": 7}, {"width": 0}],
)
def test_sizes_that_contradict_are_refused(wrong: dict[str, Any]) -> None:
    sent = message(np.zeros((HEIGHT, WIDTH), np.uint8), "mono8")
    for name, value in wrong.items():
        setattr(sent, name, value)
    with pytest.raises(DataError, match=r"size|step"):
        image_from_message(sent)


def test_yuv_of_odd_width_is_refused() -> None:
    with pytest.raises(DataError, match="odd width 7"):
        image_from_message(message(np.zeros((4, 7, 2), np.uint8), "yuyv"))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_depth_in_millimetres(encoding: str, big: bool) -> None:
    depth = depth_from_message(message(np.array([[0, 1], [1500, 65535]], "u2"), encoding, 6, big))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[np.nan, 0.001], [1.5, 65.535]], rtol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_depth_in_metres(big: bool) -> None:
    values = np.array([[0, np.inf, np.nan], [-1, 2.5, 0.25]], np.float32)
    depth = depth_from_message(message(values, "32FC1", 4, big))
    np.testing.assert_array_equal(depth, [[np.nan] * 3, [np.nan, 2.5, 0.25]])


def compressed(image: np.ndarray, suffix: str, kind: str = "") -> Any:
    data = cv2.imencode(suffix, image)[1].tobytes()
    return SimpleNamespace(format=kind or suffix[1:], data=data)


def test_compressed_png_is_exact(random: np.random.Generator) -> None:
    rgb = random.integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(image_from_compressed(compressed(rgb[..., ::-1], ".png")), rgb)
    grey = image_from_compressed(compressed(rgb[..., 0], ".png"))
    np.testing.assert_array_equal(grey, rgb[..., 0])


def test_compressed_jpeg_keeps_colour_order() -> None:
    rgb = np.broadcast_to(np.uint8(COLOUR), (48, 64, 3))
    image = image_from_compressed(compressed(rgb[..., ::-1], ".jpg", "rgb8; jpeg compressed bgr8"))
    np.testing.assert_allclose(image, rgb, atol=3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_images_are_refused(
    suffix: str, share: float, random: np.random.Generator
) -> None:
    sent = compressed(random.integers(0, 256, (60, 80, 3), np.uint8), suffix)
    sent.data = sent.data[: int(len(sent.data) * share)]
    with pytest.raises(DataError, match=r"empty|truncated|decoded"):
        image_from_compressed(sent)
    if suffix == ".bmp":
        return  # has no mark of its end
    sent.data = sent.data + bytes(50_000)  # as a crash leaves preallocated files
    with pytest.raises(DataError, match=r"empty|truncated|damaged|decoded"):
        image_from_compressed(sent)


def test_bytes_behind_a_whole_image_do_no_harm(random: np.random.Generator) -> None:
    for suffix in (".png", ".jpg"):
        data = compressed(random.integers(0, 256, (60, 80), np.uint8), suffix).data
        np.testing.assert_array_equal(decode(data + b"\0\0rubbish"), decode(data))


def test_truncated_jpeg_with_whole_thumbnail_is_refused(random: np.random.Generator) -> None:
    whole = compressed(random.integers(0, 256, (60, 80), np.uint8), ".jpg").data
    thumbnail = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    assert decode(whole[:2] + thumbnail + whole[2:]).shape == (60, 80)
    with pytest.raises(DataError, match="truncated"):
        decode(whole[:2] + thumbnail + whole[2:-40])


def test_alpha_is_dropped(random: np.random.Generator) -> None:
    bgra = random.integers(0, 256, (9, 9, 4), np.uint8)
    np.testing.assert_array_equal(rgb_or_grey(bgra), bgra[..., 2::-1])
    with pytest.raises(DataError, match="float32"):
        rgb_or_grey(np.zeros((4, 4), np.float32))


def test_compressed_depth() -> None:
    millimetres = np.array([[0, 1500], [40, 65535]], np.uint16)
    sent = compressed(millimetres, ".png", "16UC1; compressedDepth png")
    expected = np.array([[np.nan, 1.5], [0.04, 65.535]])
    sent.data = bytes(12) + sent.data
    np.testing.assert_allclose(depth_from_compressed(sent), expected, rtol=1e-6)
    plain = compressed(millimetres, ".png", "16UC1; png compressed")
    np.testing.assert_allclose(depth_from_compressed(plain), expected, rtol=1e-6)

    a, b = 100.0, -9.0  # inverse depth = a / depth + b
    metres = np.array([[1.0, 4.0]])
    sent = compressed(np.round(a / metres + b).astype(np.uint16), ".png")
    sent.format = "32FC1; compressedDepth png"
    sent.data = np.array([0, a, b], "<f4").tobytes() + sent.data
    np.testing.assert_allclose(depth_from_compressed(sent), metres, rtol=1e-6)

    with pytest.raises(DataError, match="expected uint16"):
        depth_from_compressed(compressed(np.zeros((2, 2), np.uint8), ".png"))


def test_camera_of_raw_and_rectified_images() -> None:
    raw = camera_from_info(info(), rectified=False)
    assert (raw.width, raw.height, raw.distortion_model) == (640, 480, "plumb_bob")
    np.testing.assert_array_equal(raw.K, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    assert raw.distortion == (0.1, -0.2, 0.001, 0.002, 0.3)
    rectified = camera_from_info(info(), rectified=True)
    np.testing.assert_array_equal(rectified.K, [[480, 0, 310], [0, 480, 230], [0, 0, 1]])
    assert rectified.distortion == ()


@pytest.mark.parametrize("rectified", [False, True])
def test_binning_and_roi_are_applied(rectified: bool) -> None:
    """A pixel of the sent image lies on the ray of the whole image's pixel."""
    roi = SimpleNamespace(x_offset=100, y_offset=60, width=400, height=200, do_rectify=True)
    whole = camera_from_info(info(), rectified)
    sent = camera_from_info(info(binning_x=2, binning_y=4, roi=roi), rectified)
    assert (sent.width, sent.height) == (200, 50)
    # the 2x4 pixels from (140, 100) are the pixel (20, 10) of the image as sent
    centre = np.array([[140.5, 101.5]])
    np.testing.assert_allclose(sent.bearings(np.array([[20.0, 10.0]])), whole.bearings(centre))


def test_uncalibrated_camera_says_so() -> None:
    with pytest.raises(DataError, match=r"K of camera_info is all zero: .* not calibrated"):
        camera_from_info(info(k=[0.0] * 9), rectified=False)
    with pytest.raises(DataError, match="P of camera_info is all zero"):
        camera_from_info(info(p=[0.0] * 12), rectified=True)
    with pytest.raises(DataError, match="matrix of 3"):
        camera_from_info(info(k=[1.0, 2.0, 3.0]), rectified=False)


def test_distortion_models() -> None:
    with pytest.raises(DataError, match="unknown distortion model 'omni'"):
        camera_from_info(info(distortion_model="omni"), rectified=False)
    ideal = camera_from_info(info(distortion_model="", d=[0.0] * 5), rectified=False)
    assert not any(ideal.distortion)
    fisheye = info(distortion_model="equidistant", d=[0.1, 0.01, 0.001, 0])
    assert camera_from_info(fisheye, rectified=False).distortion_model == "equidistant"


def test_stereo_of_rectified_images() -> None:
    stereo = stereo_from_infos(left_info(), info())
    assert stereo.baseline == pytest.approx(0.1)
    in_right = transform(stereo.right_from_left, np.array([0.3, 0.2, 2.0]))
    np.testing.assert_allclose(in_right, [0.2, 0.2, 2.0])
    binned = stereo_from_infos(left_info(binning_x=2, binning_y=2), info(binning_x=2, binning_y=2))
    assert binned.baseline == pytest.approx(0.1)


def test_stereo_of_raw_images_turns_through_the_rectified_frames() -> None:
    R_left, R_right = rotation_exp(np.array([0.01, 0.02, 0.03])), rotation_exp(np.full(3, -0.02))
    stereo = stereo_from_infos(
        left_info(r=R_left.ravel()), info(r=R_right.ravel()), rectified=False
    )
    point_in_left = np.array([0.3, -0.2, 2.0])
    in_rectified = R_left @ point_in_left - [0.1, 0, 0]
    in_right = transform(stereo.right_from_left, point_in_left)
    np.testing.assert_allclose(R_right @ in_right, in_rectified)
    assert any(stereo.left.distortion)


def test_stereo_without_baseline_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"baseline .* is 0 m"):
        stereo_from_infos(left_info(), left_info())
    with pytest.raises(DataError, match=r"baseline .* is -0\.1 m.*check that left is left"):
        stereo_from_infos(info(), left_info())
