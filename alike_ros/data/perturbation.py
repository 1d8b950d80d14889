"""Frames made worse in ways that cameras, drivers and networks make them worse."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from alike_ros.data.sequence import CameraFrame
from alike_ros.data.textures import Image

#: What frames without any perturbation are called.
NONE = "none"
#: One burst of dropped frames begins at this frame of every so many.
BURST_START, BURST_PERIOD = 30, 60
#: One blackout begins after so many seconds of every so many.
BLACKOUT_START_S, BLACKOUT_PERIOD_S = 2.0, 10.0
#: The brightness steps up, then down, after so many seconds each.
EXPOSURE_STEP_S = 0.5
#: Holes in the depth are about this wide, pixels.
HOLE_PX = 32


@dataclass(frozen=True)
class Moment:
    """Where in the sequence a frame is: its number, and the time since the first frame."""

    index: int
    seconds: float


#: (frame, level, moment, random) -> the frame made worse; None: it is lost on the way.
Change = Callable[[CameraFrame, float, Moment, np.random.Generator], CameraFrame | None]


@dataclass(frozen=True)
class Perturbation:
    """One way in which frames get worse; levels, in `unit`, go from mild to severe."""

    unit: str
    levels: tuple[float, ...]
    change: Change
    modes: tuple[str, ...] = ("mono", "rgbd", "stereo")  # in which it makes a difference


def perturb(
    frames: Iterable[CameraFrame], name: str, level: float, seed: int = 0
) -> Iterator[tuple[CameraFrame, CameraFrame]]:
    """Pairs of an original frame and what a perturbation of PERTURBATIONS makes of it.

    Lost frames are left out; stamps still ascend. What is random depends on the seed alone: the
    frames lost at a low level are also lost at a higher one.
    """
    change = PERTURBATIONS[name].change
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    first_ns = last_ns = -1
    for index, original in enumerate(frames):
        if index == 0:
            first_ns = original.stamp_ns
        moment = Moment(index, (original.stamp_ns - first_ns) / 1e9)
        changed = change(original, level, moment, random)
        if changed is None:
            continue
        last_ns = max(changed.stamp_ns, last_ns + 1)
        yield original, replace(changed, stamp_ns=last_ns)


def _drop(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame | None:
    """Each frame is lost with the same chance."""
    return None if random.random() < level / 100 else frame


def _drop_burst(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame | None:
    return None if 0 <= moment.index % BURST_PERIOD - BURST_START < level else frame


def _black_out(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame:
    """Black images, and no depth."""
    if not 0 <= moment.seconds % BLACKOUT_PERIOD_S - BLACKOUT_START_S < level:
        return frame
    depth = None if frame.depth is None else np.full_like(frame.depth, np.nan)
    return replace(_on_images(frame, np.zeros_like), depth=depth)


def _blur(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame:
    """A straight motion of `level` pixels during the exposure, elsewhere in each frame."""
    kernel = _line(level, random.uniform(0, np.pi))
    return _on_images(
        frame, lambda image: np.asarray(cv2.filter2D(image, -1, kernel), image.dtype)
    )


def _line(length: float, angle: float) -> NDArray[np.float64]:
    """A kernel of sum 1: the time that a point on a straight path spends in each pixel."""
    radius = int(np.ceil(length / 2))
    along = np.linspace(-length / 2, length / 2, 16 * radius + 1)
    columns, rows = (np.rint(along * f(angle)).astype(int) + radius for f in (np.cos, np.sin))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    np.add.at(kernel, (rows, columns), 1.0)
    return np.asarray(kernel / kernel.sum())


def _step_exposure(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame:
    """The brightness jumps up and down by `level` stops: twice as bright each; white clips."""
    up = int(moment.seconds // EXPOSURE_STEP_S) % 2
    gain = 2.0 ** (level / 2 if up else -level / 2)
    table = np.clip(np.rint(np.arange(256) * gain), 0, 255).astype(np.uint8)
    return _on_images(frame, lambda image: table[image])


def _compress(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame:
    return _on_images(frame, lambda image: _through_jpeg(image, int(level)))


def _through_jpeg(image: Image, quality: int) -> Image:
    reverse = slice(None, None, -1 if image.ndim == 3 else None)  # OpenCV wants BGR
    stored = np.ascontiguousarray(image[..., reverse])
    encoded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    return np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., reverse])


def _pierce(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame:
    """`level` percent of the depth image is unknown, in blobs that change with every frame."""
    if frame.depth is None:
        return frame
    height, width = frame.depth.shape
    coarse = random.random((height // HOLE_PX + 2, width // HOLE_PX + 2))
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    holes = field < np.percentile(field, level)
    return replace(frame, depth=np.where(holes, np.float32(np.nan), frame.depth))


def _jitter(
    frame: CameraFrame, level: float, moment: Moment, random: np.random.Generator
) -> CameraFrame:
    """Stamps are wrong by a normal error of `level` milliseconds."""
    return replace(frame, stamp_ns=frame.stamp_ns + round(random.normal(0, level) * 1e6))


def _on_images(frame: CameraFrame, change: Callable[[Image], Image]) -> CameraFrame:
    """The frame with its one or two images changed in the same way."""
    right = None if frame.right is None else change(frame.right)
    return replace(frame, image=change(frame.image), right=right)


PERTURBATIONS = {
    "dropped": Perturbation("% of the frames lost", (10, 30, 50), _drop),
    "burst": Perturbation("frames lost in a row", (5, 10, 20), _drop_burst),
    "blackout": Perturbation("s without a picture", (0.5, 1, 2), _black_out),
    "blur": Perturbation("px motion blur", (5, 10, 20), _blur),
    "exposure": Perturbation("stops up and down", (1, 2, 3), _step_exposure),
    "jpeg": Perturbation("JPEG quality", (50, 20, 5), _compress),
    "depth-holes": Perturbation("% of the depth unknown", (20, 50, 80), _pierce, ("rgbd",)),
    "stamp-jitter": Perturbation("ms of stamp error", (1, 5, 10), _jitter),
}
