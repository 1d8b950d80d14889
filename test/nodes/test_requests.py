"""Requests that wait for their thread."""

from __future__ import annotations

from functools import partial

from alike_ros.nodes.requests import Requests


def test_newest_of_each_kind_is_done_once_in_order() -> None:
    done: list[str] = []
    requests = Requests()
    for i in range(200):
        requests.add("pose", partial(done.append, f"pose {i}"))
    requests.add("reset", partial(done.append, "reset"))
    requests.add("pose", partial(done.append, "last pose"))
    requests.do()
    requests.do()
    assert done == ["reset", "last pose"]


def test_cleared_requests_are_not_done() -> None:
    done: list[str] = []
    requests = Requests()
    requests.add("pose", partial(done.append, "pose"))
    requests.clear()
    requests.do()
    assert not done
