"""Generated pairs: the homography is the one that relates the pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alike_ros.errors import DataError
from training.config import DataConfig, PhotometryConfig
from training.data.drawings import drawing, write_drawings
from training.data.homography import (
    HELD_BACK,
    HomographyPairs,
    blur,
    disturb,
    halvings,
    list_photos,
    pyramid,
    render,
    repeat,
    sample_views,
    shadow,
    split_photos,
)
from training.warp import warp_homography

QUIET = PhotometryConfig(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
CONFIG = DataConfig(height=120, width=160)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    write_drawings(folder, 3)
    return list_photos(folder)


def to_numpy(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def test_first_view_warped_by_the_homography_is_the_second(photos: list[Path]) -> None:
    pairs = HomographyPairs(photos, replace(CONFIG, photometry=QUIET), seed=1)
    for i in range(8):
        pair = pairs[i]
        homography = pair["view1_from_view0"].double().numpy()
        size = (160, 120)
        warped = cv2.warpPerspective(to_numpy(pair["image0"]), homography, size).astype(float)
        seen = cv2.warpPerspective(np.ones((120, 160), np.uint8), homography, size) > 0
        seen = cv2.erode(seen.astype(np.uint8), np.ones((7, 7))) > 0
        assert seen.mean() > 0.05
        error = np.abs(warped - to_numpy(pair["image1"])).mean(-1)[seen]
        # measured 0.3 to 1.3 grey levels, by interpolation; unrelated views differ by 36 to 62
        assert np.median(error) < 3


def test_shifted_pairs_show_the_same_pixels_in_other_places(photos: list[Path]) -> None:
    views = replace(CONFIG.views, shifted=1)
    pairs = HomographyPairs(photos, replace(CONFIG, photometry=QUIET, views=views), seed=1)
    for i in range(8):
        pair = pairs[i]
        dx, dy = pair["view1_from_view0"][:2, 2].round().int().tolist()
        shift = torch.tensor([[1.0, 0, dx], [0, 1, dy], [0, 0, 1]])
        torch.testing.assert_close(pair["view1_from_view0"], shift, atol=1e-3, rtol=0)
        assert (dx or dy) and abs(dx) <= 80 and abs(dy) <= 60
        there = pair["image1"][:, max(dy, 0) : 120 + min(dy, 0), max(dx, 0) : 160 + min(dx, 0)]
        here = pair["image0"][:, max(-dy, 0) : 120 + min(-dy, 0), max(-dx, 0) : 160 + min(-dx, 0)]
        # but for rounding; unrelated views differ by 36 to 62 grey levels
        assert (there.float() - here.float()).abs().mean() < 0.01  # measured 0.0002


@pytest.mark.parametrize("seed", [54, 152, 706])
def test_a_corner_beyond_the_horizon_hides_nothing_else(photos: list[Path], seed: int) -> None:
    """As in one of 300 pairs; which points view 1 shows is told by mapping its pixels back."""
    rng, size = np.random.default_rng(seed), (120, 160)
    _, homography = sample_views(rng, pyramid(str(photos[0])), size, CONFIG.views)
    y, x = np.mgrid[4:116:8, 4:156:8]
    shown = np.stack([x, y], axis=-1).reshape(-1, 1, 2).astype(float)
    back = cv2.perspectiveTransform(shown, np.linalg.inv(homography))[:, 0]
    back = torch.from_numpy(back[((back > 0) & (back < [159, 119])).all(1)])
    assert homography[2, 2] == -1 and len(back) > 200  # measured 266
    _, visible, _ = warp_homography(back, torch.from_numpy(homography), size)
    assert visible.all()


@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0, 2.7, 4.0])
def test_views_are_cut_where_the_photo_shows_it_from_every_halving(scale: float) -> None:
    spot = np.array([603.2, 447.7])
    y, x = np.mgrid[:900, :1200]
    photo = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 12**2)).astype(np.float32)
    levels = halvings(photo)
    assert len(levels) == 3
    wanted = np.array([59.6, 58.9])
    photo_from_view = np.diag([scale, scale, 1])
    photo_from_view[:2, 2] = spot - scale * wanted
    view = render(levels, photo_from_view, (120, 120))
    rows, columns = np.mgrid[:120, :120]
    found = np.array([(columns * view).sum(), (rows * view).sum()]) / view.sum()
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_scale_between_views_spans_what_is_configured(photos: list[Path]) -> None:
    views = replace(CONFIG.views, corners=0, rotation=0, shift=0, log_zoom=1)
    pairs = HomographyPairs(photos, replace(CONFIG, photometry=QUIET, views=views), seed=1)
    zooms = [float(pairs[i]["view1_from_view0"][0, 0].log()) for i in range(60)]
    assert -1.001 < min(zooms) < -0.8 and 0.8 < max(zooms) < 1.001, (min(zooms), max(zooms))
    assert np.std(zooms) == pytest.approx(1 / np.sqrt(3), abs=0.15)  # uniform


def test_views_differ_as_much_as_configured(photos: list[Path]) -> None:
    still = replace(CONFIG.views, corners=0, rotation=0, log_zoom=0, shift=0)
    pairs = HomographyPairs(photos, replace(CONFIG, views=still), seed=1)
    torch.testing.assert_close(pairs[0]["view1_from_view0"], torch.eye(3), atol=1e-4, rtol=0)
    corners = np.array([[[0, 0]], [[159, 0]], [[159, 119]], [[0, 119]]], np.float32)
    pairs = HomographyPairs(photos, CONFIG, seed=1)
    moved = []
    for i in range(30):
        homography = pairs[i]["view1_from_view0"].double().numpy()
        there = cv2.perspectiveTransform(corners, homography)
        moved.append(np.linalg.norm(there - corners, axis=-1).mean())
    assert np.median(moved) > 25  # measured 53


def test_tiles_are_alike_and_none_is_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)

    def nearest(image: np.ndarray) -> float:
        """To itself, moved by a width that tiles may have; in its standard deviations."""
        moved = (image[:, dx:].astype(float) - image[:, :-dx] for dx in range(20, 120))
        return min(float(np.abs(difference).mean() / image.std()) for difference in moved)

    assert nearest(noise) > 1.1  # measured 1.15
    for seed in range(4):
        tiled = repeat(np.random.default_rng(seed), [noise])[0]
        assert tiled.shape == noise.shape
        assert 0.05 < nearest(tiled) < 1.0  # measured 0.16 to 0.95


def test_items_depend_on_seed_and_index_alone(photos: list[Path]) -> None:
    pairs = HomographyPairs(photos, CONFIG, seed=3)
    first = pairs[5]
    pairs[0]
    assert all(torch.equal(first[key], value) for key, value in pairs[5].items())
    assert not torch.equal(pairs[6]["image0"], first["image0"])
    assert not torch.equal(HomographyPairs(photos, CONFIG, 4)[5]["image0"], first["image0"])


def test_workers_load_what_one_process_loads(photos: list[Path]) -> None:
    pairs = HomographyPairs(photos, CONFIG, seed=3)
    loader = torch.utils.data.DataLoader(
        pairs, 2, sampler=range(4), num_workers=2, multiprocessing_context="spawn"
    )
    loaded = torch.cat([batch["image1"] for batch in loader])
    assert torch.equal(loaded, torch.stack([pairs[i]["image1"] for i in range(4)]))


def test_held_back_photos_are_never_trained_on(tmp_path: Path) -> None:
    photos = [tmp_path / f"{i}.jpg" for i in range(30)]
    train, held_back = split_photos(photos)
    assert set(train) | set(held_back) == set(photos)
    assert not set(train) & set(held_back)
    assert len(held_back) == -(-30 // HELD_BACK)


def test_photos_that_are_not_there_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training\.photos"):
        list_photos(tmp_path / "none")
    with pytest.raises(DataError, match=r"training\.photos"):
        HomographyPairs([], CONFIG, 0)
    (tmp_path / "torn.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"torn\.jpg"):
        HomographyPairs(list_photos(tmp_path), CONFIG, 0)[0]


# Light and camera


def test_no_photometry_changes_nothing() -> None:
    image = drawing(np.random.default_rng(0), 60, 80)
    assert np.array_equal(disturb(np.random.default_rng(0), image, QUIET), image)


def test_photometry_moves_no_pixel() -> None:
    """Edges stay where they are: the phase correlation of the gradients has its peak at 0."""
    image = drawing(np.random.default_rng(0), 128, 128)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    for seed in range(10):
        disturbed = disturb(np.random.default_rng(seed), image, PhotometryConfig(blur=1.5))
        assert not np.array_equal(disturbed, image)
        other = cv2.cvtColor(disturbed, cv2.COLOR_RGB2GRAY).astype(np.float32)
        window = cv2.createHanningWindow((128, 128), cv2.CV_32F)
        shift, _ = cv2.phaseCorrelate(
            cv2.Laplacian(grey, cv2.CV_32F), cv2.Laplacian(other, cv2.CV_32F), window
        )
        assert np.hypot(*shift) < 0.2  # measured 0.01 to 0.14


def test_blur_keeps_brightness_and_centre() -> None:
    image = np.zeros((41, 41), np.float32)
    image[20, 20] = 1
    y, x = np.mgrid[:41, :41]
    for seed in range(20):
        spread = blur(np.random.default_rng(seed), image, 4.0)
        assert spread.sum() == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose([(spread * x).sum(), (spread * y).sum()], 20, atol=0.05)


def test_shadow_is_smooth_and_within_its_strength() -> None:
    field = shadow(np.random.default_rng(0), (120, 160), 0.7)
    assert field.shape == (120, 160)
    assert field.max() / field.min() > 1.5
    assert np.abs(np.diff(np.log(field), axis=1)).max() < 0.2
