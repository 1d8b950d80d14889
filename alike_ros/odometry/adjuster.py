"""Where bundle adjustment runs: at once, or beside the tracking in a process of its own.

A thread is not enough: GTSAM keeps Python's lock while it works, for hundreds of milliseconds.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from alike_ros.freed_memory import give_back
from alike_ros.odometry.bundle_adjustment import Adjusted, adjust
from alike_ros.odometry.window import Window

log = logging.getLogger(__name__)

#: Seconds in which the process ends when its work is over.
_END_S = 2.0
#: Seconds after which a result does not come any more: keyframes would add up while it is waited
#: for. The first one waits for the process to start.
_LONGEST_S = 30.0
#: Deaths without a result in between that say that it does not work here.
_DEATHS = 3


class Adjuster(Protocol):
    """Anything that adjusts a window, now or later."""

    def __call__(self, window: Window, /) -> Future[Adjusted | None]:
        """See `bundle_adjustment.adjust`."""
        ...


def adjust_now(window: Window) -> Future[Adjusted | None]:
    """Waits for the result: replays and tests give the same poses every time."""
    done: Future[Adjusted | None] = Future()
    done.set_result(adjust(window))
    return done


class Background:
    """Hands windows to a process, which starts with the first and ends with this object."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)  # waits for the process
        self._process = _Process()
        weakref.finalize(self, self._process.end)

    def __call__(self, window: Window) -> Future[Adjusted | None]:
        """The result, when it comes."""
        return self._thread.submit(self._process.adjust, window)


class _Process:
    """A process that adjusts; when it dies, another one takes its place for the next window."""

    def __init__(self) -> None:
        self.running: subprocess.Popen[bytes] | None = None
        self._deaths = 0  # since the last result
        self._is_over = False
        self._asking = threading.Lock()

    def adjust(self, window: Window) -> Adjusted | None:
        """None too when the process dies or hangs: the map stays as it is."""
        with self._asking:
            return self._adjust(window)

    def _adjust(self, window: Window) -> Adjusted | None:
        if self.running is not None and self.running.poll() is not None:
            self._replace(f"exit status {self.running.returncode}")
        if self._is_over or self._deaths >= _DEATHS:
            return None
        try:
            self.running = self.running or _start()
            result = _ask(self.running, window)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            self._replace(repr(error))
            return None
        self._deaths = 0
        return result

    def _replace(self, reason: str) -> None:
        self._deaths += 1
        if self.running is not None:
            self.running.kill()  # the rest of an answer is not the next one
            _end(self.running)
        self.running = None
        if self._is_over:
            return
        given_up = self._deaths >= _DEATHS
        log.warning(
            "the process of bundle adjustment has ended (%s): %s",
            reason,
            "given up, poses are less accurate" if given_up else "the next window starts another",
        )

    def end(self) -> None:
        """No window comes any more."""
        self._is_over = True
        answered = self._asking.acquire(timeout=_END_S)  # a window is not cut off half-way
        if self.running is not None:
            _end(self.running)
        if answered:
            self._asking.release()


def _start() -> subprocess.Popen[bytes]:
    """Ctrl-C is for the parent: the process ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )


def _ask(process: subprocess.Popen[bytes], window: Window) -> Adjusted | None:
    """Raises OSError, EOFError, ValueError or UnpicklingError where it dies or hangs."""
    assert process.stdin is not None and process.stdout is not None
    watch = threading.Timer(_LONGEST_S, process.kill)
    watch.daemon = True
    watch.start()
    try:
        pickle.dump(window, process.stdin)
        process.stdin.flush()
        adjusted: Adjusted | None = pickle.load(process.stdout)
    finally:
        watch.cancel()
    return adjusted


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
        process.wait(_END_S)
    except (OSError, subprocess.TimeoutExpired):  # in the middle of a window, or dead already
        process.kill()
        process.wait()


def serve() -> None:
    """Adjusts what comes in on standard input until it ends."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the results
    while True:
        try:
            window = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(adjust(window), results)
        results.flush()
        give_back()
