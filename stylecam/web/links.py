"""The link that opens the page: its address, its secret and its QR code."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from io import StringIO
from urllib.parse import urlencode

import segno

_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{8,128}")


_ELSEWHERE = {
    "0.0.0.0": (socket.AF_INET, "192.0.2.1", "127.0.0.1"),
    "::": (socket.AF_INET6, "2001:db8::1", "::1"),
}
"""For each way to bind every address: its family, one that nobody has (RFC 5737, RFC 3849), loopback."""


def make_token() -> str:
    """Return a fresh secret of 128 random bits that may stand in a link as it is."""
    return secrets.token_urlsafe(16)


def is_token(text: str) -> bool:
    """Tell whether `text` is long enough for a secret and may stand in links and cookies."""
    return _TOKEN.fullmatch(text) is not None


def page_url(host: str, port: int, token: str | None = None) -> str:
    """Return the link to the control page; for "every address" (0.0.0.0, ::) one that others reach."""
    query = f"?{urlencode({'token': token})}" if token else ""
    shown = lan_address(host) if host in _ELSEWHERE else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/{query}"


def lan_address(host: str) -> str:
    """Return this machine's address in its network, or loopback without one; `host` is "0.0.0.0" or "::"."""
    family, elsewhere, loopback = _ELSEWHERE[host]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))  # UDP: this sends nothing, the system only chooses the way
        except OSError:
            return loopback
        return str(probe.getsockname()[0])


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`, a name or an address."""
    address = to_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def to_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that `host` spells, None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def link_qr(url: str) -> str:
    """Return `url` as a QR code in lines of half blocks, for a terminal with a dark ground."""
    text = StringIO()
    segno.make(url, error="l", micro=False).terminal(text, border=2, compact=True)
    return text.getvalue().rstrip("\n")
