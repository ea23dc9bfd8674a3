"""With a public key, a bundle is opened only if the owner of that key signed this very manifest."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from key_files import private_pem, public_pem, refusal

from densemtl_core.learning.checkpoint import load_checkpoint
from densemtl_core.runtime import (
    Bundle,
    BundleError,
    Manifest,
    OutputInfo,
    Predictor,
    TaskInfo,
    default_bundle,
    write_bundle,
)
from densemtl_core.runtime.signature import sign, verify
from deploy.bundling import package

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# RFC 8032, section 7.1, TEST 1 (of an empty message) and TEST 2 (of one byte).
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
MANIFEST = Manifest(
    name="tiny",
    preset="densemtl_edge_s",
    precision="fp32",
    input_size=(64, 96),
    tasks={"depth": TaskInfo("depth", "depth", "depth", {}, (OutputInfo("depth", 1, "float32", "metres"),))},
    files={},
    backends=("eager",),
)
FILES = {"model.safetensors": b"weights", "model.json": b"{}"}


@pytest.fixture
def private(tmp_path) -> Path:
    return private_pem(tmp_path / "private.pem", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS[0][0])))


@pytest.fixture
def public(tmp_path) -> Path:
    return public_pem(tmp_path / "public.pem", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS[0][0])))


@pytest.fixture
def signed(tmp_path, private) -> Path:
    return write_bundle(tmp_path / "bundles" / "tiny.bundle", MANIFEST, FILES, sign_with=private).path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_smoke(signed, public):
    opened = Bundle(signed, public)
    opened.verify()
    assert "manifest.sig" not in opened.manifest.files
    assert Bundle(signed).manifest == opened.manifest, "a signed bundle also opens where no signature is demanded"


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS, ids=["TEST 1", "TEST 2"])
def test_rfc_8032(tmp_path, secret, public, message, signature):
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    line = sign(bytes.fromhex(message), private_pem(tmp_path / "private.pem", key))
    assert line == base64.b64encode(bytes.fromhex(signature)) + b"\n"
    assert key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex() == public
    verify(bytes.fromhex(message), line, public_pem(tmp_path / "public.pem", key), "bundle b")
    with pytest.raises(BundleError, match="does not fit"):
        verify(bytes.fromhex(message) + b" ", line, tmp_path / "public.pem", "bundle b")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_makes_the_keys_and_agrees(tmp_path):
    private, public, raw = (tmp_path / name for name in ("private.pem", "public.pem", "raw"))
    openssl = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)], check=True)
    subprocess.run(openssl, check=True)
    bundle = write_bundle(tmp_path / "b.bundle", MANIFEST, FILES, sign_with=private).path
    Bundle(bundle, public)
    raw.write_bytes(base64.b64decode((bundle / "manifest.sig").read_bytes()))
    checked = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(public), "-sigfile", str(raw)]
    subprocess.run([*checked, "-in", str(bundle / "manifest.json")], check=True, capture_output=True)
    # and the other way round, as docs/signing.md signs a bundle that exists
    signing = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(private), "-in", str(bundle / "manifest.json")]
    signature = subprocess.run(signing, check=True, capture_output=True).stdout
    (bundle / "manifest.sig").write_bytes(base64.b64encode(signature))
    Bundle(bundle, public)


class TestVerifying:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
    @given(data=st.data())
    def test_any_changed_byte_of_the_manifest(self, signed, public, data):
        path = signed / "manifest.json"
        original = path.read_bytes()
        position = data.draw(st.integers(0, len(original) - 1))
        changed = bytearray(original)
        changed[position] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
        try:
            assert "does not fit manifest.json" in refusal(Bundle, signed, public)
        finally:
            path.write_bytes(original)

    def test_before_the_manifest_is_parsed(self, signed, public, monkeypatch):
        def parsed(*_):
            raise AssertionError("unverified bytes were parsed")

        monkeypatch.setattr(Manifest, "from_json", parsed)
        (signed / "manifest.json").write_bytes(b"{")
        assert "does not fit manifest.json" in refusal(Bundle, signed, public)

    def test_the_bytes_verified_are_the_bytes_parsed(self, signed, public, monkeypatch):
        real_verify = verify

        def swap_after(*arguments):
            real_verify(*arguments)
            (signed / "manifest.json").write_text("{}")

        monkeypatch.setattr("densemtl_core.runtime.bundle.verify", swap_after)
        assert Bundle(signed, public).manifest.name == "tiny"
        assert (signed / "manifest.json").read_text() == "{}"

    @pytest.mark.parametrize("name", list(FILES))
    def test_a_changed_listed_file(self, signed, public, name):
        data = bytearray((signed / name).read_bytes())
        data[0] ^= 1
        (signed / name).write_bytes(data)
        assert f"{name} was changed after the bundle was made" in refusal(Bundle(signed, public).read, name)

    def test_a_foreign_key(self, signed, tmp_path):
        foreign = public_pem(tmp_path / "foreign.pem", Ed25519PrivateKey.generate())
        text = refusal(Bundle, signed, foreign)
        assert "does not fit manifest.json" in text
        assert str(foreign) in text

    def test_a_signature_of_another_bundle(self, signed, private, public, tmp_path):
        other = write_bundle(tmp_path / "other.bundle", replace(MANIFEST, name="other"), FILES, sign_with=private)
        shutil.copy(other.path / "manifest.sig", signed / "manifest.sig")
        assert "does not fit manifest.json" in refusal(Bundle, signed, public)

    def test_no_signature(self, signed, public):
        (signed / "manifest.sig").unlink()
        assert "is not signed (it has no manifest.sig)" in refusal(Bundle, signed, public)
        assert Bundle(signed).manifest.name == "tiny"

    def test_the_shipped_bundle_is_not_signed(self, public):
        assert "edge_s_street.bundle is not signed" in refusal(Bundle, default_bundle(), public)

    @pytest.mark.parametrize(
        "change",
        [
            lambda line: b"",
            lambda line: line[:40],
            lambda line: line[:-2],
            lambda line: b"!" + line[1:],
            lambda line: line + line,
            lambda line: line + b"\n",
            lambda line: b" " + line,
            lambda line: line[:30] + b"\n" + line[30:],
            lambda line: base64.urlsafe_b64encode(b"\xff" * 64) + b"\n",
            lambda line: base64.b64encode(base64.b64decode(line)[:-1]) + b"\n",
            lambda line: b"\xff\xfe" + line,
            lambda line: line[:85] + (b"B" if line[85:86] == b"A" else bytes([line[85] + 1])) + line[86:],
        ],
        ids=[
            "empty", "truncated", "no padding", "no base64", "twice", "a second line", "indented", "broken line",
            "urlsafe", "63 bytes", "no text", "spare bits set",
        ],
    )  # fmt: skip
    def test_a_malformed_signature(self, signed, public, change):
        path = signed / "manifest.sig"
        changed = change(path.read_bytes())
        path.write_bytes(changed)
        text = refusal(Bundle, signed, public)
        assert "manifest.sig is no signature" in text or (len(changed) > 128 and "larger than" in text)

    def test_a_line_without_its_newline_is_a_signature(self, signed, public):
        path = signed / "manifest.sig"
        path.write_bytes(path.read_bytes().rstrip(b"\n"))
        assert Bundle(signed, public).manifest.name == "tiny"

    def test_a_huge_signature_is_not_read(self, signed, public):
        (signed / "manifest.sig").write_bytes(b"A" * 1_000_000)
        assert "manifest.sig is larger than 128 bytes" in refusal(Bundle, signed, public)

    def test_a_linked_signature(self, signed, public, tmp_path):
        (signed / "manifest.sig").rename(tmp_path / "elsewhere")
        (signed / "manifest.sig").symlink_to(tmp_path / "elsewhere")
        assert "manifest.sig is a symbolic link" in refusal(Bundle, signed, public)

    def test_a_dangling_link_is_no_missing_signature(self, signed, public, tmp_path):
        (signed / "manifest.sig").unlink()
        (signed / "manifest.sig").symlink_to(tmp_path / "nowhere")
        assert "manifest.sig is a symbolic link" in refusal(Bundle, signed, public)

    def test_a_folder_or_a_pipe_is_no_signature(self, signed, public):
        (signed / "manifest.sig").unlink()
        (signed / "manifest.sig").mkdir()
        assert "manifest.sig cannot be read (Is a directory)" in refusal(Bundle, signed, public)
        (signed / "manifest.sig").rmdir()
        os.mkfifo(signed / "manifest.sig")
        assert "manifest.sig is not a plain file" in refusal(Bundle, signed, public)

    def test_an_empty_path_is_no_missing_key(self, signed):
        assert "public key " in refusal(Bundle, signed, "")

    def test_the_predictor_demands_it_too(self, pristine_bundle, tmp_path, private, public):
        assert "is not signed" in refusal(Predictor, pristine_bundle, public_key=public)
        package(*load_checkpoint(pristine_bundle), tmp_path / "packed.bundle", sign_with=private)
        predictor = Predictor(tmp_path / "packed.bundle", public_key=public)
        assert predictor.predict(np.zeros((32, 48, 3), np.uint8))["depth"].shape == (32, 48)


class TestSigning:
    def test_replaces_a_signed_bundle_by_a_signed_one(self, signed, private, public):
        write_bundle(signed, replace(MANIFEST, name="second"), FILES, sign_with=private)
        assert Bundle(signed, public).manifest.name == "second"
        assert [p.name for p in signed.parent.iterdir()] == ["tiny.bundle"]

    def test_an_old_signature_does_not_outlive_its_bundle(self, signed):
        write_bundle(signed, MANIFEST, FILES)
        assert not (signed / "manifest.sig").exists()

    def test_a_bad_key_leaves_the_old_bundle(self, signed, public):
        before = contents(signed)
        assert "is a public key, which" in refusal(write_bundle, signed, MANIFEST, FILES, sign_with=public)
        public.chmod(0o600)
        assert "cannot sign" in refusal(write_bundle, signed, MANIFEST, FILES, sign_with=public)
        assert contents(signed) == before
        assert [p.name for p in signed.parent.iterdir()] == ["tiny.bundle"]

    def test_a_bad_key_is_refused_before_anything_is_written(self, tmp_path):
        place = tmp_path / "new" / "tiny.bundle"
        assert "cannot be read" in refusal(write_bundle, place, MANIFEST, FILES, sign_with=tmp_path / "none.pem")
        assert not place.parent.exists()

    def test_a_full_disk_leaves_the_old_signed_bundle(self, signed, private, public, monkeypatch):
        before = contents(signed)
        real_fsync, calls = os.fsync, []

        def fails_at_the_last_file(descriptor):
            calls.append(descriptor)
            if len(calls) == len(FILES) + 2:
                raise OSError(28, "No space left on device")
            real_fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fails_at_the_last_file)
        with pytest.raises(BundleError, match="the old one is intact"):
            write_bundle(signed, replace(MANIFEST, name="second"), FILES, sign_with=private)
        assert contents(signed) == before
        assert Bundle(signed, public).manifest.name == "tiny"
        assert [p.name for p in signed.parent.iterdir()] == ["tiny.bundle"]

    @pytest.mark.parametrize("name", ["manifest.json", "manifest.sig"])
    def test_nobody_else_writes_manifest_and_signature(self, tmp_path, name):
        assert f"{name} cannot be a file" in refusal(write_bundle, tmp_path / "b", MANIFEST, {**FILES, name: b"x"})
        assert not (tmp_path / "b").exists()


class TestLibrary:
    def test_missing_is_one_line(self, signed, private, public, monkeypatch):
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
        for text in (refusal(Bundle, signed, public), refusal(sign, b"", private)):
            assert "signatures need the library cryptography" in text
            assert "pip install 'densemtl-core[signing]'" in text
        assert Bundle(signed).manifest.name == "tiny", "without a key nobody needs it"

    def test_is_imported_only_with_a_key(self, signed):
        code = (
            "import sys\nfrom densemtl_core.runtime import Bundle\n"
            f"Bundle({str(signed)!r}).verify()\nassert 'cryptography' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
