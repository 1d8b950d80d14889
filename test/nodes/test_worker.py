"""One thread that works on the newest item."""

from __future__ import annotations

import threading

from alike_ros.nodes.worker import NewestWorker


def test_newest_item_wins() -> None:
    started, proceed, seen = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        started.set()
        proceed.wait(5)
        seen.append(item)
        if item == 4:
            done.set()

    done = threading.Event()
    worker = NewestWorker(work)
    worker.put(0)
    started.wait(5)
    for item in (1, 2, 3, 4):
        worker.put(item)
    proceed.set()
    assert done.wait(5)
    worker.close()
    assert seen == [0, 4]
    assert worker.dropped == 3


def test_close_joins_and_may_be_called_twice() -> None:
    before = threading.active_count()
    worker = NewestWorker(lambda item: None)
    worker.put(1)
    worker.close()
    worker.close()
    assert threading.active_count() == before


def test_several_may_wait_in_their_order() -> None:
    started, proceed, seen = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        started.set()
        proceed.wait(5)
        seen.append(item)
        if item == 5:
            done.set()

    done = threading.Event()
    worker = NewestWorker(work, waiting=3)
    worker.put(0)
    started.wait(5)
    for item in (1, 2, 3, 4, 5):
        worker.put(item)
    proceed.set()
    assert done.wait(5)
    worker.close()
    assert seen == [0, 3, 4, 5]
    assert worker.dropped == 2
