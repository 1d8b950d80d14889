"""Shared memory that fits."""

import shutil
from types import SimpleNamespace

from alike_ros.fast_dds import fitting_profile
from alike_ros.resources import share_path

SHIPPED = share_path("config/fastdds.xml")


def free(monkeypatch, megabytes):
    usage = SimpleNamespace(free=megabytes * 1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_the_shipped_profile_where_there_is_room(monkeypatch, tmp_path):
    free(monkeypatch, 1000)
    assert fitting_profile(tmp_path, tmp_path) == SHIPPED
    assert fitting_profile(tmp_path, tmp_path / "missing") == SHIPPED


def test_a_smaller_one_in_a_container(monkeypatch, tmp_path):
    free(monkeypatch, 60)
    text = fitting_profile(tmp_path, tmp_path).read_text()
    assert "<segment_size>12000000<" in text
    assert "<maxMessageSize>6000000<" in text
    lines, shipped = (item.splitlines() for item in (text, SHIPPED.read_text()))
    assert sum(a != b for a, b in zip(lines, shipped, strict=True)) == 2
