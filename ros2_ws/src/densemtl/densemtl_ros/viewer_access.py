"""Who may talk to the viewer: a check against pages of other sites that a browser on the same computer has open.

A server on 127.0.0.1 is out of reach of other computers, but not of a web page in the browser: its scripts may open
connections to localhost, or to a name of its own that it lets point to 127.0.0.1 (DNS rebinding). Both show in headers
that a script cannot choose.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["host_allowed", "is_loopback", "origin_allowed"]

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def host_allowed(header: str | None, bound: str, local_address: str | None) -> bool:
    """Whether a request's Host header names this server.

    The port is not compared: through ``ssh -L`` it is another one.

    Args:
        header: the Host header.
        bound: the host that the server was told to listen on, a name or an address.
        local_address: the server's own address on this connection.
    """
    name = _host_name(header or "")
    if not name:
        return False
    own = {_plain(address) for address in (bound, local_address) if address}
    return name in LOCAL_NAMES or name in own


def origin_allowed(origin: str | None, host: str | None) -> bool:
    """Whether the page that opens a connection came from this server; a program that is no browser sends no origin.

    Args:
        origin: the Origin header.
        host: the Host header.
    """
    return origin is None or (urlsplit(origin).scheme in ("http", "https") and _netloc(origin) == (host or "").lower())


def is_loopback(host: str) -> bool:
    """Whether a server on this host is heard on this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(_plain(host)).is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str:
    return urlsplit(origin).netloc.lower()


def _host_name(header: str) -> str:
    try:
        return _plain(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return ""


def _plain(host: str) -> str:
    """In lower case, without the final dot, brackets and zone of an address; IPv4 in IPv6 as IPv4."""
    name = host.lower().rstrip(".").strip("[]").partition("%")[0]
    return name.removeprefix("::ffff:")
