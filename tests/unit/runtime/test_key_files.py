"""Only a fit Ed25519 key file is taken: each other one is refused in one line that says what is wrong with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from key_files import private_pem, public_pem, refusal

from densemtl_core.runtime.signature import read_private_key, read_public_key

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption


@pytest.fixture
def private(tmp_path) -> Path:
    return private_pem(tmp_path / "private.pem", Ed25519PrivateKey.generate())


@pytest.fixture
def public(tmp_path) -> Path:
    return public_pem(tmp_path / "public.pem", Ed25519PrivateKey.generate())


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """As a user whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_smoke(private, public):
    read_private_key(private)
    read_public_key(public)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "RSA"),
        (lambda: ec.generate_private_key(ec.SECP256R1()), "EllipticCurve|EC"),
        (ed448.Ed448PrivateKey.generate, "Ed448"),
        (x25519.X25519PrivateKey.generate, "X25519"),
    ],
    ids=["RSA", "EC", "Ed448", "X25519"],
)
def test_another_type(tmp_path, make, kind):
    key = make()
    private = refusal(read_private_key, private_pem(tmp_path / "private.pem", key))
    public = refusal(read_public_key, public_pem(tmp_path / "public.pem", key))
    for text in (private, public):
        assert any(f"is a key of type {k}, must be Ed25519; make" in text for k in kind.split("|")), text


def test_encrypted(tmp_path):
    path = private_pem(tmp_path / "p.pem", Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    assert "is encrypted" in refusal(read_private_key, path)


def test_public_for_private_and_private_for_public(private, public):
    for mode in (0o600, 0o644):
        public.chmod(mode)
        assert "is a public key, which cannot sign" in refusal(read_private_key, public)
    assert "is a private key, which has no place on a robot" in refusal(read_public_key, private)


def test_a_private_key_hidden_behind_the_public_one(private, public):
    public.write_bytes(public.read_bytes() + private.read_bytes())
    assert "is a private key" in refusal(read_public_key, public)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"key: secret\n"])
def test_no_pem(tmp_path, content):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    assert "is no private key in PEM format (PKCS8); make one" in refusal(read_private_key, path)
    assert "no public key" in refusal(read_public_key, path) or b"PRIVATE" in content


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_private_key_is_its_owners_alone(private, mode):
    private.chmod(mode)
    text = refusal(read_private_key, private)
    assert text.endswith(f"is open to others than its owner (mode {mode:04o}); run: chmod 600 {private}")
    private.chmod(0o600)
    read_private_key(private)


def test_a_read_only_private_key_is_fine(private):
    private.chmod(0o400)
    read_private_key(private)


def test_a_public_key_that_everybody_may_replace(public):
    public.chmod(0o666)
    assert refusal(read_public_key, public).endswith(f"(mode 0666); run: chmod o-w {public}")


def test_unreadable(private, tmp_path):
    private.chmod(0o000)
    with without_root():
        text = refusal(read_private_key, private)
    assert "cannot be read (Permission denied)" in text


@pytest.mark.parametrize("read", [read_private_key, read_public_key])
def test_what_is_no_file(tmp_path, read):
    assert "cannot be read (No such file or directory)" in refusal(read, tmp_path / "none.pem")
    assert "cannot be read (Is a directory)" in refusal(read, tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a plain file" in refusal(read, tmp_path / "pipe")
    assert "cannot be read (embedded null byte)" in refusal(read, "a\0b")


def test_a_huge_file_is_no_key(private):
    private.write_bytes(b"A" * 100_000)
    assert "so it is no key" in refusal(read_private_key, private)


def test_a_linked_key_is_fine(public, tmp_path):
    (tmp_path / "link.pem").symlink_to(public)
    read_public_key(tmp_path / "link.pem")
