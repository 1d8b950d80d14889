"""The settings as tables in Markdown: `doc/parameters.md` is made here."""

from __future__ import annotations

from dataclasses import Field, fields, is_dataclass
from itertools import groupby
from typing import Any

from alike_ros.config import Config, NodeConfig, describe, flatten, is_live, yaml_value

_HEAD = """\
# Parameters

Made by `alike config --table`. All nodes declare all of them; `vo_node` uses all, `features_node`
and `tracking_node` those of their column. *live*: takes effect when it is set while the node runs;
all others are read when it is configured. On the command line of `alike` they have the same names
(`--set detector.top_k=500`), and a file of them is for both (`alike config --ros`).
"""
_ROW = "| {} | {} | {} | {} | {} | {} | {} |"
#: Settings, and groups of them, that only one half of the pipeline uses.
_FEATURES = (
    *("model", "provider", "precision", "engine_cache_dir", "num_threads", "detector."),
    "image_transport",
)
_TRACKING = (
    *("depth.", "tracking.", "keyframe.", "bundle.", "reset_countdown", "depth_transport"),
    *("frame_id", "odom_frame_id", "publish_tf", "invert_tf", "guess_frame_id", "initial_pose"),
    *("publish_null_when_lost", "path_length"),
)


def parameter_table() -> str:
    """A table for each group: name, default, values, nodes, live, meaning."""
    config = NodeConfig()
    core = describe(Config())
    items = list(describe(config).items())
    parts = [_HEAD]
    for group, members in groupby(items, key=lambda item: _group(item[0], core)):
        parts.append(_section(group, list(members), flatten(config)))
    return "\n".join(parts)


def _group(name: str, core: dict[str, Any]) -> str:
    head, dot, _ = name.partition(".")
    if dot:
        return head
    return "General" if name in core else "ROS"


def _section(group: str, members: list[tuple[str, Field[Any]]], defaults: dict[str, Any]) -> str:
    lines = [
        f"## {group}\n",
        f"{_purpose(group)}\n",
        _ROW.format("name", "default", "values", "features", "tracking", "live", "meaning"),
        _ROW.format(*["---"] * 7),
    ]
    for name, field in members:
        lines.append(
            _ROW.format(
                f"`{name}`",
                f"`{yaml_value(defaults[name])}`",
                _values(field),
                "" if name.startswith(_TRACKING) else "x",
                "" if name.startswith(_FEATURES) else "x",
                "x" if is_live(name) else "",
                field.metadata["doc"],
            )
        )
    return "\n".join(lines) + "\n"


def _purpose(group: str) -> str:
    """What the docstring of the group's class says."""
    config = NodeConfig()
    groups = {f.name: getattr(config, f.name) for f in fields(config)}
    owner: Any = {"General": Config(), "ROS": config}.get(group) or groups[group]
    assert is_dataclass(owner)
    return str(owner.__doc__).strip()


def _values(field: Field[Any]) -> str:
    choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = type(field.default).__name__
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return kind if low is None else f"{kind}, >= {low}"
