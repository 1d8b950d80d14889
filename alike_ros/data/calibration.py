"""Where the intrinsics of a sequence come from.

A file that the user names wins, then `camera.yaml` in the sequence's folder, then what the layout
carries. A stereo pair has `left.yaml` and `right.yaml` instead, both with R and P, as
camera_calibration writes them.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from alike_ros.camera import Camera, StereoCamera
from alike_ros.errors import DataError
from alike_ros.images import stereo_from_infos

_NO_ROI = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)


def find_camera(folder: Path, camera_file: str | Path | None, carried: Camera | None) -> Camera:
    """The (left) camera; `carried` is what the layout itself says, if anything."""
    named = Path(camera_file) if camera_file else None
    for path in (named, folder / "camera.yaml", folder / "left.yaml"):
        if path is not None and (path == named or path.is_file()):
            return Camera.from_yaml(path)
    if carried is None:
        raise DataError(
            f"{folder} does not say what its camera is: give the intrinsics as a file in ROS "
            f"camera_calibration format, with --camera FILE or as {folder / 'camera.yaml'}"
        )
    return carried


def find_stereo(
    folder: Path, camera_file: str | Path | None, carried: StereoCamera | None
) -> StereoCamera:
    """The pair. A file for one camera replaces the left one of a pair that the layout carries."""
    left = Path(camera_file) if camera_file else folder / "left.yaml"
    right = left.with_name(left.name.replace("left", "right"))
    if right != left and left.is_file() and right.is_file():
        return stereo_from_infos(_info(left), _info(right), rectified=False)
    if carried is None:
        raise DataError(
            f"{folder} does not say how its two cameras stand: give {folder / 'left.yaml'} and "
            "right.yaml in ROS camera_calibration format, or --camera FILE with 'left' in its "
            "name and the other beside it"
        )
    camera = find_camera(folder, camera_file, carried.left)
    return StereoCamera(camera, carried.right, carried.right_from_left)


def _info(path: Path) -> Any:
    """A camera_calibration file with the fields of sensor_msgs/CameraInfo."""
    camera = Camera.from_yaml(path)
    content = yaml.safe_load(path.read_text())
    try:
        R, P = (content[f"{name}_matrix"]["data"] for name in ("rectification", "projection"))
        numbers = np.array(R, np.float64), np.array(P, np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks R and P of a stereo calibration: {error!r}") from error
    return SimpleNamespace(
        width=camera.width,
        height=camera.height,
        distortion_model=camera.distortion_model,
        d=camera.distortion,
        k=camera.K,
        r=numbers[0],
        p=numbers[1],
        binning_x=0,
        binning_y=0,
        roi=_NO_ROI,
    )
