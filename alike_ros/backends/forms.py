"""The two forms of the inference graph, and how features come from what each gives.

MapsForm, for CPUs: score logits and the encoder's maps leave the graph, for images of any size;
keypoints and descriptors are made in NumPy. FeaturesForm, for GPUs: the graph makes them, and
nothing of image size crosses back.

On a CPU MapsForm is faster: alike-t, 640x480, 1000 keypoints, two threads, in turn with OpenVINO
18 against 26 ms; with onnxruntime on a busy machine 121 against 129 (median of 57), 73 against 86
in the quiet tenth, 37 against 44 ms of processor time. The time goes into non-maximum suppression,
for which OpenCV has the faster code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alike_ros.config import DetectorConfig
from alike_ros.descriptors import Describer, DescriptorHead
from alike_ros.errors import ConfigError
from alike_ros.features import Features
from alike_ros.keypoints import MAX_KEYPOINTS, RADIUS, Scratch, detect, logit, released_pixels

#: The `graph` of a model's metadata that this code reads.
GRAPH_VERSION = "6"
#: The same for the form `features`.
FEATURES_VERSION = "features-1"
#: Begins the names of the products that make the score logits.
SCORE = "score"
#: Name of the padded image.
PADDED = "padded_image"
STRIDE = 32  # images are padded to multiples of this
#: Those that descriptors are made of.
_MAPS = ("block1", "level2", "level3", "level4")


class MapsForm:
    """Outputs of the padded image: `logits` (H, W), the others (1, h, w, C).

    block1 comes in strips of rows. Pairs of its pixels may count as one, (1, H, W / 2 + 1, 2 C):
    the same numbers in the same order, of a map with a column more at either side.
    """

    def __init__(self, head: DescriptorHead, describer: Describer) -> None:
        """describer: the head, or what runs it."""
        self._channels = head.level1.shape[1]
        self._describer = describer
        self._scratch = Scratch((0, 0))

    def features(
        self,
        outputs: Mapping[str, NDArray[Any]],
        size: tuple[int, ...],
        detector: DetectorConfig,
    ) -> Features:
        """Features from what the graph gave for an image of a size."""
        height, width = size
        if self._scratch.shape != size:
            self._scratch = Scratch(size)
        keypoints, scores = detect(outputs["logits"][:height, :width], detector, self._scratch)
        points = keypoints if detector.sub_pixel else released_pixels(keypoints, height, width)
        block1, *levels = (outputs[name][0] for name in _MAPS)
        block1 = block1.reshape(len(outputs["logits"]), -1, self._channels)
        described = self._describer.describe([block1, *levels], points)
        return Features(keypoints, scores, described)


@dataclass(frozen=True)
class FeaturesForm:
    """Outputs for `top_k` maxima of the score map, best first, whatever their score.

    `pixels` (K, 2) int32 (x, y) and their logits `peaks` (K,); `offsets` (K, 2) of the keypoints
    from the pixels, where they are refined; `scores` (K,) at the keypoints; `descriptors` (K, D).
    """

    height: int
    width: int
    top_k: int
    sub_pixel: bool = True
    precision: str = "fp32"

    @classmethod
    def for_detector(
        cls, size: tuple[int, ...], detector: DetectorConfig, precision: str
    ) -> FeaturesForm:
        """What an image size and settings need."""
        height, width = size
        inside = [side - 2 * RADIUS - 1 for side in size]  # without the border
        top_k = min(detector.top_k or MAX_KEYPOINTS, inside[0] * inside[1])
        return cls(height, width, top_k, detector.sub_pixel, precision)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> FeaturesForm:
        """The inverse of `metadata`."""
        height, width, top_k = (int(metadata[name]) for name in ("height", "width", "top_k"))
        sub_pixel = metadata["sub_pixel"] == "true"
        return cls(height, width, top_k, sub_pixel, metadata["precision"])

    def metadata(self) -> dict[str, str]:
        """For the metadata of an ONNX file."""
        return {name: str(value).lower() for name, value in vars(self).items()}

    def features(
        self,
        outputs: Mapping[str, NDArray[Any]],
        size: tuple[int, ...],
        detector: DetectorConfig,
    ) -> Features:
        """The features that settings keep. Raises ConfigError for what the graph cannot give."""
        limit = self.for_detector(size, detector, self.precision).top_k
        if limit > self.top_k or detector.sub_pixel != self.sub_pixel:
            raise ConfigError(
                f"the graph was made for detector.top_k up to {self.top_k} and "
                f"detector.sub_pixel {str(self.sub_pixel).lower()}: make one for these settings "
                "with `alike export`, or give the weights as model"
            )
        kept = np.flatnonzero(outputs["peaks"] > logit(detector.min_score))[:limit]
        order = kept[np.argsort(-outputs["scores"][kept], kind="stable")]
        keypoints = outputs["pixels"][order].astype(np.float32)
        if self.sub_pixel:
            keypoints += outputs["offsets"][order]
        return Features(keypoints, outputs["scores"][order], outputs["descriptors"][order])


def form_of(
    metadata: Mapping[str, str], describer: Callable[[DescriptorHead], Describer]
) -> MapsForm | FeaturesForm | None:
    """The form of a graph; None for a graph that is not ours, or of another version.

    describer: what runs a head.
    """
    version = metadata.get("graph")
    if version == GRAPH_VERSION:
        head = DescriptorHead.from_json(metadata["descriptor_head"])
        return MapsForm(head, describer(head))
    return FeaturesForm.from_metadata(metadata) if version == FEATURES_VERSION else None
