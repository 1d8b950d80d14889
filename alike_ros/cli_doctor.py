"""`alike doctor`, and `ros2 run alike_ros doctor`: what is wrong, and what mends it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alike_ros.cli_options import add_command, add_network, add_settings, node_config
from alike_ros.errors import ConfigError
from alike_ros.whole_file import write_whole

if TYPE_CHECKING:
    from alike_ros.config import NodeConfig
    from alike_ros.doctor import Finding


def main() -> int:
    """The executable `doctor`: `alike doctor` under another name."""
    from alike_ros.cli import main as alike

    return alike(["doctor", *sys.argv[1:]])


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command, for the parser of `alike`."""
    parser = add_command(
        commands,
        "doctor",
        _doctor,
        "what is wrong on this machine and on its ROS graph",
        "Examines packages, model, provider and middleware. Where rclpy is installed it also\n"
        "listens to the topics of the running nodes, or else to those that the mode needs:\n"
        "publishers, QoS, rates, stamps, synchronisation, camera_info, images and TF.\n\n"
        "Each finding comes with its remedy. Exit code 0: all is well, 1: warnings, 2: errors.",
        """\
  alike doctor
  alike doctor --mode rgbd --ros-args -r rgb/image:=/camera/color/image_raw
  ros2 run alike_ros doctor --config vo.yaml --json findings.json""",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the findings, for programs")
    parser.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="to listen to topics; default: 5"
    )
    add_network(parser)
    add_settings(parser)
    parser.add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="...",
        help="namespace and remappings, as of a ROS node; comes last",
    )


def _doctor(options: argparse.Namespace) -> int:
    from alike_ros.doctor import error, examine_machine

    try:
        config = node_config(options)
        findings = [*examine_machine(config), *_graph(options, config)]
    except ConfigError as problem:
        findings = [error("settings", str(problem), "`alike config --ros` prints those there are")]
    print(_page(findings))
    if options.json:
        write_whole(options.json, _json(findings) + "\n")
    return max(finding.severity for finding in findings)


def _graph(options: argparse.Namespace, config: NodeConfig) -> Sequence[Finding]:
    from alike_ros.doctor import examine_missing_ros

    try:
        from alike_ros.nodes.graph_doctor import examine_graph
    except ImportError as problem:
        return [examine_missing_ros(problem)]
    return examine_graph(config, options.seconds, options.ros_args)


def _json(findings: Sequence[Finding]) -> str:
    rows = [vars(finding) | {"severity": finding.severity.name.lower()} for finding in findings]
    worst = max(finding.severity for finding in findings)
    return json.dumps({"severity": worst.name.lower(), "findings": rows}, indent=2)


def _page(findings: Sequence[Finding]) -> str:
    lines: list[str] = []
    area = ""
    for finding in findings:
        if finding.area != area:
            lines.append(finding.area)
            area = finding.area
        lines.append(f"  {finding.severity.name.lower():8}{finding.text}")
        if finding.remedy:
            lines.append(f"          -> {finding.remedy}")
    counts = [sum(f.severity.name == name for f in findings) for name in ("WARNING", "ERROR")]
    return "\n".join([*lines, f"{counts[0]} warnings, {counts[1]} errors"])
