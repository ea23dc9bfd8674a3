"""ROS 2, and our own packages."""

from __future__ import annotations

from deploy.finding import Finding
from deploy.machine import Machine

__all__ = ["probe_cv_bridge", "probe_densemtl", "probe_ros"]


def probe_ros(machine: Machine) -> Finding:
    """ROS 2: rclpy, and the middleware that it loads."""
    code = "import rclpy\nfacts = {'rmw': rclpy.get_rmw_implementation_identifier()}"
    proof = machine.prove(code)
    distribution = machine.environment.get("ROS_DISTRO", "")
    named = f"ROS_DISTRO {distribution}" if distribution else "no ROS_DISTRO (rclpy from wheels)"
    if "error" not in proof:
        return Finding(
            "ros", "ok", f"rclpy with {proof['rmw']}, {named}", facts={**proof, "distribution": distribution}
        )
    folder = machine.root / "opt/ros"
    setups = sorted(folder.glob("*/setup.bash")) if folder.is_dir() else []
    if setups and not distribution:
        name = setups[-1].parent.name
        return Finding(
            "ros", "absent", f"ROS 2 {name} is installed and not sourced", f"source /opt/ros/{name}/setup.bash"
        )
    missing = "No module named 'rclpy'" in str(proof["error"])
    wheels = "pip install '.[ros]'" if machine.architecture == "x86_64" else "install ROS 2 from its apt packages"
    detail = "no rclpy; needed for the ROS 2 node only" if missing else str(proof["error"])
    return Finding("ros", "absent" if missing else "broken", detail, wheels)


def probe_cv_bridge(machine: Machine) -> Finding:
    """cv_bridge, which the node uses where it is right and does without where it is not."""
    proof = machine.prove("from cv_bridge import CvBridge")
    if "error" not in proof:
        return Finding("cv_bridge", "ok", "imports; the node uses it where its pixels are right")
    distribution = machine.environment.get("ROS_DISTRO", "")
    remedy = f"sudo apt-get install ros-{distribution}-cv-bridge" if distribution else ""
    if "No module named 'cv_bridge'" in str(proof["error"]):
        return Finding("cv_bridge", "absent", "the node uses its own image codec", remedy)
    return Finding("cv_bridge", "broken", f"{proof['error']}; the node uses its own image codec", remedy)


def probe_densemtl(machine: Machine) -> Finding:
    """Our own packages: what every backend stands on."""
    versions = {name: machine.version(name) for name in ("densemtl-core", "densemtl")}
    proof = machine.prove("import densemtl_core.runtime\nfacts = {'version': densemtl_core.__version__}")
    node = f"ROS package {versions['densemtl']}" if versions["densemtl"] else "no ROS package"
    if "error" in proof:
        return Finding(
            "densemtl", "broken", f"densemtl_core.runtime does not import: {proof['error']}", "pip install ."
        )
    if not versions["densemtl-core"]:
        detail = f"{proof['version']} runs from its folder, not installed; {node}"
        return Finding("densemtl", "ok", detail, "pip install .", proof)
    return Finding("densemtl", "ok", f"densemtl-core {versions['densemtl-core']}, {node}", facts=proof)
