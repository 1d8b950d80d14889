"""Trajectories and their files."""

import numpy as np
import pytest

from alike_ros.errors import DataError
from alike_ros.geometry import from_Rt, rotation_exp
from alike_ros.trajectory import Trajectory, ns_to_seconds, seconds_to_ns


def helix(n=50):
    stamps = [1403715274312143104 + i * 33_333_333 for i in range(n)]
    poses = [
        from_Rt(
            rotation_exp(np.array([0.01, 0.02, 0.05]) * i), [np.cos(i / 9), np.sin(i / 9), i / 20]
        )
        for i in range(n)
    ]
    return Trajectory.from_poses(stamps, poses)


def test_tum_round_trip(tmp_path):
    trajectory = helix()
    trajectory.write_tum(tmp_path / "t.tum")
    loaded = Trajectory.read_tum(tmp_path / "t.tum")
    np.testing.assert_array_equal(loaded.stamps_ns, trajectory.stamps_ns)  # to the nanosecond
    np.testing.assert_allclose(loaded.world_from_cam, trajectory.world_from_cam, atol=1e-8)
    assert [p.name for p in tmp_path.iterdir()] == ["t.tum"]


def test_evo_reads_our_files(tmp_path):
    from evo.tools import file_interface

    trajectory = helix()
    trajectory.write_tum(tmp_path / "t.tum")
    read = file_interface.read_tum_trajectory_file(tmp_path / "t.tum")
    np.testing.assert_allclose(read.positions_xyz, trajectory.positions, atol=1e-8)
    np.testing.assert_allclose(np.stack(read.poses_se3), trajectory.world_from_cam, atol=1e-8)


def test_empty(tmp_path):
    empty = Trajectory.from_poses([], [])
    empty.write_tum(tmp_path / "t.tum")
    assert len(Trajectory.read_tum(tmp_path / "t.tum")) == 0
    assert empty.length_m == 0


def test_length():
    poses = [from_Rt(np.eye(3), [0, 0, z]) for z in (0.0, 1, 3)]
    assert Trajectory.from_poses([1, 2, 3], poses).length_m == pytest.approx(3)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1305031229.528748", 1305031229528748000),
        ("1403715274.312143104", 1403715274312143104),
        ("1.037359e-01", 103735900),
        ("12", 12_000_000_000),
        ("0.1", 100_000_000),
    ],
)
def test_seconds(text, ns):
    assert seconds_to_ns(text) == ns


def test_seconds_are_written_in_full():
    assert ns_to_seconds(1403715274012143104) == "1403715274.012143104"


NO_POSES = ["1 2 3\n", "a b c d e f g h\n", "1 0 0 0 0 0 0\n", "1 0 0 0 0 0 0 0\n"]


@pytest.mark.parametrize("text", NO_POSES)
def test_bad_files(tmp_path, text):
    (tmp_path / "bad.tum").write_text(text)
    with pytest.raises(DataError, match="not a TUM trajectory"):
        Trajectory.read_tum(tmp_path / "bad.tum")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        Trajectory.read_tum(tmp_path / "missing.tum")
