"""Shared memory of Fast DDS, the default middleware. No ROS here."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from alike_ros.resources import share_path

#: What config/fastdds.xml gives each process.
_SEGMENT_BYTES = 67_108_864
#: Processes that share /dev/shm: two nodes, the player, and room for others.
_PROCESSES = 5


def fitting_profile(folder: Path, memory: Path = Path("/dev/shm")) -> Path:
    """config/fastdds.xml; a smaller one, in a folder, where memory has no room for that.

    Containers have 64 MB. Where a segment does not fit, Fast DDS goes on without shared memory
    and loses images.
    """
    profile = share_path("config/fastdds.xml")
    free = shutil.disk_usage(memory).free if memory.is_dir() else sys.maxsize
    size = min(_SEGMENT_BYTES, free // _PROCESSES)
    if size == _SEGMENT_BYTES:
        return profile
    text = profile.read_text()
    for name, value in (("segment_size", size), ("maxMessageSize", size // 2)):
        text = re.sub(rf"<{name}>\d+<", f"<{name}>{value}<", text)
    fitting = folder / profile.name
    fitting.write_text(text)
    return fitting
