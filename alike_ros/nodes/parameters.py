"""The settings of NodeConfig as ROS parameters."""

from __future__ import annotations

import sys
from dataclasses import Field
from difflib import get_close_matches
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from alike_ros.config import NodeConfig, describe, flatten, is_live, override
from alike_ros.errors import ConfigError


class Parameters:
    """The node's settings; `config` is replaced when a parameter is set, never changed.

    While the node `is_configured`, what is not live is refused.
    """

    def __init__(self, node: Node) -> None:
        defaults, fields = flatten(NodeConfig()), describe(NodeConfig())
        try:
            declared = node.declare_parameters(
                "",
                [(name, defaults[name], descriptor(name, fields[name])) for name in defaults],
            )
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ConfigError(str(error)) from error
        self.config = override(NodeConfig(), {item.name: item.value for item in declared})
        for sentence in unknown(node):
            node.get_logger().warning(sentence)
        self.is_configured = False
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        known = flatten(self.config)
        values = {item.name: item.value for item in parameters if item.name in known}
        fixed = [name for name in values if not is_live(name)]
        if self.is_configured and fixed:
            names = ", ".join(fixed)
            reason = f"{names}: read when the node is configured, so clean it up before"
            return SetParametersResult(successful=False, reason=reason)
        try:
            self.config = override(self.config, values)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def unknown(node: Node) -> list[str]:
    """A sentence on each parameter that was given but that the node does not have.

    They may be meant for other nodes (`/**`), so they stop nothing.
    """
    # rclpy shows them to nobody: a misspelt name would be ignored without a word
    given = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    known = list(flatten(NodeConfig()))
    sentences = []
    for name in sorted(name for name in given if not name.startswith("qos_overrides.")):
        near = get_close_matches(name, known, n=1)
        sentences.append(
            f"parameter {name!r} is unknown and has no effect"
            + (f": is {near[0]!r} meant?" if near else "")
        )
    return sentences


def descriptor(name: str, field: Field[Any]) -> ParameterDescriptor:
    """Description, range, and whether the parameter may be set while the node runs."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    constraints = [f"one of {', '.join(choices)}"] if choices else []
    constraints += [] if is_live(name) else ["read when the node is configured"]
    result = ParameterDescriptor(
        description=field.metadata["doc"],
        additional_constraints="; ".join(constraints),
        # so that 3 is taken for 3.0; other types are refused by NodeConfig
        dynamic_typing=isinstance(field.default, float),
    )
    if low is None and high is None:
        return result
    if isinstance(field.default, float):
        infinity = sys.float_info.max
        ends = (-infinity if low is None else low, infinity if high is None else high)
        result.floating_point_range = [
            FloatingPointRange(from_value=float(ends[0]), to_value=float(ends[1]))
        ]
    elif isinstance(field.default, int):
        ends = (-(2**63) if low is None else low, 2**63 - 1 if high is None else high)
        result.integer_range = [IntegerRange(from_value=int(ends[0]), to_value=int(ends[1]))]
    return result
