"""MegaDepth and RGB-D pairs and made-up scenes: rendered, so that their geometry is exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from alike_ros.errors import DataError
from training.config import DataConfig, PhotometryConfig, SceneConfig
from training.data.depth import DepthView, crop, resized, undistorted
from training.data.drawings import write_drawings
from training.data.homography import list_photos
from training.data.megadepth import MegaDepthPairs, read_scenes, read_view, split_scenes
from training.data.mixed import MixedPairs
from training.data.rgbd import RgbdPairs, overlap, partner, read_frames, split_frames
from training.data.scenes import ScenePairs
from training.warp import warp_pair

QUIET = PhotometryConfig(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
CONFIG = DataConfig(height=192, width=256, photometry=QUIET)


@pytest.fixture(scope="module")
def frames() -> list[DepthView]:
    return read_frames("render:room?frames=40&noise=0")[::4]


def colour_error(pair: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Median difference in grey levels of pixels and of what they warp to; share visible."""
    height, width = pair["image0"].shape[1:]
    y, x = torch.meshgrid(torch.arange(4, height, 5), torch.arange(4, width, 5), indexing="ij")
    points = torch.stack([x, y], dim=-1).reshape(-1, 2).float()
    warped, visible, _ = warp_pair(points, pair, 0)
    image0, image1 = (
        pair[k].permute(1, 2, 0).numpy().astype(np.float32) for k in ("image0", "image1")
    )
    there = cv2.remap(image1, warped.numpy()[None], None, cv2.INTER_LINEAR)[0]
    here = image0[points[:, 1].long(), points[:, 0].long()]
    error = np.abs(there - here).mean(-1)[visible.numpy()]
    return float(np.median(error)), float(visible.float().mean())


