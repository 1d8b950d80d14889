"""Perturbed frames against what was worked out by hand."""

import numpy as np
import pytest

from alike_ros.data import CameraFrame
from alike_ros.data.perturbation import PERTURBATIONS, perturb

RATE_HZ = 10


def frames(n, value=100, depth=True, right=True):
    """Grey pictures of one value, one every 100 ms."""
    image = np.full((96, 128, 3), value, np.uint8)
    return [
        CameraFrame(
            10**9 + i * 10**9 // RATE_HZ,
            image,
            np.full((96, 128), 2.0, np.float32) if depth else None,
            image if right else None,
        )
        for i in range(n)
    ]


def numbers(pairs):
    """Which frames are left."""
    return [round((original.stamp_ns / 1e9 - 1) * RATE_HZ) for original, _ in pairs]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_same_seed_same_frames(name):
    level = PERTURBATIONS[name].levels[-1]
    one, two, other = (list(perturb(frames(40), name, level, seed)) for seed in (1, 1, 2))
    assert len(one) == len(two)
    for (_, a), (_, b) in zip(one, two, strict=True):
        assert a.stamp_ns == b.stamp_ns
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.depth, b.depth)
    if name in ("dropped", "stamp-jitter"):
        assert [f.stamp_ns for _, f in one] != [f.stamp_ns for _, f in other]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_originals_are_untouched_and_stamps_ascend(name):
    source = frames(40)
    for level in PERTURBATIONS[name].levels:
        pairs = list(perturb(source, name, level))
        stamps = [changed.stamp_ns for _, changed in pairs]
        assert (np.diff(stamps) > 0).all()
        assert all(any(original is frame for frame in source) for original, _ in pairs)
    for frame in source:
        assert (frame.image == 100).all()
        assert (frame.depth == 2).all()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_frames_without_depth_and_right_image(name):
    for _, changed in perturb(frames(40, depth=False, right=False), name, 1):
        assert changed.depth is None
        assert changed.right is None


def test_dropped_frames():
    left = {level: set(numbers(perturb(frames(1000), "dropped", level))) for level in (10, 30, 50)}
    # standard deviation of the share: 1.6 % at most
    assert [len(left[level]) for level in (10, 30, 50)] == pytest.approx([900, 700, 500], abs=50)
    assert left[50] < left[30] < left[10]


def test_bursts_of_dropped_frames():
    left = numbers(perturb(frames(120), "burst", 10))
    assert left == [i for i in range(120) if not (30 <= i < 40 or 90 <= i < 100)]


def test_blackout_blinds_both_cameras_and_the_depth():
    black = [
        not f.image.any() and not f.right.any() for _, f in perturb(frames(130), "blackout", 1)
    ]
    assert [i for i, dark in enumerate(black) if dark] == [*range(20, 30), *range(120, 130)]
    changed = [f for _, f in perturb(frames(30), "blackout", 1)]
    assert np.isnan(changed[25].depth).all()
    assert (changed[30 - 1].image == 0).all()
    assert (changed[19].depth == 2).all()


def test_blur_spreads_a_point_along_a_line():
    image = np.zeros((96, 128), np.uint8)
    image[48, 64] = 255
    [(_, changed)] = perturb([CameraFrame(1, image)], "blur", 10)
    y, x = np.nonzero(changed.image)
    assert np.hypot(x - 64, y - 48).max() == pytest.approx(5, abs=0.75)
    spread = np.linalg.eigvalsh(np.cov(np.stack([x, y])))
    assert spread[0] < 0.3  # across the line: rounding to pixels, 1/12 and its diagonal
    assert spread[1] == pytest.approx(10**2 / 12, rel=0.35)  # of a uniform distribution
    assert changed.image.sum(dtype=int) == pytest.approx(255, abs=15)  # each pixel is rounded


def test_blur_leaves_a_plain_picture():
    for _, changed in perturb(frames(3), "blur", 20):
        assert (changed.image == 100).all()


def test_exposure_steps_by_stops_and_clips():
    changed = [f for _, f in perturb(frames(11), "exposure", 2)]
    assert [int(f.image[0, 0, 0]) for f in changed] == [50] * 5 + [200] * 5 + [50]
    assert (changed[7].right == 200).all()
    bright = [f for _, f in perturb(frames(6, value=200), "exposure", 2)]
    assert bright[5].image.max() == 255


def test_jpeg_keeps_colours_and_loses_detail():
    image = np.zeros((96, 128, 3), np.uint8)
    image[:] = (200, 40, 90)
    noisy = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    errors = []
    for quality in PERTURBATIONS["jpeg"].levels:
        (_, plain), (_, detailed) = perturb(
            [CameraFrame(1, image), CameraFrame(2, noisy)], "jpeg", quality
        )
        # measured: 2, 3 and 13 grey levels; with red and blue swapped it would be 110
        assert np.abs(plain.image.astype(int) - image).max() <= 15
        errors.append(np.abs(detailed.image.astype(int) - noisy).mean())
    assert errors[0] < errors[1] < errors[2]
    [(_, grey)] = perturb([CameraFrame(1, image[..., 0])], "jpeg", 20)
    assert grey.image.shape == (96, 128)


@pytest.mark.parametrize("level", [20, 50, 80])
def test_holes_cover_their_share_of_the_depth(level):
    (_, first), (_, second) = perturb(frames(2), "depth-holes", level)
    assert np.isnan(first.depth).mean() == pytest.approx(level / 100, abs=0.01)
    assert not np.array_equal(np.isnan(first.depth), np.isnan(second.depth))
    assert (first.depth[np.isfinite(first.depth)] == 2).all()
    holes = np.isnan(first.depth)
    edges = (holes[:, 1:] != holes[:, :-1]).mean()
    assert edges < 0.06  # blobs; 0.5 if every pixel were on its own


def test_stamps_jitter():
    pairs = list(perturb(frames(500), "stamp-jitter", 5))
    errors_ms = [(changed.stamp_ns - original.stamp_ns) / 1e6 for original, changed in pairs]
    assert np.mean(errors_ms) == pytest.approx(0, abs=0.7)  # three standard deviations
    assert np.std(errors_ms) == pytest.approx(5, rel=0.1)
