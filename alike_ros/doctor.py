"""What keeps the package from working on this machine. No ROS here."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from alike_ros.config import Config
from alike_ros.errors import AlikeError, DataError
from alike_ros.resources import cache_dir, share_path

#: Module -> what to install; nothing works without these.
REQUIRED = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "onnxruntime": "onnxruntime",
    "yaml": "PyYAML",
}
#: Distribution -> what needs it.
OPTIONAL = {
    "numba": "features twice as fast on x86-64, and faster tracking",
    "gtsam": "bundle adjustment: without it poses are less accurate",
    "evo": "accuracy against a truth",
    "matplotlib": "pictures",
    "rosbags": "reading and writing bags",
    "torch": "export of weights, training",
    "onnx": "export of weights, tensorrt and cuda",
}
#: Distributions that bring the same module: with two of them, chance decides which is imported.
RIVALS = (
    (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
)
#: A VGA image has 0.9 MB; what sends it whole must hold some of them.
MIN_SEGMENT_BYTES = 4_000_000
TRANSPORTS = "LARGE_DATA?max_msg_size=4MB&sockets_size=4MB&non_blocking=true"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


class Severity(IntEnum):
    """How bad a finding is; the worst one is the exit code."""

    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One line of the page; a remedy for all that is not OK."""

    area: str
    severity: Severity
    text: str
    remedy: str = ""


def ok(area: str, text: str) -> Finding:
    """Nothing to mend."""
    return Finding(area, Severity.OK, text)


def warning(area: str, text: str, remedy: str) -> Finding:
    """It works, but not as well as it could."""
    return Finding(area, Severity.WARNING, text, remedy)


