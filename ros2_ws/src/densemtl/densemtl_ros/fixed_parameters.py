"""Declares a table of parameters that are fixed when their node starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from densemtl_core.errors import InputError
from densemtl_ros.parameters import Declaration

__all__ = ["declare_fixed"]


def declare_fixed(node: Node, declarations: Iterable[Declaration]) -> dict[str, Any]:
    """Declare every parameter with its descriptor, and check the values given at start.

    Args:
        node: the owner.
        declarations: its parameters.

    Returns:
        Value by parameter name.

    Raises:
        InputError: a value cannot be used.
    """
    values = {}
    for declaration in declarations:
        descriptor = ParameterDescriptor(
            description=declaration.text,
            additional_constraints=declaration.constraint,
            read_only=True,
            # Nobody writes 10.0 by hand where 10 says it; `Declaration.problem` checks the type.
            dynamic_typing=True,
        )
        given = node.declare_parameter(declaration.name, declaration.default, descriptor).value
        value = declaration.convert(given)
        problem = declaration.problem(value)
        if problem:
            raise InputError(f"parameter {problem}")
        values[declaration.name] = value
    return values
