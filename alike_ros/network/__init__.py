"""The ALIKE network in torch, for training, export and as the yardstick of the inference graph."""

from alike_ros.network.alike import ALIKE, VARIANTS, Variant, load_alike, save_weights

__all__ = ["ALIKE", "VARIANTS", "Variant", "load_alike", "save_weights"]