def error(area: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(area, Severity.ERROR, text, remedy)


def examine_machine(config: Config) -> Iterator[Finding]:
    """Everything that can be told without a ROS graph."""
    packages = list(examine_packages())
    yield from packages
    if any(finding.severity is Severity.ERROR for finding in packages):
        return  # the rest would fail with the same cause
    yield from examine_model(config)
    yield from examine_provider(config)
    yield from examine_transport(os.environ)


def examine_packages(
    load: Callable[[str], Any] = importlib.import_module,
    installed: Mapping[str, str] | None = None,
) -> Iterator[Finding]:
    """Versions of what is needed, and what is installed twice or cannot be imported."""
    area = "packages"
    versions = _versions() if installed is None else installed
    yield ok(area, f"Python {platform.python_version()}, {platform.machine()}")
    for module, distribution in REQUIRED.items():
        try:
            yield ok(area, f"{module} {load(module).__version__}")
        except (ImportError, AttributeError) as problem:  # NumPy 2 breaks old builds with either
            yield error(
                area,
                f"{module} cannot be imported: {problem}",
                f"pip install --upgrade {distribution}, on a robot: rosdep install",
            )
    for names in RIVALS:
        rivals = [f"{name} {versions[name]}" for name in names if name in versions]
        if len(rivals) > 1:
            yield warning(
                area,
                f"{' and '.join(rivals)} are installed over each other",
                f"pip uninstall all of them, then install one: {names[0]}",
            )
    for name, purpose in OPTIONAL.items():
        yield ok(area, f"{name} {versions.get(name, 'is not installed')} ({purpose})")


def examine_model(config: Config) -> Iterator[Finding]:
    """The model file and its checksum, and whether the cache can be written."""
    from alike_ros.backends.model_file import onnx_file

    area, cache = "model", cache_dir(config.engine_cache_dir)
    try:
        path = onnx_file(config.model, cache)
    except AlikeError as problem:
        yield error(area, str(problem), "set `model`, or leave it empty for the default")
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stated = stated_sha256(path)
    yield ok(area, f"{path}, {path.stat().st_size / 1e6:.2f} MB, sha256 {digest}")
    if stated and stated != digest:
        yield error(
            area,
            f"README.md beside it states sha256 {stated}: the file is damaged or another one",
            "install the package again",
        )
    if not _is_writable(cache):
        yield warning(
            area,
            f"{cache} cannot be written: exported models and engines are not kept",
            "set engine_cache_dir to a folder that can",
        )


def examine_provider(config: Config) -> Iterator[Finding]:
    """Which provider runs the network, and how long one image takes."""
    import numpy as np
    import onnxruntime

    from alike_ros.backends import load_extractor
    from alike_ros.backends.engines import this_machine
    from alike_ros.backends.providers import available

    area, known = "provider", available()
    yield ok(area, f"with onnxruntime {onnxruntime.__version__}, there is {', '.join(known)}")
    device = this_machine().device
    if device != "unknown" and not {"tensorrt", "cuda"} & set(known):
        yield warning(
            area,
            f"this onnxruntime cannot use the {device}",
            "pip uninstall onnxruntime; pip install onnxruntime-gpu (Jetson: NVIDIA's own wheel)",
        )
    try:
        extract = load_extractor(config)
        if "tensorrt" in extract.description.lower():  # the first image would build the engine
            yield ok(area, extract.description)
            return
        image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        extract(image)
        start = time.perf_counter()
        extract(image)
        milliseconds = (time.perf_counter() - start) * 1e3
    except AlikeError as problem:
        yield error(area, str(problem), "take provider auto, or another model")
        return
    yield ok(area, f"{extract.description}: {milliseconds:.0f} ms for one 640x480 image")


def examine_transport(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The middleware, as environment variables choose it, and whether images fit through it."""
    area = "transport"
    rmw = environment.get("RMW_IMPLEMENTATION", "")
    yield ok(
        area,
        f"{rmw or 'rmw_fastrtps_cpp (the default)'}, ROS_DOMAIN_ID "
        f"{environment.get('ROS_DOMAIN_ID', '0')}, discovery "
        f"{environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')}",
    )
    if "cyclone" in rmw:
        yield from _examine_cyclone()
    elif "zenoh" in rmw:
        yield ok(area, "zenoh needs its router: ros2 run rmw_zenoh_cpp rmw_zenohd")
    elif not rmw or "fastrtps" in rmw:
        yield from _examine_fast_dds(environment)


def examine_missing_ros(problem: ImportError) -> Finding:
    """Where rclpy cannot be imported: by intention, or because ROS was not sourced."""
    roots = sorted(Path("/opt/ros").glob("*/setup.bash"))
    if roots or "ROS_DISTRO" in os.environ:
        setup = roots[-1] if roots else "/opt/ros/DISTRO/setup.bash"
        return error("ROS", f"rclpy cannot be imported: {problem}", f"source {setup}")
    return ok("ROS", "is not installed: the nodes, `alike demo` and `alike bag check` need it")


def stated_sha256(path: Path) -> str:
    """What README.md beside a model says of it, on a line with its name; empty if nothing."""
    readme = path.with_name("README.md")
    if not readme.is_file():
        return ""
    lines = readme.read_text(errors="replace").splitlines()
    found = (re.search(r"\b[0-9a-f]{64}\b", line) for line in lines if path.name in line)
    return next((match.group() for match in found if match), "")


def _examine_fast_dds(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Its default shared memory of 512 kB loses most best-effort images."""
    area = "transport"
    profile = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), "")
    builtin = environment.get("FASTDDS_BUILTIN_TRANSPORTS", "")
    local = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST"
    remedy = f"{_export_profile()}; in the camera driver's environment too"
    if not local:
        remedy = f'export FASTDDS_BUILTIN_TRANSPORTS="{TRANSPORTS}", or {remedy}'
    if profile and not Path(profile).is_file():
        yield error(area, f"the Fast DDS profile {profile} does not exist", remedy)
    elif profile and _segment_bytes(Path(profile)) < MIN_SEGMENT_BYTES:
        text = f"{profile} gives shared memory no segment_size of {MIN_SEGMENT_BYTES} or more"
        yield warning(area, f"{text}: best-effort images get lost", remedy)
    elif profile:
        yield ok(area, f"the profile {profile} has room for images")
    elif local and builtin:
        text = "FASTDDS_BUILTIN_TRANSPORTS is ignored with ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
        yield warning(area, f"{text}: best-effort images get lost", remedy)
    elif builtin.startswith("LARGE_DATA"):
        yield ok(area, f"FASTDDS_BUILTIN_TRANSPORTS={builtin} has room for images")
    else:
        text = "Fast DDS' default shared memory (512 kB) loses best-effort images of VGA and more"
        yield warning(area, text, remedy)
    shm = Path("/dev/shm")
    if shm.is_dir() and shutil.disk_usage(shm).total < 2 * MIN_SEGMENT_BYTES:
        yield warning(
            area,
            f"/dev/shm has {shutil.disk_usage(shm).total / 1e6:.0f} MB",
            "in a container: --shm-size=512m, or --ipc=host",
        )


def _examine_cyclone() -> Iterator[Finding]:
    file = Path("/proc/sys/net/core/rmem_max")
    size = int(file.read_text()) if file.is_file() else MIN_SEGMENT_BYTES
    if size < MIN_SEGMENT_BYTES:
        yield warning(
            "transport",
            f"net.core.rmem_max is {size}: Cyclone DDS loses large best-effort messages",
            "sudo sysctl -w net.core.rmem_max=2147483647",
        )


def _export_profile() -> str:
    try:
        path = share_path("config/fastdds.xml")
    except DataError:
        return "take config/fastdds.xml of this package as the profile"
    return "export " + " ".join(f"{name}={path}" for name in PROFILE_VARIABLES)


def _segment_bytes(profile: Path) -> int:
    sizes = re.findall(r"<segment_size>\s*(\d+)\s*<", profile.read_text(errors="replace"))
    return max(map(int, sizes), default=0)


def _versions() -> dict[str, str]:
    """Installed distributions, by lowercase name."""
    found = ((d.metadata["Name"], d.version) for d in metadata.distributions())
    return {name.lower(): version for name, version in found if name}


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there, or in its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)
