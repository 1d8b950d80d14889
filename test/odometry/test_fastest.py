"""Compiled code where there is numba, NumPy where it is not."""

import pytest

from alike_ros.matching import match_near
from alike_ros.odometry import fastest as module
from alike_ros.odometry.fastest import Steps, fastest
from alike_ros.odometry.reprojection import reproject

PLAIN = Steps(match_near, reproject)


@pytest.fixture(autouse=True)
def anew():
    """As when a process starts, and nothing of it for the tests that follow."""
    fastest.cache_clear()
    yield
    fastest.cache_clear()


def test_compiled_code_serves_where_numba_is():
    pytest.importorskip("numba", reason="numba is not installed")
    assert not set(fastest()) & set(PLAIN)


def test_numpy_serves_where_numba_is_not(monkeypatch, caplog):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert fastest() == PLAIN
    assert not caplog.text


@pytest.mark.parametrize(
    "kernel",
    ["alike_ros.compiled_matching.nearest", "alike_ros.odometry.compiled_reprojection.weigh"],
)
def test_numpy_serves_where_numba_does_not_compile(monkeypatch, caplog, kernel):
    pytest.importorskip("numba", reason="numba is not installed")

    def fail(*_):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("alike_ros.compiling.is_kept", lambda _: True)
    monkeypatch.setattr(kernel, fail)
    assert fastest() == PLAIN
    assert "tracking goes without numba: numba" in caplog.text
    assert "EOFError: Ran out of input" in caplog.text
