"""Declares the table of parameters on a node, and answers every attempt to change one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from densemtl_core.errors import InputError
from densemtl_ros.parameters import PARAMETERS, PARAMETERS_BY_NAME, Declaration, unknown_name

__all__ = ["declare_parameters"]


def declare_parameters(node: Node, on_change: Callable[[set[str], dict[str, Any]], None]) -> dict[str, Any]:
    """Declare every parameter with its descriptor, check the values given at start, and watch later ones.

    Args:
        node: the owner.
        on_change: called with the changed names and all values, after a change that is allowed.

    Returns:
        Value by parameter name; replaced, never changed, by later calls of `on_change`.

    Raises:
        InputError: a value given at start cannot be used.
    """
    # rclpy has no public way to see which values were given on the command line and in files.
    overrides = node._parameter_overrides
    for name in overrides:
        warning = unknown_name(name)
        if warning:
            node.get_logger().warning(warning)
    values = {}
    for declaration in PARAMETERS:
        given = overrides.get(declaration.name)
        value = declaration.convert(given.value) if given is not None else declaration.default
        problem = declaration.problem(value)
        if problem:
            raise InputError(f"parameter {problem}")
        _declare(node, declaration, value)
        values[declaration.name] = value

    def check(parameters: Sequence[Parameter]) -> SetParametersResult:
        nonlocal values
        ours = {p.name: p.value for p in parameters if p.name in PARAMETERS_BY_NAME}
        for name, value in ours.items():
            problem = PARAMETERS_BY_NAME[name].problem(value)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        values = values | ours
        on_change(set(ours), values)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    if hasattr(node, "add_pre_set_parameters_callback"):  # not on Humble
        node.add_pre_set_parameters_callback(_convert)
    return values


def _declare(node: Node, declaration: Declaration, value: Any) -> None:
    descriptor = _descriptor(declaration)
    if declaration.type is not list:
        node.declare_parameter(declaration.name, value, descriptor, ignore_override=True)
        return
    # From an empty list rclpy would make an array of bytes; so the type is declared, then the value and the rest set.
    kind = Parameter.Type.STRING_ARRAY
    node.declare_parameter(declaration.name, kind, ignore_override=True)
    node.set_parameters([Parameter(declaration.name, kind, value)])
    node.set_descriptor(declaration.name, descriptor)


def _convert(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Let `ros2 param set` take a whole number for a floating-point parameter."""
    converted = []
    for parameter in parameters:
        declaration = PARAMETERS_BY_NAME.get(parameter.name)
        value = parameter.value if declaration is None else declaration.convert(parameter.value)
        converted.append(parameter if value is parameter.value else Parameter(parameter.name, value=value))
    return converted


def _descriptor(declaration: Declaration) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        name=declaration.name,
        description=declaration.text,
        read_only=declaration.read_only,
        additional_constraints=declaration.constraint,
        # The type is checked by `Declaration.problem`: rclpy would refuse it with "expected '1' got '4'".
        dynamic_typing=True,
    )
    if declaration.low is None or declaration.high is None:
        return descriptor
    if declaration.type is int:
        descriptor.integer_range = [IntegerRange(from_value=int(declaration.low), to_value=int(declaration.high))]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(declaration.low), to_value=float(declaration.high))
        ]
    return descriptor
