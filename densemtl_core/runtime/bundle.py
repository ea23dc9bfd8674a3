"""A bundle: the folder that a robot carries, verified before anything in it is used.

Nothing in a bundle is pickled. Every file is opened without following links, read once, and its bytes are checked
against the manifest before they reach a parser, so what was verified is what is loaded. With a public key, the manifest
itself must be signed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from densemtl_core.runtime.manifest import BundleError, FileInfo, Manifest
from densemtl_core.runtime.network_check import check_network
from densemtl_core.runtime.signature import SIGNATURE, SIGNATURE_LIMIT, sign, verify

__all__ = ["Bundle", "default_bundle", "require_replaceable", "through_link", "write_bundle"]

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20
REBUILD = "rebuild it with: python deploy/compile.py --checkpoint FOLDER --out BUNDLE"


class Bundle:
    """A verified bundle.

    Args:
        path: the folder.
        public_key: PEM file of an Ed25519 key; only a bundle that its owner signed is opened. None = signatures are not
            looked at.

    Attributes:
        path: the folder.
        manifest: what it says of itself.

    Raises:
        BundleError: missing, unsafe (world-writable, a link), damaged, of an unknown schema, or not signed by the key.
        InputError: the key cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], public_key: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path)
        if not self.path.exists():
            old = _aside(through_link(self.path))
            advice = f"a write was cut short; run: mv {old} {through_link(self.path)}" if old.is_dir() else ""
            raise BundleError(f"bundle not found: {self.path}; {advice or f'give the folder that holds {MANIFEST}'}")
        if not self.path.is_dir():
            raise BundleError(f"bundle {self.path} is not a folder; give the folder that holds {MANIFEST}")
        if self.path.stat().st_mode & stat.S_IWOTH:
            raise BundleError(f"bundle {self.path} is writable by everybody; run: chmod -R o-w {self.path}")
        _require_own_place(self.path)
        if not (self.path / MANIFEST).exists():
            raise BundleError(f"bundle {self.path} has no {MANIFEST}: it is half-written or no bundle; {REBUILD}")
        data = self._open(MANIFEST, MANIFEST_LIMIT)
        if public_key is not None:
            self._verify_signature(data, public_key)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise BundleError(f"bundle {self.path}: {MANIFEST} is not text; copy the bundle again") from None
        self.manifest = Manifest.from_json(text, f"bundle {self.path}")
        for name in ("model.safetensors", "model.json"):
            if name not in self.manifest.files:
                raise BundleError(f"bundle {self.path}: {MANIFEST} does not list {name}; {REBUILD}")
        for name, info in self.manifest.files.items():
            if self._size(name) != info.size:
                raise BundleError(
                    f"bundle {self.path}: {name} has {self._size(name)} bytes, {MANIFEST} says {info.size}; "
                    f"copy the bundle again or {REBUILD}"
                )
        self._right: set[str] = set()
        self._last: tuple[str, bytes] = ("", b"")

    def read(self, name: str) -> bytes:
        """The verified bytes of a file: those that were hashed, however the file changes meanwhile.

        The file last read is kept, because two engines may be made of it; `verify_rest` lets go of it.

        Args:
            name: as the manifest lists it.

        Raises:
            BundleError: not listed, or its bytes are not those that the manifest promises.
        """
        if self._last[0] != name:
            self._last = ("", b"")  # before the next one comes: two large files need not be in memory at once
            self._last = (name, self._hashed(name))
        return self._last[1]

    def verify(self) -> None:
        """Check the bytes of every listed file."""
        for name in self.manifest.files:
            self._hashed(name)

    def verify_rest(self) -> None:
        """Check the bytes of the listed files that nobody has read yet: with those that were read, all are right."""
        self._last = ("", b"")
        for name in self.manifest.files:
            if name not in self._right:
                self._hashed(name)

    def _hashed(self, name: str) -> bytes:
        info = self.manifest.files.get(name)
        if info is None:
            raise BundleError(f"bundle {self.path} has no {name}; {REBUILD}")
        data = self._open(name, info.size)
        digest = hashlib.sha256(data).hexdigest()
        if digest != info.sha256:
            raise BundleError(
                f"bundle {self.path}: {name} was changed after the bundle was made (sha256 {digest[:12]}..., "
                f"{MANIFEST} says {info.sha256[:12]}...); copy the bundle again or {REBUILD}"
            )
        self._right.add(name)
        return data

    def check_network(self) -> None:
        """Refuse a manifest that says otherwise than the network's own description, which no engine's file would show.

        Compared are preset, working size, and of each task kind, class names, palette, camera rule and needs.

        Raises:
            BundleError: they differ, or ``model.json`` is damaged.
        """
        check_network(f"bundle {self.path}", self.manifest, self.read("model.json"))

    def _verify_signature(self, manifest: bytes, public_key: str | os.PathLike[str]) -> None:
        if not os.path.lexists(self.path / SIGNATURE):
            raise BundleError(
                f"bundle {self.path} is not signed (it has no {SIGNATURE}), and only bundles signed for the public key "
                f"{os.fspath(public_key)} may run here; sign it with: python deploy/compile.py --sign PRIVATE_KEY"
            )
        verify(manifest, self._open(SIGNATURE, SIGNATURE_LIMIT), public_key, f"bundle {self.path}")

    def _size(self, name: str) -> int:
        try:
            found = (self.path / name).lstat()
        except FileNotFoundError:
            raise BundleError(f"bundle {self.path}: {name} is missing; copy the bundle again or {REBUILD}") from None
        if stat.S_ISLNK(found.st_mode):
            raise BundleError(f"bundle {self.path}: {name} is a symbolic link; copy the bundle again")
        return found.st_size

    def _open(self, name: str, limit: int) -> bytes:
        path = self.path / name
        try:
            file = open(path, "rb", opener=_without_links)  # noqa: SIM115
        except OSError as error:
            reason = "is a symbolic link" if path.is_symlink() else f"cannot be read ({error.strerror})"
            raise BundleError(f"bundle {self.path}: {name} {reason}; copy the bundle again") from None
        with file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise BundleError(f"bundle {self.path}: {name} is not a plain file; copy the bundle again")
            if mode & stat.S_IWOTH:
                raise BundleError(f"bundle {self.path}: {name} is writable by everybody; run: chmod o-w {path}")
            data = file.read(limit + 1)
        if len(data) > limit:
            raise BundleError(f"bundle {self.path}: {name} is larger than {limit} bytes; copy the bundle again")
        return data


