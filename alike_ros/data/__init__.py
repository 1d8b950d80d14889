"""Sources of images: public data sets, folders, videos, bags and a renderer."""

from alike_ros.data.open import open_sequence
from alike_ros.data.sequence import CameraFrame, Sequence

__all__ = ["CameraFrame", "Sequence", "open_sequence"]
