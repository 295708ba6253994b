"""The link that opens the page: its address, its secret and its QR code."""

from __future__ import annotations

import ipaddress
import re
import secrets
from io import StringIO
from urllib.parse import urlencode

import segno

_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{8,128}")


def make_token() -> str:
    """Return a fresh secret of 128 random bits that may stand in a link as it is."""
    return secrets.token_urlsafe(16)


def is_token(text: str) -> bool:
    """Tell whether `text` is long enough for a secret and may stand in links and cookies."""
    return _TOKEN.fullmatch(text) is not None


def page_url(host: str, port: int, token: str | None = None) -> str:
    """Return the link to the control page; for "every address" (0.0.0.0, ::) the one of this machine."""
    query = f"?{urlencode({'token': token})}" if token else ""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/{query}"


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