def _without_links(path: str, flags: int) -> int:
    # Not blocking: a pipe without a writer would hold the robot's start for ever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    files: Mapping[str, bytes],
    *,
    sign_with: str | os.PathLike[str] | None = None,
) -> Bundle:
    """Write a bundle at once: a crash leaves the old bundle, or none, never half of a new one.

    Args:
        path: the folder to write; replaced when it is a bundle already. Of a symbolic link, what it points to is
            replaced, and the link stays.
        manifest: its ``files`` are filled in here.
        files: name to bytes; names without folders.
        sign_with: PEM file of a private Ed25519 key; None = the bundle is not signed.

    Returns:
        The written bundle, verified.

    Raises:
        BundleError: the place is taken by something that is no bundle, or cannot be written.
        InputError: the key cannot be used; nothing was written.
    """
    path = through_link(Path(path))
    old = _aside(path)
    if not path.exists() and old.is_dir() and not old.is_symlink():
        require_replaceable(old)
        old.rename(path)  # whoever wrote last was killed between moving it aside and taking its place
    require_replaceable(path)
    for name in (MANIFEST, SIGNATURE):
        if name in files:
            raise BundleError(f"{name} cannot be a file of a bundle: it is written here; leave it out")
    listed = {name: FileInfo(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    contents = {**files, MANIFEST: replace(manifest, files=listed).to_json().encode()}
    if sign_with is not None:
        contents[SIGNATURE] = sign(contents[MANIFEST], sign_with)
    before = "the old one is intact" if path.exists() else "nothing was written"
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BundleError(f"cannot write the bundle {path}: {error.strerror}; give another --out") from None
    try:
        for name, data in contents.items():
            with open(fresh / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)  # whatever the umask: nobody loads what everybody may write
        fresh.chmod(0o755)
        Bundle(fresh).verify()  # before it takes the old one's place
        # A folder cannot replace a folder in one step: move the old one aside first, and back should the second
        # rename fail.
        if old.is_symlink():
            old.unlink()
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        needed, free = sum(map(len, contents.values())), shutil.disk_usage(path.parent).free
        room = f" ({needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB free)" if error.errno == errno.ENOSPC else ""
        raise BundleError(f"cannot write the bundle {path}: {error.strerror}{room}; {before}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Bundle(path)


def require_replaceable(path: Path) -> None:
    """Refuse to replace anything but a bundle with nothing else in it: replacing deletes.

    A place where everybody may write is refused too: what is written there could not be opened.
    """
    path = through_link(path)
    _require_own_place(path)
    if not path.exists() and not path.is_symlink():
        return
    advice = "give another --out or remove it"
    try:
        listed = json.loads((path / MANIFEST).read_text())["files"]
        known = {*listed, MANIFEST, SIGNATURE} if "model.safetensors" in listed else None
    except ValueError:
        raise BundleError(
            f"{path} exists, and its {MANIFEST} is damaged: remove it by hand if it was a bundle, or give another --out"
        ) from None
    except (OSError, KeyError, TypeError):
        known = None
    if known is None:
        raise BundleError(f"{path} exists and is no bundle; {advice}")
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in known)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise BundleError(f"{path} is a bundle that also holds {others[0]}{more}; move that away first, or {advice}")


def through_link(path: Path) -> Path:
    """What a symbolic link points to, whether it is there or not; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _aside(path: Path) -> Path:
    """Where the old bundle lies for the moment in which the new one takes its place."""
    whole = path.absolute()
    return whole.parent / f".{whole.name}.old"


def _require_own_place(path: Path) -> None:
    """Refuse a bundle that everybody may replace: who may write a folder may rename what is in it.

    The sticky bit, as ``/tmp`` has it, keeps others from that.
    """
    for parent in dict.fromkeys((path.absolute().parent, through_link(path).absolute().parent)):
        if parent.is_dir() and parent.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise BundleError(
                f"bundle {path} lies in {parent}, which is writable by everybody, so anybody may replace it; "
                f"run: chmod o-w {parent}"
            )


def default_bundle() -> Path:
    """The bundle that ships with the package: an edge network trained on the procedural street world."""
    return Path(__file__).resolve().parent.parent / "bundles" / "edge_s_street.bundle"
