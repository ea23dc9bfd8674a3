"""Recording stand-ins for `launch` and `launch_ros`, where no ROS distribution is installed.

They keep what a launch file builds and resolve substitutions to text; they start nothing. Their signatures are those
parts of the real ones that a launch file may rely on: a keyword that is not real is refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


class Substitution:
    def perform(self, context: dict[str, str]) -> str:
        raise NotImplementedError


@dataclass
class LaunchConfiguration(Substitution):
    name: str

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


@dataclass
class FindPackageShare(Substitution):
    package: str

    def perform(self, context: dict[str, str]) -> str:
        return f"<share of {self.package}>"


@dataclass
class PathJoinSubstitution(Substitution):
    parts: list[Any]

    def perform(self, context: dict[str, str]) -> str:
        return "/".join(text(part, context) for part in self.parts)


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: Any = None
    description: str = ""
    choices: list[str] | None = None


@dataclass
class LaunchDescription:
    entities: list[Any]


@dataclass
class OpaqueFunction:
    function: Any


@dataclass
class ParameterValue:
    value: Any
    value_type: type | None = None


@dataclass(eq=False)
class Node:
    executable: str
    package: str
    name: str | None = None
    namespace: str | None = None
    parameters: list[Any] = field(default_factory=list)
    remappings: list[tuple[str, str]] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    output: str = "log"
    respawn: bool = False
    respawn_delay: float | None = None
    additional_env: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class LifecycleNode(Node):
    pass


def text(value: Any, context: dict[str, str]) -> str:
    """A substitution or text as text."""
    return value.perform(context) if isinstance(value, Substitution) else str(value)


PLACES = {
    "launch": (LaunchDescription,),
    "launch.actions": (DeclareLaunchArgument, OpaqueFunction),
    "launch.substitutions": (LaunchConfiguration, PathJoinSubstitution),
    "launch_ros": (),
    "launch_ros.actions": (LifecycleNode, Node),
    "launch_ros.parameter_descriptions": (ParameterValue,),
    "launch_ros.substitutions": (FindPackageShare,),
}


def install(monkeypatch: Any) -> None:
    """Put the stand-ins where `import` finds them, until the test ends."""
    for place, contents in PLACES.items():
        module = ModuleType(place)
        for thing in contents:
            setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, place, module)
