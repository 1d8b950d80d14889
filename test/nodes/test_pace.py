"""The spacing of frames."""

from __future__ import annotations

import numpy as np
import pytest

from alike_ros.nodes.arrivals import Arrivals
from alike_ros.nodes.pace import Pace


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 300), (30.0, 300), (15.0, 150), (10.0, 100)])
def test_rate_of_a_jittery_camera(rate: float, expected: int) -> None:
    random = np.random.default_rng(0)
    stamps = np.arange(300) / 30 + random.uniform(-5e-3, 5e-3, 300) + 1e9
    pace = Pace()
    count = sum(pace.admits(int(stamp * 1e9), rate) for stamp in stamps)
    assert abs(count - expected) <= 0.02 * expected + 1


def test_rate_after_a_pause_and_after_a_restart() -> None:
    pace = Pace()
    assert [pace.admits(ms * 10**6, 1.0) for ms in (5000, 5400, 60000, 60400)] == [
        *(True, False, True, False)
    ]
    pace.restart()
    assert pace.admits(0, 1.0)


def test_gaps() -> None:
    pace = Pace()
    assert [pace.gap_ms(ms * 10**6) for ms in (100, 133, 233)] == [0, 33, 100]


def test_silence_and_rate() -> None:
    arrivals = Arrivals(100.0)
    arrivals.look(104.0)
    assert not arrivals.silent
    arrivals.look(105.0)
    assert arrivals.silent
    for i in range(30):
        arrivals.add(105 + i / 30)
    arrivals.look(106.0)
    assert not arrivals.silent
    assert arrivals.rate_hz == pytest.approx(30)
