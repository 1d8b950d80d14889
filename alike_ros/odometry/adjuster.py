"""Where bundle adjustment runs: at once, or beside the tracking in a process of its own.

A thread is not enough: GTSAM keeps Python's lock while it works, for hundreds of milliseconds.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from alike_ros.freed_memory import give_back
from alike_ros.odometry.bundle_adjustment import Adjusted, adjust
from alike_ros.odometry.noise import Noise
from alike_ros.odometry.window import Window

log = logging.getLogger(__name__)

#: Seconds in which the process ends when its work is over.
_END_S = 2.0


class Adjuster(Protocol):
    """Anything that adjusts a window, now or later."""

    def __call__(self, window: Window, noise: Noise, /) -> Future[Adjusted | None]:
        """See `bundle_adjustment.adjust`."""
        ...


def adjust_now(window: Window, noise: Noise) -> Future[Adjusted | None]:
    """Waits for the result: replays and tests give the same poses every time."""
    done: Future[Adjusted | None] = Future()
    done.set_result(adjust(window, noise))
    return done


class Background:
    """Hands windows to a process, which starts with the first and ends with this object."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)  # waits for the process
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, window: Window, noise: Noise) -> Future[Adjusted | None]:
        """The result, when it comes."""
        if self._process is None:
            self._process = _start()
            weakref.finalize(self, _end, self._process)
        return self._thread.submit(_ask, self._process, window, noise)


def _start() -> subprocess.Popen[bytes]:
    """Ctrl-C is for the parent: the process ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )


def _ask(process: subprocess.Popen[bytes], window: Window, noise: Noise) -> Adjusted | None:
    """None too when the process has died: the map stays as it is."""
    assert process.stdin is not None and process.stdout is not None
    try:
        pickle.dump((window, noise), process.stdin)
        process.stdin.flush()
        adjusted: Adjusted | None = pickle.load(process.stdout)
    except (OSError, EOFError, ValueError) as error:
        log.warning("the process of bundle adjustment has ended: %s", error or process.poll())
        return None
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
            window, noise = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(adjust(window, noise), results)
        results.flush()
        give_back()
