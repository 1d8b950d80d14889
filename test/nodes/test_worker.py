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
    worker = NewestWorker(work, lambda error: None)
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
    worker = NewestWorker(lambda item: None, lambda error: None)
    worker.put(1)
    worker.close()
    worker.close()
    assert threading.active_count() == before


def test_exception_is_handed_on() -> None:
    errors: list[Exception] = []
    failed = threading.Event()

    def on_error(error: Exception) -> None:
        errors.append(error)
        worker.close()  # from the worker's own thread
        failed.set()

    worker = NewestWorker(lambda item: 1 // item, on_error)
    worker.put(0)
    assert failed.wait(5)
    assert isinstance(errors[0], ZeroDivisionError)
    worker.close()
