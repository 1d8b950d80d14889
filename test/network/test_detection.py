"""Detection on score maps whose keypoints are known, in torch and in NumPy."""

import cv2
import numpy as np
import pytest

from alike_ros import keypoints as on_cpu
from alike_ros.config import DetectorConfig

torch = pytest.importorskip("torch")

from alike_ros.network.detection import detect  # noqa: E402


def logit(scores):
    return np.log(scores / (1 - scores)).astype(np.float32)


def in_torch(scores, config):
    found = detect(torch.from_numpy(scores), config.top_k, config.min_score, config.sub_pixel)
    return found.keypoints.numpy(), found.scores.numpy()


def in_numpy(scores, config):
    return on_cpu.detect(logit(scores), config)


@pytest.fixture(params=[in_torch, in_numpy])
def find(request):
    return request.param


def blobs(points, height=60, width=80, sigma=1.5):
    """Scores with Gaussian peaks of heights 0.9, 0.85, ... at points (x, y), nothing elsewhere."""
    y, x = np.mgrid[:height, :width]
    scores = np.full((height, width), 1e-4, np.float32)
    for i, (px, py) in enumerate(points):
        peak = (0.9 - 0.05 * i) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
        scores = np.maximum(scores, peak.astype(np.float32))
    return scores


def test_finds_peaks_best_first(find):
    points = np.array([[20.0, 30.0], [50.0, 12.0], [65.0, 45.0]])
    keypoints, scores = find(blobs(points), DetectorConfig())
    np.testing.assert_allclose(keypoints, points, atol=1e-4)
    np.testing.assert_allclose(scores, [0.9, 0.85, 0.8], atol=1e-4)


def test_sub_pixel_follows_the_peak(find):
    true = np.array([[20.3, 29.8]])
    keypoints, _ = find(blobs(true), DetectorConfig())
    pixel, _ = find(blobs(true), DetectorConfig(sub_pixel=False))
    np.testing.assert_array_equal(pixel, [[20, 30]])
    # the soft-argmax of a 5x5 window is biased towards its centre: measured 0.05 px
    assert np.abs(keypoints - true).max() < 0.1 < np.abs(pixel - true).max()


def test_threshold_and_top_k(find):
    scores = blobs([[20, 30], [50, 12], [65, 45]])
    assert len(find(scores, DetectorConfig(min_score=0.82))[0]) == 2
    np.testing.assert_allclose(find(scores, DetectorConfig(top_k=1))[0], [[20, 30]], atol=1e-4)


def test_border_is_left_out(find):
    # rows and columns 0 to 2 and the last two
    scores = blobs([[2, 30], [40, 2], [78, 30], [40, 58], [3, 20], [77, 40]])
    keypoints, _ = find(scores, DetectorConfig(sub_pixel=False))
    assert sorted(map(tuple, keypoints.tolist())) == [(3, 20), (77, 40)]


def test_second_round_adds_what_the_first_covers(find):
    """B is next to a higher pixel that A's window covers: B comes in once A's window is taken."""
    scores = np.full((20, 20), 0.01, np.float32)
    scores[10, 8], scores[10, 10], scores[10, 12] = 0.9, 0.8, 0.7  # A, covered by A, B
    keypoints, _ = find(scores, DetectorConfig(sub_pixel=False))
    assert keypoints.tolist() == [[8, 10], [12, 10]]


def test_blank_image_has_no_keypoints(find):
    """The released code takes everything above the mean score then; here that is nothing."""
    for value in (0.01, 0.19):
        keypoints, scores = find(np.full((64, 64), value, np.float32), DetectorConfig())
        assert keypoints.shape == (0, 2)
        assert scores.shape == (0,)


def test_at_most_5000(find):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.3, 0.9, (480, 640)).astype(np.float32)
    assert len(find(scores, DetectorConfig(top_k=0))[0]) == 5000


@pytest.mark.parametrize("sub_pixel", [True, False])
def test_torch_and_numpy_agree_on_noise(sub_pixel):
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.01, 0.99, (97, 131)).astype(np.float32)
    config = DetectorConfig(top_k=300, sub_pixel=sub_pixel)
    ours, theirs = in_numpy(scores, config), in_torch(scores, config)
    order = [np.lexsort(np.round(k.T, 2)) for k, _ in (ours, theirs)]
    np.testing.assert_allclose(ours[0][order[0]], theirs[0][order[1]], atol=1e-4)
    np.testing.assert_allclose(ours[1][order[0]], theirs[1][order[1]], atol=1e-5)


def test_gradient_reaches_the_score_map():
    """Through the soft-argmax: raising the score right of the peak moves the keypoint right."""
    scores = torch.from_numpy(blobs([[20.3, 30.0]])).requires_grad_()
    found = detect(scores)
    found.keypoints[0, 0].backward()
    assert scores.grad[30, 21] > 0 > scores.grad[30, 19]


@pytest.mark.parametrize("top_k", [0, 5, 60])
@pytest.mark.parametrize("min_score", [0.0, 0.6])
@pytest.mark.parametrize("shape", [(64, 64), (93, 71), (17, 40)])
@pytest.mark.parametrize("few", [0, 10**6])
def test_numpy_keeps_what_torch_keeps_of_noise(shape, min_score, top_k, few, monkeypatch):
    """Where many pixels are kept the second and third time only, by either way to find them."""
    monkeypatch.setattr(on_cpu, "_FEW", few)
    random = np.random.default_rng(0)
    detector = DetectorConfig(top_k=top_k, min_score=min_score, sub_pixel=False)
    scratch = on_cpu.Scratch(shape)
    for smoothness in (1, 3):
        levels = random.permutation(shape[0] * shape[1]).astype(np.float32).reshape(shape)
        levels = cv2.blur(levels, (smoothness, smoothness))
        scores = ((levels + 1) / (levels.max() + 2)).astype(np.float32)
        ours, _ = on_cpu.detect(logit(scores), detector, scratch)
        theirs, _ = in_torch(scores, detector)
        assert len(theirs) > 4
        assert set(map(tuple, ours)) == set(map(tuple, theirs))
