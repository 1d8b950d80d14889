"""doc/troubleshooting.md quotes what the nodes write."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "doc" / "troubleshooting.md").read_text()
CODE = "\n".join(path.read_text() for path in (ROOT / "alike_ros").rglob("*.py"))


@pytest.mark.parametrize(
    "words",
    [
        "nobody publishes ",
        "cannot serve this subscription",
        "but nothing ",
        "images wait for a calibration",
        "is all zero: the camera is not calibrated",
        "but camera_info is for ",
        "nothing is published before it is known: publish it, or set frame_id",
        "cannot be looked up without tf2_ros",
        "find no partner: nothing comes on ",
        "raise approx_sync_max_interval ",
        " have no stamps: the driver has to set header.stamp",
        "a subscriber gets nothing: ",
        "is unknown and has no effect",
        "no model file ",
        "cannot write the exported model to ",
        "stamps went back: a new map starts at the last pose",
        "ahead of this node's clock: synchronise ",
        " is ignored: ",
        "it measures no angular velocity",
        " is being built",
        ", image_jitter_threshold_ms is ",
        "no guess ",
        "fault: ",
    ],
)
def test_quoted_message_is_written(words):
    assert words.strip() in DOC
    assert words in CODE


@pytest.mark.parametrize(
    "name", ["overtaken", "throttled", "lost_in_transport", "wait_ms", "extract_ms", "track_ms"]
)
def test_named_value_is_reported(name):
    assert f"`{name}`" in DOC or f"{name} " in DOC
    assert f'"{name}"' in CODE
