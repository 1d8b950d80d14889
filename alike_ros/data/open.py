"""One door to all sources of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from alike_ros.data.bag import BagSequence
from alike_ros.data.bag_file import SUFFIXES as BAG_SUFFIXES
from alike_ros.data.euroc import EurocSequence
from alike_ros.data.folder import ImageFolder, has_images
from alike_ros.data.kitti import KittiSequence
from alike_ros.data.renderer import RenderedSequence
from alike_ros.data.sequence import Sequence
from alike_ros.data.tum import TumSequence
from alike_ros.data.video import SUFFIXES as VIDEO_SUFFIXES
from alike_ros.data.video import VideoFile
from alike_ros.data.webcam import Webcam
from alike_ros.errors import DataError

SUPPORTED = """\
  a TUM RGB-D folder (rgb.txt), a KITTI odometry folder (times.txt, image_0),
  a EuRoC folder (mav0/cam0), a folder of images (or left/ and right/, rgb/ and depth/),
  a rosbag2 folder (metadata.yaml) or file (.mcap, .db3), a video file,
  webcam:0, render:room, render:corridor or render:yard;
  options as in 'render:room?frames=100&motion=shake' and 'bag?image=/camera/image_raw'"""


def open_sequence(
    source: str | Path, mode: str = "mono", camera_file: str | Path | None = None
) -> Sequence:
    """The sequence that a path or a name such as `render:room?seed=1` stands for.

    mode is mono, rgbd or stereo: frames have depth, a right image or neither. Intrinsics of
    camera_file win, then those of `camera.yaml` in the folder, then those that the layout
    carries. Raises DataError, which says what to do.
    """
    kind, name, options = _parsed(str(source))
    return _call(kind, name, options, mode=mode, camera_file=camera_file)


def _parsed(source: str) -> tuple[type[Sequence], str, dict[str, str]]:
    """The class, its first argument and the options behind `?`."""
    name, _, query = source.partition("?")
    if Path(source).exists():
        name, query = source, ""  # a name with a question mark
    options = dict(parse_qsl(query, keep_blank_values=True))
    scheme, colon, rest = name.partition(":")
    if colon and scheme in {"webcam", "render"}:
        return (Webcam if scheme == "webcam" else RenderedSequence), rest, options
    return layout(Path(name)), name, options


def layout(path: Path) -> type[Sequence]:
    """The class that reads this folder or file. Raises DataError, which lists the known ones."""
    if not path.exists():
        raise DataError(f"{path} does not exist; sources are\n{SUPPORTED}")
    for kind, recognises in _LAYOUTS.items():
        if recognises(path):
            return kind
    raise DataError(f"{path} has no layout that is known; sources are\n{SUPPORTED}")


def _is_kitti(path: Path) -> bool:
    return (path / "times.txt").is_file() and any((path / f"image_{i}").is_dir() for i in range(4))


def _is_bag(path: Path) -> bool:
    if path.is_file():
        return path.suffix in BAG_SUFFIXES
    metadata = path / "metadata.yaml"
    if metadata.is_file() and "rosbag2" in metadata.read_text(errors="replace"):
        return True
    return path.is_dir() and any(file.suffix in BAG_SUFFIXES for file in path.iterdir())


#: The first that recognises a path reads it: the surest signs come first.
_LAYOUTS: Mapping[type[Sequence], Callable[[Path], bool]] = {
    VideoFile: lambda path: path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES,
    TumSequence: lambda path: (path / "rgb.txt").is_file(),
    KittiSequence: _is_kitti,
    EurocSequence: lambda path: any((path / d / "cam0").is_dir() for d in ("mav0", ".")),
    BagSequence: _is_bag,
    ImageFolder: lambda path: path.is_dir() and has_images(path),
}


def _call(kind: Any, name: str, options: dict[str, str], **common: Any) -> Sequence:
    """kind(name, **common, **options), the options converted to the types of their defaults."""
    parameters = kind.__init__.__kwdefaults__ or {}
    values = {}
    for key, text in options.items():
        if key not in parameters:
            raise DataError(
                f"{name!r} has no option {key!r}, known are: {', '.join(parameters) or 'none'}"
            )
        try:
            values[key] = type(parameters[key])(text)
        except ValueError as error:
            wanted = type(parameters[key]).__name__
            raise DataError(f"option {key}={text!r} is not of type {wanted}") from error
    opened: Sequence = kind(name, **common, **values)
    return opened
