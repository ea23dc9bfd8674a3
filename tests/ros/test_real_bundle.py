"""The node as a process with a real network from a real bundle; its weights are not trained."""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from camera_rig import CameraRig, as_array, picture, read_until

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
RAW = ("semantic/image", "depth/image", "normals/image", "edges/image")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny.bundle"
    command = [
        sys.executable,
        "deploy/compile.py",
        "--preset",
        "densemtl_edge_s",
        "--input",
        "64x96",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def start(start_node, bundle: Path, *more: str) -> subprocess.Popen:
    return start_node(
        *("-m", "densemtl_ros.perception_node", "--ros-args", "-r", "__ns:=/robot", "--log-level", "info"),
        *("-p", "autostart:=true", "-p", f"bundle:={bundle}", "-p", "threads:=1", "-p", "budget_ms:=0.0", *more),
    )


@pytest.mark.slow
def test_four_tasks_of_a_real_network_reach_a_subscriber(start_node, start_camera, bundle):
    rig: CameraRig = start_camera("/robot/perception")
    rig.listen(*RAW)
    process = start(start_node, bundle)
    log = read_until(process, "active: subscribed to /robot/image")
    assert "bundle tiny" in log
    rig.until(rig.camera.get_subscription_count, "the node subscribes to the camera")
    rig.until(rig.input_settled, "the subscription has the camera's reliability")
    first = rig.tester.create_timer(0.2, lambda: rig.camera.publish(rig.message(picture(120, 160))))
    rig.until(lambda: all(rig.received[topic] for topic in RAW), "the outputs reach their listener")
    first.cancel()
    for number in range(3):
        message = rig.message(picture(120, 160, seed=number), "bgr8")
        rig.camera.publish(message)
        rig.until(lambda m=message: all(rig.received[topic][-1].header == m.header for topic in RAW), "four images")
        for topic in RAW:
            assert (rig.received[topic][-1].height, rig.received[topic][-1].width) == (120, 160)
    normals = as_array(rig.received["normals/image"][-1])
    known = np.isfinite(normals).all(axis=-1)
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=-1), 1.0, atol=1e-3)
    assert as_array(rig.received["semantic/image"][-1]).max() < 19
    depth = as_array(rig.received["depth/image"][-1])
    assert (depth[np.isfinite(depth)] > 0).all()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output


@pytest.mark.slow
def test_a_tampered_bundle_is_refused_in_one_line(start_node, bundle):
    weights = bundle / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    process = start(start_node, bundle)
    output, _ = process.communicate(timeout=60)
    data[-1] ^= 1
    weights.write_bytes(data)
    assert process.returncode == 1, output
    errors = [line for line in output.splitlines() if "ERROR" in line or "FATAL" in line]
    assert len(errors) == 1, output
    assert "configure failed: " in errors[0]
    assert "model.safetensors" in errors[0]
    assert "Traceback" not in output


@pytest.mark.slow
def test_with_a_public_key_only_what_its_owner_signed_runs(start_node, bundle, tmp_path):
    key = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    own, foreign = key.generate(), key.generate()
    (tmp_path / "own.pem").write_bytes(own.public_key().public_bytes(*form))
    (tmp_path / "foreign.pem").write_bytes(foreign.public_key().public_bytes(*form))
    signed = Path(shutil.copytree(bundle, tmp_path / "signed.bundle"))
    (signed / "manifest.sig").write_bytes(base64.b64encode(own.sign((signed / "manifest.json").read_bytes())))

    process = start(start_node, signed, "-p", f"bundle_public_key:={tmp_path / 'own.pem'}")
    assert "signature verified" in read_until(process, "active: subscribed to /robot/image")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output

    for folder, name, reason in ((signed, "foreign.pem", "does not fit"), (bundle, "own.pem", "is not signed")):
        process = start(start_node, folder, "-p", f"bundle_public_key:={tmp_path / name}")
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1, output
        errors = [line for line in output.splitlines() if "ERROR" in line or "FATAL" in line]
        assert len(errors) == 1, output
        assert reason in errors[0]
        assert "Traceback" not in output
