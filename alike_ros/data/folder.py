"""A folder of images."""

from __future__ import annotations

import re
from pathlib import Path

from alike_ros.camera import Camera, StereoCamera
from alike_ros.data.calibration import find_camera, find_stereo
from alike_ros.data.files import FileSequence, FrameFiles, check_mode
from alike_ros.errors import DataError
from alike_ros.trajectory import Trajectory, seconds_to_ns

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}

#: Subfolders, where the images are not in the folder itself.
LEFT_NAMES, RIGHT_NAMES = ("left", "rgb", "color", "image", "images"), ("right",)
DEPTH_NAMES = ("depth",)

#: Ends of names, where both lie in one folder, as in 7-Scenes, BundleFusion and ScanNet.
COLOR_END, DEPTH_END = ".color", ".depth"


class ImageFolder(FileSequence):
    """Images in the natural order of their names (frame2 before frame10).

    They lie in the folder itself or in left/, rgb/, color/, image/ or images/; those of the same
    name in right/ and depth/ belong to them, and to NAME.color.jpg that of NAME.depth.png beside
    it. Names that are seconds (1305031229.528748) or nanoseconds (1403715274312143104) are the
    stamps, else `fps` is. Depth has `depth_factor` units a metre. Truth is groundtruth.txt or
    trajectory.tum, if there is one.
    """

    def __init__(
        self,
        folder: str | Path,
        mode: str = "mono",
        camera_file: str | Path | None = None,
        *,
        fps: float = 30.0,
        depth_factor: float = 1000.0,
    ) -> None:
        folder = Path(folder)
        if not (fps > 0 and depth_factor > 0):
            raise DataError(f"{fps=} and {depth_factor=}, expected positive numbers")
        found = _images(folder) or _images(_subfolder(folder, LEFT_NAMES))
        images = [path for path in found if not path.stem.endswith(DEPTH_END)]
        rights, depths = (
            {_name(path): path for path in _images(_subfolder(folder, choice))}
            for choice in (RIGHT_NAMES, DEPTH_NAMES)
        )
        depths |= {_name(path): path for path in found if path.stem.endswith(DEPTH_END)}
        names = [_name(path) for path in images]
        frames = [
            FrameFiles(stamp_ns, path, depths.get(name), rights.get(name))
            for stamp_ns, path, name in zip(_stamps_ns(names, fps), images, names, strict=True)
        ]
        check_mode(str(folder), mode, frames)
        cameras: Camera | StereoCamera
        if mode == "stereo":
            cameras = find_stereo(folder, camera_file, None)
        else:
            cameras = find_camera(folder, camera_file, None)
        truths = (folder / name for name in ("groundtruth.txt", "trajectory.tum"))
        truth = next((path for path in truths if path.is_file()), None)
        super().__init__(
            folder.resolve().name,
            mode,
            frames,
            cameras,
            Trajectory.read_tum(truth) if truth else None,
            1 / depth_factor,
        )


def has_images(folder: Path) -> bool:
    """True for a folder that ImageFolder reads."""
    return bool(_images(folder) or _images(_subfolder(folder, LEFT_NAMES)))


def _subfolder(folder: Path, names: tuple[str, ...]) -> Path:
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def _name(path: Path) -> str:
    """What an image has in common with its depth and its right image."""
    return path.stem.removesuffix(COLOR_END).removesuffix(DEPTH_END)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted((path for path in paths if not path.name.startswith(".")), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers compare as numbers: splitting leaves text at even and digits at odd places."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def _stamps_ns(names: list[str], fps: float) -> list[int]:
    """Stamps from names, if all of them are seconds since 2001 or so, or nanoseconds."""
    if all(re.fullmatch(r"\d+\.\d+", name) for name in names):
        return [seconds_to_ns(name) for name in names]
    if all(re.fullmatch(r"[1-9]\d{17,18}", name) for name in names):
        return [int(name) for name in names]
    return [round(i * 1e9 / fps) for i in range(len(names))]
