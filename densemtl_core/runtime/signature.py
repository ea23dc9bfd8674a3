"""Detached Ed25519 signatures: whoever holds the public key knows who made a bundle.

The signature is over the bytes of ``manifest.json``, which holds the hash and the size of every other file: one
signature covers the whole bundle. It lies beside the manifest as ``manifest.sig``, one line of base64.

The cryptography is that of the library ``cryptography`` (extra ``signing``), imported only where a key is in use.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from typing import TYPE_CHECKING

from densemtl_core.errors import InputError
from densemtl_core.runtime.manifest import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["SIGNATURE", "SIGNATURE_LIMIT", "read_private_key", "read_public_key", "sign", "verify"]

SIGNATURE = "manifest.sig"
SIGNATURE_LIMIT = 128
"""Bytes; a signature's line has 89."""
_SIGNATURE_BYTES = 64
_KEY_LIMIT = 1 << 16
_MAKE_PRIVATE = "make one with: openssl genpkey -algorithm ed25519 -out private.pem"
_MAKE_PUBLIC = "make it from the private key with: openssl pkey -in private.pem -pubout -out public.pem"


def sign(manifest: bytes, private_key_pem: str | os.PathLike[str]) -> bytes:
    """Sign a manifest.

    Args:
        manifest: the exact bytes of ``manifest.json``.
        private_key_pem: file with an unencrypted PKCS8 Ed25519 key that only its owner may read.

    Returns:
        The content of ``manifest.sig``: base64 of the 64 bytes, and a newline.

    Raises:
        InputError: the key cannot be used, or the library is missing.
    """
    return base64.b64encode(read_private_key(private_key_pem).sign(manifest)) + b"\n"


def verify(manifest: bytes, signature: bytes, public_key_pem: str | os.PathLike[str], origin: str) -> None:
    """Return only if the owner of a public key signed these very bytes.

    Args:
        manifest: the exact bytes of ``manifest.json``.
        signature: the content of ``manifest.sig``.
        public_key_pem: file with an Ed25519 SubjectPublicKeyInfo.
        origin: the bundle's path, for messages.

    Raises:
        BundleError: the signature is malformed, or not of these bytes by this key.
        InputError: the key cannot be used, or the library is missing.
    """
    key = read_public_key(public_key_pem)
    from cryptography.exceptions import InvalidSignature

    line = signature.removesuffix(b"\n")
    try:
        raw = base64.b64decode(line, validate=True)
    except binascii.Error:
        raw = b""
    # Encoded again, because several lines of base64 decode to the same bytes and only one of them was written.
    if len(raw) != _SIGNATURE_BYTES or base64.b64encode(raw) != line:
        raise BundleError(
            f"{origin}: {SIGNATURE} is no signature (must be one line, base64 of {_SIGNATURE_BYTES} bytes; has "
            f"{len(signature)} characters); copy the bundle again"
        )
    try:
        key.verify(raw, manifest)
    except InvalidSignature:
        raise BundleError(
            f"{origin}: {SIGNATURE} does not fit manifest.json and the public key {os.fspath(public_key_pem)}: the "
            "manifest was changed or somebody else signed it; do not use it, fetch the bundle from its maker again"
        ) from None


def read_private_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Read a key to sign with, for a program that wants to refuse a bad one before its long work begins.

    Args:
        path: PEM file, PKCS8, not encrypted, with access for nobody but its owner.

    Raises:
        InputError: unreadable, readable by others, encrypted, of another type, a public key, or the library is missing.
    """
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    where = f"private key {os.fspath(path)}"
    pem = _read(path, where, stat.S_IRWXG | stat.S_IRWXO, "is open to others than its owner", "chmod 600")
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise InputError(
            f"{where} is encrypted, and nobody is there to ask for its password; decrypt it for the time of signing "
            f"with: (umask 077; openssl pkey -in {os.fspath(path)} -out plain.pem)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{where} is no private key in PEM format (PKCS8); {_MAKE_PRIVATE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{where} is a key of type {_kind(key)}, must be Ed25519; {_MAKE_PRIVATE}")
    return key


def read_public_key(path: str | os.PathLike[str]) -> Ed25519PublicKey:
    """Read a key to verify with.

    Args:
        path: PEM file, SubjectPublicKeyInfo.

    Raises:
        InputError: unreadable, writable by everybody, of another type, a private key, or the library is missing.
    """
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    where = f"public key {os.fspath(path)}"
    # Whoever can write the key decides whose bundles run.
    pem = _read(path, where, stat.S_IWOTH, "is writable by everybody", "chmod o-w")
    if b"PRIVATE KEY-----" in pem:
        raise InputError(f"{where} is a private key, which has no place on a robot; {_MAKE_PUBLIC}")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{where} is no public key in PEM format (SubjectPublicKeyInfo); {_MAKE_PUBLIC}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{where} is a key of type {_kind(key)}, must be Ed25519; {_MAKE_PUBLIC}")
    return key


def _read(path: str | os.PathLike[str], where: str, forbidden: int, fault: str, remedy: str) -> bytes:
    """The bytes of a key file, given only if its permissions have no bit of ``forbidden``."""
    try:
        # Not blocking: a pipe without a writer would hold the robot's start for ever.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where} cannot be read ({reason}); give the path of a PEM file") from None
    with file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{where} is not a plain file; give the path of a PEM file")
        pem = file.read(_KEY_LIMIT + 1)
        if forbidden & stat.S_IRGRP and b"PUBLIC KEY-----" in pem and b"PRIVATE KEY-----" not in pem:
            # before the permissions, which are as those of a public key may be
            raise InputError(f"{where} is a public key, which cannot sign; give the private key of its pair")
        if mode & forbidden:
            raise InputError(f"{where} {fault} (mode {stat.S_IMODE(mode):04o}); run: {remedy} {os.fspath(path)}")
    if len(pem) > _KEY_LIMIT:
        raise InputError(f"{where} is larger than {_KEY_LIMIT} bytes, so it is no key; give the path of a PEM file")
    return pem


def _require_library() -> None:
    try:
        import cryptography.hazmat.primitives.serialization  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"signatures need the library cryptography, which does not load here ({error}); "
            "install it with: pip install 'densemtl-core[signing]'"
        ) from None


def _kind(key: object) -> str:
    return type(key).__name__.lstrip("_").removesuffix("PrivateKey").removesuffix("PublicKey")
