"""Small sequences that the tests of the readers write themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import HEIGHT, WIDTH, picture, save

from alike_ros.camera import Camera


@pytest.fixture
def camera() -> Camera:
    K = np.array([[60.0, 0, 31.5], [0, 61, 23.5], [0, 0, 1]])
    return Camera(WIDTH, HEIGHT, K, (0.1, -0.05, 0.001, 0.002, 0.0))


@pytest.fixture
def tum_folder(tmp_path: Path, camera: Camera) -> Path:
    """Five frames at 10 Hz; depth 15 ms later, none for frame 3; truth moves along x."""
    folder = tmp_path / "tum"
    rgb, depth = ["# stamp file"], ["# stamp file"]
    for i in range(5):
        save(folder / f"rgb/{i}.png", picture(i))
        rgb.append(f"{100 + i / 10:.6f} rgb/{i}.png")
        values = np.full((HEIGHT, WIDTH), 5000 * (i + 1), np.uint16)
        values[0] = 0
        save(folder / f"depth/{i}.png", values)
        late = 0.015 if i != 3 else 0.045
        depth.append(f"{100 + i / 10 + late:.6f} depth/{i}.png")
    (folder / "rgb.txt").write_text("\n".join(rgb))
    (folder / "depth.txt").write_text("\n".join(depth))
    truth = [f"{100 + i / 10} {i} 0 0 0 0 0 1" for i in range(5)]
    (folder / "groundtruth.txt").write_text("\n".join(truth))
    camera.to_yaml(folder / "camera.yaml")
    return folder


Rewrite = Callable[[Path, str, str], None]


@pytest.fixture
def rewrite() -> Rewrite:
    """Replaces a text in a file."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return replace
