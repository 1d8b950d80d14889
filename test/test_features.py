"""Features are checked where they are made."""

import numpy as np
import pytest

from alike_ros.errors import DataError
from alike_ros.features import Features


def test_shapes_must_agree():
    keypoints = np.zeros((5, 2), np.float32)
    with pytest.raises(DataError, match=r"expected \(N, 2\), \(N,\) and \(N, D\)"):
        Features(keypoints, np.zeros(4, np.float32), np.zeros((5, 64), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_keypoints_without_a_place_are_refused(value):
    """As clouds of others may hold: they would end in the odometry's grid."""
    keypoints = np.zeros((5, 2), np.float32)
    keypoints[3, 1] = value
    with pytest.raises(DataError, match="no place"):
        Features(keypoints, np.zeros(5, np.float32), np.zeros((5, 64), np.float32))
