"""Work that threads share gives what one thread gives."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from blocks import blocks

from alike_ros import team
from alike_ros.backends import load_extractor
from alike_ros.config import Config
from alike_ros.team import Team


def test_results_come_in_order_and_the_caller_does_the_first() -> None:
    done = Team(3).map(lambda part: (part, threading.current_thread()), range(5))
    assert [part for part, _ in done] == [0, 1, 2, 3, 4]
    assert done[0][1] is threading.current_thread()
    assert all(thread is not threading.current_thread() for _, thread in done[1:])


def test_a_failure_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        Team(2).map(lambda part: 1 / part, [1, 0])


def test_threads_end_with_the_team() -> None:
    before = set(threading.enumerate())
    group = Team(4)
    group.map(lambda part: part, range(4))
    workers = set(threading.enumerate()) - before
    assert workers
    del group
    for thread in workers:
        thread.join(5)
    assert not any(thread.is_alive() for thread in workers)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux lets threads be placed")
def test_the_others_keep_off_the_callers_processor(monkeypatch) -> None:
    allowed = os.sched_getaffinity(0)
    group = Team(3)
    group.map(_places, range(3))  # they start
    for here in sorted(allowed)[:2]:
        monkeypatch.setattr(team, "_processor", lambda here=here: here)
        caller, *others = group.map(_places, range(3))
        assert caller == allowed
        assert others == [allowed - {here} or allowed] * 2

    def forbid(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbid)
    monkeypatch.setattr(team, "_processor", lambda: -2)
    assert len(group.map(_places, range(3))) == 3
    monkeypatch.setattr(team, "_processor", lambda: None)  # of another system
    assert len(group.map(_places, range(3))) == 3


def _places(_: int) -> set[int]:
    time.sleep(0.01)
    return os.sched_getaffinity(0)


def test_features_do_not_depend_on_the_threads() -> None:
    image = blocks(90, 134)
    one, three = (load_extractor(Config(num_threads=count))(image) for count in (1, 3))
    assert len(one) > 50
    for name in ("keypoints", "scores", "descriptors"):
        np.testing.assert_allclose(getattr(three, name), getattr(one, name), atol=1e-5)
