"""Key files to sign and verify with, and the one line with which a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from densemtl_core.errors import InputError

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def private_pem(path: Path, key, encryption=None) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    path.chmod(0o600)
    return path


def public_pem(path: Path, key) -> Path:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def refusal(call, *arguments, **options) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text
