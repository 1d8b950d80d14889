"""Messages of several topics are brought together by stamp."""

from __future__ import annotations

import numpy as np
import pytest

from alike_ros.nodes.synchroniser import MAX_LATE, Synchroniser

MS = 1_000_000


def made(topics: int = 2, interval_ms: float = 20, size: int = 5) -> Synchroniser[str]:
    return Synchroniser(topics, round(interval_ms * MS), size)


def test_one_topic_passes() -> None:
    sync = made(topics=1)
    assert sync.add(0, 5, "a") == [("a",)]
    assert sync.add(0, 6, "b") == [("b",)]


def test_equal_stamps_pair_at_once_in_either_order() -> None:
    sync = made()
    assert sync.add(0, 100 * MS, "image") == []
    assert sync.add(1, 100 * MS, "depth") == [("image", "depth")]
    assert sync.add(1, 133 * MS, "depth1") == []
    assert sync.add(0, 133 * MS, "image1") == [("image1", "depth1")]
    assert not sync.dropped


def test_nearest_of_two_wins() -> None:
    sync = made()
    sync.add(1, 100 * MS, "before")
    assert sync.add(0, 109 * MS, "image") == []  # the next may be nearer
    assert sync.add(1, 116 * MS, "after") == [("image", "after")]


def test_regular_topic_is_not_waited_for() -> None:
    sync = made()
    sync.add(1, 0, "a")
    sync.add(1, 33 * MS, "b")
    assert sync.add(0, 40 * MS, "image") == [("image", "b")]  # the next comes at 66


def test_interval_bounds_pairs() -> None:
    sync = made(interval_ms=5)
    sync.add(0, 100 * MS, "image")
    assert sync.add(1, 106 * MS, "depth") == []
    assert sync.dropped == {"unpaired": 1}
    exact = made(interval_ms=0)
    exact.add(0, 100, "image")
    assert exact.add(1, 101, "depth") == []
    assert exact.dropped == {"unpaired": 1}


def test_lost_partner_costs_one_frame() -> None:
    sync = made()
    pairs = []
    for i in range(5):
        pairs += sync.add(0, i * 33 * MS, f"i{i}")
        if i != 2:
            pairs += sync.add(1, i * 33 * MS, f"d{i}")
    assert pairs == [(f"i{i}", f"d{i}") for i in (0, 1, 3, 4)]
    assert sync.dropped == {"unpaired": 1}


def test_partner_that_comes_too_late_is_told_from_one_that_stays_away() -> None:
    """Images wait for one another as long as the queue is."""
    sync: Synchroniser[str] = Synchroniser(2, 5 * MS, 3)
    for i in range(4):
        sync.add(0, (100 + i * 33) * MS, "image")
    assert sync.dropped == {"unpaired": 1}
    assert sync.apart_ns is None
    sync.add(1, 10 * MS, "depth")
    sync.add(0, 300 * MS, "image")
    assert sync.apart_ns == (133 - 10) * MS


def test_partners_that_are_left_out_are_counted_apart() -> None:
    sync: Synchroniser[str] = Synchroniser(2, 5, 10)
    for stamp in (100, 100, 90, 110):
        sync.add(1, stamp, "depth")
    assert sync.dropped == {"duplicate_partner": 1, "late_partner": 1}


def test_duplicate_and_late_are_counted() -> None:
    sync = made(topics=1)
    stamps = [5, 6, 6, 4, 7]
    out = [sync.add(0, stamp * MS, str(stamp)) for stamp in stamps]
    assert out == [[("5",)], [("6",)], [], [], [("7",)]]
    assert sync.dropped == {"duplicate": 1, "late": 1}


def test_queues_are_bounded() -> None:
    sync = made(size=3)
    for i in range(100):
        assert sync.add(0, i, "image") == []
    assert sync.dropped == {"unpaired": 97}


def test_slow_first_topic_finds_old_partners() -> None:
    """Keypoints arrive frames later than the depth of the same stamp."""
    sync = made(size=5)
    for i in range(5):
        sync.add(1, i * 33 * MS, f"d{i}")
    assert sync.add(0, 33 * MS, "k1") == [("k1", "d1")]
    assert sync.add(0, 99 * MS, "k3") == [("k3", "d3")]


def test_clock_set_back_starts_again() -> None:
    """Nothing is lost: the second message tells what the first one was."""
    sync = made(topics=1)
    sync.add(0, 10_000 * MS, "end")
    assert sync.add(0, 1_000 * MS, "start") == []
    assert sync.add(0, 1_033 * MS, "next") == [("start",), ("next",)]
    assert sync.clock_jumps == 1
    assert not sync.dropped.total()


def test_clock_set_back_on_two_topics_starts_again_once() -> None:
    sync = made()
    for start in (10_000, 1_000):
        pairs = []
        for i in range(4):
            pairs += sync.add(1, (start + 33 * i) * MS, f"d{i}")
            pairs += sync.add(0, (start + 33 * i) * MS, f"i{i}")
        assert pairs == [(f"i{i}", f"d{i}") for i in range(4)]
    assert sync.clock_jumps == 1
    assert not sync.dropped.total()


@pytest.mark.parametrize("wrong", [0, 1_000])
def test_one_wrong_stamp_is_no_clock(wrong: int) -> None:
    sync = made(topics=1)
    passed = [sync.add(0, stamp * MS, "") for stamp in (10_000, wrong, 10_033, wrong, 10_066)]
    assert passed == [[("",)], [], [("",)], [], [("",)]]
    assert sync.clock_jumps == 0
    assert sync.dropped == {"late": 2}


def test_stamps_that_stand_still_are_no_clock() -> None:
    sync = made(topics=1)
    sync.add(0, 10_000 * MS, "")
    for stamp in (0, 1_000):
        for _ in range(50):
            assert sync.add(0, stamp * MS, "") == []
    assert sync.clock_jumps == 0


def test_short_bag_that_loops() -> None:
    """24 frames of 30 Hz, three times."""
    sync = made(topics=1)
    passed = sum(len(sync.add(0, i * 33 * MS, "")) for _ in range(3) for i in range(1, 25))
    assert passed == 3 * 24
    assert sync.clock_jumps == 2


def test_some_late_messages_in_a_row_are_no_clock() -> None:
    sync = made(topics=1)
    sync.add(0, 1_000 * MS, "")
    for i in range(MAX_LATE - 1):
        sync.add(0, (700 + i) * MS, "")
    assert sync.add(0, 1_033 * MS, "next") == [("next",)]
    assert sync.dropped == {"late": MAX_LATE - 1}


def test_three_topics() -> None:
    sync = made(topics=3)
    assert sync.add(2, 0, "c") == []
    assert sync.add(0, 0, "a") == []
    assert sync.add(1, 0, "b") == [("a", "b", "c")]


def test_random_arrival_gives_ascending_nearest_pairs() -> None:
    random = np.random.default_rng(0)
    images = np.arange(200) * 33 * MS
    depths = images + random.integers(-8 * MS, 8 * MS, 200)
    events = [(s + random.integers(0, 20 * MS), 0, s) for s in images]
    events += [(s + random.integers(0, 20 * MS), 1, s) for s in depths]
    sync: Synchroniser[int] = Synchroniser(2, 20 * MS, 5)
    pairs = []
    for _, topic, stamp in sorted(events):
        pairs += sync.add(topic, int(stamp), int(stamp))
    assert len(pairs) >= 198  # the last may wait
    assert [image for image, _ in pairs] == sorted(image for image, _ in pairs)
    assert max(abs(image - depth) for image, depth in pairs) <= 8 * MS
