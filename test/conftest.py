"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from alike_ros.backends.providers import available

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared/` beside the repository: public sequences and reference outputs."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared beside the repository (public sequences)")
    return SHARED


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """`shared/data`: parts of KITTI, TUM RGB-D and EuRoC in their published layouts."""
    if not (shared / "data").is_dir():
        pytest.skip("no folder ../shared/data beside the repository (public sequences)")
    return shared / "data"


@pytest.fixture(scope="session", params=["cpu", "openvino", "numba"])
def on_cpu(request: pytest.FixtureRequest) -> str:
    """Each of the providers that run the network on a CPU."""
    if request.param not in available():
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)