def write_megadepth(folder: Path, frames: list[DepthView]) -> Path:
    """The layout that DISK published, of rendered frames."""
    for name in ("images", "depths", "calibrations"):
        (folder / name).mkdir()
    names = []
    for i, view in enumerate(frames):
        name = f"{i:03d}.jpg"
        names.append(name)
        bgr = cv2.cvtColor(view.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 98])
        with h5py.File(folder / "depths" / f"{i:03d}.h5", "w") as file:
            file["depth"] = np.nan_to_num(view.depth, nan=0.0)
        K = view.K + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])  # COLMAP's
        with h5py.File(folder / "calibrations" / f"calibration_{name}.h5", "w") as file:
            file["K"], file["R"] = K, view.cam_from_world[:3, :3]
            file["T"] = view.cam_from_world[:3, 3]
    content = {
        "scene": {
            "image_path": "images",
            "depth_path": "depths",
            "calib_path": "calibrations",
            "images": names,
            "tuples": [[0, 1, 2], [1, 2, 3]],
        }
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder / "dataset.json"


def test_megadepth_reads_what_was_rendered(tmp_path: Path, frames: list[DepthView]) -> None:
    path = write_megadepth(tmp_path, frames[:4])
    (scene,) = read_scenes(path)
    assert scene.pairs == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    view = read_view(scene, "002.jpg")
    np.testing.assert_allclose(view.K, frames[2].K)
    np.testing.assert_allclose(view.cam_from_world, frames[2].cam_from_world)
    np.testing.assert_array_equal(view.depth, frames[2].depth)
    pairs = MegaDepthPairs([scene], CONFIG, seed=0)
    for i in range(4):
        error, visible = colour_error(pairs[i])
        assert visible > 0.1
        assert error < 3  # measured 1.0 to 1.3; of unrelated crops 51


def test_megadepth_holds_scenes_back(tmp_path: Path, frames: list[DepthView]) -> None:
    scenes = read_scenes(write_megadepth(tmp_path, frames[:4])) * 13
    scenes = [scene._replace(names=[str(i)]) for i, scene in enumerate(scenes)]
    train, held_back = split_scenes(scenes)
    assert [s.names for s in held_back] == [["0"], ["12"]]
    assert len(train) == 11


def test_megadepth_errors_name_the_file(tmp_path: Path, frames: list[DepthView]) -> None:
    with pytest.raises(DataError, match="nothing"):
        read_scenes(tmp_path / "nothing.json")
    path = write_megadepth(tmp_path, frames[:4])
    (tmp_path / "depths" / "000.h5").unlink()
    with pytest.raises(DataError, match=r"000\.h5"):
        read_view(read_scenes(path)[0], "000.jpg")
    path.write_text('{"scene": {"images": []}}')
    with pytest.raises(DataError, match="DISK"):
        read_scenes(path)


def test_rgbd_pairs_agree_in_colour(frames: list[DepthView]) -> None:
    pairs = RgbdPairs([frames], CONFIG, seed=0)
    for i in range(6):
        error, visible = colour_error(pairs[i])
        assert visible > 0.1
        assert error < 3  # measured 0.2 to 1.8


def test_rgbd_items_depend_on_seed_and_index_alone(frames: list[DepthView]) -> None:
    config = replace(CONFIG, photometry=PhotometryConfig())
    pairs = RgbdPairs([frames], config, seed=0)
    first = pairs[3]
    pairs[1]
    assert all(torch.equal(value, first[key]) for key, value in pairs[3].items())


def test_partners_share_what_they_see(frames: list[DepthView]) -> None:
    rng = np.random.default_rng(0)
    partners = [partner(rng, frames, 5) for _ in range(10)]
    assert len(set(partners)) > 2
    assert all(overlap(frames[5], frames[i]) > 0.3 for i in partners)


def test_no_frame_is_its_own_partner(frames: list[DepthView]) -> None:
    """Where nothing is shared: the second camera looks the other way."""
    behind = np.diag([-1.0, 1, -1, 1])
    away = replace(frames[0], cam_from_world=behind @ frames[0].cam_from_world)
    for first in (0, 1):
        partners = {partner(np.random.default_rng(i), [frames[0], away], first) for i in range(9)}
        assert partners == {1 - first}
    rng = np.random.default_rng(0)
    for first in (0, 4, 9):
        partners = {partner(rng, [frames[0]] * 10, first) for _ in range(200)}
        assert partners == set(range(10)) - {first}


def test_held_back_frames_are_the_last(frames: list[DepthView]) -> None:
    train, held_back = split_frames([frames])
    assert len(train[0]) == 8 and len(held_back[0]) == 2
    assert held_back[0][-1] is frames[-1]


def test_sequences_without_truth_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_frames(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="two frames"):
        RgbdPairs([[]], CONFIG, 0)


# Crops


def test_crop_and_resize_keep_rays(frames: list[DepthView]) -> None:
    """A world point projects to the same picture content before and after."""
    view = frames[0]
    part = crop(resized(view, 0.5), (200, 100), (100, 120))
    point = np.array([0.3, -0.2, 2.0, 1])
    before, after = (v.K @ (v.cam_from_world @ point)[:3] for v in (view, part))
    expected = (before[:2] / before[2] + 0.5) / 2 - 0.5 - [140, 50]
    np.testing.assert_allclose(after[:2] / after[2], expected)
    assert part.image.shape == (100, 120, 3) and part.depth.shape == (100, 120)
    cut_off = crop(view, (0, 0), (100, 120))
    np.testing.assert_array_equal(cut_off.image, view.image[:100, :120])


def test_undistortion_straightens_image_and_depth() -> None:
    K = np.array([[100.0, 0, 79.5], [0, 100, 59.5], [0, 0, 1]])
    distortion = np.array([-0.2, 0.05, 0, 0])
    y, x = np.mgrid[:120, :160].astype(np.float64)
    ideal = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    rays = cv2.undistortPoints(ideal, K, distortion).reshape(120, 160, 2)
    seen = (100 + 50 * rays[..., 0]).astype(np.float32)  # a ramp in the world, as the lens saw it
    image, depth = undistorted(np.repeat(seen[..., None], 3, 2), seen, K, distortion)
    expected = 100 + 50 * (x - 79.5) / 100
    inner = (slice(20, 100), slice(20, 140))
    np.testing.assert_allclose(image[..., 0][inner], expected[inner], atol=0.1)
    np.testing.assert_allclose(depth[inner], expected[inner], atol=0.5)  # nearest


# Made-up scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePairs:
    folder = tmp_path_factory.mktemp("photos")
    write_drawings(folder, 3)
    return ScenePairs(list_photos(folder), CONFIG, seed=1)


def test_scenes_look_alike_where_their_depth_says(scenes: ScenePairs) -> None:
    for i in range(8):
        error, visible = colour_error(scenes[i])
        assert visible > 0.1
        # measured 0.3 to 0.5 grey levels, visible 0.36 to 0.99; unrelated views differ by 38 to 51
        assert error < 2


def test_scenes_repeat(scenes: ScenePairs) -> None:
    again = ScenePairs(scenes.photos, CONFIG, seed=1)
    other = ScenePairs(scenes.photos, CONFIG, seed=2)
    for name, value in scenes[5].items():
        torch.testing.assert_close(again[5][name], value, equal_nan=True)
    assert not torch.equal(other[5]["image0"], scenes[5]["image0"])


def test_scenes_have_parallax_and_zoom(scenes: ScenePairs) -> None:
    """No homography relates their views, and what is near grows or shrinks."""
    off, growth = [], []
    grid = torch.stack(
        torch.meshgrid(torch.arange(4.0, 252, 6), torch.arange(4.0, 188, 6), indexing="xy"), -1
    ).reshape(-1, 2)
    for i in range(12):
        pair = scenes[i]
        warped, visible, _ = warp_pair(grid, pair, 0)
        here, there = grid[visible].numpy(), warped[visible].numpy()
        homography, _ = cv2.findHomography(here, there, cv2.RANSAC, 1.0)
        mapped = cv2.perspectiveTransform(here[None], homography)[0]
        off.append((np.linalg.norm(mapped - there, axis=1) > 2).mean())
        forward = pair["view1_from_view0"][2, 3] / pair["depth0"].nanmedian()
        growth.append(abs(float(forward)))
    # share of the points that no one plane explains, measured 0.30
    assert np.median(off) > 0.1, off
    assert max(growth) > 0.2, growth  # in depths of the scene, measured 0.39


def test_cameras_that_stand_far_apart_are_moved_together(scenes: ScenePairs) -> None:
    wide = ScenePairs(scenes.photos, replace(CONFIG, scenes=SceneConfig(sideways=1.5)), seed=1)
    shares = [colour_error(wide[i])[1] for i in range(8)]
    assert min(shares) > 0.2  # measured 0.32; 0 where they are not moved


def test_batches_of_two_kinds_are_of_one_kind_each() -> None:
    kinds = [[{"kind": torch.tensor(k)}] * 4000 for k in (0, 1)]
    mixed = MixedPairs(kinds[0], kinds[1], share=0.3, batch_size=4, seed=3)  # type: ignore[arg-type]
    drawn = torch.stack([mixed[i]["kind"] for i in range(4000)]).reshape(-1, 4).float()
    assert (drawn.std(dim=1) == 0).all()
    assert drawn.mean() == pytest.approx(0.3, abs=0.05)  # three standard deviations


def test_scenes_without_photos_are_an_error() -> None:
    with pytest.raises(DataError, match="photos"):
        ScenePairs([], CONFIG, seed=0)
