"""What OpenVINO does to the process that it is loaded into."""

import subprocess
import sys

import pytest

pytest.importorskip("alike_ros.backends.openvino", reason="no wheels for this processor")

# Where the processor has AMX, this ended in a segmentation fault when each extractor had a Core.
DROPPED_BY_A_THREAD = """
import os, signal, threading
import numpy as np
from alike_ros.backends import load_extractor
from alike_ros.config import Config

held = [load_extractor(Config(provider="openvino"))]
held[0](np.zeros((64, 64), np.uint8))
dropping = threading.Thread(target=held.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGINT, lambda *_: print("noted"))
os.kill(os.getpid(), signal.SIGINT)
"""

# It sent its telemetry from a thread that stayed.
IMPORTED = """
import sys, threading
import alike_ros.backends.openvino
print(threading.active_count(), "openvino_telemetry.main" in sys.modules)
"""


def test_nothing_is_reported_over_the_network():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True)
    assert done.stdout == "1 False\n", done.stderr


def test_a_signal_after_an_extractor_is_gone():
    done = subprocess.run(
        [sys.executable, "-c", DROPPED_BY_A_THREAD], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "noted\n"), done.stderr
